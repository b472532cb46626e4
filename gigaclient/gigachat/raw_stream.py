"""The raw event stream of ``giga.request(…, stream=True)``. Loaded when the first one is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gigaclient._primitives.headers import Headers
from gigaclient.errors import GigaClientError
from gigaclient.streaming.stream import ClosingContext, Stream
from gigaclient.types.base import APIResponse
from gigaclient.types.raw import ServerEvent

if TYPE_CHECKING:
    from gigaclient.streaming.sse import Event
    from gigaclient.transport import Response

__all__ = ["RawEventStream"]


class _NullAccumulator:
    """The accumulator of a raw stream; it keeps nothing, since the events have no known meaning."""

    text = ""

    def add(self, event: ServerEvent, sent: bytes) -> None:
        """Drop the event."""

    def completion(self) -> APIResponse:
        """Return an empty response."""
        return APIResponse()


class _RawEventParser:
    headers: Mapping[str, str] = {}

    def parse_event(self, event: Event) -> ServerEvent | None:
        """Return the event with its data unparsed."""
        return ServerEvent(event.data, event.event, event.id)

    def held_back(self) -> None:
        """Return None: events are passed on whole."""

    def check_complete(self, so_far: Any, *, marked: bool) -> None:
        """Accept any end: such a stream has no known end marker, and the transport checks the announced length."""


class RawEventStream(ClosingContext, Iterator[ServerEvent]):
    """The events of ``giga.request(…, stream=True)``, each a :class:`~gigaclient.types.ServerEvent`.

    A context manager. The connection is released at the end, after an error, when the ``with`` block is left, and by
    :meth:`close`. One thread may read at a time. :meth:`close` may be called from any thread and ends the iteration.

    Raises, while it is iterated:
        StreamInterruptedError: the connection broke.
        APITimeoutError: silence for longer than the read timeout, no event for longer than the event timeout, or the
            deadline passed.
        InvalidResponseError: an event is longer than 32 MiB, or the framing is malformed.

    Attributes:
        status_code: the HTTP status.
        headers: the response's headers, without cookies.
        request_id: the ``X-Request-Id`` of the call.
    """

    def __init__(self, response: Response, request_id: str) -> None:
        self.status_code = response.status
        self.headers: Mapping[str, str] = Headers(response.headers)
        self.request_id = request_id
        self._events: Stream[ServerEvent, APIResponse] = Stream(
            response, _RawEventParser(), _NullAccumulator(), request_id=request_id
        )

    @property
    def closed(self) -> bool:
        """True once the stream has ended, failed or been closed."""
        return self._events.closed

    def close(self) -> None:
        """Close the connection, and end a read that is blocked in another thread at once."""
        self._events.close()

    def __iter__(self) -> RawEventStream:
        return self

    def __next__(self) -> ServerEvent:
        try:
            return next(self._events)
        except GigaClientError as error:
            error.completion = None
            raise

    def __repr__(self) -> str:
        return f"<EventStream {'closed' if self.closed else 'open'}, request {self.request_id}>"
