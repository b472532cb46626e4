"""The stream objects that both providers return for streamed responses."""

from __future__ import annotations

import abc
import contextlib
import enum
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    StreamInterruptedError,
)
from gigaclient.streaming import sse
from gigaclient.streaming.accumulator import ChatAccumulator
from gigaclient.types import APIResponse, ChatCompletion, ChatCompletionChunk
from gigaclient.types.completion import add_repairs

if TYPE_CHECKING:
    from gigaclient._primitives.deadline import Deadline

__all__ = [
    "END",
    "NULL_OBSERVER",
    "Accumulator",
    "ChatStream",
    "ClosingContext",
    "End",
    "EventParser",
    "Stream",
    "StreamResponse",
]

ChunkT = TypeVar("ChunkT")
ResponseT = TypeVar("ResponseT", bound=APIResponse)
_Chunk_co = TypeVar("_Chunk_co", covariant=True)
_Chunk_contra = TypeVar("_Chunk_contra", contravariant=True)
_Response_co = TypeVar("_Response_co", bound=APIResponse, covariant=True)
_Accumulator_contra = TypeVar("_Accumulator_contra", contravariant=True)
_StreamT = TypeVar("_StreamT", bound="Stream[Any, Any]")
_ContextT = TypeVar("_ContextT", bound="ClosingContext")


class End(enum.Enum):
    """The type of :data:`END`."""

    END = "end"

    def __repr__(self) -> str:
        return "END"


END: Final = End.END
"""An :class:`EventParser` returns this for the event that ends the stream."""


class Accumulator(Protocol[_Chunk_contra, _Response_co]):
    """Accumulates chunks into a completion. Its results may be read from any thread, at any time."""

    @property
    def text(self) -> str:
        """The text so far."""

    def add(self, chunk: _Chunk_contra, data: bytes) -> None:
        """Add the next chunk, and the data of its event."""

    def completion(self) -> _Response_co:
        """Return the completion so far, in the form of a response that is not streamed."""


class EventParser(Protocol[_Chunk_co, _Accumulator_contra]):
    """Parses the events of one provider.

    Attributes:
        headers: the response headers, which each chunk gets.
    """

    headers: Mapping[str, str]

    def parse_event(self, event: sse.Event) -> _Chunk_co | End | None:
        """Return the chunk of ``event``; None to ignore it; :data:`END` for the end marker.

        Raises:
            GigaClientError: the event is an error, or violates the API.
        """

    def held_back(self) -> _Chunk_co | None:
        """Return a chunk of the text that waited for its other half; None if there is none. Called at the end."""

    def check_complete(self, so_far: _Accumulator_contra, *, marked: bool) -> None:
        """Raise unless the response is complete; ``marked`` says if the stream ended with an end marker."""


class StreamResponse(Protocol):
    """The part of the transport's response that a stream needs."""

    @property
    def deadline(self) -> Deadline:
        """The deadline of the call."""

    def blocks(self) -> Iterator[bytes]:
        """Yield the body, each block as soon as it arrives."""

    def drain(self, blocks: Iterator[bytes]) -> None:
        """Read the few bytes after the end marker."""

    def close(self) -> None:
        """Close the connection."""


class _NullObserver:
    """The observer of the calls of clients without hooks; the other one is ``_core.observer.CallObserver``."""

    def ignore(self, *args: Any, **named: Any) -> None:
        """Do nothing."""

    begin = sending = response = failure = end = end_with_body = ignore

    def pass_through(self, items: Any) -> Any:
        """Return ``items``."""
        return items

    count_chunks = observe_blocks = pass_through


NULL_OBSERVER = _NullObserver()


