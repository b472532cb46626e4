"""What people pass as messages, in one shape: a string, a list, a :class:`~gigaclient.types.Chat` or a dict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gigaclient._primitives.serialization import SerializationError, is_dataclass
from gigaclient._primitives.serialization import encode as encode_json
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.types import Chat, ChatCompletion, Message

__all__ = ["as_messages", "as_request", "encode"]


def as_request(messages: Any, extra: Any = None) -> dict[str, Any]:
    """The fields of a request, with ``"messages"`` as they were given; fields that are None are left out.

    Args:
        messages: messages alone, or a whole request (a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``).
            Never changed. Its ``additional_fields`` are among the fields, below those of its own.
        extra: the ``additional_fields`` of the call, which go between the two.

    Raises:
        ConfigError: a request without ``"messages"``, or additional fields that are no mapping.
    """
    request: dict[str, Any] = {"messages": messages}
    if isinstance(messages, Chat):
        request = fields_of(messages)
    elif isinstance(messages, Mapping):
        request = {name: value for name, value in messages.items() if value is not None}
    if "messages" not in request:
        raise ConfigError('a request needs "messages"; a single message goes into a list')
    return {**_additional(request.pop("additional_fields", None)), **_additional(extra), **request}


def _additional(fields: Any) -> Mapping[str, Any]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        raise ConfigError("additional_fields must be a mapping")
    return {name: value for name, value in fields.items() if value is not None}


def as_messages(messages: Any) -> list[Any]:
    """A list of :class:`~gigaclient.types.Message` and dicts, each with a role and a text (or no content at all).

    Raises:
        ConfigError: it cannot be that; the message says which one and why.
    """
    if isinstance(messages, str):
        return [Message(role="user", content=messages)]
    if isinstance(messages, Message):
        messages = [messages]
    if isinstance(messages, (bytes, bytearray, memoryview)):
        raise ConfigError("messages are bytes: decode them to a string first")
    if not isinstance(messages, Iterable) or isinstance(messages, (Mapping, ChatCompletion)):
        raise ConfigError(f"messages must be a string, a list of messages or a request, not {type(messages).__name__}")
    messages = list(messages)
    if not messages:
        raise ConfigError("messages is empty: the model needs at least one message")
    return [_message(message, place) for place, message in enumerate(messages)]


def _message(message: Any, place: int) -> Any:
    if isinstance(message, Message):
        content, role = message.content, message.role
    elif isinstance(message, Mapping):
        message = {name: value for name, value in message.items() if value is not None}
        content, role = message.get("content"), message.get("role")
    else:
        hint = ""
        if isinstance(message, str):
            hint = "; a prompt alone is passed as a string, not in a list"
        elif isinstance(message, ChatCompletion):
            hint = "; append its .message"
        raise ConfigError(f"messages[{place}] must be a dict or a Message, not {type(message).__name__}{hint}")
    if not isinstance(role, str) or not role:
        raise ConfigError(f'messages[{place}] needs a role: "system", "user", "assistant" or "function"')
    if role == "function" and content is not None and not isinstance(content, (str, bytes, bytearray)):
        # The API wants a JSON object, written as a string.
        is_object = isinstance(content, (Mapping, msgspec.Struct)) or is_dataclass(content)
        result = content if is_object else {"result": content}
        return {**_plain_fields(message), "content": encode(result, f"messages[{place}].content").decode()}
    if content is not None and not isinstance(content, str):
        what = "decode it to a string" if isinstance(content, bytes) else "text alone is taken here"
        raise ConfigError(f"messages[{place}]: content must be a string, not {type(content).__name__}: {what}")
    return message


def _plain_fields(message: Any) -> dict[str, Any]:
    return fields_of(message) if isinstance(message, Message) else dict(message)


def encode(body: Any, path: str = "") -> bytes:
    """Return the request as JSON; ``path`` is the name of ``body`` in an error message.

    Raises:
        ConfigError: it cannot be written as JSON; the message says what to change, and where.
    """
    try:
        return encode_json(body, path)
    except SerializationError as error:
        reason = str(error)
    raise ConfigError(reason)
