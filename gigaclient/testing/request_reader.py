"""Read the requests of one connection to the fault server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.testing.client_socket import ClientGoneError, ClientSocket
from gigaclient.testing.http_messages import Answer, HeaderList, RawAnswer, RecordedRequest

try:
    import h11
except ImportError as error:
    raise ImportError(extra_is_missing("gigaclient.testing", error.name, "testing"), name=error.name) from error

__all__ = ["ReaderSettings", "RefusedRequestError", "RequestReader"]


class RefusedRequestError(Exception):
    """The request is not valid HTTP, or its body exceeds ``max_body_bytes``."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class ReaderSettings(Protocol):
    """The settings of the server that concern requests. They may change while it runs."""

    on_head: Callable[[RecordedRequest], Answer | RawAnswer | None] | None
    idle_timeout_s: float | None
    max_body_bytes: int


class RequestReader:
    """Reads the requests of a connection, one after the other.

    Args:
        sock: The socket.
        number: The number of the connection.
        settings: The settings of the server.

    Attributes:
        http11: True if the last request was one of HTTP/1.1.
        early_answer: The answer of ``on_head`` to the last request. The body of that request has not been read.
    """

    def __init__(self, sock: ClientSocket, number: int, settings: ReaderSettings) -> None:
        self.http11 = True
        self.early_answer: Answer | RawAnswer | None = None
        self._sock = sock
        self._number = number
        self._settings = settings

    def next(self) -> RecordedRequest | None:
        """Return the next request; None when the client or ``idle_timeout_s`` ended the connection first.

        Raises:
            ClientGoneError: the client disconnected in the middle of the request.
            RefusedRequestError: it is not a valid request, or its body is too long.
        """
        # A new parser for each request, because one parser would expect to write the responses too.
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        started = bool(self._sock.inbox)
        if started:
            self._feed(parser)
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = _next_event(parser)
            if event is h11.NEED_DATA:
                if not self._receive(parser, started):
                    return None
                started = True
            elif isinstance(event, h11.Request):
                head = event
                if self._answer_early(head):
                    break
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._settings.max_body_bytes:
                    raise RefusedRequestError(413, "Payload too large")
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise ClientGoneError
        assert head is not None
        self._sock.inbox += parser.trailing_data[0]
        return self._recorded(head, bytes(body))

    def _answer_early(self, head: h11.Request) -> bool:
        """Ask ``on_head`` for an answer, and return True if there is one."""
        self.http11 = head.http_version == b"1.1"
        if self._settings.on_head is not None:
            self.early_answer = self._settings.on_head(self._recorded(head, b""))
        return self.early_answer is not None

    def _receive(self, parser: h11.Connection, started: bool) -> bool:
        """Feed received bytes to the parser; return False when the connection ends before a request has started."""
        if parser.they_are_waiting_for_100_continue:
            permission = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self._sock.send(parser.send(permission) or b"")
        self._sock.idle = not started
        received = self._sock.receive(None if started else self._settings.idle_timeout_s)
        self._sock.idle = False
        if not received:
            if started:
                raise ClientGoneError
            return False
        if self._sock.is_silent and not started:
            self._sock.pause(None)
        self._feed(parser)
        return True

    def _feed(self, parser: h11.Connection) -> None:
        parser.receive_data(bytes(self._sock.inbox))
        self._sock.inbox.clear()

    def _recorded(self, head: h11.Request, body: bytes) -> RecordedRequest:
        path, _, query = head.target.decode("latin-1").partition("?")
        return RecordedRequest(
            head.method.decode("ascii").upper(),
            path,
            query,
            HeaderList((n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.raw_items()),
            body,
            self._number,
            time.monotonic(),
            self._sock.client_certificate,
        )


def _next_event(parser: h11.Connection) -> Any:
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        raise RefusedRequestError(error.error_status_hint, str(error)) from None
