"""Dialogues with Python functions: send the messages, call the requested functions, send their results, repeat."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import msgspec

from gigaclient._core.messages import as_messages, as_request, encode
from gigaclient.context import custom_headers_cvar, session_id_cvar
from gigaclient.errors import (
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    StreamInterruptedError,
    TooManyStepsError,
)
from gigaclient.functions import BadArguments, Tool, as_tools, listed
from gigaclient.streaming.accumulator import summed
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import ChatCompletion, FunctionCall, Message, Usage
from gigaclient.types.tool_runs import Run, Step

if TYPE_CHECKING:
    from gigaclient.gigachat.resource import APIResource

__all__ = ["V1", "Dialect", "OnError", "RunStream", "run", "with_session"]

ChunkT = TypeVar("ChunkT")
CompletionT = TypeVar("CompletionT")
UsageT = TypeVar("UsageT")
_Chunk_co = TypeVar("_Chunk_co", covariant=True)
_Completion_co = TypeVar("_Completion_co", covariant=True)
_Usage_co = TypeVar("_Usage_co", covariant=True)

OnError = Literal["tell", "raise"]

# Limits what the model is charged for when an error message is a chain of causes or a page of HTML.
_MAX_ERROR_CHARACTERS = 1000

_log = logging.getLogger("gigaclient")


class OpenStream(Protocol[_Chunk_co, _Completion_co]):
    """The common interface of the chat streams of both API versions."""

    @property
    def text(self) -> str: ...

    @property
    def completion(self) -> _Completion_co: ...

    @property
    def closed(self) -> bool: ...

    @property
    def request_id(self) -> str | None: ...

    def result(self) -> _Completion_co: ...

    def close(self) -> None: ...

    def __next__(self) -> _Chunk_co: ...


class Dialect(Protocol[_Chunk_co, CompletionT, _Usage_co]):
    """The requests and messages of a dialogue with functions, as one API version writes them."""

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


class V1:
    """API v1: at most one call in a response; its result is a message of role ``function``."""

    def __init__(self, client: APIResource) -> None:
        self._client = client

    def parse(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """Return the messages as a list, the request's other fields, and the functions among them."""
        fields = dict(options)
        request = as_request(messages, fields.pop("additional_fields", None))
        history = as_messages(request.pop("messages"))
        return history, {**request, **fields}, list(request.pop("functions", None) or ())

    def send(self, messages: list[Any], options: dict[str, Any]) -> ChatCompletion:
        """Send the messages and return the complete response."""
        return self._client._completion(*self._client._chat_request(messages, options, stream=False))

    def open_stream(self, messages: list[Any], options: dict[str, Any]) -> ChatStream:
        """Send the messages and return the open stream of the response."""
        return self._client._open_stream(*self._client._chat_request(messages, options, stream=True))

    def calls(self, completion: ChatCompletion) -> Sequence[FunctionCall]:
        """Return the function calls that the response requests."""
        return [completion.function_call] if completion.function_call is not None else []

    def turn_messages(self, completion: ChatCompletion, results: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        """Return the messages of one turn: the unchanged response and its results."""
        return [completion.message, *(Message(role="function", name=call.name, content=text) for call, text in results)]

    def following_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options for the turns after the first, which force no function on the model."""
        if options.get("function_call") in (None, "auto", "none"):
            return options
        return {**options, "function_call": "auto"}

    def usage(self, completion: ChatCompletion) -> Usage | None:
        """Return the token usage of the response."""
        return completion.usage


class _ToolLoop(Generic[ChunkT, CompletionT, UsageT]):
    """The state of one dialogue: history, tools, steps and usage."""

    def __init__(
        self,
        dialect: Dialect[ChunkT, CompletionT, UsageT],
        messages: Any,
        functions: Any,
        *,
        max_steps: int,
        on_error: OnError,
        on_step: Callable[[Step], object] | None,
        options: Mapping[str, Any],
    ) -> None:
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError("max_steps must be a whole number, 1 or more")
        if on_error not in ("tell", "raise"):
            raise ConfigError('on_error must be "tell" (the model, which may try again) or "raise"')
        if on_step is not None and not callable(on_step):
            raise ConfigError("on_step must be a function, which gets each step")
        self._dialect = dialect
        self._history, self._options, described = dialect.parse(messages, options)
        self._tools: dict[str, Tool] = as_tools([*listed(functions), *described])
        self._max_steps = max_steps
        self._on_error = on_error
        self._on_step = on_step
        self._turn_count = 0
        self._steps: list[Step] = []
        self._usage: UsageT | None = None
        self._completion: CompletionT | None = None
        # The turn in progress: the response with the calls, and the results so far.
        self._pending: CompletionT | None = None
        self._results: list[tuple[FunctionCall, str]] = []

    def request(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the messages and options of the next request."""
        options = dict(self._options) if self._turn_count == 0 else self._dialect.following_options(dict(self._options))
        if self._tools:
            options["functions"] = [tool.spec for tool in self._tools.values()]
        return list(self._history), options

    def take(self, completion: CompletionT) -> Sequence[FunctionCall]:
        """Record a response and return the functions to call; none if the response is the last one."""
        self._completion = completion
        self._usage = summed(self._usage, self._dialect.usage(completion))
        calls = self._dialect.calls(completion)
        if not calls or any(call.name in self._tools and self._tools[call.name].call is None for call in calls):
            self._history += self._dialect.turn_messages(completion, ())
            return ()
        if self._turn_count == self._max_steps:
            raise self.with_run(
                TooManyStepsError(
                    f"the model wants functions called for the {self._turn_count + 1}th time, and max_steps is "
                    f"{self._max_steps}: allow more, or go on from .run.messages",
                    request_id=getattr(completion, "request_id", None),
                    completion=completion,
                )
            )
        self._turn_count += 1
        self._pending, self._results = completion, []
        return calls

    def call(self, call: FunctionCall) -> Step:
        """Run one of the functions that :meth:`take` returned."""
        tool = self._tools.get(call.name)
        started_at = time.perf_counter()
        problem, text = None, ""
        is_rejected = False
        try:
            if tool is None:
                raise BadArguments(f"there is no function {call.name}; there are: {', '.join(self._tools)}")
            arguments = tool.arguments(call.arguments)
        except BadArguments as error:
            problem, is_rejected = str(error), True
        else:
            try:
                text = tool.run(arguments)
            except Exception as error:
                if self._on_error == "raise":
                    raise
                problem = f"{type(error).__name__}: {error}"
        if is_rejected and self._on_error == "raise":
            raise self.with_run(self._bad_arguments(str(problem)))
        if problem is not None:
            # The log gets no more than the name: the error's text may hold data of the caller.
            _log.warning("the function %s failed; the model gets the error", call.name)
            text = encode({"error": problem[:_MAX_ERROR_CHARACTERS]}).decode()
        step = Step(call, msgspec.json.decode(text), problem, time.perf_counter() - started_at)
        self._results.append((call, text))
        self._steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        return step

    def end_turn(self) -> None:
        """Add the response and all results to the history in one step, so that no call stays without a result."""
        assert self._pending is not None
        self._history += self._dialect.turn_messages(self._pending, self._results)
        self._pending = None

    def run(self) -> Run[CompletionT, UsageT]:
        """Return the run so far; its history has a result for each call."""
        completion: Any = self._completion
        return Run(completion, list(self._history), list(self._steps), self._usage)

    def with_run(self, error: GigaClientError) -> GigaClientError:
        error.run = self.run()
        return error

    def _bad_arguments(self, problem: str) -> InvalidResponseError:
        response: Any = self._pending
        error = InvalidResponseError(f"the model called a function wrongly: {problem}", request_id=response.request_id)
        error.completion, error.text = response, response.text
        return error


def run(
    dialect: Dialect[ChunkT, CompletionT, UsageT],
    messages: Any,
    functions: Any,
    *,
    max_steps: int,
    on_error: OnError,
    on_step: Callable[[Step], object] | None,
    options: Mapping[str, Any],
) -> Run[CompletionT, UsageT]:
    """Repeat requests until the model answers; see ``giga.run``."""
    loop = _ToolLoop(
        dialect, messages, functions, max_steps=max_steps, on_error=on_error, on_step=on_step, options=options
    )
    while True:
        try:
            completion = dialect.send(*loop.request())
        except GigaClientError as error:
            loop.with_run(error)
            raise
        calls = loop.take(completion)
        if not calls:
            return loop.run()
        for call in calls:
            loop.call(call)
        loop.end_turn()


class RunStream(Iterator["ChunkT | Step"], Generic[ChunkT, CompletionT, UsageT]):
    """The stream of a dialogue with functions.

    It yields the chunks of the responses, and a :class:`~gigaclient.types.Step` for each called function. Every event
    has a ``.text``, which is what it adds.

    The first request is sent, and its status checked, when this object is created. Iterating runs the functions and
    sends further requests, all in the iterating thread. One thread may iterate at a time. :meth:`close` may be called
    from any thread, and ends a blocked read at once. It does not interrupt a running function, but nothing follows
    that function.

    Raises, while it is iterated:
        TooManyStepsError: the model requested functions in more than ``max_steps`` turns.
        GigaClientError: as for a single stream; ``.text`` and ``.completion`` hold what that response delivered.
        Exception: any exception of a function, with ``on_error="raise"``.

    Errors of this package have ``.run`` with the complete turns.
    """

    def __init__(
        self,
        dialect: Dialect[ChunkT, CompletionT, UsageT],
        messages: Any,
        functions: Any,
        *,
        max_steps: int,
        on_error: OnError,
        on_step: Callable[[Step], object] | None,
        options: Mapping[str, Any],
    ) -> None:
        self._dialect = dialect
        self._loop = _ToolLoop(
            dialect, messages, functions, max_steps=max_steps, on_error=on_error, on_step=on_step, options=options
        )
        self._state: Literal["open", "ended", "broken", "closed"] = "open"
        self._calls: deque[FunctionCall] = deque()
        self._reading = False
        self._stream: OpenStream[ChunkT, CompletionT] | None = dialect.open_stream(*self._loop.request())
        self._current = self._stream

    @property
    def text(self) -> str:
        """The text of the current response so far."""
        return self._current.text

    @property
    def completion(self) -> CompletionT:
        """The current response so far; the last response once the stream has ended."""
        return self._current.completion

    @property
    def run(self) -> Run[CompletionT, UsageT]:
        """The complete turns: history, steps, usage."""
        return self._loop.run()

    @property
    def steps(self) -> list[Step]:
        """The functions called so far."""
        return self._loop.run().steps

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the current request."""
        return self._current.request_id

    @property
    def closed(self) -> bool:
        """True once the stream has ended, failed or been closed."""
        return self._state != "open"

    def result(self) -> Run[CompletionT, UsageT]:
        """Read the rest of the stream and return the run.

        Raises:
            StreamInterruptedError: the stream was closed or failed early. Errors of the iteration come through.
        """
        for _ in self:
            continue
        if self._state != "ended":
            error = StreamInterruptedError(f"no complete answer: the stream is {self._state}")
            error.text, error.completion = self.text, self.completion
            raise self._loop.with_run(error)
        return self._loop.run()

    def close(self) -> None:
        """Close the connection, and end a read that is blocked in another thread at once."""
        if self._state == "open":
            self._state = "closed"
        self._current.close()

    def __iter__(self) -> RunStream[ChunkT, CompletionT, UsageT]:
        return self

    def __next__(self) -> ChunkT | Step:
        if self._reading:
            raise ConfigError("a stream is read by one thread at a time")
        self._reading = True
        try:
            return self._next()
        except StopIteration:
            raise
        except GigaClientError as error:
            self._fail()
            if error.run is None:
                self._loop.with_run(error)
            raise
        except BaseException:
            self._fail()
            raise
        finally:
            self._reading = False

    def _next(self) -> ChunkT | Step:
        while not self.closed:
            if self._calls:
                step = self._loop.call(self._calls.popleft())
                if not self._calls:
                    self._loop.end_turn()
                return step
            if self._stream is None:
                self._current = self._stream = self._dialect.open_stream(*self._loop.request())
                if self.closed:  # close() in another thread had only the previous stream to close
                    self._stream.close()
                    break
            try:
                return next(self._stream)
            except StopIteration:
                if self.closed:
                    break
            completion = self._stream.result()
            self._stream = None
            self._calls.extend(self._loop.take(completion))
            if not self._calls:
                self._state = "ended"
        raise StopIteration

    def _fail(self) -> None:
        if self._state == "open":
            self._state = "broken"
        self._current.close()

    def __enter__(self) -> RunStream[ChunkT, CompletionT, UsageT]:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}, {len(self.steps)} steps, request {self.request_id}>"


def with_session(client: APIResource, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a new session id, unless the caller, the context or the client sets one.

    All turns of a dialogue begin with the same messages, and the server's prompt cache is looked up by session.
    """
    headers = [options.get("headers"), custom_headers_cvar.get()]
    named = any(
        str(name).lower() == "x-session-id" for fields in headers if isinstance(fields, Mapping) for name in fields
    )
    if named or options.get("session_id") or session_id_cvar.get() or client._settings.session_id:
        return dict(options)
    return {**options, "session_id": str(uuid.uuid4())}
