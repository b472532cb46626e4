"""A chat stream as a ``StreamingHttpResponse`` that works under WSGI and under ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import StreamingHttpResponse

from gigaclient.contrib.event_stream import EventStream
from gigaclient.contrib.stream_reader import Readable, Render
from gigaclient.errors import ConfigError

__all__ = ["EventStreamResponse", "Source", "astream_response", "stream_response"]

Source = Readable | Callable[[], Readable]
"""An open stream, or a function that opens one."""


class EventStreamResponse(StreamingHttpResponse):
    """The response that :func:`stream_response` returns.

    It can be iterated both ways: a WSGI server gets a plain iterator and an ASGI server an asynchronous one, so that
    Django never reads the stream to its end first. ``is_async`` names the expected one, for middleware that wraps
    ``streaming_content``.

    Attributes:
        body: the :class:`~gigaclient.contrib.event_stream.EventStream`, with ``.text`` and ``.completion`` so far.
    """

    def __init__(self, body: EventStream, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.body = body
        content = _AsyncContent(body) if _runs_under_asgi() else _SyncContent(body)
        super().__init__(content, status=status, headers={**body.headers, **(headers or {})})
        self._original_iterator = self._iterator  # type: ignore[attr-defined]  # a private attribute of the base class

    def __iter__(self) -> Iterator[bytes]:
        return super().__iter__() if self._is_wrapped() else iter(self.body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        events: Any = super().__aiter__() if self._is_wrapped() else aiter(self.body)
        async with aclosing(events):
            async for event in events:
                yield event

    def _is_wrapped(self) -> bool:
        return self._iterator is not self._original_iterator  # type: ignore[attr-defined]


class _Content:
    def __init__(self, body: EventStream) -> None:
        self._body = body

    def close(self) -> None:
        self._body.close()


class _SyncContent(_Content):
    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)


class _AsyncContent(_Content):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)


def stream_response(
    source: Source,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: Render | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> EventStreamResponse:
    """Return a ``text/event-stream`` response of a chat stream, from a sync view.

    The call waits for the first chunk, so that a refused request raises here and :func:`errors_as_json` can turn it
    into a status. :mod:`gigaclient.contrib.event_stream` describes the body. When the browser disconnects, the upstream
    call ends within about ``ping_s`` seconds.

    Args:
        source: an open stream, such as ``get_client().stream(messages)``, or a function that opens one.
        status: the status of the response.
        headers: further headers, which override those of an event stream.
        ping_s: seconds of silence before each ping.
        render: returns the data of a chunk's event; see :class:`~gigaclient.contrib.event_stream.EventStream`.
        on_end: called once with the answer so far, when no more chunks will follow, in a thread that may use the ORM.
        reader_timeout_s: seconds that a browser may read nothing before the upstream call is closed.

    Raises:
        ConfigError: it was called in an event loop, which it would block: use ``await astream_response(…)`` there.
        GigaClientError: raised by the stream in place of the first chunk.
    """
    if _in_event_loop():
        if not callable(source):
            source.close()
        raise ConfigError(
            "stream_response waits for the first chunk, and would stop the event loop meanwhile: in an async view "
            "return await astream_response(lambda: get_client().stream(messages))"
        )
    options = {"ping_s": ping_s, "render": render, "on_end": on_end, "reader_timeout_s": reader_timeout_s}
    body = _body(_open(source), options)
    return EventStreamResponse(body, status=status, headers=headers)


async def astream_response(
    source: Source,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: Render | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> EventStreamResponse:
    """Return the response of :func:`stream_response` from an async view, under ASGI or WSGI.

    ``source`` should be a function that opens the stream, such as ``lambda: get_client().stream(messages)``. A separate
    thread calls it and waits for the first chunk, so that the event loop is not blocked. When the view is cancelled
    because the browser disconnected, the stream is closed. A call without a response yet ends by its timeouts.
    """
    options = {"ping_s": ping_s, "render": render, "on_end": on_end, "reader_timeout_s": reader_timeout_s}
    body = await _Opening(source, options).body()
    return EventStreamResponse(body, status=status, headers=headers)


def _body(stream: Readable, options: Mapping[str, Any]) -> EventStream:
    return EventStream(stream, **options, within=_closing_connections, to_thread=_run_in_request_thread)


def _open(source: Source) -> Readable:
    return source() if callable(source) else source


@contextlib.contextmanager
def _closing_connections() -> Iterator[None]:
    # Functions that a stream calls for the model may use the ORM, in a thread whose connections Django never closes.
    try:
        yield
    finally:
        connections.close_all()


def _run_in_request_thread(function: Callable[[], None]) -> Awaitable[None]:
    # Django closes the database connections of that thread when the request ends.
    return sync_to_async(function, thread_sensitive=True)()


class _Opening:
    """Open a stream and make its body in a separate thread.

    The loop's thread pool is small, and the first chunk may take long. If the waiting task is cancelled, the stream is
    closed once it is open.
    """

    def __init__(self, source: Source, options: Mapping[str, Any]) -> None:
        self._source = source
        self._options = options
        self._stream = None if callable(source) else source
        self._body: EventStream | None = None
        self._error: BaseException | None = None
        self._is_wanted = True

    async def body(self) -> EventStream:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run, loop, done), name="gigaclient-first-chunk", daemon=True).start()
        try:
            await done.wait()
        except asyncio.CancelledError:
            self._is_wanted = False
            if self._stream is not None:
                self._stream.close()
            if self._body is not None:
                await self._body.aclose()
            raise
        if self._body is not None:
            return self._body
        error, self._error = self._error, None
        assert error is not None
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _run(self, loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
        with _closing_connections():
            try:
                self._stream = _open(self._source)
                # Order matters: this thread sets _stream, then reads _is_wanted; body() sets _is_wanted, then reads
                # _stream. So at least one of them closes the stream.
                if self._is_wanted:
                    self._body = _body(self._stream, self._options)
                else:
                    self._stream.close()
            except BaseException as error:
                self._error = error
            is_abandoned = not self._is_wanted
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:  # the loop has ended
                is_abandoned = True
            if is_abandoned and self._body is not None:
                self._body.close()


# -- WSGI or ASGI ------------------------------------------------------------------------------------------------------

# Set by the signals of Django's handlers. Under ASGI newer versions of Django send them in a separate task, so that the
# view does not see its value.
_is_wsgi: contextvars.ContextVar[bool] = contextvars.ContextVar("gigaclient_is_wsgi", default=False)


def _runs_under_asgi() -> bool:
    # The ASGI handler enters this context first, and views inherit it in every thread.
    context = getattr(SyncToAsync, "thread_sensitive_context", None)
    if context is not None and context.get(None) is not None:
        return True
    # Under WSGI an async view has a temporary loop, which has ended when the response is sent. The lines below are for
    # tests: Django's async client, whose sync views run in threads that know their loop, and views called directly.
    if _is_wsgi.get():
        return False
    loop = getattr(getattr(SyncToAsync, "threadlocal", None), "main_event_loop", None)
    return _in_event_loop() or (loop is not None and loop.is_running())


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _note_server(*, environ: Any = None, **_: Any) -> None:
    _is_wsgi.set(environ is not None)


request_started.connect(_note_server, dispatch_uid="gigaclient: WSGI or ASGI")
request_finished.connect(_note_server, dispatch_uid="gigaclient: WSGI or ASGI")
