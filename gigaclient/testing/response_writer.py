"""Write the responses of the fault server byte by byte, as :class:`~gigaclient.testing.http_messages.Answer` says."""

from __future__ import annotations

import email.utils
import zlib
from collections.abc import Iterable, Iterator

from gigaclient.testing.client_socket import ClientGoneError, ClientSocket, ConnectionEndedError
from gigaclient.testing.http_messages import (
    Answer,
    Cut,
    Framing,
    Pause,
    RawAnswer,
    RecordedRequest,
    Reset,
    Step,
    head_of,
    header_pairs,
)

__all__ = ["error_response", "write"]

_PAUSE_BEFORE_RESET_S = 0.05


def write(sock: ClientSocket, request: RecordedRequest, answer: Answer | RawAnswer, *, http11: bool) -> bool:
    """Send the response; return True when the connection can serve another request."""
    if isinstance(answer, RawAnswer):
        try:
            for step in answer.steps:
                _run_step(sock, step)
        finally:
            _close_iterator(answer.steps)
        return False
    if answer.before_s is None or answer.before_s > 0:
        sock.pause(answer.before_s)
    for step in answer.before_head:
        _run_step(sock, step)
    try:
        return _Writer(sock, request, answer, http11).write()
    finally:
        _close_iterator(answer.body)


def error_response(status: int, body: bytes) -> bytes:
    """Return a complete JSON response that closes the connection."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    return _head(status, headers) + body


class _Writer:
    """Writes one framed response."""

    def __init__(self, sock: ClientSocket, request: RecordedRequest, answer: Answer, http11: bool) -> None:
        self._sock = sock
        self._request = request
        self._answer = answer
        self._headers = header_pairs(answer.headers)
        self._names = {name.lower(): value for name, value in self._headers}
        self._body = answer.body.encode("utf-8") if isinstance(answer.body, str) else answer.body
        self._framing: Framing = answer.framing or ("length" if isinstance(self._body, bytes) else "chunked")
        if self._framing == "chunked" and not http11:
            self._framing = "close"
        client_closes = "close" in request.headers.get("connection", "").lower()
        server_closes = not answer.keep_alive or self._names.get("connection", "").lower() == "close"
        self._alive = http11 and self._framing != "close" and not client_closes and not server_closes

    def write(self) -> bool:
        """Send the response; return True when the connection can serve another request."""
        answer = self._answer
        steps: Iterable[Step] = (self._body,) if isinstance(self._body, bytes) else self._body
        if answer.gzip:
            steps = _compressed(steps)
        if self._framing == "length":
            steps = list(steps)
        has_body = answer.status >= 200 and answer.status not in (204, 304)
        head = self._complete_head(steps, has_body)
        if not has_body or self._request.method == "HEAD":
            self._finish(self._send_head_slowly(head))
        elif isinstance(self._body, bytes) and self._framing == "length" and not answer.write_size:
            # The usual case in one write: head and body share a TLS record.
            self._sock.check_client()
            self._finish(self._send_head_slowly(head) + b"".join(step for step in steps if isinstance(step, bytes)))
        else:
            self._sock.send(self._send_head_slowly(head))
            self._send_steps(steps)
        return self._alive

    def _complete_head(self, steps: Iterable[Step], has_body: bool) -> bytes:
        if self._answer.head is not None:
            return self._answer.head
        headers = self._headers
        if self._answer.gzip:
            headers.append(("Content-Encoding", "gzip"))
        if self._framing == "length" and has_body and "content-length" not in self._names:
            headers.append(("Content-Length", str(sum(len(step) for step in steps if isinstance(step, bytes)))))
        if self._framing == "chunked" and has_body:
            headers.append(("Transfer-Encoding", "chunked"))
        if not self._alive and "connection" not in self._names:
            headers.append(("Connection", "close"))
        return _head(self._answer.status, headers)

    def _send_head_slowly(self, head: bytes) -> bytes:
        """Send all but the last byte of the head if there is a ``header_pause_s``; return the unsent bytes."""
        if not self._answer.header_pause_s:
            return head
        for offset in range(len(head) - 1):
            self._sock.send(head[offset : offset + 1])
            self._sock.pause(self._answer.header_pause_s)
        return head[-1:]

    def _send_steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if not isinstance(step, bytes):
                _run_step(self._sock, step)
            elif self._answer.write_size:
                self._sock.check_client()
                self._send_in_pieces(step, self._answer.write_size)
            elif step:
                self._sock.check_client()
                self._sock.send(_framed(step, self._framing))
        try:
            self._finish(b"0\r\n\r\n" if self._framing == "chunked" else b"")
        except ClientGoneError:
            # The content was complete, so a client that disconnects at the end marker has not aborted it.
            raise ConnectionEndedError from None

    def _send_in_pieces(self, step: bytes, size: int) -> None:
        for start in range(0, len(step), size):
            piece = _framed(step[start : start + size], self._framing)
            for offset in range(0, len(piece), size):
                self._sock.send(piece[offset : offset + size])
            if self._answer.write_pause_s:
                self._sock.pause(self._answer.write_pause_s)

    def _finish(self, last: bytes) -> None:
        # Before the last bytes: a client that has read them must find the slot free and the connection idle.
        if self._answer.done is not None:
            self._answer.done()
        self._sock.idle = self._alive
        self._sock.send(last + self._answer.after_body)


def _run_step(sock: ClientSocket, step: Step) -> None:
    if isinstance(step, Pause):
        sock.pause(step.seconds)
    elif isinstance(step, Reset):
        # A reset discards unread bytes, so give the client time to read the previous step.
        sock.pause(_PAUSE_BEFORE_RESET_S)
        sock.reset_on_close()
        raise ConnectionEndedError
    elif isinstance(step, Cut):
        if step.close_notify:
            sock.send_close_notify()
        raise ConnectionEndedError
    else:
        sock.check_client()
        sock.send(step)


def _framed(data: bytes, framing: Framing) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    headers = list(headers)
    if not any(name.lower() == "date" for name, _ in headers):
        headers.append(("Date", email.utils.formatdate(usegmt=True)))
    return head_of(status, headers)


def _compressed(steps: Iterable[Step]) -> Iterator[Step]:
    compressor = zlib.compressobj(wbits=31)
    for step in steps:
        if isinstance(step, bytes):
            yield compressor.compress(step) + compressor.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield step
    yield compressor.flush()


def _close_iterator(steps: object) -> None:
    close = getattr(steps, "close", None)
    if callable(close):
        close()
