"""Convert a JSON Schema to the dialect of GigaChat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["SchemaNormalizer", "is_object_schema", "referenced_name", "rename_references"]

# GigaChat ignores other formats.
_FORMATS = frozenset({"date", "date-time", "time"})


def referenced_name(reference: Any) -> str:
    """Return the name of the definition that a ``$ref`` points at."""
    return unquote(str(reference).rpartition("/")[2]).replace("~1", "/").replace("~0", "~")


def rename_references(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of ``schema`` whose references use the new names."""

    def rename(reference: Any) -> Any:
        return f"#/$defs/{names.get(referenced_name(reference), referenced_name(reference))}"

    if not isinstance(schema, dict):
        return schema
    changed = {key: rename(value) if key == "$ref" else value for key, value in schema.items()}
    return _map_subschemas(changed, lambda inner: rename_references(inner, names))


_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs"})
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE_SCHEMAS = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})


def _map_subschemas(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a copy of ``schema`` with ``change`` applied to its direct subschemas."""
    changed = {}
    for key, value in schema.items():
        if key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            value = {name: change(inner) for name, inner in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            value = [change(inner) for inner in value]
        elif key in _SINGLE_SCHEMAS:
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
            yield referenced_name(schema["$ref"])
        _map_subschemas(schema, look)
        yield from found


def is_object_schema(schema: Any) -> bool:
    """Return True if the schema describes an object."""
    return isinstance(schema, dict) and schema.get("type") == "object"


class SchemaNormalizer:
    """Convert the schema of any generator to the form that the service accepts."""

    def __init__(self, schema: dict[str, Any], strict: bool) -> None:
        self._schema = {key: value for key, value in schema.items() if key != "$defs"}
        self._definitions: dict[str, Any] = schema.get("$defs") or {}
        self._strict = strict
        references = {name: set(_references(definition)) for name, definition in self._definitions.items()}
        self._recursive = {name for name in references if name in _reachable(name, references)}
        self._kept: dict[str, Any] = {}

    def root(self) -> dict[str, Any]:
        """Return the converted schema; only definitions of recursive types remain."""
        schema = self._schema
        seen = set()
        # The root must be an object, not a reference, even for a recursive type.
        while "$ref" in schema and referenced_name(schema["$ref"]) not in seen:
            name = referenced_name(schema["$ref"])
            seen.add(name)
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._definitions.get(name, {}), **siblings}
        normalized: dict[str, Any] = self._normalize(schema)
        return {**normalized, "$defs": self._kept} if self._kept else normalized

    def _normalize(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = referenced_name(schema["$ref"])
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            if name not in self._recursive:
                return self._normalize({**self._definitions.get(name, {}), **siblings})
            if name not in self._kept:
                self._kept[name] = {}
                self._kept[name] = self._normalize(self._definitions[name])
            return {"$ref": f"#/$defs/{name}", **siblings}
        schema = {key: value for key, value in schema.items() if key != "discriminator"}
        if len(schema.get("allOf") or ()) == 1:
            schema = {**schema.pop("allOf")[0], **schema}
            return self._normalize(schema)
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        schema = _map_subschemas(schema, self._normalize)
        if len(schema.get("anyOf") or ()) == 1:
            schema = {**schema.pop("anyOf")[0], **schema}
        self._add_enum_type(schema)
        self._describe_format(schema)
        if schema.get("default", ...) is None:
            del schema["default"]
        if is_object_schema(schema):
            self._complete_object(schema)
        return schema

    def _add_enum_type(self, schema: dict[str, Any]) -> None:
        if "const" in schema:
            schema["enum"] = [schema.pop("const")]
        types = {_JSON_TYPES.get(type(value)) for value in schema.get("enum") or ()}
        if "type" not in schema and len(types) == 1 and None not in types:
            schema["type"] = types.pop()

    def _describe_format(self, schema: dict[str, Any]) -> None:
        format_ = schema.get("format")
        if isinstance(format_, str) and format_ not in _FORMATS:
            del schema["format"]
            schema["description"] = f"{schema.get('description', '')} (format: {format_})".strip()

    def _complete_object(self, schema: dict[str, Any]) -> None:
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
            # The service enforces a schema only if a field is required.
            required = required or list(properties)
            schema.setdefault("additionalProperties", False)
        if required:
            schema["required"] = required


_JSON_TYPES = {str: "string", int: "integer", bool: "boolean", float: "number", type(None): "null"}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove null from the types of an optional field, because the model can omit the field."""
    members = schema.get("anyOf")
    if not members:
        return schema
    rest = [member for member in members if member != {"type": "null"}]
    siblings = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest[0], **siblings} if len(rest) == 1 else {**siblings, "anyOf": rest}


def _reachable(start: str, references: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(references.get(start, ()))
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(references.get(name, ()))
    return found
