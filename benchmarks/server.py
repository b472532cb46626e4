"""The server: prepared bytes over TLS from a few processes, so cheap that it never limits the measurement.

``python -m benchmarks.server CERTIFICATE FORM...`` prints one line of JSON, the port of each form, and ends when its
standard input does. Streams are encrypted before their first byte is sent: from then on a write is one system call.
Slow responses are served by a separate process (``paced.py``).
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import socket
import ssl
import sys
import threading
import time

from benchmarks import canned, paced

_PROCESSES = 4
_OAUTH_SECONDS = 0.1
_PAUSE_AFTER_FIRST = 0.3

# The number of issued tokens, in memory that all processes share.
_given = memoryview(mmap.mmap(-1, 8)).cast("Q")


class Channel:
    """A TLS connection whose records can be encrypted now and sent later."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self._rest = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionError("closed in the handshake") from None
        self._flush()

    def _flush(self) -> None:
        if self._leaving.pending:
            self._sock.sendall(self._leaving.read())

    def _receive(self) -> bool:
        block = self._sock.recv(65536)
        self._arrived.write(block)
        return bool(block)

    def next_request(self) -> bool:
        """Read one request and discard it; return False when there are no more."""
        data, self._rest = self._rest, b""
        missing = -1
        while missing:  # the length of the body, once it is known: an upload is not kept
            try:
                block = self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not self._receive():
                    return False
                continue
            if not block:
                return False
            if missing > 0:
                missing, self._rest = max(0, missing - len(block)), block[missing:]
                continue
            data += block
            missing, self._rest = canned.missing(data)
        return True

    def send(self, writes: list[bytes], pause: float = 0.0) -> None:
        """Send each of ``writes`` as one write, ``pause`` seconds apart."""
        if len(writes) == 1:
            self._tls.write(writes[0])
            self._flush()
            return
        records = []
        for block in writes:
            self._tls.write(block)
            records.append(self._leaving.read())
        for number, record in enumerate(records):
            if pause and number:
                time.sleep(pause)
            self._sock.sendall(record)

    def close(self) -> None:
        """Send the TLS close alert, then close."""
        with contextlib.suppress(ssl.SSLError, OSError):
            self._tls.unwrap()
        try:
            self._flush()
        finally:
            self._sock.close()


def serve(sock: socket.socket, context: ssl.SSLContext, answer: canned.Answer) -> None:
    """Serve one connection to its end."""
    channel = None
    try:
        channel = Channel(sock, context)
        while channel.next_request():
            if answer.type_ == "late":
                _send_late(channel, answer)
            elif answer.type_ == "oauth":
                time.sleep(_OAUTH_SECONDS)
                expires_at = int((time.time() + answer.seconds) * 1000)
                body = json.dumps({"access_token": "token", "expires_at": expires_at}).encode()
                _given[0] += 1
                channel.send([canned.dated(canned.with_length(body))])
            elif answer.type_ == "count":
                channel.send([canned.with_length(b"%d" % _given[0], closes=True)])
            elif answer.type_ == "file":
                for block in answer.writes:
                    channel.send([block])
            else:
                channel.send(answer.writes, answer.seconds)
            if answer.closes:
                break
    except OSError:
        return  # the client disconnected, as contenders do at their end
    finally:
        if channel is not None:
            try:
                channel.close()
            except OSError:
                sock.close()
        sock.close()


def _send_late(channel: Channel, answer: canned.Answer) -> None:
    channel.send([canned.CLOSED_HEAD if answer.closes else canned.CHUNKED_HEAD])
    time.sleep(answer.seconds)
    wrap = bytes if answer.closes else canned.chunk
    channel.send([wrap(canned.event(f"{time.monotonic():.7f}"))])
    time.sleep(_PAUSE_AFTER_FIRST)
    channel.send([wrap(canned.last_event()) + (b"" if answer.closes else b"0\r\n\r\n")])


def accept(listeners: dict[socket.socket, canned.Answer], context: ssl.SSLContext) -> None:
    """Accept connections for ever, a thread for each."""
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                try:
                    accepted, _ = ready.accept()
                except BlockingIOError:
                    continue  # another process was quicker
                threading.Thread(target=serve, args=(accepted, context, listeners[ready]), daemon=True).start()


def main() -> None:
    certificate, forms = sys.argv[1], sys.argv[2:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listeners: dict[socket.socket, canned.Answer] = {}
    paced_listeners: dict[socket.socket, str] = {}
    ports = {}
    for form in forms:
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        ports[form] = listener.getsockname()[1]
        if form.startswith("paced-"):
            paced_listeners[listener] = form
            continue
        listener.setblocking(False)
        listeners[listener] = canned.answer(form)
    serving = threading.Thread(target=accept, args=(listeners, context), daemon=True)
    if paced_listeners and os.fork() == 0:
        serving = threading.Thread(target=paced.serve, args=(paced_listeners, context), daemon=True)
    else:
        for _ in range(_PROCESSES - 1):
            if os.fork() == 0:
                break
        else:
            sys.stdout.write(json.dumps(ports) + "\n")
            sys.stdout.flush()
    serving.start()
    # The harness holds the other end of standard input: all processes end with it, however it ends.
    while os.read(0, 1):
        continue
    os._exit(0)


if __name__ == "__main__":
    main()
