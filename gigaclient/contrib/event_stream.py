"""A chat stream as the body of a ``text/event-stream`` answer, for any web framework.

::

    body = EventStream(giga.stream(messages))     # 401, 429, timeouts are still exceptions here, so still statuses
    return Response(body, headers=dict(body.headers))

What goes over the wire, in UTF-8:

- ``data: {"text": "…"}`` for each chunk that has text: an event without a name, which ``EventSource.onmessage`` gets;
- ``event: done`` with ``{"finish_reason", "model", "usage", "request_id"}`` after a whole answer;
- ``event: error`` with what :func:`error_payload` gives after a failure in the middle, and then the regular end;
- ``: ping``, a comment, after each ``ping_s`` seconds of silence. A closed browser tab is noticed only by a write that
  fails, so this is what ends the upstream call, and its bill, while the model says nothing.

An upstream read blocks, so it has a thread of its own, which begins when the body is first asked for and ends with the
answer. Between it and the reader is room for a few chunks: a slow browser holds the model's service back.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import math
import os
import queue
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import GeneratorType, MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    LengthFinishReasonError,
    StreamInterruptedError,
    TLSError,
    TooManyStepsError,
)
from gigaclient.types.tool_runs import Run

__all__ = ["HEADERS", "EventStream", "error_headers", "error_payload", "status_of"]

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx collects an answer before it passes it on, unless told
        "Content-Encoding": "identity",  # what compresses answers leaves one alone that has an encoding
    }
)
"""The headers of an event stream that nothing on its way may collect or compress."""

_PING = b": ping\n\n"
_AHEAD = 8
"""Pieces that may wait for the reader."""

_LINE_END = re.compile(r"\r\n|\r|\n")

_log = logging.getLogger("gigaclient")


class Readable(Protocol):
    """What is needed of a stream; all of gigaclient's have it."""

    @property
    def text(self) -> str: ...

    @property
    def completion(self) -> Any: ...

    def __next__(self) -> Any: ...

    def result(self) -> Any: ...

    def close(self) -> None: ...


class _End(NamedTuple):
    error: BaseException | None


_Item = bytes | _End
_Render = Callable[[Any], str | Mapping[str, Any] | None]
_Within = Callable[[], AbstractContextManager[Any]]


