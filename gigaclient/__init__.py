"""gigaclient: GigaChat and FakeGpt from ordinary blocking code, shared freely between threads.

>>> from gigaclient import GigaChat
>>> giga = GigaChat(credentials="<authorization key>")
>>> print(giga.chat("Hello!"))
"""

from __future__ import annotations

import logging

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ForbiddenError,
    GigaClientError,
    InvalidResponseError,
    LengthFinishReasonError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    StreamInterruptedError,
    TLSError,
    UnprocessableEntityError,
)
from gigaclient.fakegpt import FakeGpt
from gigaclient.gigachat import GigaChat
from gigaclient.interface import ChatProvider
from gigaclient.stream import ChatStream
from gigaclient.types import (
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Function,
    FunctionCall,
    Message,
    Usage,
)
from gigaclient.version import __version__

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatProvider",
    "ChatStream",
    "ConfigError",
    "FakeGpt",
    "ForbiddenError",
    "Function",
    "FunctionCall",
    "GigaChat",
    "GigaClientError",
    "InvalidResponseError",
    "LengthFinishReasonError",
    "Message",
    "NotFoundError",
    "PaymentRequiredError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ServerError",
    "StreamInterruptedError",
    "TLSError",
    "UnprocessableEntityError",
    "Usage",
    "__version__",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
