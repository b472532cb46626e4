"""Functions and types for tests of functions that the model may call."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pydantic

from gigaclient.functions import Tool, function


class Unit(enum.Enum):
    METRES = "m"
    FEET = "ft"


@dataclasses.dataclass
class Place:
    """A place at sea."""

    name: str
    depth: float | None = None


class Point(pydantic.BaseModel):
    lat: float = pydantic.Field(ge=-90, le=90)
    lon: float = 0.0


@function(examples=[("How high is the tide in Murmansk?", {"port": "Murmansk", "unit": "ft"})])
def get_tide(
    port: str,
    day: datetime.date | None = None,
    unit: Unit = Unit.METRES,
    ahead: Annotated[int, msgspec.Meta(ge=0, le=7)] = 0,
    place: Place | None = None,
    *,
    depth: Annotated[float, "under the keel, in metres"] = 1.5,
) -> float:
    """The height of the tide
    at a port.

    Never trust it at night.

    Args:
        port: the port's name,
            in English.
        day: today when left out.
        ahead: how many days from then.

    Returns:
        the height above the datum.
    """
    return 1.5


def convert(target: Callable[..., Any], arguments: Any) -> dict[str, Any]:
    return Tool.of(target).arguments(arguments)
