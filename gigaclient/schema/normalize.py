"""Bring a JSON Schema into the dialect of GigaChat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import (
    Any,
)
from urllib.parse import unquote

__all__ = []

# The formats that GigaChat knows.
_FORMATS = frozenset({"date", "date-time", "time"})


# -- one form for all --------------------------------------------------------------------------------------------------


def _target(reference: Any) -> str:
    return unquote(str(reference).rpartition("/")[2]).replace("~1", "/").replace("~0", "~")


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    def rename(reference: Any) -> Any:
        return f"#/$defs/{names.get(_target(reference), _target(reference))}"

    if not isinstance(schema, dict):
        return schema
    changed = {key: rename(value) if key == "$ref" else value for key, value in schema.items()}
    return _within(changed, lambda inner: _renamed(inner, names))


_NAMED = frozenset({"properties", "patternProperties", "$defs"})
_LISTED = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})


def _within(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """``schema`` with ``change`` made to each schema right inside it."""
    changed = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            value = {name: change(inner) for name, inner in value.items()}
        elif key in _LISTED and isinstance(value, list):
            value = [change(inner) for inner in value]
        elif key in _SINGLE:
            value = change(value)
        changed[key] = value
    return changed


def _references(schema: Any) -> Iterator[str]:
    found: list[str] = []

    def look(inner: Any) -> Any:
        found.extend(_references(inner))
        return inner

    if isinstance(schema, dict):
        if "$ref" in schema:
            yield _target(schema["$ref"])
        _within(schema, look)
        yield from found


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


class SchemaNormalizer:
    """A schema, whoever made it, in the form that the service takes."""

    def __init__(self, schema: dict[str, Any], strict: bool) -> None:
        self._schema = {key: value for key, value in schema.items() if key != "$defs"}
        self._definitions: dict[str, Any] = schema.get("$defs") or {}
        self._strict = strict
        below = {name: set(_references(definition)) for name, definition in self._definitions.items()}
        self._recursive = {name for name in below if name in _reachable(name, below)}
        self._kept: dict[str, Any] = {}

    def root(self) -> dict[str, Any]:
        schema = self._schema
        seen = set()
        # At the top stands the object itself, even one that holds itself.
        while "$ref" in schema and _target(schema["$ref"]) not in seen:
            name = _target(schema["$ref"])
            seen.add(name)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._definitions.get(name, {}), **beside}
        tidy: dict[str, Any] = self._tidy(schema)
        return {**tidy, "$defs": self._kept} if self._kept else tidy

    def _tidy(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = _target(schema["$ref"])
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            if name not in self._recursive:
                return self._tidy({**self._definitions.get(name, {}), **beside})
            if name not in self._kept:
                self._kept[name] = {}
                self._kept[name] = self._tidy(self._definitions[name])
            return {"$ref": f"#/$defs/{name}", **beside}
        schema = {key: value for key, value in schema.items() if key != "discriminator"}
        if len(schema.get("allOf") or ()) == 1:
            schema = {**schema.pop("allOf")[0], **schema}
            return self._tidy(schema)
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        schema = _within(schema, self._tidy)
        if len(schema.get("anyOf") or ()) == 1:
            schema = {**schema.pop("anyOf")[0], **schema}
        self._name_enum(schema)
        self._say_format(schema)
        if schema.get("default", ...) is None:
            del schema["default"]
        if _is_object(schema):
            self._close(schema)
        return schema

    def _name_enum(self, schema: dict[str, Any]) -> None:
        if "const" in schema:
            schema["enum"] = [schema.pop("const")]
        found = {_JSON_NAMES.get(type(value)) for value in schema.get("enum") or ()}
        if "type" not in schema and len(found) == 1 and None not in found:
            schema["type"] = found.pop()

    def _say_format(self, schema: dict[str, Any]) -> None:
        form = schema.get("format")
        if isinstance(form, str) and form not in _FORMATS:
            del schema["format"]
            schema["description"] = f"{schema.get('description', '')} (format: {form})".strip()

    def _close(self, schema: dict[str, Any]) -> None:
        properties = schema.setdefault("properties", {})
        required = schema.pop("required", [])
        for name, inner in properties.items():
            if not isinstance(inner, dict):
                continue
            if str(inner.get("title")).replace(" ", "").lower() == name.replace("_", "").lower():
                properties[name] = inner = {key: value for key, value in inner.items() if key != "title"}
            if not self._strict and name not in required:
                properties[name] = _without_null(inner)
        if self._strict and properties:
            # Without any required field the service promises nothing at all.
            required = required or list(properties)
            schema.setdefault("additionalProperties", False)
        if required:
            schema["required"] = required


_JSON_NAMES = {str: "string", int: "integer", bool: "boolean", float: "number", type(None): "null"}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be left out need not be null as well."""
    members = schema.get("anyOf")
    if not members:
        return schema
    rest = [member for member in members if member != {"type": "null"}]
    beside = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest[0], **beside} if len(rest) == 1 else {**beside, "anyOf": rest}


def _reachable(start: str, below: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    open_ = list(below.get(start, ()))
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_.extend(below.get(name, ()))
    return found
