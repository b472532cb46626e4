"""The arguments of a call as the model sends them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.schema.tolerant import find_documents

__all__ = ["BadArguments", "as_object"]


class BadArguments(ValueError):
    """The model's arguments do not fit the function; the message names the path, and may be sent to the model."""


def as_object(arguments: Any, *, repair: bool = True, repairs: list[str] | None = None) -> Mapping[str, Any]:
    """Return the model's arguments as a mapping.

    Args:
        arguments: a mapping, or JSON; None for no arguments.
        repair: mend JSON that is not valid.
        repairs: gets a sentence for each thing that was mended.

    Raises:
        BadArguments: they are not an object.
    """
    if isinstance(arguments, (str, bytes)):
        text = arguments.decode("utf-8", "replace") if isinstance(arguments, bytes) else arguments
        arguments = _decode_arguments(text, repair, [] if repairs is None else repairs) if text.strip() else {}
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise BadArguments(f"the arguments must be a JSON object, not {_JSON_NAMES.get(type(arguments), 'that')}")
    return arguments


_JSON_NAMES: dict[type, str] = {
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _decode_arguments(text: str, repair: bool, repairs: list[str]) -> Any:
    try:
        decoded = msgspec.json.decode(text.encode("utf-8", "replace"))
    except JSON_ERRORS:
        decoded = None
    if isinstance(decoded, str) and repair:
        # JSON of an object that was encoded twice.
        text, decoded = decoded, None
        repairs.append("read JSON inside a string")
    if decoded is not None or text.strip() == "null":
        return decoded
    documents = find_documents(text) if repair else []
    if not documents:
        raise BadArguments("the arguments are not JSON: send one JSON object")
    repairs.extend(documents[-1].repaired)
    return msgspec.json.decode(documents[-1].data)
