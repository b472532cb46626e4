"""Texts that match a regular expression, for answers with a ``response_format`` of type ``regex``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as _c  # type: ignore[attr-defined]  # the only place where Python tells what it read
    from re import _parser
else:
    import sre_constants as _c
    import sre_parse as _parser

__all__ = ["fitting"]

_WITHIN: Mapping[Any, str] = {
    _c.CATEGORY_DIGIT: "0123456789",
    _c.CATEGORY_NOT_DIGIT: "abcdef",
    _c.CATEGORY_SPACE: " ",
    _c.CATEGORY_NOT_SPACE: "abcdef",
    _c.CATEGORY_WORD: "abcdef",
    _c.CATEGORY_NOT_WORD: " -",
}
_ANYTHING = "".join(map(chr, range(ord("a"), ord("z") + 1))) + "".join(map(chr, range(32, 97))) + "{|}~"


def fitting(pattern: str, prompt: str = "") -> str | None:
    """Return the first part of ``prompt`` that matches ``pattern``, or a generated text, or None.

    Raises:
        re.error: it is not a regular expression.
    """
    expression = re.compile(pattern)
    for found in expression.finditer(prompt):
        if found[0] and expression.fullmatch(found[0]):
            return found[0]
    parsed: Any = _parser.parse(pattern)
    made = _Maker().of(parsed)
    return made if expression.fullmatch(made) else None


class _Maker:
    def __init__(self) -> None:
        self._groups: dict[Any, str] = {}

    def of(self, parsed: Iterable[Any]) -> str:
        return "".join([self._one(kind, value) for kind, value in parsed])

    def _one(self, kind: Any, value: Any) -> str:
        if kind is _c.LITERAL:
            return chr(value)
        if kind is _c.NOT_LITERAL:
            return next(character for character in _ANYTHING if ord(character) != value)
        if kind is _c.ANY:
            return "a"
        if kind is _c.IN:
            return self._within(value)
        if kind is _c.BRANCH:
            return self.of(value[1][0])
        if kind is _c.SUBPATTERN:
            group, _, _, inner = value
            made = self.of(inner)
            if group is not None:
                self._groups[group] = made
            return made
        if kind is _c.GROUPREF:
            return self._groups.get(value, "")
        if kind in (_c.MAX_REPEAT, _c.MIN_REPEAT) or kind is getattr(_c, "POSSESSIVE_REPEAT", None):
            least, most, inner = value
            # Once where it may be left out: an empty text says little.
            return "".join([self.of(inner) for _ in range(max(least, min(1, most)))])
        if kind is getattr(_c, "ATOMIC_GROUP", None):
            return self.of(value)
        return ""  # anchors, and looks ahead and behind

    def _within(self, choices: list[Any]) -> str:
        negated = bool(choices) and choices[0][0] is _c.NEGATE
        allowed: list[str] = []
        for kind, value in choices[negated:]:
            if kind is _c.LITERAL:
                allowed.append(chr(value))
            elif kind is _c.RANGE:
                low, high = value
                allowed += map(chr, range(low, min(high, low + 200) + 1))
            elif kind is _c.CATEGORY:
                allowed += _WITHIN.get(value, "")
        if negated:
            return next((character for character in _ANYTHING if character not in allowed), "")
        return allowed[0] if allowed else ""