class ClosingContext(abc.ABC):
    """A context manager that calls :meth:`close` when the ``with`` block is left."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the resources of the object."""

    def __enter__(self: _ContextT) -> _ContextT:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Stream(ClosingContext, Iterator[ChunkT], Generic[ChunkT, ResponseT]):
    """A streamed response: iterate over its chunks, or call :meth:`result` for the whole completion.

    The request was sent and its status checked before this object is created. Nothing is retried after that, and no
    chunk is yielded twice. A body that ends before the response is complete is an error. What has arrived remains
    available as :attr:`text` and :attr:`completion` after an error, an interrupt or :meth:`close`.

    Only one thread at a time may read it; :meth:`close` is safe from any thread. The end, an error, leaving the
    ``with`` block, ``close()`` and dropping the stream release the connection, in any order and more than once. After
    ``close()`` iteration just ends, and :meth:`result` raises, because the response is incomplete.

    Raises, during iteration:
        StreamInterruptedError: the connection broke, or the stream ended without an end marker or a finish reason.
        APITimeoutError: silence for longer than the read timeout, no event for longer than the event timeout, or the
            deadline passed.
        APIStatusError: the server sent an error object in the stream; its status decides the class.
        InvalidResponseError: an event is not JSON, or not a chunk.

    Each of them has what arrived so far as ``.text`` and ``.completion``.
    """

    def __init__(
        self,
        response: StreamResponse,
        parser: EventParser[ChunkT, Any],
        accumulator: Accumulator[ChunkT, ResponseT],
        *,
        request_id: str | None = None,
    ) -> None:
        self._response = response
        self._accumulator = accumulator
        self._parser = parser
        self._state: Literal["open", "ended", "broken", "closed"] = "open"
        # `_read` is not a method: a generator that refers to this object would keep a dropped stream and its connection
        # until the garbage collector runs.
        parser.headers = self._headers = getattr(response, "headers", {})
        self._chunks = _read(response, parser, accumulator)
        self._request_id = request_id
        self._observer: Any = getattr(response, "observer", NULL_OBSERVER)
        self._chunks = self._observer.count_chunks(self._chunks)

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-ID`` of the call."""
        return self._request_id

    @property
    def text(self) -> str:
        """The text so far."""
        return self._accumulator.text

    @property
    def completion(self) -> ResponseT:
        """The completion so far; it is whole (finish reason, function call, usage) after the stream has ended."""
        completion = self._accumulator.completion()
        completion._store(request_id=self._request_id, headers=self._headers)
        add_repairs(completion, getattr(self._parser, "repaired", ()))
        return completion

    @property
    def closed(self) -> bool:
        """True when the stream has ended, failed or was closed."""
        return self._state != "open"

    def result(self) -> ResponseT:
        """Read the rest and return the whole completion.

        Raises:
            StreamInterruptedError: the stream was closed or broke before it was complete; and what iteration raises.
        """
        for _ in self:
            continue
        if self._state != "ended":
            raise self._attach_partial(StreamInterruptedError(f"no complete answer: the stream is {self._state}"))
        return self.completion

    def close(self) -> None:
        """Close the connection; a read that is blocked in another thread ends at once."""
        was_open = self._state == "open"
        if was_open:
            self._state = "closed"
        self._response.close()
        if was_open:
            self._observer.end(answer=self._accumulator.completion, closed=True)

    def __iter__(self: _StreamT) -> _StreamT:
        return self

    def __next__(self) -> ChunkT:
        if self._state == "closed":
            raise StopIteration
        try:
            return next(self._chunks)
        except StopIteration:
            if self._state == "open":
                self._state = "ended"
                self._observer.end(answer=self._accumulator.completion)
            raise
        except GigaClientError as error:
            if self.closed:
                raise StopIteration from None
            self._state = "broken"
            failure = self._as_interruption(error)
        except BaseException as error:  # an interrupt: keep what has arrived, and close the connection
            if isinstance(error, ValueError) and getattr(self._chunks, "gi_running", False):
                # The generator is "already executing" in another thread, which continues undisturbed.
                raise ConfigError("a stream is read by one thread at a time") from None
            was_open = self._state == "open"
            if was_open:
                self._state = "broken"
            self._response.close()
            if was_open:
                self._observer.end(error, answer=self._accumulator.completion)
            raise
        self._observer.end(failure, answer=lambda: failure.completion)
        raise failure

    def __del__(self) -> None:
        # A stream that is dropped before its end must release its connection and its permit.
        response = getattr(self, "_response", None)
        if response is not None and self._state == "open":
            response.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}, {len(self.text)} characters so far, request {self._request_id}>"

    def _as_interruption(self, error: GigaClientError) -> GigaClientError:
        self._response.close()
        if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
            error = StreamInterruptedError(f"the stream broke before the answer was complete: {error.message}")
        return self._attach_partial(error)

    def _attach_partial(self, error: GigaClientError) -> GigaClientError:
        response: Any = self._response
        repeats_secrets = hasattr(response, "mask_echo")  # a recorded response sent nothing
        if repeats_secrets:
            self._headers = response.masked(self._headers)
        error.text = self.text
        error.completion = self.completion
        if error.request_id is None:
            error.request_id = self._request_id
        error.__traceback__ = None  # the frames below hold what the server sent
        return response.mask_echo(error) if repeats_secrets else error


class ChatStream(Stream[ChatCompletionChunk, ChatCompletion]):
    """A streamed chat response; see :class:`Stream`.

    Its chunks are of type :class:`~gigaclient.types.ChatCompletionChunk`, and its completion is a
    :class:`~gigaclient.types.ChatCompletion`.
    """

    def __init__(
        self,
        response: StreamResponse,
        parser: EventParser[ChatCompletionChunk, ChatAccumulator],
        accumulator: ChatAccumulator | None = None,
        *,
        request_id: str | None = None,
    ) -> None:
        super().__init__(response, parser, accumulator or ChatAccumulator(), request_id=request_id)


def _read(
    response: StreamResponse, parser: EventParser[ChunkT, Any], accumulator: Accumulator[ChunkT, Any]
) -> Iterator[ChunkT]:
    deadline = response.deadline
    decoder = sse.Decoder()
    blocks = response.blocks()
    feed, parse_event, add = decoder.feed, parser.parse_event, accumulator.add  # avoid the lookups for each event
    deadline.begin_event()
    for block in blocks:
        has_chunks = False
        for event in feed(block):
            chunk = parse_event(event)
            if chunk is None:
                continue
            if chunk is END:
                response.drain(blocks)
                yield from _complete(parser, accumulator, marked=True)
                return
            add(chunk, event.data)
            has_chunks = True
            yield chunk
        if decoder.overflow is not None:
            raise InvalidResponseError(decoder.overflow)
        if has_chunks:
            # Restart the timeout only now that the reader is back: its own time is not the server's silence.
            deadline.begin_event()
    yield from _read_tail(decoder.finish(), parser, accumulator)


def _read_tail(
    tail: sse.Event | None, parser: EventParser[ChunkT, Any], accumulator: Accumulator[ChunkT, Any]
) -> Iterator[ChunkT]:
    """Yield the chunk of an event that lacks the empty line after it, and check that the stream is complete."""
    last: ChunkT | End | None = None
    if tail is not None:
        # Some servers omit the empty line after the last event. If it does not parse, the stream was cut off.
        with contextlib.suppress(InvalidResponseError):
            last = parser.parse_event(tail)
        if last is not None and last is not END:
            accumulator.add(last, tail.data)
            yield last
    yield from _complete(parser, accumulator, marked=last is END)


def _complete(
    parser: EventParser[ChunkT, Any], accumulator: Accumulator[ChunkT, Any], *, marked: bool
) -> Iterator[ChunkT]:
    """Yield the chunk that was held back, and check that the stream is complete."""
    rest = parser.held_back()
    if rest is not None:
        accumulator.add(rest, b"")
        yield rest
    parser.check_complete(accumulator, marked=marked)
