"""The parameters of a function, written in classes, as the official SDK has them.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from gigaclient.types.base import Record
from gigaclient.types.chat import as_record

__all__ = ["FunctionParameters", "FunctionParametersProperty"]


class FunctionParametersProperty(Record):
    """One parameter of a function, for those who write the schema in classes; a dict does as well.

    Attributes:
        type: its JSON type.
        description: what it means, for the model.
        items: of an array: the schema of its items.
        enum: the values it may have.
        properties: of an object: its properties.
    """

    _aliased: ClassVar[frozenset[str]] = Record._aliased | {"type"}

    type: str = msgspec.field(default_factory=lambda: "object")
    description: str | None = None
    items: dict[str, Any] | None = None
    enum: list[Any] | None = None
    properties: dict[str, FunctionParametersProperty] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            type: str = "object",
            description: str | None = None,
            items: dict[str, Any] | None = None,
            enum: list[Any] | None = None,
            properties: Mapping[str, FunctionParametersProperty | Mapping[str, Any]] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.properties = _properties(self.properties)


class FunctionParameters(Record):
    """The parameters of a function, for those who write the schema in classes; a dict does as well.

    Attributes:
        type: the JSON type of them all, an object.
        properties: each parameter by its name.
        required: the names of those that must be given.
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

    def __post_init__(self) -> None:
        self.properties = _properties(self.properties)


def _properties(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {name: as_record(FunctionParametersProperty, value) for name, value in values.items()}
