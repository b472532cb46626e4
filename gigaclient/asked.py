"""What people pass as messages, in one shape: a string, a list, a :class:`~gigaclient.types.Chat` or a dict. Pure."""

from __future__ import annotations

import enum
import functools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.types import Chat, ChatCompletion, Message

__all__ = ["as_messages", "as_request", "encode", "fields_of"]

_encoder = msgspec.json.Encoder()


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


def fields_of(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields of ``struct`` that are not None, under the names they are sent as."""
    values = [(sent_as, getattr(struct, name)) for sent_as, name in _names_of(type(struct))]
    return {name: value for name, value in values if value is not None}


@functools.cache
def _names_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))


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
        is_object = isinstance(content, (Mapping, msgspec.Struct)) or _is_dataclass(content)
        result = content if is_object else {"result": content}
        return {**_plain_fields(message), "content": encode(result, f"messages[{place}].content").decode()}
    if content is not None and not isinstance(content, str):
        what = "decode it to a string" if isinstance(content, bytes) else "text alone is taken here"
        raise ConfigError(f"messages[{place}]: content must be a string, not {type(content).__name__}: {what}")
    return message


def _plain_fields(message: Any) -> dict[str, Any]:
    return fields_of(message) if isinstance(message, Message) else dict(message)


def encode(body: Any, place: str = "") -> bytes:
    """The request as JSON; ``place`` is what a message calls ``body`` itself.

    Raises:
        ConfigError: it cannot be written as JSON; the message says what to change, and where.
    """
    try:
        return _encoder.encode(_plain(body, place))
    except ConfigError:
        raise
    except UnicodeEncodeError:
        reason = "a text holds half of a surrogate pair, which is no character: repair where it was decoded"
    except RecursionError:
        reason = "it is nested too deep, or holds itself"
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        reason = f"it cannot be written as JSON: {error}"
    raise ConfigError(f"the request cannot be sent: {reason}")


# What JSON has as it is: by far the most of what people send, and no look at abstract classes is needed to tell.
_ATOMS = frozenset({str, int, bool, type(None)})


def _plain(value: Any, place: str) -> Any:
    """``value`` as JSON has it, or a ConfigError that names the place.

    msgspec alone would write NaN as null, bytes as base64 and a set in any order, all without a word.
    """
    kind = value.__class__
    if kind in _ATOMS:
        return value
    if kind is list:
        return [
            inner if inner.__class__ in _ATOMS else _plain(inner, f"{place}[{index}]")
            for index, inner in enumerate(value)
        ]
    if kind is dict:
        return _plain_mapping(value, place)
    if isinstance(value, msgspec.Struct):
        return {name: _plain(inner, f"{place}.{name}") for name, inner in fields_of(value).items()}
    if isinstance(value, enum.Enum):
        return _plain(value.value, place)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) or _is(value, "numbers", "Integral"):
        return int(value)
    if isinstance(value, float) or _is(value, "numbers", "Real") or _is(value, "decimal", "Decimal"):
        number = float(value)
        if not math.isfinite(number):
            raise ConfigError(f"{place} must be a finite number")
        return number
    if isinstance(value, Mapping):
        return _plain_mapping(value, place)
    if _is_dataclass(value):
        import dataclasses

        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in names}
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ConfigError(f"{place} is bytes: decode it to a string first")
    if isinstance(value, Sequence):
        return [_plain(inner, f"{place}[{index}]") for index, inner in enumerate(value)]
    raise ConfigError(f"{place} cannot be written as JSON: it is of type {type(value).__name__}")


def _plain_mapping(value: Mapping[Any, Any], place: str) -> dict[str, Any]:
    within = f"{place}." if place else ""
    return {
        name if name.__class__ is str else _key(name, place): (
            inner if inner.__class__ in _ATOMS else _plain(inner, f"{within}{name}")
        )
        for name, inner in value.items()
    }


def _is(value: Any, module: str, name: str) -> bool:
    # Nothing is of a class whose module nobody has imported, and importing it here would cost those who need it not.
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def _is_dataclass(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def _key(name: Any, place: str) -> str:
    if isinstance(name, str):
        return str.__str__(name)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise ConfigError(f"{place or 'the request'} has a field whose name is not a string: {type(name).__name__}")
