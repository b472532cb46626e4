"""A chat stream as the body of a ``text/event-stream`` response, for any web framework.

::

    body = EventStream(giga.stream(messages))     # 401, 429 and timeouts still raise here, so they can be statuses
    return Response(body, headers=dict(body.headers))

The body, in UTF-8:

- ``data: {"text": "…"}`` for each chunk that has text: an event without a name, which ``EventSource.onmessage`` gets;
- ``event: done`` with ``{"finish_reason", "model", "usage", "request_id"}`` after a complete answer, and with
  ``"blocked": true`` if the service's filter blocked it;
- ``event: error`` with the result of :func:`error_payload` after a failure in the middle; the body then ends normally;
- ``: ping``, a comment, after each ``ping_s`` seconds of silence. Only a failed write reveals a closed browser tab, so
  pings end the upstream call, and its costs, while the model is silent.

A separate thread reads the upstream, because its reads block. The thread starts with the iteration and ends with the
answer. At most a few chunks are queued, so that a slow browser slows the upstream down.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import GeneratorType, MappingProxyType
from typing import Any, Final

from gigaclient.contrib.error_payloads import error_headers, error_payload, status_of
from gigaclient.contrib.event_format import PING, data_event, default_data, done_event, error_event
from gigaclient.contrib.request_messages import messages_from_json
from gigaclient.contrib.stream_reader import Item, Readable, Render, StreamEnd, Within, read_in_thread
from gigaclient.errors import ConfigError, GigaClientError

__all__ = ["HEADERS", "EventStream", "error_headers", "error_payload", "messages_from_json", "status_of"]

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx buffers the response without it
        "Content-Encoding": "identity",  # compressing middleware skips a response that has an encoding
    }
)
"""The headers of an event stream. They forbid proxies and middleware to buffer or compress it."""

_MAX_QUEUED_EVENTS = 8

_log = logging.getLogger("gigaclient")


class EventStream:
    """The body of a ``text/event-stream`` response, made from a stream whose first chunk has already arrived.

    The constructor blocks until that chunk arrives, limited by the timeouts and the deadline of the stream. Iterate the
    object once: with ``for`` (WSGI) or ``async for`` (ASGI; it occupies no thread of the server's pool). The end of the
    iteration, :meth:`close` and garbage collection end the upstream call at once. The answer received until then stays
    available as :attr:`text` and :attr:`completion`.

    Args:
        stream: an opened stream of any kind: ``giga.stream(…)``, ``giga.chat.stream(…)``, ``giga.run_stream(…)``,
            ``conversation.stream(…)``, ``giga.threads.run_messages_stream(…)``, ``FakeGpt().stream(…)``.
        ping_s: seconds of silence before each ``: ping``; ``math.inf`` for none.
        render: returns the data of a chunk's event: a mapping is sent as JSON, a string unchanged, None sends no event.
            The default is ``{"text": chunk.text}`` for chunks that have text. The first chunk is rendered in the thread
            that calls the constructor, the others in the thread that reads the stream.
        on_end: called once with the answer so far, when no more chunks will follow: before the ``done`` or ``error``
            event is sent, or by :meth:`close`. The answer's ``finish_reason`` is None when it is incomplete. Called by
            the thread that iterates or closes; from ``async for`` through ``to_thread``. Its exceptions are logged.
        reader_timeout_s: seconds that the reader may read nothing while events are queued; then the upstream call is
            closed. Without it, a phone that lost its network would keep the call open for a quarter of an hour.
        within: makes a context manager in which the stream is read: an application context, for example, or one that
            closes database connections. ``render`` and the functions of ``run_stream`` are called in it.
        to_thread: runs a blocking function for ``async for``; ``asyncio.to_thread`` by default.

    Attributes:
        headers: the headers of the response.
        error: the error that ended the answer early; None before, after a complete answer, and after :meth:`close`.

    Raises:
        ConfigError: ``stream`` is not a stream, or another argument is invalid.
        GigaClientError: raised by the stream in place of the first chunk. The stream is closed then, and ``on_end`` is
            not called.
    """

    headers: Mapping[str, str] = HEADERS

    def __init__(
        self,
        stream: Readable,
        *,
        ping_s: float = 2.0,
        render: Render | None = None,
        on_end: Callable[[Any], object] | None = None,
        reader_timeout_s: float = 60.0,
        within: Within | None = None,
        to_thread: Callable[[Callable[[], None]], Awaitable[None]] | None = None,
    ) -> None:
        _check_stream(stream)
        try:
            self._ping_s = _seconds("ping_s", ping_s)
            self._reader_timeout_s = _seconds("reader_timeout_s", reader_timeout_s)
            for name, value in (("render", render), ("on_end", on_end), ("within", within), ("to_thread", to_thread)):
                if value is not None and not callable(value):
                    raise ConfigError(f"{name} must be a function, not {type(value).__name__}")
            self._render: Render = render if render is not None else default_data
            self._first = self._first_event(stream)
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        self._on_end = on_end
        self._within = within
        self._to_thread = to_thread
        self._context = contextvars.copy_context()
        self._process = os.getpid()
        self._started = False
        self._closed = False
        self._deliver: Callable[[Item], None] | None = None
        # Queues instead of a lock: a finaliser may run in a thread that is inside one of them, and SimpleQueue.put is
        # reentrant. Each entry of this one permits the reading thread to queue one event.
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.error: BaseException | None = None

    def _first_event(self, stream: Readable) -> bytes | None:
        """Return the event of the first chunk; None if the complete answer has no chunk."""
        try:
            chunk = next(stream)
        except StopIteration:
            chunk = None
        if chunk is None:
            stream.result()
            return None
        return data_event(self._render(chunk))

    # -- the answer so far -------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The text received so far."""
        return self._stream.text

    @property
    def completion(self) -> Any:
        """The answer received so far, of the stream's own type."""
        return self._stream.completion

    # -- reading -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the body; each item is a complete event or a comment."""
        return self._events()

    def _events(self) -> Iterator[bytes]:
        ready: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._start(ready.put)
        try:
            if self._closed:
                return
            yield self._first or PING  # at once, so that the headers are sent too
            while True:
                try:
                    item = ready.get(timeout=None if self._ping_s == math.inf else self._ping_s)
                except queue.Empty:
                    self._check_process()
                    yield PING
                    continue
                if isinstance(item, StreamEnd) or self._closed:
                    break
                yield item
                self._permits.put(None)
            if not self._closed:
                last = self._last_event(item)
                self._call_on_end()
                yield last
        finally:
            self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body without blocking the event loop."""
        return self._async_events()

    async def _async_events(self) -> AsyncIterator[bytes]:
        import asyncio  # only needed here

        loop = asyncio.get_running_loop()
        ready: deque[Item] = deque()
        woken = asyncio.Event()
        stream = self._stream

        def deliver(item: Item) -> None:
            ready.append(item)
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop has ended, and its reader with it
                stream.close()

        self._start(deliver)
        try:
            if self._closed:
                return
            yield self._first or PING
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
                        yield PING
                        ping_at = loop.time() + self._ping_s
                item = ready.popleft()
                if isinstance(item, StreamEnd) or self._closed:
                    break
                yield item
                self._permits.put(None)
            if not self._closed:
                last = self._last_event(item)
                await self._await_on_end()
                yield last
        finally:
            await self.aclose()

    def close(self) -> None:
        """End the upstream call at once, and the iteration in whichever thread it runs. May be called repeatedly."""
        self._stop()
        self._call_on_end()

    async def aclose(self) -> None:
        """Close the stream from an event loop: :meth:`close`, but ``on_end`` is awaited."""
        self._stop()
        await self._await_on_end()

    def __del__(self) -> None:
        # on_end is not called: a finaliser may run in any thread.
        if "error" in self.__dict__:
            self._stop()

    def __repr__(self) -> str:
        return f"<EventStream of {self._stream!r}>"

    def _start(self, deliver: Callable[[Item], None]) -> None:
        if self._started:
            raise ConfigError("an EventStream can be iterated only once: make another one of a new stream")
        self._check_process()
        self._started = True
        self._deliver = deliver
        if self._closed or self._first is None:
            deliver(StreamEnd(None))
            return
        for _ in range(_MAX_QUEUED_EVENTS):
            self._permits.put(None)
        # None of these refers to this object, so that its garbage collection ends the thread.
        arguments = (self._stream, self._render, self._permits, deliver, self._within, self._reader_timeout_s)
        try:
            threading.Thread(
                target=self._context.run,
                args=(read_in_thread, *arguments),
                name="gigaclient-event-stream",
                daemon=True,
            ).start()
        except RuntimeError as error:  # no more threads
            deliver(StreamEnd(error))

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise ConfigError("this stream was opened before a fork, and belongs to the parent process")

    def _stop(self) -> None:
        self._closed = True
        self._stream.close()
        self._permits.put(None)  # wakes the reading thread, which then finds the stream closed
        if self._deliver is not None:
            self._deliver(StreamEnd(None))

    def _last_event(self, end: Item) -> bytes:
        error = end.error if isinstance(end, StreamEnd) else None
        if error is None:
            return done_event(self._stream)
        self.error = error
        self._stream.close()
        if isinstance(error, GigaClientError):
            _log.warning("a streamed answer ended early: %s: %s", type(error).__name__, error)
        else:
            _log.error("a streamed answer ended early", exc_info=error)
        return error_event(error)

    def _call_on_end(self) -> None:
        # dict.pop is atomic: only one thread calls on_end.
        on_end = self.__dict__.pop("_on_end", None)
        if on_end is not None:
            _call_and_log(on_end, self.completion)

    async def _await_on_end(self) -> None:
        on_end = self.__dict__.pop("_on_end", None)
        if on_end is None:
            return
        import asyncio

        completion = self.completion
        # Shielded: a server that shuts down cancels a second time, and on_end must still run.
        await asyncio.shield((self._to_thread or asyncio.to_thread)(lambda: _call_and_log(on_end, completion)))


def _call_and_log(on_end: Callable[[Any], object], completion: Any) -> None:
    try:
        on_end(completion)
    except Exception:
        # The answer is complete all the same, so the browser gets its last event.
        _log.exception("on_end of an event stream failed")


def _check_stream(stream: Any) -> None:
    if all(hasattr(stream, name) for name in ("__next__", "text", "completion", "result", "close")):
        return
    type_name = type(stream).__name__
    if isinstance(stream, GeneratorType):  # giga.generate(…), whose upstream call would stay open
        stream.close()
    raise ConfigError(f"an open stream is needed: pass giga.stream(…), not a {type_name}")


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigError(f"{name} must be a number of seconds above 0; math.inf means never")
    return float(value) if value < threading.TIMEOUT_MAX else math.inf
