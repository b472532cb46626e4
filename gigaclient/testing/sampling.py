"""Sample values of JSON Schemas and regular expressions, for function calls and structured answers.

Numbers, dates, enum values and capitalized names come from the prompt where it has them. The same input always gets the
same value.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.testing.canned_model import stems

__all__ = ["Hints", "instance", "matching_text"]

_MAX_DEPTH = 8
_MAX_ATTEMPTS = 20


class Hints:
    """The values in a prompt. Each is used once, in the order of the prompt."""

    def __init__(self, prompt: str) -> None:
        date = r"\d{4}-\d\d-\d\d"
        self.dates = re.findall(date, prompt)
        self.numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", re.sub(date, " ", prompt))]
        # Not the first word of a sentence: it is always capitalized.
        self.names = re.findall(r"(?<=[\w,] )[A-ZА-ЯЁ][\w-]+(?: [A-ZА-ЯЁ][\w-]+)*", prompt)
        self._prompt = prompt.lower()
        self._stems = set(stems(prompt))

    def mentions(self, text: str) -> bool:
        """Return True if the prompt contains ``text`` or inflected forms of its words."""
        found = stems(text)
        return text.lower() in self._prompt or (bool(found) and self._stems.issuperset(found))


def instance(schema: Any, hints: Hints | None = None) -> Any:
    """Return a sample value of ``schema``.

    Args:
        schema: A JSON Schema. Local ``$ref`` are resolved, the first branch of ``anyOf``/``oneOf`` that is not null
            is used, and ``allOf`` is merged. Optional properties are included, up to a limited depth.
        hints: The values to use.
    """
    sampler = _Sampler(schema if isinstance(schema, dict) else {}, hints or Hints(""))
    return sampler.sample(schema, "", 0)


def matching_text(pattern: str, prompt: str = "") -> str | None:
    """Return the first part of ``prompt`` that matches ``pattern``, or a generated text, or None.

    Raises:
        re.error: it is not a regular expression.
        ImportError: the package ``rstr`` is not installed.
    """
    expression = re.compile(pattern)
    for found in expression.finditer(prompt):
        if found[0] and expression.fullmatch(found[0]):
            return found[0]
    try:
        from rstr import Rstr
    except ImportError as error:
        raise ImportError(extra_is_missing("gigaclient.testing", error.name, "testing"), name=error.name) from error
    generator = Rstr(random.Random(pattern))
    for _ in range(_MAX_ATTEMPTS):
        try:
            text = generator.xeger(pattern)
        except (LookupError, ValueError):  # rstr does not support this pattern
            return None
        if expression.fullmatch(text):
            return text
    return None


class _Sampler:
    def __init__(self, root: Mapping[str, Any], hints: Hints) -> None:
        self._root = root
        self._hints = hints

    def sample(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if options:
            return next((o for o in options if isinstance(o, str) and self._hints.mentions(o)), options[0])
        type_ = _type_of(schema)
        if type_ == "object":
            return self._object(schema, depth)
        if type_ == "array":
            return self._array(schema, name, depth)
        if type_ in ("integer", "number"):
            return self._number(schema, type_)
        if type_ == "boolean":
            return schema.get("default", True)
        return None if type_ == "null" else self._string(schema, name)

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(32):
            if not isinstance(schema, dict):
                return {}
            if "$ref" in schema:
                schema = self._follow(schema["$ref"])
            elif schema.get("allOf"):
                schema = self._merge(schema)
            elif schema.get("anyOf") or schema.get("oneOf"):
                branches = schema.get("anyOf") or schema["oneOf"]
                schema = next((b for b in branches if not _is_null(b)), branches[0])
            else:
                return schema
        return {}

    def _merge(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Merge the schemas of ``allOf``."""
        merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
        for part in schema["allOf"]:
            for key, value in self._resolve(part).items():
                if key == "properties":
                    merged["properties"] = {**merged.get("properties", {}), **value}
                elif key == "required":
                    merged["required"] = [*merged.get("required", []), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def _follow(self, reference: Any) -> Any:
        target: Any = self._root
        for part in str(reference).lstrip("#").strip("/").split("/"):
            if part:
                target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        return target

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required: Sequence[str] = schema.get("required") or ()
        names = [name for name in properties if depth < _MAX_DEPTH // 2 or name in required]
        if depth >= _MAX_DEPTH:
            names = []
        return {name: self.sample(properties[name], name, depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        items = [self.sample(item, name, depth + 1) for item in prefix]
        default = 0 if depth >= _MAX_DEPTH // 2 else min(2, schema.get("maxItems", 2))
        count = max(int(schema.get("minItems", 0)), default)
        while len(items) < count and depth < _MAX_DEPTH and schema.get("items", True) is not False:
            value = self.sample(schema.get("items") or {}, name, depth + 1)
            items.append(f"{value} {len(items) + 1}" if schema.get("uniqueItems") and value in items else value)
        return items

    def _number(self, schema: Mapping[str, Any], type_: str) -> float | int:
        default = schema.get("default")
        value = default if isinstance(default, (int, float)) else 1.0
        if self._hints.numbers:
            value = self._hints.numbers.pop(0)
        low, high = _bounds(schema)
        value = min(max(value, low), high)
        step = schema.get("multipleOf")
        if step:
            value = round(value / step) * step
            if value < low:
                value += step
            elif value > high:
                value -= step
        return int(value) if type_ == "integer" or float(value).is_integer() else float(value)

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        format_ = schema.get("format")
        if format_ in ("date", "date-time"):
            date = self._hints.dates.pop(0) if self._hints.dates else "2026-10-02"
            return date if format_ == "date" else f"{date}T12:00:00Z"
        if format_ in _FORMATS:
            return _FORMATS[format_]
        value = self._hints.names.pop(0) if self._hints.names else schema.get("default")
        if not isinstance(value, str):
            value = str((schema.get("examples") or [" ".join(name.replace("_", " ").split()) or "text"])[0])
        value = value.ljust(int(schema.get("minLength", 0)), ".")
        return value[: int(schema["maxLength"])] if "maxLength" in schema else value


_FORMATS = {
    "time": "12:00:00",
    "uuid": "2f0d3a7e-0f56-4a07-9d4e-4d2a6f0c1b22",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
}


def _type_of(schema: Mapping[str, Any]) -> str:
    type_ = schema.get("type")
    if isinstance(type_, list):
        return next((name for name in type_ if name != "null"), "null")
    if type_ is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(type_)


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    """Return the lowest and the highest value of a number, infinite without a limit."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is None and isinstance(above, (int, float)) and not isinstance(above, bool):
        low = above + 1
    if high is None and isinstance(below, (int, float)) and not isinstance(below, bool):
        high = below - 1
    return -math.inf if low is None else low, math.inf if high is None else high


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"
