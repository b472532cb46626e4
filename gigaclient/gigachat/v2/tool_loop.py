"""How API v2 writes the turns of a dialogue with functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.types import APIResponse, Chat, FunctionCall
from gigaclient.types.chat_v2 import ChatCompletionRequest, ChatCompletionResponse, ChatMessage, ChatUsage

if TYPE_CHECKING:
    from gigaclient.gigachat.v2.stream import ChatResponseStream

__all__ = ["V2"]

_FORCING = ("tool_config", "function_call")


class Asker(Protocol):
    """What asks API v2."""

    def create(self, messages: Any, **options: Any) -> ChatCompletionResponse: ...

    def stream(self, messages: Any, **options: Any) -> ChatResponseStream: ...


class V2:
    """API v2: an answer may hold several calls; their results are parts of one message, matched by the calls' ids.

    Args:
        chat: what asks.
        role: the role of the messages with results.
        as_text: whether a result is sent as a string of JSON.
    """

    def __init__(self, chat: Asker, role: str, as_text: bool) -> None:
        if role not in ("tool", "function"):
            raise ConfigError(f'result_role is "tool" or "function", not {role!r}')
        self._chat = chat
        self._role = role
        self._as_text = as_text

    def read(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        request: dict[str, Any] = {"messages": messages}
        if isinstance(messages, (ChatCompletionRequest, Chat)):
            request = fields_of(messages)
        elif isinstance(messages, Mapping):
            if "messages" not in messages:
                raise ConfigError('a request needs "messages"; a single message goes into a list')
            request = {name: value for name, value in messages.items() if value is not None}
        history = _listed_messages(request.pop("messages"))
        additional = {**(request.pop("additional_fields", None) or {}), **(options.get("additional_fields") or {})}
        merged = {**request, **options, **({"additional_fields": additional} if additional else {})}
        functions = list(merged.pop("functions", None) or ())
        if "tools" in merged:
            merged["tools"], described = _parted_tools(merged["tools"])
            functions += described
        return history, merged, functions

    def ask(self, messages: list[Any], options: dict[str, Any]) -> ChatCompletionResponse:
        return self._chat.create(messages, **options)

    def open(self, messages: list[Any], options: dict[str, Any]) -> ChatResponseStream:
        return self._chat.stream(messages, **options)

    def calls(self, completion: ChatCompletionResponse) -> Sequence[FunctionCall]:
        return completion.function_calls

    def turn(self, completion: ChatCompletionResponse, told: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        turn: list[Any] = []
        left = list(told)
        for message in completion.turn:
            turn.append(message)
            # Each message is followed by the results of its own calls, with its own state id.
            own = []
            for call in message.function_calls:
                found = next((pair for pair in left if pair[0] == call), None)
                if found is not None:
                    left.remove(found)
                    own.append(found)
            if own:
                turn.append(
                    ChatMessage.function_results(
                        own, role=self._role, as_text=self._as_text, tools_state_id=message.tools_state_id
                    )
                )
        return turn

    def later(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in _FORCING or _is_free(value)}

    def usage(self, completion: ChatCompletionResponse) -> ChatUsage | None:
        return completion.usage


def _listed_messages(messages: Any) -> list[Any]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, msgspec.Struct) and not isinstance(messages, APIResponse):
        return [messages]
    if isinstance(messages, (bytes, bytearray, memoryview, Mapping, APIResponse)) or not isinstance(messages, Iterable):
        raise ConfigError(f"messages must be a string, a list of messages or a request, not {type(messages).__name__}")
    return list(messages)


def _parted_tools(tools: Any) -> tuple[list[Any], list[Any]]:
    """The service's tools, and the functions that are described among them."""
    if isinstance(tools, (str, Mapping, msgspec.Struct)) or not isinstance(tools, Iterable):
        tools = [tools]
    rest: list[Any] = []
    functions: list[Any] = []
    for tool in tools:
        fields = fields_of(tool) if isinstance(tool, msgspec.Struct) else tool
        described = fields.get("functions") if isinstance(fields, Mapping) else None
        if described is None:
            rest.append(tool)
            continue
        inner = fields_of(described) if isinstance(described, msgspec.Struct) else described
        functions += inner.get("specifications") or () if isinstance(inner, Mapping) else list(inner)
        others = {name: value for name, value in fields.items() if name != "functions"}
        if others:
            rest.append(others)
    return rest, functions


def _is_free(config: Any) -> bool:
    """Whether the model may answer in words."""
    mode = config
    if isinstance(config, msgspec.Struct):
        config = fields_of(config)
    if isinstance(config, Mapping):
        mode = config.get("mode")
    return mode in ("auto", "none")
