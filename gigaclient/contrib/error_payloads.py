"""Errors as HTTP statuses, headers and JSON for a browser, for all web frameworks."""

from __future__ import annotations

import math
from typing import Any

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    ContentFilterError,
    GigaClientError,
    InvalidResponseError,
    LengthFinishReasonError,
    StreamInterruptedError,
    TLSError,
    TooManyStepsError,
)

__all__ = ["error_headers", "error_payload", "status_of"]


def status_of(error: BaseException) -> int:
    """Return the HTTP status of the response that reports ``error`` to a browser.

    An :class:`~gigaclient.errors.APIStatusError` keeps its status (401, 429 …). A timeout is a 504. A failed
    connection, an interrupted stream and an invalid response are a 502. Invalid settings and errors of other libraries
    are a 500.
    """
    if isinstance(error, APIStatusError):
        return error.status_code if 400 <= error.status_code <= 599 else 502
    if isinstance(error, APITimeoutError):
        return 504
    if isinstance(error, ConfigError) or not isinstance(error, GigaClientError):
        return 500
    return 502


def error_payload(error: BaseException) -> dict[str, Any]:
    """Return the JSON object that reports ``error`` to a browser.

    Returns:
        ``status`` (:func:`status_of`), ``type`` (the error's class), ``message`` (one sentence for a person; hosts,
        proxies, paths and advice on settings are only in the exception itself), ``retry_after`` (seconds, or None) and
        ``request_id`` (for the service's support, or None).
    """
    ours = isinstance(error, GigaClientError)
    return {
        "status": status_of(error),
        "type": type(error).__name__ if ours else "InternalError",
        "message": _message_for_people(error),
        "retry_after": _retry_after(error),
        "request_id": getattr(error, "request_id", None) if ours else None,
    }


def error_headers(error: BaseException) -> dict[str, str]:
    """Return ``Retry-After`` in whole seconds, rounded up, if the service sent a delay; otherwise no headers."""
    seconds = _retry_after(error)
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def _retry_after(error: BaseException) -> float | None:
    return error.retry_after if isinstance(error, APIStatusError) else None


_STATUS_MESSAGES = {
    401: "the model's service did not accept this application's key",
    402: "the tokens of this model are used up",
    403: "this application's plan does not allow that",
    404: "the model's service has no such model or file",
    413: "the conversation is too long for the model",
    429: "too many requests at the moment: try again a little later",
}


_ERROR_MESSAGES: tuple[tuple[type[GigaClientError], str], ...] = (
    (APITimeoutError, "the model's service did not answer in time"),
    (TLSError, "the certificate of the model's service was not accepted"),
    (APIConnectionError, "the model's service cannot be reached"),
    (StreamInterruptedError, "the answer broke off before it was complete"),
    (ContentFilterError, "the service's filter blocked the answer"),
    (InvalidResponseError, "the model's service sent an answer that makes no sense"),
    (LengthFinishReasonError, "the answer was cut by the limit of its length"),
    (TooManyStepsError, "the model called too many functions without coming to an answer"),
    (ConfigError, "this application is not set up for such a call: its log says more"),
)


_MAX_MESSAGE_CHARS = 300


def _message_for_people(error: BaseException) -> str:
    if isinstance(error, APIStatusError):
        message = _STATUS_MESSAGES.get(error.status_code)
        if message is None and 400 <= error.status_code <= 499:
            # The service's own message says which value of the request it refuses.
            message = " ".join(error.message.split())[:_MAX_MESSAGE_CHARS]
        return message or "the model's service failed: try again a little later"
    for error_type, message in _ERROR_MESSAGES:
        if isinstance(error, error_type):
            return message
    return "this application failed: its log says more"
