"""``http.client`` and msgspec, by hand: the lowest cost in pure CPython, for a client that handles no errors."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from benchmarks.contenders import byhand


class _Message(msgspec.Struct):
    content: str = ""


class _Choice(msgspec.Struct):
    message: _Message = msgspec.UNSET  # type: ignore[assignment]
    delta: _Message = msgspec.UNSET  # type: ignore[assignment]


class _Answer(msgspec.Struct):
    choices: list[_Choice]


class _Token(msgspec.Struct):
    access_token: str
    expires_at: int


_BLOCK_BYTES = 64 * 1024

_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        self._parts = urlsplit(base_url)
        self._path = self._parts.path + "/chat/completions"
        self._auth = urlsplit(auth_url) if auth_url is not None else None
        self._context = ssl.create_default_context(cafile=ca_file)
        self._own = threading.local()  # a connection per thread
        self._token = byhand.Token(None if auth_url is None else self._fetch)

    def _fetch(self) -> tuple[str, float]:
        assert self._auth is not None
        connection = http.client.HTTPSConnection(self._auth.hostname or "", self._auth.port, context=self._context)
        connection.request("POST", self._auth.path, byhand.OAUTH_BODY, byhand.OAUTH_HEADERS)
        answer = msgspec.json.decode(connection.getresponse().read(), type=_Token)
        connection.close()
        return answer.access_token, answer.expires_at

    def _send(self, body: Mapping[str, object]) -> http.client.HTTPResponse:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPSConnection(
                self._parts.hostname or "", self._parts.port, timeout=30, context=self._context
            )
        connection.request("POST", self._path, _encode(body), {**byhand.HEADERS, "Authorization": self._token.header()})
        response: http.client.HTTPResponse = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        return response

    def call(self) -> str:
        return _answer.decode(self._send(byhand.REQUEST).read()).choices[0].message.content

    def _connected(self) -> ssl.SSLSocket:
        host = self._parts.hostname or ""
        plain = socket.create_connection((host, self._parts.port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(plain, server_hostname=host)

    def upload(self, path: str) -> None:
        """Send the file through a bare socket."""
        head = f"POST {self._path} HTTP/1.1\r\nContent-Length: {os.path.getsize(path)}\r\n\r\n"
        with self._connected() as sock, open(path, "rb") as file:
            sock.sendall(head.encode())
            while block := file.read(_BLOCK_BYTES):
                sock.sendall(block)
            if not sock.recv(_BLOCK_BYTES).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("refused")

    def download(self, path: str) -> None:
        """Receive the file through a bare socket."""
        with self._connected() as sock, open(path, "wb") as file:
            sock.sendall(f"GET {self._path} HTTP/1.1\r\n\r\n".encode())
            head, _, body = sock.recv(_BLOCK_BYTES).partition(b"\r\n\r\n")
            left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
            file.write(body)
            block = bytearray(_BLOCK_BYTES)
            with memoryview(block) as view:
                while left:
                    count = sock.recv_into(block)
                    file.write(view[:count])
                    left -= count

    def stream(self) -> Iterator[str]:
        response = self._send(byhand.STREAMED)
        pending: list[bytes] = []  # of a line without its end
        while block := response.read1(65536):
            if b"\n" not in block:
                pending.append(block)
                continue
            *lines, rest = b"".join([*pending, block]).split(b"\n")
            pending = [rest]
            for line in lines:
                if line[:6] == b"data: " and line != b"data: [DONE]":
                    yield _answer.decode(line[6:]).choices[0].delta.content
        response.close()
