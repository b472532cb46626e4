"""Function calls of the model, their results, and runs of the service's tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gigaclient.types.base import Record
from gigaclient.types.chat import FunctionCall
from gigaclient.types.chat_v2.conversion import decoded_object

__all__ = ["ChatFunctionCall", "ChatFunctionResult", "ChatToolExecution"]


class ChatFunctionCall(FunctionCall):
    """A function call that the model requests.

    Attributes:
        name: the function's name.
        arguments: the arguments as an object; a JSON string is decoded.
        id: the id of the call, if the server sends one; send it back with the result.
    """

    def __post_init__(self) -> None:
        self.arguments = decoded_object(self.arguments)


class ChatFunctionResult(Record):
    """The result of a function.

    Attributes:
        name: the function's name, by default that of the call.
        result: a JSON object, as a value or a string. Anything else is sent as ``{"result": …}``.
        id: the call's id, if it has one.
    """

    name: str = ""
    result: Any = None
    id: str | None = None


class ChatToolExecution(Record):
    """The state of a run of one of the service's tools.

    Attributes:
        name: the tool.
        status: ``success`` or ``fail``; None while it runs.
        seconds_left: the server's estimate.
        censored: True if the filter removed something.
        id: the id of the run; may be empty.
    """

    name: str | None = None
    status: str | None = None
    seconds_left: int | None = None
    censored: bool | None = None
    id: str | None = None


def result_object(result: Any) -> Any:
    """Convert the result of a function into the JSON object that the API requires."""
    result = decoded_object(result)
    if isinstance(result, (Mapping, msgspec.Struct)) or hasattr(type(result), "__dataclass_fields__"):
        return result
    return {"result": result}


def same_call(one: ChatFunctionCall, other: ChatFunctionCall) -> bool:
    """Return True for two copies of one call: with equal ids, or without ids with equal names and arguments."""
    if one.id and other.id:
        return one.id == other.id
    return one.name == other.name and bool(one.arguments == other.arguments)


def distinct_calls(calls: Iterable[ChatFunctionCall]) -> list[ChatFunctionCall]:
    """Return the calls without duplicates."""
    found: list[ChatFunctionCall] = []
    for call in calls:
        if not any(same_call(call, known) for known in found):
            found.append(call)
    return found
