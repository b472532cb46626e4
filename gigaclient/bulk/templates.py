"""Templates, and the fields of inputs that they name. Pure."""

from __future__ import annotations

import datetime
import numbers
import os
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from gigaclient._primitives.surrogates import convert_texts, joined_pairs
from gigaclient.errors import ConfigError

__all__ = ["BYTES", "Template", "field_names", "is_missing", "join_names", "unwrap"]

BYTES = (bytes, bytearray, memoryview)
_WRITTEN_BY_STR = (str, numbers.Number, datetime.date, datetime.time, datetime.timedelta, uuid.UUID)

_PLACEHOLDERS = re.compile(r"\{(0|[^\W\d]\w*)?\}|\{\{?|\}")
_WHOLE_INPUT = frozenset({"", "0", "input"})
_MAX_NAMES_SHOWN = 20
_ABSENT = object()


class Template:
    """A string with placeholders for an input, or for its fields.

    ``{name}`` is the field of that name; ``{}``, ``{0}`` and ``{input}`` are the whole input. ``{{`` and ``}}`` are
    braces. Any other brace stands for itself, so JSON needs no escaping.

    Raises:
        ConfigError: it has no placeholder, or both fields and the whole input.
    """

    def __init__(self, template: str) -> None:
        # There is one more part than there are names: names stand between parts.
        self._parts, self._names = _parse(template)
        if not self._names:
            raise ConfigError(
                "template names no field, so all prompts would be the same: {name} stands for a field of the input, "
                "{} for an input without fields"
            )
        fields = [name for name in self._names if name not in _WHOLE_INPUT]
        if fields and not {"", "0"}.isdisjoint(self._names):
            raise ConfigError(
                f"template has both {{}} and {{{fields[0]}}}: an input is put in as a whole, or by its fields; braces "
                "themselves are written {{}}"
            )

    def fill(self, input_: Any) -> str:
        """Return the prompt for one input. Placeholders inside values are not replaced.

        Raises:
            ConfigError: a field is missing, has no value, or has one that cannot be written.
        """
        input_ = unwrap(input_)
        names = field_names(input_)
        values: dict[str, str] = {}
        pieces = [self._parts[0]]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            if name not in values:
                values[name] = _text_for(input_, name, names)
            pieces += (values[name], part)
        return "".join(pieces)


def _parse(template: str) -> tuple[list[str], list[str]]:
    parts, names = [""], []
    doubled: list[bool] = []  # for each open brace, True if it was doubled
    position = 0
    while (found := _PLACEHOLDERS.search(template, position)) is not None:
        parts[-1] += template[position : found.start()]
        position = found.end()
        braces = found[0]
        if braces[0] == "{" and braces[-1] == "}":
            names.append(found[1] or "")
            parts.append("")
            continue
        if braces == "}":
            # In nested JSON two adjacent braces close one each. Otherwise two stand for one.
            if template.startswith("}", position) and (not doubled or doubled[-1]):
                position += 1
            if doubled:
                doubled.pop()
        else:
            doubled.append(braces == "{{")
        parts[-1] += braces[0]
    parts[-1] += template[position:]
    return parts, names


def _text_for(input_: Any, name: str, names: Collection[str] | None) -> str:
    """Return the text for ``{name}``; ``names`` are the fields of the input."""
    if name in ("", "0") or (name in _WHOLE_INPUT and names is None):
        return _to_text(input_, "the input")
    value = _ABSENT if names is None else _field(input_, name)
    if value is _ABSENT:
        hint = f"it has {join_names(names)}" if names else f"write {{}} for an input of type {type(input_).__name__}"
        raise ConfigError(f"template names {{{name}}}, and the input has no such field: {hint}")
    return _to_text(value, f"the field {name}", names)


def _field(input_: Any, name: str) -> Any:
    if _has_items(input_):
        return input_[name] if name in input_.keys() else _ABSENT  # noqa: SIM118
    value = getattr(input_, name, _ABSENT)
    return _ABSENT if callable(value) else value


