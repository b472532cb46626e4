"""JSON Schemas of types."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pytest
from support.schema_types import (
    CLASSES,
    Branch,
    Kind,
    Node,
    Row,
    Tide,
    TideAttrs,
    TideModel,
    TidePydantic,
    TideStruct,
    Voyage,
    read,
)

from gigaclient.errors import ConfigError, InvalidResponseError
from gigaclient.schema.json_schema import schema_of, type_schema_of
from gigaclient.testing import sampling as sampling
from gigaclient.types import ResponseFormat


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


ItemT = TypeVar("ItemT")


class Page(msgspec.Struct, Generic[ItemT]):
    items: list[ItemT]


@pytest.mark.parametrize("type_", [type_ for type_ in CLASSES if type_ is not TideModel])
def test_each_class_library_gives_a_closed_object_with_descriptions(type_: Any) -> None:
    schema = schema_of(type_)
    assert schema["type"] == "object"
    assert list(schema["properties"])[:3] == ["port", "metres", "kind"]
    assert schema["required"] == ["port", "metres"]
    assert schema["additionalProperties"] is False
    assert "where it is" in schema["properties"]["port"]["description"]
    assert schema["properties"]["metres"]["type"] == "number"
    assert schema["properties"]["kind"]["enum"] == ["high", "low"]
    assert schema["properties"]["kind"]["type"] == "string"
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema


def test_the_schema_of_a_pydantic_model_is_the_one_that_pydantic_makes() -> None:
    assert schema_of(TideModel) == TideModel.model_json_schema()
    assert schema_of(TideModel)["properties"]["port"]["title"] == "Port"
    # Not of a list of them, which becomes an object; nor for the parameters of a function.
    assert "title" not in schema_of(list[TideModel])["properties"]["value"]["items"]["properties"]["port"]
    assert "$defs" not in type_schema_of(TideModel, strict=False).schema


def test_the_prose_of_a_docstring_describes_the_class_and_its_sections_the_fields() -> None:
    schema = schema_of(Tide)
    assert schema["description"] == "The tide at a port.\nMeasured at the pier."
    assert schema["properties"]["metres"]["description"] == "above the chart datum."
    assert schema["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert schema["properties"]["kind"]["default"] == "low"
    assert "description" not in schema_of(Node), "nobody wrote one"


def test_limits_reach_the_schema() -> None:
    assert schema_of(TideStruct)["properties"]["port"]["minLength"] == 1
    assert schema_of(TideModel)["properties"]["metres"]["exclusiveMaximum"] == 20
    limited = Annotated[int, msgspec.Meta(ge=1, le=5, multiple_of=2)]
    value = schema_of(list[limited])["properties"]["value"]
    assert value["items"] == {"type": "integer", "minimum": 1, "maximum": 5, "multipleOf": 2}


@pytest.mark.parametrize(
    ("type_", "inner"),
    [
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (tuple[int, int], {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
        (Literal["yes", "no"], {"enum": ["no", "yes"], "type": "string"}),
        (Kind, {"enum": ["high", "low"], "type": "string", "description": "The kind of a tide."}),
        (int, {"type": "integer"}),
        (bool, {"type": "boolean"}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (uuid.UUID, {"type": "string", "description": "(format: uuid)"}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ],
    ids=str,
)
def test_a_type_that_is_no_object_is_the_property_value_of_one(type_: Any, inner: dict[str, Any]) -> None:
    assert schema_of(type_) == {
        "type": "object",
        "properties": {"value": inner},
        "required": ["value"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("type_", [Node, Branch])
def test_a_recursive_type_keeps_its_definition_and_its_root_is_the_object(type_: Any) -> None:
    schema = schema_of(type_)
    name = type_.__name__
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": f"#/$defs/{name}"}
    assert schema["$defs"][name]["additionalProperties"] is False
    assert schema_of(list[type_])["properties"]["value"]["items"] == {"$ref": f"#/$defs/{name}"}
    assert read({"name": "a", "children": [{"name": "b", "children": []}]}, type_).children[0].name == "b"


def test_a_class_without_required_fields_gets_all_fields_required() -> None:
    @dataclasses.dataclass
    class Settings:
        a: int = 1
        b: str = "x"

    assert schema_of(Settings)["required"] == ["a", "b"]


def test_a_tagged_union_and_a_generic_class_are_described() -> None:
    schema = schema_of(Cat | Dog)["properties"]["value"]["anyOf"]
    assert schema[0]["properties"]["type"] == {"enum": ["cat"], "type": "string"}
    assert schema[0]["required"] == ["type", "lives"]
    assert isinstance(read({"value": {"type": "dog", "tricks": ["sit"]}}, Cat | Dog), Dog)
    assert schema_of(Page[int])["properties"]["items"]["items"] == {"type": "integer"}
    assert read({"items": [1]}, Page[int]) == Page([1])


@dataclasses.dataclass
class Fleet:
    ships: list[Tide | Node]


UNIONS = [
    (Tide | Node, {"name": "a", "children": []}, Node("a", [])),
    (Tide | Node, {"port": "Kem", "metres": 1}, Tide("Kem", 1.0)),
    (list[TideStruct | Node], [{"name": "a", "children": []}, {"port": "Kem", "metres": 1}], None),
    (TideStruct | TideModel, {"port": "Kem", "metres": 1}, TideStruct("Kem", 1.0)),
    (TideModel | str, "none", "none"),
    (TideModel | str, {"port": "Kem", "metres": 1}, TideModel(port="Kem", metres=1)),
    (dict[str, Tide | Node] | None, {"x": {"port": "Kem", "metres": 1}}, {"x": Tide("Kem", 1.0)}),
    (Page[Tide | Node], {"items": [{"port": "Kem", "metres": 1}]}, Page([Tide("Kem", 1.0)])),
]


@pytest.mark.parametrize(("type_", "value", "expected"), UNIONS, ids=str)
def test_a_union_of_classes_is_described_and_the_class_that_fits_is_made(type_: Any, value: Any, expected: Any) -> None:
    schema = json.dumps(schema_of(type_))
    assert '"anyOf"' in schema
    assert "UnionOf" not in schema
    made = read({"value": value} if type_ is not Page[Tide | Node] else value, type_)
    if expected is not None:
        assert made == expected
        assert type(made) is type(expected)
    else:
        assert made == [Node("a", []), TideStruct("Kem", 1.0)]


def test_of_several_classes_that_fit_the_one_with_the_most_fields_is_made() -> None:
    @dataclasses.dataclass
    class Small:
        port: str

    assert type(read({"value": {"port": "Kem", "metres": 1}}, Small | Tide)) is Tide
    assert type(read({"value": {"port": "Kem"}}, Tide | Small)) is Small


def test_a_value_that_fits_no_class_of_a_union_is_refused_with_the_reasons() -> None:
    with pytest.raises(InvalidResponseError, match=r"none of Tide, Node \(Tide: .*`port`.*Node: .*`name`.*\$\[0\]"):
        read({"value": [{}]}, list[Tide | Node])


def test_pydantic_models_inside_other_types_are_described_and_made() -> None:
    tide = {"port": "Murmansk", "metres": 1.5}
    schema = schema_of(Voyage)
    assert schema["properties"]["tides"]["items"]["properties"]["port"]["description"] == "where it is"
    assert schema["properties"]["by"]["additionalProperties"] == {"type": "integer"}
    voyage = read({"tides": [tide], "start": "2026-10-02", "by": {"a": 1}}, Voyage)
    assert voyage == Voyage([TideModel(**tide)], datetime.date(2026, 10, 2), {"a": 1})
    assert read({"value": [tide]}, list[TideModel]) == [TideModel(**tide)]
    assert read({"value": tide}, Branch | TideModel) == TideModel(**tide)
    assert read({"value": [tide]}, list[TidePydantic]) == [TidePydantic("Murmansk", 1.5)]
    with pytest.raises(InvalidResponseError, match=r"less than 20 - at `\$\[0\]\.metres`"):
        read({"value": [{"port": "x", "metres": 21}]}, list[TidePydantic])


def test_a_dict_is_used_as_a_schema_and_its_value_is_the_decoded_json() -> None:
    schema = {"type": "object", "properties": {"port": {"type": "string"}}}
    before = copy.deepcopy(schema)
    assert schema_of(schema) == schema == before
    assert schema_of({"type": "json_schema", "schema": schema, "strict": True}) == schema
    assert schema_of({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}) == schema
    assert schema_of(ResponseFormat(type="json_schema", schema=schema)) == schema
    assert read({"port": "Kem"}, schema) == {"port": "Kem"}


def test_a_returned_schema_may_be_changed() -> None:
    schema_of(Tide)["properties"].clear()
    assert schema_of(Tide)["properties"]


@pytest.mark.parametrize("type_", [*CLASSES, Voyage, Node, list[Tide], Kind, dict[str, int], tuple[int, str], Row])
def test_values_made_from_the_schema_fit_the_type(type_: Any) -> None:
    made = sampling.instance(schema_of(type_))
    if type_ in (TideAttrs, TideModel, TidePydantic):
        made["metres"] = 1.5
    read(made, type_)


@pytest.mark.parametrize(
    ("type_", "advice"),
    [
        (Any, "says nothing"),
        (object, "use a dataclass"),
        (complex, "use a dataclass"),
        (list[complex], "use a dataclass"),
        (Callable[[], int], "use a dataclass"),
        (Tide("x", 1.0), "pass Tide"),
        ("Tide", "not its name"),
        ({}, "empty"),
        (Tide | complex, "complex has no JSON Schema"),
        (Fleet, "a field of a class in it is a union"),
        (Annotated[str, msgspec.Meta(ge=1)], "Can only set `ge` on a numeric type; use"),
    ],
    ids=str,
)
def test_a_type_without_a_schema_is_refused_with_advice(type_: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        schema_of(type_)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_an_unresolvable_annotation_is_named() -> None:
    class Hidden:
        pass

    @dataclasses.dataclass
    class Outer:
        inner: Hidden

    with pytest.raises(ConfigError, match="'Hidden', which its module does not have"):
        schema_of(Outer)


def test_a_model_of_pydantic_1_is_refused() -> None:
    from pydantic.v1 import BaseModel

    class Old(BaseModel):
        port: str

    with pytest.raises(ConfigError, match="pydantic 2 is needed"):
        schema_of(Old)


def test_a_class_with_the_methods_of_a_pydantic_model_is_one() -> None:
    class LikeAModel:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

        @classmethod
        def model_validate_json(cls, data: bytes) -> Any:
            return ("made", json.loads(data))

    assert schema_of(LikeAModel) == LikeAModel.model_json_schema()
    assert read({"a": 1}, LikeAModel) == ("made", {"a": 1})


def test_neither_pydantic_nor_attrs_is_imported_for_a_dataclass() -> None:
    script = """
        import sys
        from dataclasses import dataclass
        from gigaclient.schema.json_schema import schema_of
        from gigaclient.schema.parse import parse_completion
        from gigaclient.types import ChatCompletion, Choice, Message
        @dataclass
        class Tide:
            port: str
        schema_of(Tide)
        parse_completion(ChatCompletion(choices=[Choice(message=Message(content='{"port": "x"}'))]), Tide)
        assert not {"pydantic", "attrs", "attr"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=50)
