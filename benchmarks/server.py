"""The server: ready bytes over TLS from a few processes, so cheap that it is never what is measured.

``python -m benchmarks.server CERTIFICATE FORM...`` writes one line of JSON, the port of each form, and ends with its
standard input. Streams are encrypted before their first byte leaves: from then on a write is one system call. What has
to take its time is served by a process of its own (``paced.py``).
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

# Tokens given so far, in memory that all the processes share.
_given = memoryview(mmap.mmap(-1, 8)).cast("Q")


class Channel:
    """A TLS connection whose records can be made now and sent later."""

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
        """Read one request and forget it; False when there are no more."""
        data, self._rest = self._rest, b""
        missing = -1
        while missing:
            try:
                block = self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not self._receive():
                    return False
                continue
            if not block:
                return False
            data += block
            missing, self._rest = canned.missing(data)
        return True

    def send(self, writes: list[bytes]) -> None:
        """Each of ``writes`` as one write."""
        if len(writes) == 1:
            self._tls.write(writes[0])
            self._flush()
            return
        records = []
        for block in writes:
            self._tls.write(block)
            records.append(self._leaving.read())
        for record in records:
            self._sock.sendall(record)

    def close(self) -> None:
        """Say goodbye the TLS way, then close."""
        with contextlib.suppress(ssl.SSLError, OSError):
            self._tls.unwrap()
        try:
            self._flush()
        finally:
            self._sock.close()


def serve(sock: socket.socket, context: ssl.SSLContext, answer: canned.Answer) -> None:
    """One connection, to its end."""
    channel = None
    try:
        channel = Channel(sock, context)
        while channel.next_request():
            if answer.kind == "late":
                _send_late(channel, answer)
            elif answer.kind == "oauth":
                time.sleep(_OAUTH_SECONDS)
                expires_at = int((time.time() + answer.seconds) * 1000)
                body = json.dumps({"access_token": "token", "expires_at": expires_at}).encode()
                _given[0] += 1
                channel.send([canned.dated(canned.with_length(body))])
            elif answer.kind == "count":
                channel.send([canned.with_length(b"%d" % _given[0], closes=True)])
            else:
                channel.send(answer.writes)
            if answer.closes:
                break
    except OSError:
        return  # the client went away, as contenders do at their end
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
    """Take connections for ever, a thread for each."""
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
    # The harness holds the other end: all of us end with it, however it ends.
    while os.read(0, 1):
        continue
    os._exit(0)


if __name__ == "__main__":
    main()
