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

from gigaclient.errors import ConfigError

__all__ = ["BYTES", "Template", "is_missing", "listed", "names_of", "unwrapped"]

BYTES = (bytes, bytearray, memoryview)
_TOLD_BY_STR = (str, numbers.Number, datetime.date, datetime.time, datetime.timedelta, uuid.UUID)

_PLACES = re.compile(r"\{(0|[^\W\d]\w*)?\}|\{\{?|\}")
_WHOLE = frozenset({"", "0", "input"})
_MOST_NAMES_SHOWN = 20
_ABSENT = object()


class Template:
    """A string with places for an input, or for its fields.

    ``{name}`` is the field of that name; ``{}``, ``{0}`` and ``{input}`` are the input as a whole. ``{{`` and ``}}``
    are braces. Any other brace stands for itself, so JSON stays what it is.

    Raises:
        ConfigError: it names nothing, or both fields and the whole.
    """

    def __init__(self, template: str) -> None:
        # One part more than there are names: they stand between the parts.
        self._parts, self._names = _parsed(template)
        if not self._names:
            raise ConfigError(
                "template names no field, so all prompts would be the same: {name} stands for a field of the input, "
                "{} for an input without fields"
            )
        fields = [name for name in self._names if name not in _WHOLE]
        if fields and not {"", "0"}.isdisjoint(self._names):
            raise ConfigError(
                f"template has both {{}} and {{{fields[0]}}}: an input is put in as a whole, or by its fields; braces "
                "themselves are written {{}}"
            )

    def fill(self, given: Any) -> str:
        """The prompt for one input. Values are not looked through for names.

        Raises:
            ConfigError: a field is not there, or has no value, or none that can be written.
        """
        given = unwrapped(given)
        names = names_of(given)
        values: dict[str, str] = {}
        pieces = [self._parts[0]]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            if name not in values:
                values[name] = _value(given, name, names)
            pieces += (values[name], part)
        return "".join(pieces)


def _parsed(template: str) -> tuple[list[str], list[str]]:
    parts, names = [""], []
    doubled: list[bool] = []  # for each brace that is open, whether there were two of it
    position = 0
    while (found := _PLACES.search(template, position)) is not None:
        parts[-1] += template[position : found.start()]
        position = found.end()
        braces = found[0]
        if braces[0] == "{" and braces[-1] == "}":
            names.append(found[1] or "")
            parts.append("")
            continue
        if braces == "}":
            # In nested JSON two that stand together close one each. Otherwise two stand for one.
            if template.startswith("}", position) and (not doubled or doubled[-1]):
                position += 1
            if doubled:
                doubled.pop()
        else:
            doubled.append(braces == "{{")
        parts[-1] += braces[0]
    parts[-1] += template[position:]
    return parts, names


def _value(given: Any, name: str, names: Collection[str] | None) -> str:
    """What stands in the prompt for ``{name}``; ``names`` are the fields that there are."""
    if name in ("", "0") or (name in _WHOLE and names is None):
        return _written(given, "the input")
    value = _ABSENT if names is None else _field(given, name)
    if value is _ABSENT:
        there = f"it has {listed(names)}" if names else f"it is of type {type(given).__name__}, for which {{}} stands"
        raise ConfigError(f"template names {{{name}}}, and the input has no such field: {there}")
    return _written(value, f"the field {name}", names)


def _field(given: Any, name: str) -> Any:
    if _has_items(given):
        return given[name] if name in given.keys() else _ABSENT  # noqa: SIM118
    value = getattr(given, name, _ABSENT)
    return _ABSENT if callable(value) else value


def _written(value: Any, place: str, names: Collection[str] | None = None) -> str:
    """A value as text: strings, numbers and times as they are, anything else as JSON."""
    if isinstance(value, str):
        return str.__str__(value)
    value = unwrapped_scalar(value)
    if is_missing(value):
        there = f"; its fields are {listed(names)}" if names else ""
        raise ConfigError(f"{place} has no value ({value}): leave such inputs out{there}")
    if isinstance(value, BYTES):
        raise ConfigError(f"{place} is bytes: decode it to a string first")
    value = _plain(value)
    if isinstance(value, _TOLD_BY_STR) and not isinstance(value, bool):
        return str(value)
    try:
        return msgspec.json.encode(value, enc_hook=_plain_or_refused).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = "a text holds half of a surrogate pair" if isinstance(error, UnicodeError) else str(error)
    raise ConfigError(f"{place} cannot be written as JSON: {reason}")


def _plain(value: Any) -> Any:
    """``value`` as something that is known here, as far as it can be that."""
    value = unwrapped_scalar(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in ("M", "m") or isinstance(value, os.PathLike):
        return str(value)
    if kind is not None and callable(getattr(value, "tolist", None)):  # of numpy and pandas
        return value.tolist()
    if callable(getattr(value, "to_list", None)):  # of polars
        return value.to_list()
    if isinstance(value, AbstractSet):
        return sorted(value, key=str)  # the order of a set is another one in another process
    if isinstance(value, Sequence) and not isinstance(value, (str, *BYTES, tuple)):
        return list(value)
    if isinstance(value, (dict, msgspec.Struct)):
        return value
    names = names_of(value)
    return value if names is None else {name: _field(value, name) for name in names}


def _plain_or_refused(value: Any) -> Any:
    plain = _plain(value)
    if plain is value:
        raise TypeError(f"there is a {type(value).__name__} in it")
    return plain


def unwrapped(given: Any) -> Any:
    """The value in a database's row of one, and in a scalar of Arrow; anything else as it is."""
    if isinstance(given, tuple) and len(given) == 1 and not hasattr(given, "_fields"):
        given = given[0]
    return unwrapped_scalar(given)


def unwrapped_scalar(value: Any) -> Any:
    as_py = getattr(value, "as_py", None)
    return as_py() if callable(as_py) else value


def is_missing(value: Any) -> bool:
    """Whether there is no value: None, NaN, and what pandas has in their place."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    may_be_none = isinstance(value, numbers.Number) or type(value).__name__ in ("datetime64", "timedelta64")  # of numpy
    if not may_be_none or isinstance(value, int):
        return False
    try:
        return bool(value != value)
    except ArithmeticError:  # a signalling NaN
        return True


def names_of(given: Any) -> Collection[str] | None:
    """The names of the fields of ``given``; None for what has none, such as a string."""
    if given.__class__ is str:
        return None
    if _has_items(given):
        return [str(name) for name in given.keys()]  # noqa: SIM118
    for attribute in ("_fields", "__struct_fields__", "__dataclass_fields__", "__fields__"):  # the last one is Spark's
        names = getattr(given, attribute, None)
        if names is not None:
            return list(names)
    if isinstance(given, (*_TOLD_BY_STR, *BYTES, list, tuple, AbstractSet, os.PathLike, type)):
        return None
    names = [*getattr(given, "__dict__", ()), *getattr(given, "__slots__", ())]
    return [name for name in names if not name.startswith("_")] or None


def _has_items(given: Any) -> bool:
    return isinstance(given, Mapping) or (hasattr(given, "keys") and hasattr(given, "__getitem__"))


def listed(names: Iterable[str]) -> str:
    """Names for a message, not too many of them."""
    shown = list(names)
    more = len(shown) - _MOST_NAMES_SHOWN
    return ", ".join(shown[:_MOST_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
