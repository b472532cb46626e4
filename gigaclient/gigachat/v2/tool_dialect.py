"""The requests and messages of a dialogue with functions in API v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from gigaclient._core.call_arguments import move_unknown
from gigaclient._core.messages import listed
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.gigachat.tool_dialect import sendable_arguments
from gigaclient.gigachat.v2.request_body import CHAT_V2_FIELDS, request_fields
from gigaclient.gigachat.v2.request_values import as_list
from gigaclient.types import APIResponse, FunctionCall
from gigaclient.types.chat_v2 import ChatCompletionResponse, ChatContentPart, ChatMessage, ChatUsage

if TYPE_CHECKING:
    from gigaclient.gigachat.chat_requests import ChatRequests
    from gigaclient.gigachat.v2.stream import ChatResponseStream

__all__ = ["V2"]

_FORCING = ("tool_config", "function_call")


class V2:
    """API v2: several calls in a response; their results are parts of one message, matched by the calls' ids.

    Args:
        client: sends the requests.
        role: the role of the messages with results.
        as_text: whether a result is sent as a string of JSON.
    """

    fields = CHAT_V2_FIELDS

    def __init__(self, client: ChatRequests, role: str, as_text: bool) -> None:
        if role not in ("tool", "function"):
            raise ConfigError(f'result_role is "tool" or "function", not {role!r}')
        self.client = client
        self._role = role
        self._as_text = as_text

    def parse(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """Return the messages as a list, the request's other fields, and the functions among them."""
        request = request_fields(messages)
        history = _listed_messages(request.pop("messages"))
        move_unknown(request, CHAT_V2_FIELDS)
        additional = {**(request.pop("additional_fields", None) or {}), **(options.get("additional_fields") or {})}
        merged = {**request, **options, **({"additional_fields": additional} if additional else {})}
        functions = list(merged.pop("functions", None) or ())
        if "tools" in merged:
            merged["tools"], described = _split_tools(merged["tools"])
            functions += described
        return history, merged, functions

    def send(self, messages: list[Any], options: dict[str, Any]) -> ChatCompletionResponse:
        """Send the messages and return the complete response."""
        return self.client._v2_completion(*self.client._chat_v2_request(messages, options, stream=False))

    def open_stream(self, messages: list[Any], options: dict[str, Any]) -> ChatResponseStream:
        """Send the messages and return the open stream of the response."""
        return self.client._open_v2_stream(*self.client._chat_v2_request(messages, options, stream=True))

    def calls(self, completion: ChatCompletionResponse) -> Sequence[FunctionCall]:
        """Return the function calls that the response requests."""
        return completion.function_calls

    def turn_messages(
        self, completion: ChatCompletionResponse, results: Sequence[tuple[FunctionCall, str]]
    ) -> list[Any]:
        """Return the messages of one turn: the unchanged response and its results."""
        turn_messages: list[Any] = []
        remaining = list(results)
        for message in completion.turn:
            turn_messages.append(_sendable(message))
            # The API expects the results of a message directly after it, with its state id.
            own_results = []
            for call in message.function_calls:
                pair = next((pair for pair in remaining if pair[0] == call), None)
                if pair is not None:
                    remaining.remove(pair)
                    own_results.append(pair)
            if own_results:
                turn_messages.append(
                    ChatMessage.function_results(
                        own_results, role=self._role, as_text=self._as_text, tools_state_id=message.tools_state_id
                    )
                )
        return turn_messages

    def following_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options for the turns after the first, which force no function on the model."""
        return {name: value for name, value in options.items() if name not in _FORCING or _allows_text(value)}

    def usage(self, completion: ChatCompletionResponse) -> ChatUsage | None:
        """Return the token usage of the response."""
        return completion.usage


def _sendable(message: ChatMessage) -> ChatMessage:
    """Return ``message`` with arguments that the API accepts."""
    parts: list[Any] = []
    for part in message.content or ():
        call = part.function_call if isinstance(part, ChatContentPart) else None
        if call is not None and sendable_arguments(call.arguments) is not call.arguments:
            part = replace(part, function_call=replace(call, arguments=sendable_arguments(call.arguments)))
        parts.append(part)
    return replace(message, content=parts)


def _listed_messages(messages: Any) -> list[Any]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, msgspec.Struct) and not isinstance(messages, APIResponse):
        return [messages]
    return listed(messages)


def _split_tools(tools: Any) -> tuple[list[Any], list[Any]]:
    """Split tools into the service's tools and the described functions."""
    rest: list[Any] = []
    functions: list[Any] = []
    for tool in as_list(tools):
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


def _allows_text(config: Any) -> bool:
    """Return whether the model may answer with text."""
    mode = config
    if isinstance(config, msgspec.Struct):
        config = fields_of(config)
    if isinstance(config, Mapping):
        mode = config.get("mode")
    return mode in ("auto", "none")
