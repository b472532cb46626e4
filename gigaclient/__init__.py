"""gigaclient: synchronous clients for GigaChat and FakeGpt that threads can share.

>>> from gigaclient import GigaChat
>>> giga = GigaChat(credentials="<authorization key>")
>>> print(giga.chat("Hello!"))
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gigaclient._primitives.lazy import async_names, lazy_names
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ContentFilterError,
    ForbiddenError,
    GigaClientDeprecationWarning,
    GigaClientError,
    InvalidResponseError,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    StreamInterruptedError,
    TLSError,
    TooManyStepsError,
    UnprocessableEntityError,
)
from gigaclient.gigachat import GigaChat
from gigaclient.protocols import ChatProvider
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import Chat, ChatCompletion, ChatCompletionChunk, Function, FunctionCall, Message, Usage
from gigaclient.version import __version__

if TYPE_CHECKING:
    from gigaclient.client import GigaChatSyncClient as GigaChatSyncClient
    from gigaclient.context import custom_headers_cvar as custom_headers_cvar
    from gigaclient.context import request_id_cvar as request_id_cvar
    from gigaclient.context import session_id_cvar as session_id_cvar
    from gigaclient.exceptions import GigaChatException as GigaChatException
    from gigaclient.exceptions import ResponseError as ResponseError
    from gigaclient.fakegpt import FakeGpt
    from gigaclient.functions import function
    from gigaclient.gigachat.conversation import Conversation
    from gigaclient.models import Choices as Choices
    from gigaclient.models import Embeddings as Embeddings
    from gigaclient.models import FunctionParameters as FunctionParameters
    from gigaclient.models import Image as Image
    from gigaclient.models import Messages as Messages
    from gigaclient.models import MessagesRole as MessagesRole
    from gigaclient.models import Model as Model
    from gigaclient.models import Models as Models

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
    "ContentFilterError",
    "Conversation",
    "FakeGpt",
    "ForbiddenError",
    "Function",
    "FunctionCall",
    "GigaChat",
    "GigaClientDeprecationWarning",
    "GigaClientError",
    "InvalidResponseError",
    "LengthFinishReasonError",
    "Message",
    "ModelNotSpecifiedError",
    "NotFoundError",
    "PaymentRequiredError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ServerError",
    "StreamInterruptedError",
    "TLSError",
    "TooManyStepsError",
    "UnprocessableEntityError",
    "Usage",
    "__version__",
    "function",
]

# Loaded at first use: most programs use one service, and few need the names of the official SDK.
_LAZY_NAMES = {
    "Conversation": "gigaclient.gigachat.conversation",
    "FakeGpt": "gigaclient.fakegpt",
    "GigaChatSyncClient": "gigaclient.client",
    "function": "gigaclient.functions",
    # Called by %load_ext gigaclient and %unload_ext gigaclient.
    **dict.fromkeys(("load_ipython_extension", "unload_ipython_extension"), "gigaclient.contrib.jupyter"),
    **dict.fromkeys(("GigaChatException", "ResponseError"), "gigaclient.exceptions"),
    **dict.fromkeys(("custom_headers_cvar", "request_id_cvar", "session_id_cvar"), "gigaclient.context"),
    **dict.fromkeys(
        ("Choices", "Embeddings", "FunctionParameters", "Image", "Messages", "MessagesRole", "Model", "Models"),
        "gigaclient.models",
    ),
}

_lazy_name, __dir__ = lazy_names(globals(), _LAZY_NAMES)
__getattr__ = async_names(__name__, "GigaChatAsyncClient", otherwise=_lazy_name)

logging.getLogger(__name__).addHandler(logging.NullHandler())