def _to_text(value: Any, subject: str, names: Collection[str] | None = None) -> str:
    """Format a value as text: strings, numbers and times as they print, anything else as JSON."""
    if isinstance(value, str):
        return str.__str__(value)
    value = unwrap_scalar(value)
    if is_missing(value):
        hint = f"; its fields are {join_names(names)}" if names else ""
        raise ConfigError(f"{subject} has no value ({value}): leave such inputs out{hint}")
    if isinstance(value, BYTES):
        raise ConfigError(f"{subject} is bytes: decode it to a string first")
    value = _to_jsonable(value)
    if isinstance(value, _WRITTEN_BY_STR) and not isinstance(value, bool):
        return str(value)
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = "a text holds half of a surrogate pair" if isinstance(error, UnicodeError) else str(error)
    raise ConfigError(f"{subject} cannot be written as JSON: {reason}")


def _encode(value: Any) -> str:
    """Encode ``value`` as JSON, with each surrogate pair joined to one character."""
    try:
        return msgspec.json.encode(value, enc_hook=_to_jsonable_or_raise).decode()
    except UnicodeEncodeError:
        jsonable = msgspec.to_builtins(value, str_keys=True, enc_hook=_to_jsonable_or_raise)
        return msgspec.json.encode(convert_texts(jsonable, joined_pairs)).decode()


def _to_jsonable(value: Any) -> Any:
    """Convert ``value`` to a type that JSON knows, if possible."""
    value = unwrap_scalar(value)
    dtype_kind = getattr(getattr(value, "dtype", None), "kind", None)
    if dtype_kind in ("M", "m") or isinstance(value, os.PathLike):
        return str(value)
    if dtype_kind is not None and callable(getattr(value, "tolist", None)):  # numpy and pandas
        return value.tolist()
    if callable(getattr(value, "to_list", None)):  # polars
        return value.to_list()
    if isinstance(value, AbstractSet):
        return sorted(value, key=str)  # the order of a set differs between processes
    if isinstance(value, Sequence) and not isinstance(value, (str, *BYTES, tuple)):
        return list(value)
    if isinstance(value, (dict, msgspec.Struct)):
        return value
    names = field_names(value)
    return value if names is None else {name: _field(value, name) for name in names}


def _to_jsonable_or_raise(value: Any) -> Any:
    jsonable = _to_jsonable(value)
    if jsonable is value:
        raise TypeError(f"there is a {type(value).__name__} in it")
    return jsonable


def unwrap(input_: Any) -> Any:
    """Unwrap a database row of one value and an Arrow scalar; return anything else unchanged."""
    if isinstance(input_, tuple) and len(input_) == 1 and not hasattr(input_, "_fields"):
        input_ = input_[0]
    return unwrap_scalar(input_)


def unwrap_scalar(value: Any) -> Any:
    as_py = getattr(value, "as_py", None)
    return as_py() if callable(as_py) else value


def is_missing(value: Any) -> bool:
    """Return True for None, NaN, and the missing values of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    may_be_nan = isinstance(value, numbers.Number) or type(value).__name__ in ("datetime64", "timedelta64")  # numpy
    if not may_be_nan or isinstance(value, int):
        return False
    try:
        return bool(value != value)
    except ArithmeticError:  # a signalling NaN
        return True


def field_names(input_: Any) -> Collection[str] | None:
    """Return the field names of an input; None for an input without fields, such as a string."""
    if input_.__class__ is str:
        return None
    if _has_items(input_):
        return [str(name) for name in input_.keys()]  # noqa: SIM118
    for attribute in ("_fields", "__struct_fields__", "__dataclass_fields__", "__fields__"):  # the last one is Spark's
        names = getattr(input_, attribute, None)
        if names is not None:
            return list(names)
    if isinstance(input_, (*_WRITTEN_BY_STR, *BYTES, list, tuple, AbstractSet, os.PathLike, type)):
        return None
    names = [*getattr(input_, "__dict__", ()), *getattr(input_, "__slots__", ())]
    return [name for name in names if not name.startswith("_")] or None


def _has_items(input_: Any) -> bool:
    return isinstance(input_, Mapping) or (hasattr(input_, "keys") and hasattr(input_, "__getitem__"))


def join_names(names: Iterable[str]) -> str:
    """Join names for a message, up to a maximum."""
    shown = list(names)
    more = len(shown) - _MAX_NAMES_SHOWN
    return ", ".join(shown[:_MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
