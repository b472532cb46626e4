"""Errors of JSON that is not a value of a type, from msgspec, pydantic or the class itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecodeError, loads
from typing import Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS

__all__ = ["ValidationFailed", "in_words", "is_pydantic_error", "json_error", "pydantic_reason", "validated"]

_MAX_REASONS = 5

_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_NAMES = {
    "array": "a JSON array",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "null": "null",
    "object": "a JSON object",
    "str": "a string",
}


class ValidationFailed(ValueError):
    """JSON that is not a value of the type; the message names the path."""


def validated(read: Callable[[], Any]) -> Any:
    """Call ``read`` and raise :class:`ValidationFailed` for any exception of it."""
    cause: BaseException | None = None
    try:
        return read()
    except msgspec.ValidationError as error:
        reason = str(error)
        if "`$" not in reason:
            reason += " - at `$`"
    except Exception as error:  # from the constructor of the user's class
        if is_pydantic_error(error):
            reason = pydantic_reason(error)
        else:
            reason, cause = f"its constructor raised {type(error).__name__}: {error}", error
    raise ValidationFailed(f"the answer does not fit: {reason}") from cause


def json_error(data: bytes) -> str | None:
    """Return the reason why ``data`` is not JSON, or None."""
    try:
        msgspec.json.decode(data)
    except RecursionError:
        return "the JSON is nested too deep"
    except JSON_ERRORS as error:
        reason = str(error)
    else:
        return None
    try:
        loads(data)
    except JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        pass
    return f"the answer is not JSON: {reason}"


def in_words(reason: str) -> str:
    """Return a reason of msgspec in the words of JSON, for the model."""

    def renamed(match: re.Match[str]) -> str:
        expected, got = (" or ".join(_NAMES.get(name, name) for name in group.split(" | ")) for group in match.groups())
        return f"expected {expected}, not {got}"

    return (
        _EXPECTED.sub(renamed, reason)
        .replace("Object contains unknown field", "there is no argument")
        .replace("Object missing required field", "the required argument is missing:")
    )


def is_pydantic_error(error: BaseException) -> bool:
    """Return True for a validation error of pydantic."""
    return type(error).__name__ == "ValidationError" and callable(getattr(error, "errors", None))


def pydantic_reason(error: Any) -> str:
    """Return the errors that pydantic found, without the values that its own message quotes."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    reasons = []
    for entry in found[:_MAX_REASONS]:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in entry["loc"])
        reasons.append(f"{entry['msg']} - at `${path}`")
    more = len(found) - len(reasons)
    return "; ".join(reasons) + (f"; and {more} more" if more > 0 else "")
