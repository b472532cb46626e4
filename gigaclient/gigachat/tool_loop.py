"""Functions run for the model: ask, call what it wants called, tell it the result, until it answers."""

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

# A stack of causes or a page of HTML is nothing to pay tokens for.
_MOST_TOLD_CHARACTERS = 1000

_log = logging.getLogger("gigaclient")


class OpenStream(Protocol[_Chunk_co, _Completion_co]):
    """What is needed of the streams of both API versions."""

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
    """How an API version writes the turns of a dialogue with functions."""

    def read(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """What people pass as messages, as a list of them, the fields of a request, and its functions."""

    def ask(self, messages: list[Any], options: dict[str, Any]) -> CompletionT:
        """The whole answer."""

    def open(self, messages: list[Any], options: dict[str, Any]) -> OpenStream[_Chunk_co, CompletionT]:
        """The answer as it comes."""

    def calls(self, completion: CompletionT) -> Sequence[FunctionCall]:
        """The functions that the model wants called."""

    def turn(self, completion: CompletionT, told: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        """The answer, unchanged, and the results of its calls, each the text of a JSON object, as messages."""

    def later(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of the turns after the first, in which no function is forced on the model."""

    def usage(self, completion: CompletionT) -> _Usage_co | None:
        """What the answer cost."""


class V1:
    """API v1: one call in an answer, its result a message of role ``function``."""

    def __init__(self, client: APIResource) -> None:
        self._client = client

    def read(self, messages: Any, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
        given = dict(options)
        request = as_request(messages, given.pop("additional_fields", None))
        history = as_messages(request.pop("messages"))
        return history, {**request, **given}, list(request.pop("functions", None) or ())

    def ask(self, messages: list[Any], options: dict[str, Any]) -> ChatCompletion:
        return self._client._completion(*self._client._chat_request(messages, options, stream=False))

    def open(self, messages: list[Any], options: dict[str, Any]) -> ChatStream:
        return self._client._open_stream(*self._client._chat_request(messages, options, stream=True))

    def calls(self, completion: ChatCompletion) -> Sequence[FunctionCall]:
        return [completion.function_call] if completion.function_call is not None else []

    def turn(self, completion: ChatCompletion, told: Sequence[tuple[FunctionCall, str]]) -> list[Any]:
        return [completion.message, *(Message(role="function", name=call.name, content=text) for call, text in told)]

    def later(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("function_call") in (None, "auto", "none"):
            return options
        return {**options, "function_call": "auto"}

    def usage(self, completion: ChatCompletion) -> Usage | None:
        return completion.usage


class _Runner(Generic[ChunkT, CompletionT, UsageT]):
    """The turns of one dialogue."""

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
        self._history, self._options, more = dialect.read(messages, options)
        self._tools: dict[str, Tool] = as_tools([*listed(functions), *more])
        self._max_steps = max_steps
        self._on_error = on_error
        self._on_step = on_step
        self._rounds = 0
        self._steps: list[Step] = []
        self._usage: UsageT | None = None
        self._completion: CompletionT | None = None
        # The turn under way: what was called, and told.
        self._send: CompletionT | None = None
        self._told: list[tuple[FunctionCall, str]] = []

    def request(self) -> tuple[list[Any], dict[str, Any]]:
        """What to ask next."""
        options = dict(self._options) if self._rounds == 0 else self._dialect.later(dict(self._options))
        if self._tools:
            options["functions"] = [tool.spec for tool in self._tools.values()]
        return list(self._history), options

    def take(self, completion: CompletionT) -> Sequence[FunctionCall]:
        """The answer that came: the functions to call; none when it was the last one."""
        self._completion = completion
        self._usage = summed(self._usage, self._dialect.usage(completion))
        calls = self._dialect.calls(completion)
        if not calls or any(call.name in self._tools and self._tools[call.name].call is None for call in calls):
            self._history += self._dialect.turn(completion, ())
            return ()
        if self._rounds == self._max_steps:
            raise self.failed(
                TooManyStepsError(
                    f"the model wants functions called for the {self._rounds + 1}th time, and max_steps is "
                    f"{self._max_steps}: allow more, or go on from .run.messages",
                    request_id=getattr(completion, "request_id", None),
                    completion=completion,
                )
            )
        self._rounds += 1
        self._send, self._told = completion, []
        return calls

    def call(self, call: FunctionCall) -> Step:
        """Run one of the functions that :meth:`take` gave."""
        tool = self._tools.get(call.name)
        started_at = time.perf_counter()
        problem, text = None, ""
        refused = False
        try:
            if tool is None:
                raise BadArguments(f"there is no function {call.name}; there are: {', '.join(self._tools)}")
            arguments = tool.arguments(call.arguments)
        except BadArguments as error:
            problem, refused = str(error), True
        else:
            try:
                text = tool.run(arguments)
            except Exception as error:
                if self._on_error == "raise":
                    raise
                problem = f"{type(error).__name__}: {error}"
        if refused and self._on_error == "raise":
            raise self.failed(self._misfit(str(problem)))
        if problem is not None:
            # Of a function that failed, no more than that: its message is the caller's and the model's business.
            _log.warning("the function %s failed, and the model is told so", call.name)
            text = encode({"error": problem[:_MOST_TOLD_CHARACTERS]}).decode()
        step = Step(call, msgspec.json.decode(text), problem, time.perf_counter() - started_at)
        self._told.append((call, text))
        self._steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        return step

    def end_turn(self) -> None:
        """All of them have run: the answer and the results join the history, together or not at all."""
        assert self._send is not None
        self._history += self._dialect.turn(self._send, self._told)
        self._send = None

    def run(self) -> Run[CompletionT, UsageT]:
        """What has been done so far. Its history has no call without its result."""
        completion: Any = self._completion
        return Run(completion, list(self._history), list(self._steps), self._usage)

    def failed(self, error: GigaClientError) -> GigaClientError:
        error.run = self.run()
        return error

    def _misfit(self, problem: str) -> InvalidResponseError:
        answered: Any = self._send
        error = InvalidResponseError(f"the model called a function wrongly: {problem}", request_id=answered.request_id)
        error.completion, error.text = answered, answered.text
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
    """Ask until the model answers; see ``giga.run``."""
    runner = _Runner(
        dialect, messages, functions, max_steps=max_steps, on_error=on_error, on_step=on_step, options=options
    )
    while True:
        try:
            completion = dialect.ask(*runner.request())
        except GigaClientError as error:
            runner.failed(error)
            raise
        calls = runner.take(completion)
        if not calls:
            return runner.run()
        for call in calls:
            runner.call(call)
        runner.end_turn()


class RunStream(Iterator["ChunkT | Step"], Generic[ChunkT, CompletionT, UsageT]):
    """A dialogue with functions as it goes: its events are the chunks of the answers, and a
    :class:`~gigaclient.types.Step` for each function that was called. All of them have a ``.text``, which is what they
    add.

    The first request was sent and its status checked before this object existed; the functions run, and further
    requests are sent, while it is iterated, in the thread that does so. One thread at a time; :meth:`close` may be
    called from any, and ends a blocked read at once. A function that is running is not interrupted, but nothing
    follows it.

    Raises, while it is iterated:
        TooManyStepsError: the model went on calling functions.
        GigaClientError: as the stream of one answer; ``.text`` and ``.completion`` are what had come of that answer.
        Exception: whatever a function raises, with ``on_error="raise"``.

    What is ours has ``.run``, the turns that were complete.
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
        self._runner = _Runner(
            dialect, messages, functions, max_steps=max_steps, on_error=on_error, on_step=on_step, options=options
        )
        self._state: Literal["open", "ended", "broken", "closed"] = "open"
        self._calls: deque[FunctionCall] = deque()
        self._reading = False
        self._stream: OpenStream[ChunkT, CompletionT] | None = dialect.open(*self._runner.request())
        self._last = self._stream

    @property
    def text(self) -> str:
        """What has arrived of the text of the present answer."""
        return self._last.text

    @property
    def completion(self) -> CompletionT:
        """The present answer so far; the last one once the stream has ended."""
        return self._last.completion

    @property
    def run(self) -> Run[CompletionT, UsageT]:
        """The turns that are complete: history, steps, usage."""
        return self._runner.run()

    @property
    def steps(self) -> list[Step]:
        """The functions that were called so far."""
        return self._runner.run().steps

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the present request."""
        return self._last.request_id

    @property
    def closed(self) -> bool:
        """Whether nothing more can come: it ended, broke or was closed."""
        return self._state != "open"

    def result(self) -> Run[CompletionT, UsageT]:
        """Read the rest: the whole run.

        Raises:
            StreamInterruptedError: it was closed, or broke, before the answer was whole; and what iterating raises.
        """
        for _ in self:
            continue
        if self._state != "ended":
            error = StreamInterruptedError(f"no complete answer: the stream is {self._state}")
            error.text, error.completion = self.text, self.completion
            raise self._runner.failed(error)
        return self._runner.run()

    def close(self) -> None:
        """Give the connection up, and end a read that is blocked in another thread at once."""
        if self._state == "open":
            self._state = "closed"
        self._last.close()

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
            self._break()
            if error.run is None:
                self._runner.failed(error)
            raise
        except BaseException:
            self._break()
            raise
        finally:
            self._reading = False

    def _next(self) -> ChunkT | Step:
        while not self.closed:
            if self._calls:
                step = self._runner.call(self._calls.popleft())
                if not self._calls:
                    self._runner.end_turn()
                return step
            if self._stream is None:
                self._last = self._stream = self._dialect.open(*self._runner.request())
                if self.closed:  # by another thread, which knew only the one before
                    self._stream.close()
                    break
            try:
                return next(self._stream)
            except StopIteration:
                if self.closed:
                    break
            completion = self._stream.result()
            self._stream = None
            self._calls.extend(self._runner.take(completion))
            if not self._calls:
                self._state = "ended"
        raise StopIteration

    def _break(self) -> None:
        if self._state == "open":
            self._state = "broken"
        self._last.close()

    def __enter__(self) -> RunStream[ChunkT, CompletionT, UsageT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}, {len(self.steps)} steps, request {self.request_id}>"


def with_session(client: APIResource, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a session of their own, unless somebody has named one: the turns of a dialogue begin alike, and
    the server's prompt cache goes by the session.
    """
    headers = [options.get("headers"), custom_headers_cvar.get()]
    named = any(
        str(name).lower() == "x-session-id" for given in headers if isinstance(given, Mapping) for name in given
    )
    if named or options.get("session_id") or session_id_cvar.get() or client._settings.session_id:
        return dict(options)
    return {**options, "session_id": str(uuid.uuid4())}
