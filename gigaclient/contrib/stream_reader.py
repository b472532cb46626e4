"""Read a stream in a separate thread, which waits for a permit before it queues an event."""

from __future__ import annotations

import contextlib
import math
import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from gigaclient.contrib.event_format import data_event
from gigaclient.errors import StreamInterruptedError

__all__ = ["Item", "Readable", "Render", "StreamEnd", "Within", "read_in_thread"]


class StreamEnd(NamedTuple):
    """The end of a stream, with the error that ended it."""

    error: BaseException | None


Item = bytes | StreamEnd
Render = Callable[[Any], str | Mapping[str, Any] | None]
Within = Callable[[], AbstractContextManager[Any]]


class Readable(Protocol):
    """The methods that a stream needs here. All streams of gigaclient have them."""

    @property
    def text(self) -> str:
        """The text received so far."""

    @property
    def completion(self) -> Any:
        """The answer received so far."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def result(self) -> Any:
        """Return the complete answer."""

    def close(self) -> None:
        """End the call."""


def read_in_thread(
    stream: Readable,
    render: Render,
    permits: queue.SimpleQueue[None],
    deliver: Callable[[Item], None],
    within: Within | None,
    reader_timeout_s: float,
) -> None:
    """Read ``stream`` to its end in a separate thread, and deliver the event of each chunk when a permit is free."""
    failure: BaseException | None = None
    try:
        with within() if within is not None else contextlib.nullcontext():
            _deliver_chunks(stream, render, permits, deliver, reader_timeout_s)
    except BaseException as error:
        stream.close()
        failure = error
    deliver(StreamEnd(failure))
    del failure  # its traceback holds this frame


def _deliver_chunks(
    stream: Readable,
    render: Render,
    permits: queue.SimpleQueue[None],
    deliver: Callable[[Item], None],
    reader_timeout_s: float,
) -> None:
    while True:
        try:
            chunk = next(stream)
        except StopIteration:
            break
        event = data_event(render(chunk))
        if not event:
            continue
        try:
            permits.get(timeout=None if reader_timeout_s == math.inf else reader_timeout_s)
        except queue.Empty:
            raise StreamInterruptedError(f"the browser read nothing for {reader_timeout_s:g} s") from None
        deliver(event)
    stream.result()  # raises if another thread closed the stream before the answer was complete
