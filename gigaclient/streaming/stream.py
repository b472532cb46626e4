"""An answer as it arrives: the stream object that both providers return."""

from __future__ import annotations

import enum
from collections.abc import Iterator
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
from gigaclient.types import Answer, ChatCompletion, ChatCompletionChunk

if TYPE_CHECKING:
    from gigaclient._primitives.deadline import Deadline

__all__ = ["END", "Accumulator", "ChatStream", "End", "EventParser", "Stream", "StreamObserver", "StreamResponse"]

T = TypeVar("T")
ChunkT = TypeVar("ChunkT")
AnswerT = TypeVar("AnswerT", bound=Answer)
_Chunk_co = TypeVar("_Chunk_co", covariant=True)
_Chunk_contra = TypeVar("_Chunk_contra", contravariant=True)
_Answer_co = TypeVar("_Answer_co", bound=Answer, covariant=True)
_Assembling_contra = TypeVar("_Assembling_contra", contravariant=True)
_StreamT = TypeVar("_StreamT", bound="Stream[Any, Any]")


class End(enum.Enum):
    """The type of :data:`END`."""

    END = "end"

    def __repr__(self) -> str:
        return "END"


END: Final = End.END
"""What an :class:`EventParser` returns for the event that ends the stream."""


class Accumulator(Protocol[_Chunk_contra, _Answer_co]):
    """Puts the answer together: chunks in, the answer so far out. Asked from any thread, at any time."""

    @property
    def text(self) -> str:
        """The text so far."""

    def add(self, chunk: _Chunk_contra, sent: bytes) -> None:
        """Take the next chunk in, and the data of the event that it came as."""

    def completion(self) -> _Answer_co:
        """The answer so far, as if it had come in one piece."""


class EventParser(Protocol[_Chunk_co, _Assembling_contra]):
    """What a provider knows: the meaning of an event."""

    def parse_event(self, event: sse.Event) -> _Chunk_co | End | None:
        """The chunk that ``event`` is; None to pass over it; :data:`END` for the end marker.

        Raises:
            GigaClientError: the event is an error, or not what the API promises.
        """

    def check_complete(self, so_far: _Assembling_contra, *, marked: bool) -> None:
        """The bytes ended, with or without the end marker: raise unless the answer is whole."""


class StreamObserver(Protocol):
    """What a stream reports to: its chunks as they are read, and its end."""

    def counted(self, chunks: Iterator[T]) -> Iterator[T]: ...

    def end(self, error: BaseException | None = None, *, answer: Any = None, closed: bool = False) -> None: ...


class StreamResponse(Protocol):
    """What the stream needs of the transport's reply."""

    @property
    def deadline(self) -> Deadline: ...

    def blocks(self) -> Iterator[bytes]: ...

    def drain(self, blocks: Iterator[bytes]) -> None: ...

    def close(self) -> None: ...


