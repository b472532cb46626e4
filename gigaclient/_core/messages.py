"""Convert every accepted form of messages to one: a string, a list, a :class:`~gigaclient.types.Chat` or a dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gigaclient._primitives.serialization import SerializationError, is_dataclass, pydantic_fields
from gigaclient._primitives.serialization import encode as encode_json
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.types import APIResponse, Chat, Message, Record

__all__ = ["as_messages", "as_request", "encode", "listed", "not_a_message"]


def as_request(messages: Any, extra: Any = None) -> dict[str, Any]:
    """Return the fields of a request, with ``"messages"`` unchanged and without fields that are None.

    Args:
        messages: messages alone, or a whole request (a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``).
            Never modified. Its ``additional_fields`` are merged in, and its other fields win over them.
        extra: the ``additional_fields`` of the call. They win over those of the request, but not over its other fields.

    Raises:
        ConfigError: the request has no ``"messages"``, or additional fields are not a mapping.
    """
    messages = pydantic_fields(messages)
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
    """Return a list of :class:`~gigaclient.types.Message` and dicts, each with a role and with text or no content.

    Raises:
        ConfigError: a message is invalid; the error says which one and why.
    """
    if isinstance(messages, str):
        return [Message(role="user", content=messages)]
    if isinstance(messages, Message):
        messages = [messages]
    messages = listed(messages)
    if not messages:
        raise ConfigError("messages is empty: the model needs at least one message")
    return [_as_message(message, index) for index, message in enumerate(messages)]


def listed(messages: Any) -> list[Any]:
    """Return the items of ``messages``, unchecked; raise ConfigError if it is no list of messages."""
    if isinstance(messages, (bytes, bytearray, memoryview)):
        raise ConfigError("messages are bytes: decode them to a string first")
    if not isinstance(messages, Iterable) or isinstance(messages, (Mapping, Record)):
        raise ConfigError(f"messages must be a string, a list of messages or a request, not {type(messages).__name__}")
    return list(messages)


def not_a_message(message: Any, path: str, type_: str) -> ConfigError:
    """Return the error for an item of a list of messages that is neither a dict nor of ``type_``."""
    hint = ""
    if isinstance(message, str):
        hint = "; a prompt alone is passed as a string, not in a list"
    elif isinstance(message, APIResponse):
        hint = "; append its .message"
    return ConfigError(f"{path} must be a dict or a {type_}, not {type(message).__name__}{hint}")


def _as_message(message: Any, index: int) -> Any:
    message = pydantic_fields(message)
    if isinstance(message, Message):
        content, role = message.content, message.role
    elif isinstance(message, Mapping):
        # The official SDK sends an empty text for a message without one.
        message = {name: value for name, value in {"content": "", **message}.items() if value is not None}
        content, role = message.get("content"), message.get("role")
    else:
        raise not_a_message(message, f"messages[{index}]", "Message")
    if not isinstance(role, str) or not role:
        raise ConfigError(f'messages[{index}] needs a role: "system", "user", "assistant" or "function"')
    if role == "function" and content is not None and not isinstance(content, (str, bytes, bytearray)):
        # The API expects a JSON object, encoded as a string.
        is_object = isinstance(content, (Mapping, msgspec.Struct)) or is_dataclass(content)
        result = content if is_object else {"result": content}
        return {**_fields(message), "content": encode(result, f"messages[{index}].content").decode()}
    if content is not None and not isinstance(content, str):
        advice = "decode it to a string" if isinstance(content, bytes) else "only text is accepted here"
        raise ConfigError(f"messages[{index}]: content must be a string, not {type(content).__name__}: {advice}")
    return message


def _fields(message: Any) -> dict[str, Any]:
    return fields_of(message) if isinstance(message, Message) else dict(message)


def encode(body: Any, path: str = "") -> bytes:
    """Return ``body`` as JSON; ``path`` is its name in an error message.

    Raises:
        ConfigError: it cannot be encoded as JSON; the error says what to change, and where.
    """
    try:
        return encode_json(body, path)
    except SerializationError as error:
        reason = str(error)
    raise ConfigError(reason)
