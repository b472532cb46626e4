"""A response whose body is not read yet."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from gigaclient._primitives.deadline import Cancelled, Deadline
from gigaclient._primitives.foreign_errors import foreign_error, is_foreign
from gigaclient._primitives.headers import Headers
from gigaclient._primitives.secret import Secret, echoes_of, mask
from gigaclient.errors import GigaClientError, InvalidResponseError
from gigaclient.transport.errors import translate
from gigaclient.transport.framing import ChunkedDecoder, Framing, SizedDecoder, UnframedDecoder
from gigaclient.transport.socket import READ_BYTES, ConnectionState

__all__ = ["PROBE_SECONDS", "HeaderDict", "Response"]

ErrorT = TypeVar("ErrorT", bound=GigaClientError)

PROBE_SECONDS = 5.0
"""Seconds for data that only improves an error message: the beginning of a body, a server's certificate."""
# Decompressing may multiply the size by a thousand, and urllib3 before 2.6 decompresses all that was read in one step.
_COMPRESSED_READ_BYTES = 2 * 1024
_DRAIN_SECONDS = 0.1


class HeaderDict(CaseInsensitiveDict[str]):
    """A ``CaseInsensitiveDict`` that is built from pairs in one step."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        # The form in which requests keeps them: the name and the value, by the name in lower case.
        self._store = {}  # type: ignore[assignment]
        for pair in pairs:
            self._store[pair[0].lower()] = pair


class Response:
    """A response whose headers have arrived. Read it once, by :meth:`blocks` or :meth:`read`, or close it.

    Attributes:
        status: the HTTP status.
        headers: the headers without cookies, names in lower case; repeated ones are joined with a comma.
        deadline: the deadline of the call.
        original: the response of ``requests``.
    """

    def __init__(
        self,
        url: str,
        response: requests.Response,
        state: ConnectionState,
        forget: Callable[[Deadline], None],
    ) -> None:
        self._forget = forget
        self._state = state
        self._url = url
        self.deadline = state.deadline
        self.original = response
        # Held by the thread that is inside a read, and never released by the thread that ends the response. Only the
        # holder may touch the connection. No thread ever waits for it, so a finaliser, a signal or a fork cannot
        # deadlock here.
        self._read_lock = threading.Lock()
        self._done = False
        self.on_done: Callable[[], None] | None = None
        """Called once, when the response no longer needs its connection."""
        self.observer: Any = None
        """The observer that is notified of the end of the call; see :mod:`gigaclient.hooks`."""
        self.body = b""
        """The whole body, once it was read in one piece."""
        self.request_id = ""
        """The ``X-Request-ID``: the server's, or else the one that was sent."""
        self.status: int = response.status_code
        headers: dict[str, str] | None = getattr(response, "lowered", None)
        if headers is None:
            headers = {name.lower(): value for name, value in response.headers.items()}
        headers.pop("set-cookie", None)
        self.headers: dict[str, str] = headers

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or ""

    @property
    def media_type(self) -> str:
        """The ``Content-Type`` without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the decompressed body, each block as soon as it arrives.

        After the last block the connection is back in the pool. Closing or dropping the generator early closes the
        connection.

        Raises:
            APIConnectionError: the connection broke, or the body ended before its announced length.
            APITimeoutError: a timeout of the call expired.
            InvalidResponseError: the framing or the compression is malformed.
        """
        failure: BaseException | None = None
        try:
            if not self._done:
                yield from self._payloads(*self._open_body())
        except Exception as error:
            failure = error
        finally:
            if not self._done:
                self._end(keep_connection=False, reading_is_over=True)
        if failure is None:
            return
        try:
            if not isinstance(failure, GigaClientError):
                failure = foreign_error(failure) or translate(failure, self._state, self._host)
            raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _open_body(self) -> tuple[Framing, Callable[[], bytes], Callable[[], bytes]]:
        """Return the framing of the body, a function that reads its first block, and one for all later blocks."""
        response, headers = self.original, self.headers
        raw: Any = response.raw
        read: Callable[[], bytes]
        if getattr(response, "_content_consumed", False):  # a hook of the user's session has read the body
            read = functools.partial(io.BytesIO(response.content).read, READ_BYTES)
            return UnframedDecoder(), read, read
        compressed = "content-encoding" in headers
        source = None if compressed else getattr(getattr(raw, "_original_response", None), "fp", None)
        if source is not None:
            # Read from the connection directly: http.client and urllib3 need several more steps for each block.
            head = raw._original_response
            framing: Framing | None = None
            if head.length is not None:
                framing = SizedDecoder(head.length)
            elif head.chunked:
                framing = ChunkedDecoder()
            if framing is not None:
                read = functools.partial(source.read1, READ_BYTES)
                # The first read empties the buffer that the headers were read with; later reads bypass it.
                unbuffered = getattr(getattr(source, "raw", None), "receive", None)
                return framing, read, functools.partial(unbuffered, READ_BYTES) if unbuffered else read
        if isinstance(raw, HTTPResponse):
            read = functools.partial(raw.read1, _COMPRESSED_READ_BYTES if compressed else READ_BYTES, True)
        else:  # from a user's adapter, or from a recorder such as vcrpy
            read = functools.partial(next, response.iter_content(READ_BYTES), b"")
        return UnframedDecoder(), read, read

    def _payloads(
        self, framing: Framing, read: Callable[[], bytes], read_later: Callable[[], bytes]
    ) -> Iterator[bytes]:
        read_lock, deadline = self._read_lock, self.deadline
        while not framing.ended:
            if not read_lock.acquire(False):
                raise Cancelled("closed")
            block = payload = b""  # a frame that waits holds no part of a body, which may be a token
            try:
                block = read()
            finally:
                read_lock.release()
                if deadline.cancelled:
                    # The cancelling thread may have found the lock held, and then left closing to this thread.
                    self._end(keep_connection=False)
            read = read_later
            payload = framing.feed(block) if block else framing.finish()
            if framing.ended:
                # Before the last block is yielded, because its receiver may send the next request at once. Bytes after
                # the body belong to no request, so such a connection cannot be used again.
                self._end(keep_connection=not framing.excess)
            if payload:
                yield payload
        if not self._done:  # an empty body
            self._end(keep_connection=True)

    def read(self, limit: int) -> bytes:
        """Return the whole body, which must arrive within one read timeout from now.

        Raises:
            InvalidResponseError: it is longer than ``limit`` bytes; and what :meth:`blocks` raises.
        """
        self.deadline.begin("read", self.deadline.timeouts.read)
        body = self._read(limit + 1)
        if len(body) > limit:
            raise InvalidResponseError(
                f"the answer of {self._host} is larger than {limit} bytes", status_code=self.status
            )
        return body

    def mask_echo(self, error: ErrorT) -> ErrorT:
        """Mask what the server repeated of the secrets that were sent to it; return ``error``."""
        sent = getattr(getattr(self.original, "request", None), "headers", None) or {}
        echoes = echoes_of(value for value in sent.values() if isinstance(value, Secret))
        for name, value in vars(error).items():
            masked = mask(value, echoes)
            error.__dict__[name] = Headers(masked) if isinstance(value, Headers) else masked
        error.args = tuple(mask(list(error.args), echoes))
        return error

    def read_some(self, limit: int) -> bytes:
        """Return up to ``limit`` bytes from the beginning of the body, for an error message; never raise."""
        self.deadline.begin("read", min(self.deadline.timeouts.read, PROBE_SECONDS))
        try:
            return self._read(limit)[:limit]
        except GigaClientError:
            return b""

    def _read(self, limit: int) -> bytes:
        body = io.BytesIO()  # its repr shows nothing, while this frame waits
        with contextlib.closing(self.blocks()) as blocks:
            for block in blocks:
                body.write(block)
                del block
                if body.tell() >= limit:
                    break
        return body.getvalue()

    def drain(self, blocks: Iterator[bytes]) -> None:
        """Read the few bytes after an end marker, so that the connection can be used again.

        Close it instead when the server keeps the body open.
        """
        if self._done:
            return
        self.deadline.begin("read", _DRAIN_SECONDS)
        try:
            for _ in zip(range(8), blocks):  # noqa: B905 - the shorter one ends the loop
                continue
        except GigaClientError:
            return
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection. Safe from any thread; a read that is blocked in another thread ends at once."""
        if not self._done:
            try:
                self.deadline.cancel()
            finally:
                self._end(keep_connection=False)

    def _end(self, *, keep_connection: bool, reading_is_over: bool = False) -> None:
        """Release the connection, unless another thread is reading; that thread releases it after its read.

        ``reading_is_over`` is set by the reader itself: an interrupt may have left the lock acquired without an owner.
        """
        if not self._read_lock.acquire(blocking=False) and not reading_is_over:
            return
        over = False
        try:
            self._done = True
            raw: Any = self.original.raw
            if not keep_connection:
                _close(raw)
            else:
                raw._original_response.close()
                raw.release_conn()
            over = True
        except (OSError, AttributeError) as error:
            if is_foreign(error):
                raise
            over = True  # the connection was closed by the peer, or there never was one
        finally:
            if not over:
                # After an interrupt, what is not back in the pool has no other owner, so that dropping it closes it.
                self.original.raw = None
            self._forget(self.deadline)
            # The pop is atomic, so on_done is called once even if an interrupt makes this code run twice.
            on_done = self.__dict__.pop("on_done", None)
            if on_done is not None:
                on_done()


def _close(raw: Any) -> None:
    """Close a response and its connection."""
    try:
        raw.close()
    except ValueError:
        # In a reference cycle, the garbage collector may have closed the reader first. Then http.client fails to flush
        # it, and urllib3 does not come to close the connection.
        raw.connection.close()
