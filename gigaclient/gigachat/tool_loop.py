"""Dialogues with Python functions: send the messages, call the requested functions, send their results, repeat."""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from gigaclient._core.call_arguments import RUN_OPTIONS, check_names
from gigaclient.context import custom_headers_cvar, session_id_cvar
from gigaclient.errors import (
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    StreamInterruptedError,
    TooManyStepsError,
)
from gigaclient.functions import BadArguments, Tool, as_function_list, as_tools
from gigaclient.gigachat.tool_dialect import Dialect, OpenStream
from gigaclient.gigachat.tool_mistakes import Mistakes, error_text
from gigaclient.streaming.accumulator import add_usage
from gigaclient.types import FunctionCall
from gigaclient.types.tool_runs import Run, Step

if TYPE_CHECKING:
    from gigaclient.gigachat.resource import APIResource

__all__ = ["OnError", "RunStream", "ToolLoop"]

ChunkT = TypeVar("ChunkT")
CompletionT = TypeVar("CompletionT")
UsageT = TypeVar("UsageT")

OnError = Literal["tell", "raise"]

_log = logging.getLogger("gigaclient")


class ToolLoop(Generic[ChunkT, CompletionT, UsageT]):
    """One dialogue with functions: its history, tools, steps and usage.

    Args:
        dialect: the API version.
        messages, functions, max_steps, on_error, on_step, on_result, repair, options: as for ``giga.run``.

    Raises:
        ConfigError: an argument cannot work.
        TypeError: an option has an unknown name.
    """

    def __init__(
        self,
        dialect: Dialect[ChunkT, CompletionT, UsageT],
        messages: Any,
        functions: Any,
        max_steps: int,
        on_error: OnError,
        on_step: Callable[[Step], object] | None,
        on_result: Callable[[Any], Any] | None,
        repair: bool,
        options: Mapping[str, Any],
    ) -> None:
        check_names(options, dialect.fields, RUN_OPTIONS)
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError("max_steps must be a whole number, 1 or more")
        if on_error not in ("tell", "raise"):
            raise ConfigError('on_error must be "tell" (the model, which may try again) or "raise"')
        if on_step is not None and not callable(on_step):
            raise ConfigError("on_step must be a function, which gets each step")
        if on_result is not None and not callable(on_result):
            raise ConfigError("on_result must be a function, which gets a result and returns what is sent")
        self._dialect = dialect
        messages, options = dialect.client._with_attachments(messages, _with_session(dialect.client, options))
        self._history, self._options, described = dialect.parse(messages, options)
        self._tools: dict[str, Tool] = as_tools([*as_function_list(functions), *described])
        self._max_steps = max_steps
        self._on_error = on_error
        self._on_step = on_step
        self._on_result = on_result
        self._repair = repair
        self._mistakes = Mistakes(self._tools)
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
        self._usage = add_usage(self._usage, self._dialect.usage(completion))
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
        """Run one of the functions that :meth:`take` returned.

        Raises:
            ConfigError: the function's result cannot be sent.
            InvalidResponseError: with ``on_error="raise"``, the call is not valid.
            Exception: with ``on_error="raise"``, any exception of the function.
        """
        hooks = self._dialect.client._executor.hooks
        return self._call(call) if hooks is None else hooks.run_tool(call, functools.partial(self._call, call))

    def _call(self, call: FunctionCall) -> Step:
        started_at = time.perf_counter()
        repairs: list[str] = []
        problem: str | None
        try:
            tool, arguments = self._arguments(call, repairs)
        except BadArguments as error:
            mistake = str(error)
            if self._on_error == "raise":
                raise self.with_run(self._bad_arguments(mistake)) from None
            _log.warning("the model called the function %s wrongly; it gets the reason", call.name)
            problem, text = self._mistakes.answer(call.name, mistake)
        else:
            problem, text = self._run_tool(tool, arguments, call, started_at)
        step = Step(call, msgspec.json.decode(text), problem, time.perf_counter() - started_at, tuple(repairs))
        self._results.append((call, text))
        self._steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        return step

    def _arguments(self, call: FunctionCall, repairs: list[str]) -> tuple[Tool, dict[str, Any]]:
        tool = self._tools.get(call.name)
        if tool is None:
            raise BadArguments(f"there is no function {call.name}; there are: {', '.join(self._tools)}")
        # Arguments that were cut by the token limit are incomplete, and mending would hide that.
        repair = self._repair and not getattr(self._pending, "truncated", False)
        return tool, tool.arguments(call.arguments, repair=repair, repairs=repairs)

    def _run_tool(
        self, tool: Tool, arguments: dict[str, Any], call: FunctionCall, started_at: float
    ) -> tuple[str | None, str]:
        """Call the function; return its error or None, and the text of the JSON object for the model."""
        try:
            result = tool.result(arguments)
        except Exception as error:
            if self._on_error == "raise":
                raise
            problem = f"{type(error).__name__}: {error}"
            # The log gets no more than the name: the error's text may hold data of the caller.
            _log.warning("the function %s failed; the model gets the error", call.name)
            return problem, error_text(problem)
        if self._on_result is not None:
            result = self._on_result(result)
        try:
            return None, tool.text_of(result)
        except ConfigError as error:
            # The function has done its work. The model would call it again if it received an error.
            self._steps.append(Step(call, None, str(error), time.perf_counter() - started_at))
            self.with_run(error)
            raise

    def end_turn(self) -> None:
        """Add the response and all results to the history in one step, so that no call stays without a result."""
        assert self._pending is not None
        self._history += self._dialect.turn_messages(self._pending, self._results)
        self._pending = None

    def run(self) -> Run[CompletionT, UsageT]:
        """Repeat requests until the model answers, and return the run."""
        while True:
            try:
                completion = self._dialect.send(*self.request())
            except GigaClientError as error:
                self.with_run(error)
                raise
            calls = self.take(completion)
            if not calls:
                return self.so_far()
            for call in calls:
                self.call(call)
            self.end_turn()

    def open_stream(self) -> OpenStream[ChunkT, CompletionT]:
        """Send the next request and return the open stream of its response."""
        return self._dialect.open_stream(*self.request())

    def so_far(self) -> Run[CompletionT, UsageT]:
        """Return the run so far; its history has a result for each call."""
        completion: Any = self._completion
        return Run(completion, list(self._history), list(self._steps), self._usage)

    def with_run(self, error: GigaClientError) -> GigaClientError:
        """Return ``error`` with the run so far on it."""
        error.run = self.so_far()
        return error

    def _bad_arguments(self, problem: str) -> InvalidResponseError:
        response: Any = self._pending
        error = InvalidResponseError(f"the model called a function wrongly: {problem}", request_id=response.request_id)
        error.completion, error.text = response, response.text
        return error


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

    def __init__(self, loop: ToolLoop[ChunkT, CompletionT, UsageT]) -> None:
        self._loop = loop
        self._state: Literal["open", "ended", "broken", "closed"] = "open"
        self._calls: deque[FunctionCall] = deque()
        self._reading = False
        self._stream: OpenStream[ChunkT, CompletionT] | None = loop.open_stream()
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
        return self._loop.so_far()

    @property
    def steps(self) -> list[Step]:
        """The functions called so far."""
        return self._loop.so_far().steps

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
        return self._loop.so_far()

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
                self._current = self._stream = self._loop.open_stream()
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


def _with_session(client: APIResource, options: Mapping[str, Any]) -> dict[str, Any]:
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
