"""Classes of all libraries that a schema can be made from, and answers with their values."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Annotated, Any, NamedTuple, Optional

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
from typing_extensions import NotRequired, TypedDict

from gigaclient.schema.parse import parse_completion
from gigaclient.testing import sampling as sampling
from gigaclient.types import ChatCompletion, Choice, Message


class Kind(enum.Enum):
    """The kind of a tide."""

    HIGH = "high"
    LOW = "low"


@dataclasses.dataclass
class Tide:
    """The tide at a port.

    Measured at the pier.

    Attributes:
        port: where it is.
        metres: above the chart datum.
    """

    port: str
    metres: float
    kind: Kind = Kind.LOW
    note: Optional[str] = None  # noqa: UP045


class TideDict(TypedDict):
    """The tide at a port."""

    port: Annotated[str, "where it is"]
    metres: float
    kind: NotRequired[Kind]


class TideStruct(msgspec.Struct):
    """The tide at a port."""

    port: Annotated[str, msgspec.Meta(description="where it is", min_length=1)]
    metres: float
    kind: Kind = Kind.LOW


@attrs.define
class TideAttrs:
    """The tide at a port."""

    port: str = attrs.field(metadata={"description": "where it is"})
    metres: float = attrs.field(validator=attrs.validators.lt(20))
    kind: Kind = Kind.LOW


class TideModel(pydantic.BaseModel):
    """The tide at a port."""

    port: str = pydantic.Field(description="where it is")
    metres: float = pydantic.Field(lt=20)
    kind: Kind = Kind.LOW


@pydantic.dataclasses.dataclass
class TidePydantic:
    port: Annotated[str, pydantic.Field(description="where it is")]
    metres: Annotated[float, pydantic.Field(lt=20)]
    kind: Kind = Kind.LOW


CLASSES = [Tide, TideDict, TideStruct, TideAttrs, TideModel, TidePydantic]


class Row(NamedTuple):
    port: str
    metres: float


@dataclasses.dataclass
class Node:
    name: str
    children: list[Node]


class Branch(pydantic.BaseModel):
    name: str
    children: list[Branch] = []


@dataclasses.dataclass
class Voyage:
    """A voyage."""

    tides: list[TideModel]
    start: datetime.date
    by: dict[str, int]


def answer(text: str, *, finish_reason: str = "stop", **message: Any) -> ChatCompletion:
    choice = Choice(message=Message(role="assistant", content=text, **message), finish_reason=finish_reason)
    return ChatCompletion(choices=[choice]).attach(raw={}, request_id="r-1")


def read(value: Any, type_: Any) -> Any:
    return parse_completion(answer(value if isinstance(value, str) else json.dumps(value)), type_)
