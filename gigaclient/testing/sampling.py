"""Sample values of a JSON Schema, for function calls and structured answers.

Numbers, dates, names and enum values come from the prompt where it has them. All other values are constant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gigaclient.testing.canned_model import stems

__all__ = ["Hints", "instance"]

_DEEPEST = 8
_PLACE = re.compile(
    r"city|town|place|location|\bport\b|country|region|address|город|место|порт|страна|регион", re.IGNORECASE
)
_CITIES = {
    "москв": "Москва",
    "петербург": "Санкт-Петербург",
    "мурманск": "Мурманск",
    "казан": "Казань",
    "новосибирск": "Новосибирск",
    "париж": "Париж",
    "лондон": "Лондон",
    "берлин": "Берлин",
    "токио": "Токио",
}


class Hints:
    """The values in a prompt. Numbers, dates and quoted texts are returned in their order."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        dates = r"\d{4}-\d\d-\d\d"
        self._dates = re.findall(dates, prompt)
        self._numbers = re.findall(r"-?\d+(?:\.\d+)?", re.sub(dates, " ", prompt))
        self._quoted = re.findall(r"[\"«“']([^\"»”']+)[\"»”']", prompt)
        self._stems = set(stems(prompt))

    def number(self) -> float | None:
        """Return the next number, or None."""
        return float(self._numbers.pop(0)) if self._numbers else None

    def date(self) -> str | None:
        """Return the next ISO date, or None."""
        return self._dates.pop(0) if self._dates else None

    def quoted(self) -> str | None:
        """Return the next quoted text, or None."""
        return self._quoted.pop(0) if self._quoted else None

    def place(self) -> str | None:
        """Return the name of a city, or the first capitalized words after the beginning, or None."""
        lower = self.prompt.lower()
        for stem, city in _CITIES.items():
            if stem in lower:
                return city
        found = re.search(r"(?<=[\w,] )[A-ZА-ЯЁ][\w-]+(?: [A-ZА-ЯЁ][\w-]+)*", self.prompt)
        return found[0] if found else None

    def mentions(self, text: str) -> bool:
        """Return True if the prompt contains ``text`` or all its words."""
        found = stems(text)
        return text.lower() in self.prompt.lower() or (bool(found) and self._stems.issuperset(found))


def instance(schema: Any, hints: Hints | None = None, *, examples: Mapping[str, Any] | None = None) -> Any:
    """Return a sample value of ``schema``.

    Args:
        schema: A JSON Schema. Local ``$ref`` are resolved, the first branch of ``anyOf``/``oneOf`` that is not null
            is used, and ``allOf`` is merged. Optional properties are included, up to a limited depth.
        hints: The values to use.
        examples: Values for the properties of the outermost object, used when the hints have none.
    """
    maker = _Maker(schema if isinstance(schema, dict) else {}, hints or Hints(""))
    return maker.make(schema, "", 0, examples or {})


class _Maker:
    def __init__(self, root: Mapping[str, Any], hints: Hints) -> None:
        self._root = root
        self._hints = hints

    def make(self, schema: Any, name: str, depth: int, examples: Mapping[str, Any]) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if options:
            return next((o for o in options if isinstance(o, str) and self._hints.mentions(o)), options[0])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if kind == "object":
            return self._object(schema, depth, examples)
        if kind == "array":
            return self._array(schema, name, depth)
        if name in examples and not self._offers(schema, kind, name):
            return examples[name]
        if kind in ("integer", "number"):
            return self._number(schema, kind)
        if kind == "boolean":
            return schema.get("default", True)
        if kind == "null":
            return None
        return self._string(schema, name)

    def _offers(self, schema: Mapping[str, Any], kind: str, name: str) -> bool:
        if kind in ("integer", "number"):
            return bool(self._hints._numbers)
        if schema.get("format") in ("date", "date-time"):
            return bool(self._hints._dates)
        return _is_place(schema, name) and self._hints.place() is not None

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(32):
            if not isinstance(schema, dict):
                return {}
            if "$ref" in schema:
                schema = self._followed(schema["$ref"])
            elif schema.get("allOf"):
                merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
                for part in schema["allOf"]:
                    for key, value in self._resolved(part).items():
                        if key == "properties":
                            merged["properties"] = {**merged.get("properties", {}), **value}
                        elif key == "required":
                            merged["required"] = [*merged.get("required", []), *value]
                        else:
                            merged.setdefault(key, value)
                schema = merged
            elif schema.get("anyOf") or schema.get("oneOf"):
                branches = schema.get("anyOf") or schema["oneOf"]
                schema = next((b for b in branches if not _is_null(b)), branches[0])
            else:
                return schema
        return {}

    def _followed(self, reference: Any) -> Any:
        place: Any = self._root
        for part in str(reference).lstrip("#").strip("/").split("/"):
            if part:
                place = place.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(place, dict) else {}
        return place

    def _object(self, schema: Mapping[str, Any], depth: int, examples: Mapping[str, Any]) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required: Sequence[str] = schema.get("required") or ()
        wanted = [name for name in properties if depth < _DEEPEST // 2 or name in required]
        if depth >= _DEEPEST:
            wanted = []
        return {name: self.make(properties[name], name, depth + 1, examples if depth == 0 else {}) for name in wanted}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        made = [self.make(item, name, depth + 1, {}) for item in prefix]
        least = max(int(schema.get("minItems", 0)), 0 if depth >= _DEEPEST // 2 else min(2, schema.get("maxItems", 2)))
        while len(made) < least and depth < _DEEPEST and schema.get("items", True) is not False:
            value = self.make(schema.get("items") or {}, name, depth + 1, {})
            made.append(f"{value} {len(made) + 1}" if schema.get("uniqueItems") and value in made else value)
        return made

    def _number(self, schema: Mapping[str, Any], kind: str) -> float | int:
        value = self._hints.number()
        if value is None:
            value = schema.get("default")
        if not isinstance(value, (int, float)):
            value = 1.0
        low, high = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if low is None and isinstance(above, (int, float)) and not isinstance(above, bool):
            low = above + 1
        if high is None and isinstance(below, (int, float)) and not isinstance(below, bool):
            high = below - 1
        if low is not None and value < low:
            value = low
        if high is not None and value > high:
            value = high
        step = schema.get("multipleOf")
        if step:
            value = round(value / step) * step
            if low is not None and value < low:
                value += step
            elif high is not None and value > high:
                value -= step
        return int(value) if kind == "integer" or float(value).is_integer() else float(value)

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        form = schema.get("format")
        if form == "date":
            return self._hints.date() or "2026-10-02"
        if form == "date-time":
            return (self._hints.date() or "2026-10-02") + "T12:00:00Z"
        if form == "time":
            return "12:00:00"
        if form == "uuid":
            return "2f0d3a7e-0f56-4a07-9d4e-4d2a6f0c1b22"
        if form == "email":
            return "someone@example.com"
        if form in ("uri", "url"):
            return "https://example.com/"
        value = (self._hints.place() if _is_place(schema, name) else None) or self._hints.quoted()
        if value is None and isinstance(schema.get("default"), str):
            value = schema["default"]
        if value is None and schema.get("examples"):
            value = str(schema["examples"][0])
        if value is None:
            value = " ".join(name.replace("_", " ").split()) or "text"
        value = value.ljust(int(schema.get("minLength", 0)), ".")
        return value[: int(schema["maxLength"])] if "maxLength" in schema else value


def _is_place(schema: Mapping[str, Any], name: str) -> bool:
    return bool(_PLACE.search(name) or _PLACE.search(str(schema.get("description", ""))))


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"