class EventStream:
    """The body of a ``text/event-stream`` answer, made of a stream whose first chunk has already come.

    Making one blocks until that chunk is here, for as long as the stream's own timeouts and deadline allow. Iterate it
    once: with ``for`` (WSGI) or ``async for`` (ASGI; no thread of the server's pool is held). The end of the iteration,
    :meth:`close` and dropping it end the upstream call at once; what had come stays readable as :attr:`text` and
    :attr:`completion`.

    Args:
        stream: an opened stream of any kind: ``giga.stream(…)``, ``giga.chat.stream(…)``, ``giga.run_stream(…)``,
            ``conversation.stream(…)``, ``giga.threads.run_messages_stream(…)``, ``FakeGpt().stream(…)``.
        ping_s: seconds of silence before each ``: ping``; ``math.inf`` for none.
        render: makes the data of an event of a chunk: a mapping is sent as JSON, text as it is, None is no event. By
            default ``{"text": chunk.text}`` for chunks that have text. The first chunk is rendered where this object is
            made, the others in the thread that reads the stream.
        on_end: called once with the answer so far, when nothing more will come: before the ``done`` or ``error`` event
            is sent, or by :meth:`close`. The answer's ``finish_reason`` is None when it is not whole. Called by the
            thread that iterates or closes; from ``async for`` through ``to_thread``. What it raises is logged.
        reader_timeout_s: seconds that the reader may take nothing while there is something to take; then the upstream
            call is closed. A phone that went out of reach would hold it for a quarter of an hour otherwise.
        within: makes a context manager to be in while the stream is read: an application context, say, or one that
            closes database connections at its end. ``render`` and the functions of ``run_stream`` are called there.
        to_thread: how ``async for`` has a function called that may block; ``asyncio.to_thread`` by default.

    Attributes:
        headers: the headers of the answer.
        error: what ended the answer early, once that is known; None after a good end, and after :meth:`close`.

    Raises:
        ConfigError: ``stream`` is no stream, or another argument cannot work.
        GigaClientError: as the stream raises it, when there was no first chunk. The stream is closed then, and
            ``on_end`` is not called.
    """

    headers: Mapping[str, str] = HEADERS

    def __init__(
        self,
        stream: Readable,
        *,
        ping_s: float = 2.0,
        render: _Render | None = None,
        on_end: Callable[[Any], object] | None = None,
        reader_timeout_s: float = 60.0,
        within: _Within | None = None,
        to_thread: Callable[[Callable[[], None]], Awaitable[None]] | None = None,
    ) -> None:
        _check_stream(stream)
        try:
            self._ping_s = _seconds("ping_s", ping_s)
            self._reader_timeout_s = _seconds("reader_timeout_s", reader_timeout_s)
            for name, given in (("render", render), ("on_end", on_end), ("within", within), ("to_thread", to_thread)):
                if given is not None and not callable(given):
                    raise ConfigError(f"{name} must be a function, not {type(given).__name__}")
            self._render: _Render = render if render is not None else _text_of
            self._first = self._first_piece(stream)
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        self._on_end = on_end
        self._within = within
        self._to_thread = to_thread
        self._context = contextvars.copy_context()
        self._process = os.getpid()
        self._begun = False
        self._closed = False
        self._deliver: Callable[[_Item], None] | None = None
        # Queues, and no lock: a finaliser may run in a thread that is inside one of them, and putting into a
        # SimpleQueue is safe even then. What is in this one is room for so many pieces.
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.error: BaseException | None = None

    def _first_piece(self, stream: Readable) -> bytes | None:
        """None when the stream ended, whole, without any chunk."""
        try:
            chunk = next(stream)
        except StopIteration:
            chunk = None
        if chunk is None:
            stream.result()
            return None
        return _event_of(self._render(chunk))

    # -- what has come -----------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The text that has come so far."""
        return self._stream.text

    @property
    def completion(self) -> Any:
        """The answer so far, of the stream's own type."""
        return self._stream.completion

    # -- reading -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        """The body, piece by piece; each is a whole event or a comment."""
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        ready: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._begin(ready.put)
        try:
            if self._closed:
                return
            yield self._first or _PING  # at once, so that the headers leave too
            while True:
                try:
                    item = ready.get(timeout=None if self._ping_s == math.inf else self._ping_s)
                except queue.Empty:
                    self._check_process()
                    yield _PING
                    continue
                if isinstance(item, _End) or self._closed:
                    break
                yield item
                self._room.put(None)
            if not self._closed:
                last = self._last_piece(item)
                self._tell()
                yield last
        finally:
            self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The same for an event loop, which is never blocked."""
        return self._pieces_for_loop()

    async def _pieces_for_loop(self) -> AsyncIterator[bytes]:
        import asyncio  # of no use to others

        loop = asyncio.get_running_loop()
        ready: deque[_Item] = deque()
        woken = asyncio.Event()
        stream = self._stream

        def deliver(item: _Item) -> None:
            ready.append(item)
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop has ended, and whoever would read this with it
                stream.close()

        self._begin(deliver)
        try:
            if self._closed:
                return
            yield self._first or _PING
            while True:
                ping_at = loop.time() + self._ping_s
                while not ready:
                    woken.clear()
                    timer = loop.call_at(ping_at, woken.set) if ping_at < math.inf else None
                    try:
                        await woken.wait()
                    finally:
                        if timer is not None:
                            timer.cancel()
                    if not ready and loop.time() >= ping_at:
                        yield _PING
                        ping_at = loop.time() + self._ping_s
                item = ready.popleft()
                if isinstance(item, _End) or self._closed:
                    break
                yield item
                self._room.put(None)
            if not self._closed:
                last = self._last_piece(item)
                await self._tell_from_loop()
                yield last
        finally:
            await self.aclose()

    def close(self) -> None:
        """End the upstream call at once, and the iteration in whatever thread it is. More than once is no harm."""
        self._stop()
        self._tell()

    async def aclose(self) -> None:
        """:meth:`close` for an event loop: ``on_end`` is awaited."""
        self._stop()
        await self._tell_from_loop()

    def __del__(self) -> None:
        # Without on_end: a finaliser may run anywhere.
        if "error" in self.__dict__:
            self._stop()

    def __repr__(self) -> str:
        return f"<EventStream of {self._stream!r}>"

    def _begin(self, deliver: Callable[[_Item], None]) -> None:
        if self._begun:
            raise ConfigError("the body of an answer is read once: make a new one of a new stream")
        self._check_process()
        self._begun = True
        self._deliver = deliver
        if self._closed or self._first is None:
            deliver(_End(None))
            return
        for _ in range(_AHEAD):
            self._room.put(None)
        # Nothing of this holds the object itself, so that dropping it ends the thread.
        what = (self._stream, self._render, self._room, deliver, self._within, self._reader_timeout_s)
        try:
            threading.Thread(
                target=self._context.run, args=(_pump, *what), name="gigaclient-event-stream", daemon=True
            ).start()
        except RuntimeError as error:  # no more threads
            deliver(_End(error))

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise ConfigError("this stream was opened before a fork, and belongs to the parent process")

    def _stop(self) -> None:
        self._closed = True
        self._stream.close()
        self._room.put(None)  # to wake who waits for room, and finds the stream closed
        if self._deliver is not None:
            self._deliver(_End(None))

    def _last_piece(self, end: _Item) -> bytes:
        error = end.error if isinstance(end, _End) else None
        if error is None:
            return b"event: done\n" + _as_data(_json(_done(self._stream)))
        self.error = error
        self._stream.close()
        if isinstance(error, GigaClientError):
            _log.warning("a streamed answer ended early: %s: %s", type(error).__name__, error)
        else:
            _log.error("a streamed answer ended early", exc_info=error)
        return b"event: error\n" + _as_data(_json(error_payload(error)))

    def _tell(self) -> None:
        # Taken in one step: whoever comes first tells.
        on_end = self.__dict__.pop("_on_end", None)
        if on_end is not None:
            _call(on_end, self.completion)

    async def _tell_from_loop(self) -> None:
        on_end = self.__dict__.pop("_on_end", None)
        if on_end is None:
            return
        import asyncio

        completion = self.completion
        # Shielded: a server that cancels once more, because it ends, does not keep the answer from being kept.
        await asyncio.shield((self._to_thread or asyncio.to_thread)(lambda: _call(on_end, completion)))


def _pump(
    stream: Readable,
    render: _Render,
    room: queue.SimpleQueue[None],
    deliver: Callable[[_Item], None],
    within: _Within | None,
    reader_timeout_s: float,
) -> None:
    """Read ``stream`` to its end, in a thread of its own, and deliver its chunks as far as there is room."""
    failure: BaseException | None = None
    try:
        with within() if within is not None else contextlib.nullcontext():
            _forward(stream, render, room, deliver, reader_timeout_s)
    except BaseException as error:
        stream.close()
        failure = error
    deliver(_End(failure))
    del failure  # its traceback holds this frame


def _forward(
    stream: Readable,
    render: _Render,
    room: queue.SimpleQueue[None],
    deliver: Callable[[_Item], None],
    reader_timeout_s: float,
) -> None:
    while True:
        try:
            chunk = next(stream)
        except StopIteration:
            break
        piece = _event_of(render(chunk))
        if not piece:
            continue
        try:
            room.get(timeout=None if reader_timeout_s == math.inf else reader_timeout_s)
        except queue.Empty:
            raise StreamInterruptedError(f"the reader of the answer took nothing for {reader_timeout_s:g} s") from None
        deliver(piece)
    stream.result()  # raises for one that somebody closed before the answer was whole


def _call(on_end: Callable[[Any], object], completion: Any) -> None:
    try:
        on_end(completion)
    except Exception:
        # The answer has been given, and what the browser is told of it is true all the same.
        _log.exception("on_end of an event stream failed")


def _check_stream(stream: Any) -> None:
    if all(hasattr(stream, name) for name in ("__next__", "text", "completion", "result", "close")):
        return
    kind = type(stream).__name__
    if isinstance(stream, GeneratorType):  # giga.generate(…), whose upstream call would stay open
        stream.close()
    raise ConfigError(f"an opened stream is needed: pass giga.stream(…) itself, not what is made of it ({kind})")


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigError(f"{name} must be a number of seconds above 0; math.inf is never")
    return float(value) if value < threading.TIMEOUT_MAX else math.inf


# -- events ------------------------------------------------------------------------------------------------------------


def _text_of(chunk: Any) -> Mapping[str, Any] | None:
    text = getattr(chunk, "text", "")
    return {"text": text} if text else None


def _event_of(rendered: str | Mapping[str, Any] | None) -> bytes:
    if rendered is None:
        return b""
    if isinstance(rendered, str):
        return _as_data(rendered)
    if isinstance(rendered, Mapping):
        return _as_data(_json(rendered))
    raise TypeError(f"render must return text, a mapping or None, not {type(rendered).__name__}")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _as_data(text: str) -> bytes:
    lines = _LINE_END.split(text) if "\n" in text or "\r" in text else (text,)
    return "".join([*(f"data: {line}\n" for line in lines), "\n"]).encode("utf-8", "replace")


def _done(stream: Any) -> dict[str, Any]:
    completion = stream.completion
    run = getattr(stream, "run", None)
    usage = run.usage if isinstance(run, Run) else getattr(completion, "usage", None)
    return {
        "finish_reason": getattr(completion, "finish_reason", None),
        "model": getattr(completion, "model", None),
        "usage": None if usage is None else msgspec.to_builtins(usage),
        "request_id": getattr(stream, "request_id", None),
    }


# -- errors ------------------------------------------------------------------------------------------------------------


def status_of(error: BaseException) -> int:
    """The HTTP status that tells a browser of ``error``.

    An :class:`~gigaclient.errors.APIStatusError` keeps its own (401, 429 …); a timeout is a 504; no connection, a
    stream cut short and an answer that makes no sense are a 502; settings that cannot work, and whatever is not ours,
    are a 500.
    """
    if isinstance(error, APIStatusError):
        return error.status_code if 400 <= error.status_code <= 599 else 502
    if isinstance(error, APITimeoutError):
        return 504
    if isinstance(error, ConfigError) or not isinstance(error, GigaClientError):
        return 500
    return 502


def error_payload(error: BaseException) -> dict[str, Any]:
    """What a browser is told of ``error``, as JSON has it.

    Returns:
        ``status`` (:func:`status_of`), ``type`` (the error's class), ``message`` (one sentence for a person; hosts,
        proxies, paths and advice on settings are in the exception itself, and not here), ``retry_after`` (seconds, or
        None) and ``request_id`` (for the service's support, or None).
    """
    ours = isinstance(error, GigaClientError)
    return {
        "status": status_of(error),
        "type": type(error).__name__ if ours else "InternalError",
        "message": _sentence(error),
        "retry_after": _retry_after(error),
        "request_id": getattr(error, "request_id", None) if ours else None,
    }


def error_headers(error: BaseException) -> dict[str, str]:
    """``Retry-After`` in whole seconds, rounded up, where the service said how long to wait; else nothing."""
    seconds = _retry_after(error)
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def _retry_after(error: BaseException) -> float | None:
    return error.retry_after if isinstance(error, APIStatusError) else None


_OF_STATUS = {
    401: "the model's service did not accept this application's key",
    402: "the tokens of this model are used up",
    403: "this application's plan does not allow that",
    404: "the model's service has no such model or file",
    413: "the conversation is too long for the model",
    429: "too many requests at the moment: try again a little later",
}

_OF_KIND: tuple[tuple[type[GigaClientError], str], ...] = (
    (APITimeoutError, "the model's service did not answer in time"),
    (TLSError, "the certificate of the model's service was not accepted"),
    (APIConnectionError, "the model's service cannot be reached"),
    (StreamInterruptedError, "the answer broke off before it was complete"),
    (InvalidResponseError, "the model's service sent an answer that makes no sense"),
    (LengthFinishReasonError, "the answer was cut by the limit of its length"),
    (TooManyStepsError, "the model called too many functions without coming to an answer"),
    (ConfigError, "this application is not set up for such a call: its log says more"),
)

_LONGEST_MESSAGE = 300


def _sentence(error: BaseException) -> str:
    if isinstance(error, APIStatusError):
        told = _OF_STATUS.get(error.status_code)
        if told is None and 400 <= error.status_code <= 499:
            # The service's own words about the request: which value it does not take.
            told = " ".join(error.message.split())[:_LONGEST_MESSAGE]
        return told or "the model's service failed: try again a little later"
    for kind, sentence in _OF_KIND:
        if isinstance(error, kind):
            return sentence
    return "this application failed: its log says more"