class Stream(Iterator[ChunkT], Generic[ChunkT, AnswerT]):
    """An answer as it arrives: iterate it for its chunks, or ask for the whole.

    The request was sent and its status checked before this object existed. Nothing is retried after that, nothing is
    yielded twice, and running out of bytes before the answer is whole is an error, not an end. What has arrived stays
    readable as :attr:`text` and :attr:`completion` whatever happens: after an error, an interrupt, :meth:`close`.

    It is read by one thread at a time; :meth:`close` may be called from any. The end, an error, leaving the ``with``
    block and ``close()`` give the connection back, in any order and more than once; so does dropping it. After
    ``close()`` iteration just ends, and :meth:`result` raises, since the answer is not whole.

    Raises, while it is iterated:
        StreamInterruptedError: the connection broke, or the stream ended without an end marker or a finish reason.
        APITimeoutError: silence for longer than the read timeout, no event for longer than the event timeout, or the
            deadline passed.
        APIStatusError: the server put an error object into the stream; of the class of its status.
        InvalidResponseError: an event is not JSON, not UTF-8, or not a chunk.

    Each of them has the text so far as ``.text`` and ``.completion``.
    """

    def __init__(
        self,
        response: StreamResponse,
        parser: EventParser[ChunkT, Any],
        accumulator: Accumulator[ChunkT, AnswerT],
        *,
        request_id: str | None = None,
    ) -> None:
        self._response = response
        self._accumulator = accumulator
        self._state: Literal["open", "ended", "broken", "closed"] = "open"
        # Not a method: a generator that held this object would keep a dropped stream, and its connection, until the
        # garbage collector came round.
        self._chunks = _read(response, parser, accumulator)
        self._request_id = request_id
        self._observer: StreamObserver | None = getattr(response, "observer", None)
        if self._observer is not None:
            self._chunks = self._observer.counted(self._chunks)

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call."""
        return self._request_id

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._accumulator.text

    @property
    def completion(self) -> AnswerT:
        """The answer so far; whole (finish reason, function call, usage) once the stream has ended."""
        completion = self._accumulator.completion()
        completion.__dict__["_request_id"] = self._request_id
        return completion

    @property
    def closed(self) -> bool:
        """Whether nothing more can come: it ended, broke or was closed."""
        return self._state != "open"

    def result(self) -> AnswerT:
        """Read the rest and return the whole answer.

        Raises:
            StreamInterruptedError: it was closed, or broke, before the answer was whole; and what iterating raises.
        """
        for _ in self:
            continue
        if self._state != "ended":
            raise self._with_what_came(StreamInterruptedError(f"no complete answer: the stream is {self._state}"))
        return self.completion

    def close(self) -> None:
        """Give the connection up, and end a read that is blocked in another thread at once."""
        was_open = self._state == "open"
        if was_open:
            self._state = "closed"
        self._response.close()
        if was_open and self._observer is not None:
            self._observer.end(answer=self.completion, closed=True)

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
                if self._observer is not None:
                    self._observer.end(answer=self.completion)
            raise
        except GigaClientError as error:
            if self.closed:
                raise StopIteration from None
            self._state = "broken"
            failure = self._as_interruption(error)
        except BaseException as error:  # an interrupt: what came stays, the connection does not
            if isinstance(error, ValueError) and getattr(self._chunks, "gi_running", False):
                # Of the generator: "already executing". The other thread goes on undisturbed.
                raise ConfigError("a stream is read by one thread at a time") from None
            was_open = self._state == "open"
            if was_open:
                self._state = "broken"
            self._response.close()
            if was_open and self._observer is not None:
                self._observer.end(error, answer=self.completion)
            raise
        if self._observer is not None:
            self._observer.end(failure, answer=failure.completion)
        raise failure

    def __enter__(self: _StreamT) -> _StreamT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A stream that was dropped half-read gives back its connection and its place in the queue.
        response = getattr(self, "_response", None)
        if response is not None and self._state == "open":
            response.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}, {len(self.text)} characters so far, request {self._request_id}>"

    def _as_interruption(self, error: GigaClientError) -> GigaClientError:
        self._response.close()
        if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
            error = StreamInterruptedError(f"the stream broke before the answer was complete: {error.message}")
        return self._with_what_came(error)

    def _with_what_came(self, error: GigaClientError) -> GigaClientError:
        error.text = self.text
        error.completion = self.completion
        if error.request_id is None:
            error.request_id = self._request_id
        return error


class ChatStream(Stream[ChatCompletionChunk, ChatCompletion]):
    """A chat answer as it arrives: its chunks, :class:`~gigaclient.types.ChatCompletionChunk`, add up to a
    :class:`~gigaclient.types.ChatCompletion`. What it promises is at :class:`Stream`.
    """

    def __init__(
        self,
        response: StreamResponse,
        parser: EventParser[ChatCompletionChunk, ChatAccumulator],
        *,
        request_id: str | None = None,
    ) -> None:
        super().__init__(response, parser, ChatAccumulator(), request_id=request_id)


def _read(
    response: StreamResponse, parser: EventParser[ChunkT, Any], accumulator: Accumulator[ChunkT, Any]
) -> Iterator[ChunkT]:
    deadline = response.deadline
    decoder = sse.Decoder()
    blocks = response.blocks()
    feed, parse_event, add = decoder.feed, parser.parse_event, accumulator.add  # looked up once, not for each event
    deadline.begin_event()
    for block in blocks:
        brought = False
        for event in feed(block):
            chunk = parse_event(event)
            if chunk is None:
                continue
            if chunk is END:
                response.drain(blocks)
                parser.check_complete(accumulator, marked=True)
                return
            add(chunk, event.data)
            brought = True
            yield chunk
        if decoder.overflow is not None:
            raise InvalidResponseError(decoder.overflow)
        if brought:
            # Only now, when the reader is back: the time it took is not the server's silence.
            deadline.begin_event()
    tail = decoder.finish()
    if tail is not None:
        # Some servers leave out the empty line after the last event. Half an event is a cut, not malformed JSON.
        try:
            last = parser.parse_event(tail)
        except InvalidResponseError:
            last = None
        if last is END:
            parser.check_complete(accumulator, marked=True)
            return
        if last is not None:
            accumulator.add(last, tail.data)
            yield last
    parser.check_complete(accumulator, marked=False)
