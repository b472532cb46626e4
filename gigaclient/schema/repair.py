"""Read a value from the text of a model: strictly, and then with the mistakes of models mended. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.schema.json_schema import TypeSchema
from gigaclient.schema.normalize import is_object_schema, referenced_name
from gigaclient.schema.tolerant import NULLS, Document, find_documents
from gigaclient.schema.validation import ValidationFailed

__all__ = ["decode_texts", "read_repaired", "read_value"]

_CONTAINERS = ((dict, "object"), (list, "array"))


def read_value(type_schema: TypeSchema[Any], text: str, *, repair: bool) -> tuple[Any, tuple[str, ...]]:
    """Read a value from ``text``; return it, and what was mended in the text.

    Args:
        type_schema: the type.
        text: the answer of a model.
        repair: whether to mend what the strict reader refuses. The last document in the text that fits is the value.

    Raises:
        ValidationFailed: there is no such value. The error is that of the last document, or of the strict reader.
    """
    try:
        return type_schema.read(text.strip()), ()
    except ValidationFailed as error:
        if not repair:
            raise
        failure = error
    return read_repaired(type_schema, text, failure)


def read_repaired(type_schema: TypeSchema[Any], text: str, failure: ValidationFailed) -> tuple[Any, tuple[str, ...]]:
    """Mend ``text`` and read a value from it; raise ``failure`` if there is no document in it."""
    documents = _documents(text, nan_as_text=False)
    if any(NULLS in document.repaired for document in documents):
        with contextlib.suppress(ValidationFailed):
            return _read_last(type_schema, documents, failure)
        # The type has a number there, and no null.
        documents = _documents(text, nan_as_text=True)
    return _read_last(type_schema, documents, failure)


def _read_last(
    type_schema: TypeSchema[Any], documents: list[Document], failure: ValidationFailed
) -> tuple[Any, tuple[str, ...]]:
    """Read the last document that fits; raise the error of the last one, or ``failure`` if there are none."""
    wants_object = is_object_schema(type_schema.schema) and not type_schema.wrapped
    documents = [document for document in documents if document.data[:1] == b"{" or not wants_object]
    for index, document in enumerate(reversed(documents)):
        try:
            return type_schema.read(document.data), document.repaired
        except ValidationFailed as error:
            if index == 0:
                failure = error
        notes: list[str] = []
        try:
            decoded = decode_texts(msgspec.json.decode(document.data), type_schema.schema, notes)
            if notes:
                return type_schema.read(msgspec.json.encode(decoded)), (*document.repaired, *notes)
        except (ValidationFailed, *JSON_ERRORS):
            continue
    raise failure


def _documents(text: str, *, nan_as_text: bool) -> list[Document]:
    documents = find_documents(text, nan_as_text=nan_as_text)
    if len(documents) > 1:
        return [Document(data, (*repaired, "took one of several JSON documents")) for data, repaired in documents]
    if documents or not text.lstrip().startswith('"'):
        return documents
    try:
        inner = decoder(str).decode(text.encode("utf-8", "replace"))
    except JSON_ERRORS:
        return []
    documents = find_documents(inner, nan_as_text=nan_as_text)
    return [Document(data, (*repaired, "read JSON inside a string")) for data, repaired in documents]


def decode_texts(value: Any, schema: Mapping[str, Any], notes: list[str]) -> Any:
    """Return ``value`` with JSON text decoded where the schema has an object or an array and no string.

    Args:
        value: decoded JSON.
        schema: the JSON Schema of the value.
        notes: gets a sentence for each decoded text.
    """
    return _TextDecoder(schema.get("$defs") or {}, notes).decode(value, schema, "$")


class _TextDecoder:
    def __init__(self, definitions: Mapping[str, Any], notes: list[str]) -> None:
        self._definitions = definitions
        self._notes = notes

    def decode(self, value: Any, schema: Any, path: str) -> Any:
        members = self._members(schema)
        if isinstance(value, str):
            value = self._decode_text(value, {member.get("type") for member in members}, path)
        for type_, name in _CONTAINERS:
            if isinstance(value, type_):
                fitting = [member for member in members if member.get("type") == name]
                return self._inside(value, fitting[0], path) if len(fitting) == 1 else value
        return value

    def _members(self, schema: Any) -> list[Mapping[str, Any]]:
        """Return the alternatives of a schema, without references."""
        if not isinstance(schema, Mapping):
            return []
        if "$ref" in schema:
            return self._members(self._definitions.get(referenced_name(schema["$ref"])))
        alternatives = schema.get("anyOf")
        if alternatives:
            return [found for member in alternatives for found in self._members(member)]
        return [schema]

    def _decode_text(self, text: str, types: set[Any], path: str) -> Any:
        wanted = tuple(type_ for type_, name in _CONTAINERS if name in types)
        if "string" in types or None in types or not wanted:
            return text
        documents = find_documents(text)
        if len(documents) == 1:
            decoded = msgspec.json.decode(documents[0].data)
            if isinstance(decoded, wanted):
                self._notes.append(f"read the JSON text at `{path}`")
                return decoded
        return text

    def _inside(self, value: Any, schema: Mapping[str, Any], path: str) -> Any:
        if isinstance(value, list):
            items = schema.get("items")
            return [self.decode(item, items, f"{path}[{index}]") for index, item in enumerate(value)]
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        return {
            name: self.decode(inner, properties.get(name, others), f"{path}.{name}") for name, inner in value.items()
        }
