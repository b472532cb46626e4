"""JSON Schemas of the types that msgspec understands: dataclasses, TypedDicts, Structs, attrs classes, enums, builtins.

``msgspec.json.schema_components`` is not used: it drops the format of date-times, sorts the values of enums, and fails
for defaults that are not JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect as nodes

from gigaclient.errors import ConfigError
from gigaclient.schema.descriptions import class_name, docstring_of, field_descriptions, type_name
from gigaclient.schema.normalize import referenced_name, rename_references
from gigaclient.schema.pydantic_models import is_model, is_pydantic_dataclass, model_schema
from gigaclient.schema.unions import UnionOf, with_unions

__all__ = ["ADVICE", "Omitted", "SchemaGenerator"]

ADVICE = "use a dataclass, a TypedDict, a msgspec.Struct, an attrs class, a pydantic model, or a dict with the schema"


class Omitted:
    """The default of a field, wrapped to detect that the field was omitted.

    Attributes:
        value: the default for the schema.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class SchemaGenerator:
    """Make a JSON Schema from a type that ``msgspec.inspect`` has described; each class becomes a definition."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def root(self, node: nodes.Type) -> dict[str, Any]:
        """Return the schema of ``node`` with all definitions."""
        return {**self._schema(node), "$defs": self._definitions}

    def _schema(self, node: nodes.Type) -> dict[str, Any]:
        generate = _GENERATORS.get(type(node))
        if generate is not None:
            return generate(self, node)
        raise ConfigError(f"a schema cannot describe {type(node).__name__.removesuffix('Type').lower()}: {ADVICE}")

    def _metadata(self, node: nodes.Metadata) -> dict[str, Any]:
        return {**self._schema(node.type), **(node.extra_json_schema or {})}

    def _number(self, node: Any) -> dict[str, Any]:
        limits = {
            "minimum": node.ge,
            "exclusiveMinimum": node.gt,
            "maximum": node.le,
            "exclusiveMaximum": node.lt,
            "multipleOf": node.multiple_of,
        }
        name = "integer" if isinstance(node, nodes.IntType) else "number"
        return {"type": name, **_without_none(limits)}

    def _text(self, node: nodes.StrType) -> dict[str, Any]:
        return {
            "type": "string",
            **_without_none({"minLength": node.min_length, "maxLength": node.max_length, "pattern": node.pattern}),
        }

    def _array(self, node: Any) -> dict[str, Any]:
        unique = {"uniqueItems": True} if isinstance(node, (nodes.SetType, nodes.FrozenSetType)) else {}
        limits = _without_none({"minItems": node.min_length, "maxItems": node.max_length})
        return {"type": "array", "items": self._schema(node.item_type), **unique, **limits}

    def _tuple(self, node: nodes.TupleType) -> dict[str, Any]:
        return self._fixed_array([self._schema(item) for item in node.item_types])

    def _fixed_array(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        length = {"minItems": len(items), "maxItems": len(items)}
        if items and all(item == items[0] for item in items):
            return {"type": "array", "items": items[0], **length}
        return {"type": "array", "prefixItems": items, "items": False, **length}

    def _mapping(self, node: nodes.DictType) -> dict[str, Any]:
        inner = self._schema(node.value_type)
        limits = _without_none({"minProperties": node.min_length, "maxProperties": node.max_length})
        return {"type": "object", "additionalProperties": inner or True, **limits}

    def _union(self, node: nodes.UnionType) -> dict[str, Any]:
        return {"anyOf": [self._schema(member) for member in node.types]}

    def _literal(self, node: nodes.LiteralType) -> dict[str, Any]:
        return {"enum": list(node.values)}

    def _enum(self, node: nodes.EnumType) -> dict[str, Any]:
        prose = docstring_of(node.cls).prose
        values = [msgspec.to_builtins(member) for member in node.cls]
        return {"enum": values, **({"description": prose} if prose else {})}

    def _custom(self, node: nodes.CustomType) -> dict[str, Any]:
        if isinstance(node.cls, type) and issubclass(node.cls, UnionOf):
            return {"anyOf": [self._schema(nodes.type_info(with_unions(member))) for member in node.cls.members]}
        if not is_model(node.cls):
            raise ConfigError(f"{type_name(node.cls)} has no JSON Schema: {ADVICE}")

        def schema() -> dict[str, Any]:
            model: dict[str, Any] = model_schema(node.cls)
            # Its definitions get a prefix, because two models may each have one of the same name.
            prefix = self._name_of(node.cls)
            inner = model.pop("$defs", {})
            names = {name: f"{prefix}.{name}" for name in inner}
            renamed: dict[str, Any] = rename_references(model, names)
            for name, definition in inner.items():
                self._definitions[names[name]] = rename_references(definition, names)
            if renamed.keys() == {"$ref"}:
                return dict(self._definitions[referenced_name(renamed["$ref"])])
            return renamed

        return self._reference(node.cls, schema)

    def _class(self, node: Any) -> dict[str, Any]:
        if is_pydantic_dataclass(node.cls):
            raise ConfigError(
                f"{type_name(node.cls)} is a pydantic dataclass inside another class: make it a BaseModel"
            )
        is_array = isinstance(node, nodes.NamedTupleType) or getattr(node, "array_like", False)
        return self._reference(node.cls, lambda: self._array_like(node) if is_array else self._object(node))

    def _array_like(self, node: Any) -> dict[str, Any]:
        if getattr(node, "tag", None) is not None:
            raise ConfigError(f"{type_name(node.cls)} is encoded as an array with a tag: leave out array_like")
        return self._fixed_array([self._field(field, {}) for field in node.fields])

    def _object(self, node: Any) -> dict[str, Any]:
        descriptions = field_descriptions(node.cls)
        order = {name: index for index, name in enumerate(descriptions)}
        fields = sorted(node.fields, key=lambda field: order.get(field.name, len(order)))
        properties = {field.encode_name: self._field(field, descriptions) for field in fields}
        required = [field.encode_name for field in fields if field.required]
        if getattr(node, "tag", None) is not None:
            properties = {node.tag_field: {"enum": [node.tag]}, **properties}
            required = [node.tag_field, *required]
        prose = docstring_of(node.cls).prose
        return {
            "title": class_name(node.cls),
            **({"description": prose} if prose else {}),
            "type": "object",
            "properties": properties,
            "required": required,
        }

    def _field(self, field: nodes.Field, descriptions: Mapping[str, str]) -> dict[str, Any]:
        schema = self._schema(field.type)
        if descriptions.get(field.name) and "description" not in schema:
            schema["description"] = descriptions[field.name]
        default = field.default.value if isinstance(field.default, Omitted) else field.default
        if default is not msgspec.NODEFAULT and default is not None:
            try:
                schema["default"] = msgspec.json.decode(msgspec.json.encode(default))
            except (TypeError, ValueError, msgspec.MsgspecError):
                return schema  # a default that is not JSON is left out of the schema
        return schema

    def _reference(self, cls: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        name = self._names.get(cls)
        if name is None:
            name = self._name_of(cls)
            self._definitions[name] = {}  # reserves the name, for recursive types
            self._definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def _name_of(self, cls: Any) -> str:
        if cls not in self._names:
            name = base = class_name(cls)
            number = 2
            while name in self._names.values():
                name, number = f"{base}_{number}", number + 1
            self._names[cls] = name
        return self._names[cls]


_GENERATORS: dict[type[nodes.Type], Callable[[SchemaGenerator, Any], dict[str, Any]]] = {
    nodes.AnyType: lambda generator, node: {},
    nodes.RawType: lambda generator, node: {},
    nodes.NoneType: lambda generator, node: {"type": "null"},
    nodes.BoolType: lambda generator, node: {"type": "boolean"},
    nodes.IntType: SchemaGenerator._number,
    nodes.FloatType: SchemaGenerator._number,
    nodes.StrType: SchemaGenerator._text,
    nodes.BytesType: lambda generator, node: {"type": "string", "format": "base64"},
    nodes.ByteArrayType: lambda generator, node: {"type": "string", "format": "base64"},
    nodes.DateTimeType: lambda generator, node: {"type": "string", "format": "date-time"},
    nodes.DateType: lambda generator, node: {"type": "string", "format": "date"},
    nodes.TimeType: lambda generator, node: {"type": "string", "format": "time"},
    nodes.TimeDeltaType: lambda generator, node: {"type": "string", "format": "duration, as in ISO 8601"},
    nodes.UUIDType: lambda generator, node: {"type": "string", "format": "uuid"},
    nodes.DecimalType: lambda generator, node: {"type": "string", "format": "decimal number"},
    nodes.ListType: SchemaGenerator._array,
    nodes.SetType: SchemaGenerator._array,
    nodes.FrozenSetType: SchemaGenerator._array,
    nodes.VarTupleType: SchemaGenerator._array,
    nodes.CollectionType: SchemaGenerator._array,
    nodes.TupleType: SchemaGenerator._tuple,
    nodes.DictType: SchemaGenerator._mapping,
    nodes.UnionType: SchemaGenerator._union,
    nodes.LiteralType: SchemaGenerator._literal,
    nodes.EnumType: SchemaGenerator._enum,
    nodes.CustomType: SchemaGenerator._custom,
    nodes.Metadata: SchemaGenerator._metadata,
    nodes.StructType: SchemaGenerator._class,
    nodes.TypedDictType: SchemaGenerator._class,
    nodes.DataclassType: SchemaGenerator._class,
    nodes.NamedTupleType: SchemaGenerator._class,
}


def _without_none(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}
