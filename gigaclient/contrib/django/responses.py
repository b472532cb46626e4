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

from gigaclient.contrib.event_stream import EventStream, Readable
from gigaclient.errors import ConfigError

__all__ = ["EventStreamResponse", "Source", "astream_response", "stream_response"]

Source = Readable | Callable[[], Readable]
"""An open stream, or a function that opens one."""

_Render = Callable[[Any], str | Mapping[str, Any] | None]


class EventStreamResponse(StreamingHttpResponse):
    """The answer that :func:`stream_response` gives.

    Whoever iterates it decides how: a WSGI server gets a plain iterator and an ASGI server an asynchronous one, so that
    Django never reads the stream to its end first. ``is_async`` says which is expected, for middleware that wraps
    ``streaming_content``.

    Attributes:
        body: the :class:`~gigaclient.contrib.event_stream.EventStream`, with ``.text`` and ``.completion`` so far.
    """

    def __init__(self, body: EventStream, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.body = body
        content = _ForLoop(body) if _is_for_loop() else _ForThread(body)
        super().__init__(content, status=status, headers={**body.headers, **(headers or {})})
        self._own_iterator = self._iterator  # type: ignore[attr-defined]  # of the base class, where types do not know

    def __iter__(self) -> Iterator[bytes]:
        return super().__iter__() if self._is_wrapped() else iter(self.body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: Any = super().__aiter__() if self._is_wrapped() else aiter(self.body)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    def _is_wrapped(self) -> bool:
        return self._iterator is not self._own_iterator  # type: ignore[attr-defined]


class _Content:
    def __init__(self, body: EventStream) -> None:
        self._body = body

    def close(self) -> None:
        self._body.close()


class _ForThread(_Content):
    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)


class _ForLoop(_Content):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)


def stream_response(
    source: Source,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: _Render | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> EventStreamResponse:
    """A ``text/event-stream`` response of a chat stream, from an ordinary view.

    Waits for the first chunk, so that a refusal is still an exception, and :func:`errors_as_json` can make a status of
    it. What the browser gets is described in :mod:`gigaclient.contrib.event_stream`. A browser that leaves ends the
    upstream call within about ``ping_s`` seconds.

    Args:
        source: an open stream, such as ``get_client().stream(messages)``, or a function that opens one.
        status: the status of the response.
        headers: further headers, over those of an event stream.
        ping_s: seconds of silence before each ping.
        render: makes the data of an event of a chunk; see :class:`~gigaclient.contrib.event_stream.EventStream`.
        on_end: called once with the answer so far, when nothing more will come, in a thread where the ORM may be used.
        reader_timeout_s: seconds that a browser may take nothing before the upstream call is given up.

    Raises:
        ConfigError: it was called in an event loop, which it would stop: ``await astream_response(…)`` there.
        GigaClientError: there was no first chunk.
    """
    if _in_event_loop():
        if not callable(source):
            source.close()
        raise ConfigError(
            "stream_response waits for the first chunk, and would stop the event loop meanwhile: in an async view "
            "return await astream_response(lambda: get_client().stream(messages))"
        )
    options = {"ping_s": ping_s, "render": render, "on_end": on_end, "reader_timeout_s": reader_timeout_s}
    body = _body(_opened(source), options)
    return EventStreamResponse(body, status=status, headers=headers)


async def astream_response(
    source: Source,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: _Render | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> EventStreamResponse:
    """:func:`stream_response` for async views; under WSGI as well, as far as async views run there.

    ``source`` should be a function that opens the stream, such as ``lambda: get_client().stream(messages)``: it is
    called, and the first chunk awaited, in a thread of its own, so that the loop goes on. When the view is cancelled
    because the browser left, the stream is closed; a call that has not been answered at all yet ends by its timeouts.
    """
    options = {"ping_s": ping_s, "render": render, "on_end": on_end, "reader_timeout_s": reader_timeout_s}
    body = await _Opening(source, options).body()
    return EventStreamResponse(body, status=status, headers=headers)


def _body(stream: Readable, options: Mapping[str, Any]) -> EventStream:
    return EventStream(stream, **options, within=_own_connections, to_thread=_in_thread_of_request)


def _opened(source: Source) -> Readable:
    return source() if callable(source) else source


@contextlib.contextmanager
def _own_connections() -> Iterator[None]:
    # Functions that a stream runs for the model may use the ORM, in a thread that Django knows nothing of.
    try:
        yield
    finally:
        connections.close_all()


def _in_thread_of_request(function: Callable[[], None]) -> Awaitable[None]:
    # Whose database connections Django closes when the request has ended.
    return sync_to_async(function, thread_sensitive=True)()


class _Opening:
    """A body made in a thread of its own, because the loop's pool has few and a model thinks for long.

    When nobody waits for it any more, the stream is closed as soon as there is one.
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
        with _own_connections():
            try:
                self._stream = _opened(self._source)
                # Looked at after it was set: whoever gives up sets the one and then looks at the other.
                if self._is_wanted:
                    self._body = _body(self._stream, self._options)
                else:
                    self._stream.close()
            except BaseException as error:
                self._error = error
            is_gone = not self._is_wanted
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:  # the loop has ended
                is_gone = True
            if is_gone and self._body is not None:
                self._body.close()


# -- who will iterate the response -------------------------------------------------------------------------------------

# Set by the handlers' signal. Under ASGI newer Djangos send it in a task of its own, whose variables nobody else sees.
_is_wsgi: contextvars.ContextVar[bool] = contextvars.ContextVar("gigaclient_is_wsgi", default=False)


def _is_for_loop() -> bool:
    # The handler for ASGI enters this before anything else, and views inherit it, in whatever thread they run.
    context = getattr(SyncToAsync, "thread_sensitive_context", None)
    if context is not None and context.get(None) is not None:
        return True
    # Under WSGI async views have a loop of their own, which is gone when the response is sent. What remains are tests:
    # Django's asynchronous client, whose sync views run in threads that know their loop, and views called by hand.
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
