"""The requests and messages of a dialogue with functions, for API v1 and as an interface for both versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec.structs import replace

from gigaclient._core.call_arguments import CHAT_FIELDS, move_unknown
from gigaclient._core.messages import as_messages, as_request
from gigaclient.functions import BadArguments, as_object
from gigaclient.gigachat.attachments import CHAT_ARGUMENTS
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import ChatCompletion, FunctionCall, Message, Usage

if TYPE_CHECKING:
    from gigaclient.gigachat.chat_requests import ChatRequests

__all__ = ["V1", "Dialect", "OpenStream", "sendable_arguments"]

CompletionT = TypeVar("CompletionT")
_Chunk_co = TypeVar("_Chunk_co", covariant=True)
_Completion_co = TypeVar("_Completion_co", covariant=True)
_Usage_co = TypeVar("_Usage_co", covariant=True)


class OpenStream(Protocol[_Chunk_co, _Completion_co]):
    """The common interface of the chat streams of both API versions."""

    @property
    def text(self) -> str:
        """The text so far."""

    @property
    def completion(self) -> _Completion_co:
        """The response so far."""

    @property
    def closed(self) -> bool:
        """True once the stream has ended, failed or been closed."""

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the request."""

    def result(self) -> _Completion_co:
        """Read the rest and return the complete response."""

    def close(self) -> None:
        """Close the connection."""

    def __next__(self) -> _Chunk_co: ...


class Dialect(Protocol[_Chunk_co, CompletionT, _Usage_co]):
    """The requests and messages of a dialogue with functions, as one API version writes them."""

    @property
    def fields(self) -> frozenset[str]:
        """The names of the options that become fields of the body."""

    @property
    def client(self) -> ChatRequests:
        """The client that sends the requests."""

    def parse(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """Return the messages as a list, the request's other fields, and the functions among them."""

    def send(self, messages: list[Any], options: dict[str, Any]) -> CompletionT:
        """Send the messages and return the complete response."""

    def open_stream(self, messages: list[Any], options: dict[str, Any]) -> OpenStream[_Chunk_co, CompletionT]:
        """Send the messages and return the open stream of the response."""

    def calls(self, completion: CompletionT) -> Sequence[FunctionCall]:
        """Return the function calls that the response requests."""

    def turn_messages(self, completion: CompletionT, results: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        """Return the messages of one turn: the unchanged response, and the results as texts of JSON objects."""

    def following_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options for the turns after the first, which force no function on the model."""

    def usage(self, completion: CompletionT) -> _Usage_co | None:
        """Return the token usage of the response."""


def sendable_arguments(arguments: Any) -> Any:
    """Return the arguments of a call for the history: unchanged, unless they are text that is not a JSON object.

    The API refuses any history with such a text, so it is mended, or replaced by an empty object.
    """
    if not isinstance(arguments, str):
        return arguments
    try:
        as_object(arguments, repair=False)
    except BadArguments:
        try:
            return as_object(arguments)
        except BadArguments:
            return {}
    return arguments


class V1:
    """API v1: at most one call in a response; its result is a message of role ``function``."""

    fields = CHAT_ARGUMENTS

    def __init__(self, client: ChatRequests) -> None:
        self.client = client

    def parse(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """Return the messages as a list, the request's other fields, and the functions among them."""
        fields = dict(options)
        request = as_request(messages, fields.pop("additional_fields", None))
        history = as_messages(request.pop("messages"))
        move_unknown(request, CHAT_FIELDS)
        return history, {**request, **fields}, list(request.pop("functions", None) or ())

    def send(self, messages: list[Any], options: dict[str, Any]) -> ChatCompletion:
        """Send the messages and return the complete response."""
        return self.client._completion(*self.client._chat_request(messages, options, stream=False))

    def open_stream(self, messages: list[Any], options: dict[str, Any]) -> ChatStream:
        """Send the messages and return the open stream of the response."""
        return self.client._open_stream(*self.client._chat_request(messages, options, stream=True))

    def calls(self, completion: ChatCompletion) -> Sequence[FunctionCall]:
        """Return the function calls that the response requests."""
        return [completion.function_call] if completion.function_call is not None else []

    def turn_messages(self, completion: ChatCompletion, results: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        """Return the messages of one turn: the unchanged response and its results."""
        message, call = completion.message, completion.function_call
        if call is not None and sendable_arguments(call.arguments) is not call.arguments:
            call = replace(call, arguments=sendable_arguments(call.arguments))
            message = replace(message, function_call=call)
        return [message, *(Message(role="function", name=call.name, content=text) for call, text in results)]

    def following_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options for the turns after the first, which force no function on the model."""
        if options.get("function_call") in (None, "auto", "none"):
            return options
        return {**options, "function_call": "auto"}

    def usage(self, completion: ChatCompletion) -> Usage | None:
        """Return the token usage of the response."""
        return completion.usage
