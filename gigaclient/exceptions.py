"""Our errors under the names of the official SDK's ``gigachat.exceptions``, for scripts that migrate."""

from __future__ import annotations

from gigaclient.errors import APIStatusError as ResponseError
from gigaclient.errors import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    UnprocessableEntityError,
)
from gigaclient.errors import GigaClientError as GigaChatException

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "ForbiddenError",
    "GigaChatException",
    "LengthFinishReasonError",
    "ModelNotSpecifiedError",
    "NotFoundError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ResponseError",
    "ServerError",
    "UnprocessableEntityError",
]
