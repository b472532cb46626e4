"""The parameters of a function as classes, as in the official SDK.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from gigaclient.types.base import Record

__all__ = ["FunctionParameters", "FunctionParametersProperty"]


class FunctionParametersProperty(Record):
    """One parameter of a function; an alternative to a dict.

    Attributes:
        type: its JSON type.
        description: its meaning, for the model. An empty one is sent, too, as the official SDK does.
        items: the schema of an array's items.
        enum: the permitted values.
        properties: the properties of an object.
    """

    _aliased: ClassVar[frozenset[str]] = Record._aliased | {"type"}

    type: str = msgspec.field(default_factory=lambda: "object")
    description: str = msgspec.field(default_factory=str)
    items: dict[str, Any] | None = None
    enum: list[Any] | None = None
    properties: dict[str, FunctionParametersProperty] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            type: str = "object",
            description: str = "",
            items: dict[str, Any] | None = None,
            enum: list[Any] | None = None,
            properties: Mapping[str, FunctionParametersProperty | Mapping[str, Any]] | None = None,
        ) -> None: ...


class FunctionParameters(Record):
    """The parameters of a function; an alternative to a dict.

    Attributes:
        type: the JSON type, always an object.
        properties: the parameters by name.
        required: the names of the required parameters.
    """

    _aliased: ClassVar[frozenset[str]] = Record._aliased | {"type"}

    type: str = msgspec.field(default_factory=lambda: "object")
    properties: dict[str, FunctionParametersProperty] | None = None
    required: list[str] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            type: str = "object",
            properties: Mapping[str, FunctionParametersProperty | Mapping[str, Any]] | None = None,
            required: list[str] | None = None,
        ) -> None: ...
