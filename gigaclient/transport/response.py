"""A response whose body is not read yet."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3 import HTTPResponse

from gigaclient._primitives.deadline import Cancelled, Deadline
from gigaclient._primitives.secret import Secret
from gigaclient.errors import APIConnectionError, GigaClientError, InvalidResponseError
from gigaclient.transport.chunked import ChunkedDecoder
from gigaclient.transport.errors import translate
from gigaclient.transport.headers import HeaderDict
from gigaclient.transport.request import HTTPRequest
from gigaclient.transport.socket import READ_BYTES, ConnectionState

__all__ = ["PROBE_SECONDS", "Response"]

PROBE_SECONDS = 5.0
"""Seconds for what only makes an error message better: the beginning of a body, a server's certificate."""
# What is read may grow a thousandfold when it is decompressed, and before 2.6 urllib3 does that in one step.
_COMPRESSED_READ_BYTES = 2 * 1024
_DRAIN_SECONDS = 0.1


class Response:
    """An answer whose head has arrived. Read it once, by :meth:`blocks` or :meth:`read`, or close it.

    Attributes:
        status: the HTTP status.
        headers: the headers, names in lower case, cookies left out; repeated ones are joined with a comma.
        cookies: the cookies that the answer sets, by name.
    """

    def __init__(
        self,
        http_request: HTTPRequest,
        response: requests.Response,
        state: ConnectionState,
        forget: Callable[[Deadline], None],
    ) -> None:
        self._forget = forget
        self._response = response
        self._state = state
        self._url = http_request.url
        # Held by the thread that is inside a read, and kept for good by whoever ends the reply: only the holder may
        # touch the connection. Nobody ever waits for it, so a finaliser, a signal or a fork cannot get stuck here.
        self._turn = threading.Lock()
        self._done = False
        self.on_done: Callable[[], None] | None = None
        """Called once, when the reply needs its connection no longer."""
        self.observer: Any = None
        """Whoever is told of the end of the call; see :mod:`gigaclient.hooks`."""
        self.body: bytes | None = None
        """The whole body, for those who read it in one piece."""
        self.status: int = response.status_code
        headers: Any = response.headers
        if not isinstance(headers, HeaderDict):  # an adapter of the user's own may give any mapping
            headers = HeaderDict(headers.items())
        self.headers: dict[str, str] = dict(headers.lower_items())
        self.headers.pop("set-cookie", None)

    @property
    def cookies(self) -> dict[str, Secret]:
        return {cookie.name: Secret(cookie.value or "") for cookie in self._response.cookies}

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or ""

    @property
    def deadline(self) -> Deadline:
        return self._state.deadline

    @property
    def media_type(self) -> str:
        """The ``Content-Type`` without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def blocks(self) -> Generator[bytes, None, None]:
        """The body's bytes, each block as soon as it is in, decompressed.

        After the last block the connection has gone back to the pool. A generator that is dropped or closed early
        closes the connection.

        Raises:
            APIConnectionError: the connection broke, or the body ended before its announced length.
            APITimeoutError: a bound of the call's patience was reached.
            InvalidResponseError: the framing or the compression is malformed.
        """
        failure: GigaClientError | None = None
        try:
            if not self._done:
                yield from self._blocks()
        except Exception as error:
            failure = error if isinstance(error, GigaClientError) else translate(error, self._state, self._host)
        finally:
            if not self._done:
                self._end(keep_connection=False, reading_is_over=True)
        if failure is not None:
            raise failure

    def _blocks(self) -> Iterator[bytes]:
        response, headers = self._response, self.headers
        if getattr(response, "_content_consumed", False):  # by a hook of the user's session, which keeps it
            yield from self._kept(response.content)
            return
        raw = response.raw
        if "content-encoding" not in headers:
            # Straight from the connection: through http.client and urllib3 each block costs several steps more.
            source = getattr(getattr(raw, "_original_response", None), "fp", None)
            coding = headers.get("transfer-encoding", "").strip().lower()
            length = getattr(raw, "length_remaining", None)
            if source is not None and coding == "chunked":
                yield from self._chunked_blocks(source)
                return
            if source is not None and not coding and length is not None:
                yield from self._sized_blocks(source, length)
                return
        if not isinstance(raw, HTTPResponse):  # an adapter of the user's own, or a recorder's answer
            yield from response.iter_content(READ_BYTES)
            return
        size = _COMPRESSED_READ_BYTES if "content-encoding" in headers else READ_BYTES
        yield from self._received(functools.partial(raw.read1, size, decode_content=True))
        self._end(keep_connection=True)  # urllib3 has given it back already

    def _chunked_blocks(self, source: Any) -> Iterator[bytes]:
        decoder = ChunkedDecoder()
        for block in self._received_from(source):
            payload = decoder.feed(block)
            if decoder.ended:
                # Before the last block is handed on: whoever gets it may call again at once.
                self._end(keep_connection=not decoder.excess)
            if payload:
                yield payload
            if decoder.ended:
                return
        raise APIConnectionError(f"the answer of {self._host} was cut short")

    def _sized_blocks(self, source: Any, left: int) -> Iterator[bytes]:
        if not left:
            self._end(keep_connection=True)
            return
        for block in self._received_from(source):
            left -= len(block)
            if left > 0:
                yield block
                continue
            # What comes after the body belongs to no request of ours.
            self._end(keep_connection=left == 0)
            yield block[:left] if left else block
            return
        raise APIConnectionError(f"the answer of {self._host} was cut short")

    def _kept(self, body: bytes) -> Iterator[bytes]:
        self._end(keep_connection=True)
        if body:
            yield body

    def _received_from(self, source: Any) -> Iterator[bytes]:
        # One read empties the buffer that the head was read with. From then on it would only be in the way.
        past_buffer = getattr(getattr(source, "raw", None), "receive", None)
        return self._received(
            functools.partial(source.read1, READ_BYTES), past_buffer and functools.partial(past_buffer, READ_BYTES)
        )

    def _received(self, read: Callable[[], bytes], later: Callable[[], bytes] | None = None) -> Iterator[bytes]:
        """What ``read`` brings until it brings nothing more; after the first time, ``later`` takes its place."""
        turn, deadline = self._turn, self.deadline
        while True:
            if not turn.acquire(False):
                raise Cancelled("closed")
            try:
                block = read()
            finally:
                turn.release()
                if deadline.cancelled:
                    # Whoever cancelled may have found the turn taken and left the rest to us.
                    self._end(keep_connection=False)
            if not block:
                return
            yield block
            read = later or read

    def read(self, limit: int) -> bytes:
        """The whole body, which has to be here within one read timeout from now.

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

    def read_some(self, limit: int) -> bytes:
        """The body's beginning, ``limit`` bytes at most, for an error's message; never fails."""
        self.deadline.begin("read", min(self.deadline.timeouts.read, PROBE_SECONDS))
        try:
            return self._read(limit)[:limit]
        except GigaClientError:
            return b""

    def _read(self, limit: int) -> bytes:
        parts, length = [], 0
        with contextlib.closing(self.blocks()) as blocks:
            for block in blocks:
                parts.append(block)
                length += len(block)
                if length >= limit:
                    break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self, blocks: Iterator[bytes]) -> None:
        """After an end marker: read the few bytes that end the body, so that the connection can be used again.

        A server that keeps the body open does not get waited for.
        """
        if self._done:
            return
        self.deadline.begin("read", _DRAIN_SECONDS)
        try:
            for _ in zip(range(8), blocks):  # noqa: B905 - the shorter one ends it
                continue
        except GigaClientError:
            return
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection up. From any thread; a read that is blocked in another one ends at once."""
        if not self._done:
            self.deadline.cancel()
            self._end(keep_connection=False)

    def _end(self, *, keep_connection: bool, reading_is_over: bool = False) -> None:
        """Part with the connection, unless another thread is reading: that one does it when it comes out.

        ``reading_is_over`` is said by the one who read: an interrupt may have left the turn with nobody.
        """
        if not self._turn.acquire(blocking=False) and not reading_is_over:
            return
        self._done = True
        raw: Any = self._response.raw
        try:
            if not keep_connection:
                raw.close()
            else:
                raw._original_response.close()
                raw.release_conn()
        except (OSError, AttributeError):
            pass  # it was closed from the other side, or never had a connection
        finally:
            self._forget(self.deadline)
            # One step, so that it is called once even if an interrupt has us here twice.
            on_done = self.__dict__.pop("on_done", None)
            if on_done is not None:
                on_done()
