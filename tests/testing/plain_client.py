"""HTTP clients of the standard library, so that the emulators are tested without the code that is tested with them."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gigaclient.testing import FakeGptEmulator, GigaChatEmulator

TIMEOUT_S = 10.0
Client = TypeVar("Client", bound="Http")


@dataclass
class PlainResponse:
    """A complete response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


def trusting(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


class Http:
    """A client with one kept-alive connection."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        if context is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        else:
            self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)

    def open(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        self.connection.request(method, path, body, headers or {})
        return self.connection.getresponse()

    def send(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> PlainResponse:
        with self.open(method, path, body, headers) as response:
            return PlainResponse(response.status, response.headers, response.read())

    def close(self) -> None:
        self.connection.close()

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


class Giga(Http):
    """A client of the GigaChat emulator's API with a token."""

    def __init__(self, emulator: GigaChatEmulator, *, token: str | None = None) -> None:
        super().__init__(emulator.api_server.port, trusting(emulator.ca_file))
        self.headers = {
            "Authorization": f"Bearer {token if token is not None else emulator.issue_token()}",
            "User-Agent": "plain/1.0",
            "Content-Type": "application/json",
        }

    def chat(self, prompt: str | list[dict[str, Any]], **fields: Any) -> PlainResponse:
        return self.send("POST", "/v1/chat/completions", chat_body(prompt, **fields), self.headers)

    def open_chat(self, prompt: str, **fields: Any) -> http.client.HTTPResponse:
        return self.open("POST", "/v1/chat/completions", chat_body(prompt, **fields), self.headers)

    def get(self, path: str, **headers: str) -> PlainResponse:
        return self.send("GET", path, headers={**self.headers, **headers})


def chat_body(prompt: str | list[dict[str, Any]], **fields: Any) -> str:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return json.dumps({"model": "GigaChat", "messages": messages, **fields})


def oauth(
    emulator: GigaChatEmulator,
    *,
    authorization: str | None = None,
    body: str = "scope=GIGACHAT_API_PERS",
    rquid: str | None = None,
    content_type: str = "application/x-www-form-urlencoded",
) -> PlainResponse:
    headers = {
        "Authorization": f"Basic {emulator.credentials}" if authorization is None else authorization,
        "RqUID": str(uuid.uuid4()) if rquid is None else rquid,
        "Content-Type": content_type,
    }
    with Http(emulator.oauth_server.port, trusting(emulator.ca_file)) as http_:
        return http_.send("POST", "/api/v2/oauth", body, {name: value for name, value in headers.items() if value})


class Pool(Http):
    """A client of FakeGpt with its four steps."""

    def __init__(self, emulator: FakeGptEmulator) -> None:
        super().__init__(emulator.server.port, trusting(emulator.ca_file))
        self.cookie = self.token = ""

    def loads(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"/api/loads?t={int(time.time())}").json()["loads"]
        return found

    def log_in(self, token_key: str | None = None, password: str = "abcdefgh12") -> PlainResponse:
        key = token_key if token_key is not None else self.loads()[0]["token_id"]
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = self.send("POST", "/auth/login", f"token_key={key}&session_password={password}", form)
        cookies = reply.headers.get_all("Set-Cookie") or []
        self.cookie = "; ".join(cookie.split(";")[0] for cookie in cookies)
        return reply

    def session(self) -> PlainResponse:
        reply = self.send("GET", "/api/auth/session", headers={"Cookie": self.cookie} if self.cookie else {})
        self.token = reply.json().get("accessToken", "")
        return reply

    def enter(self) -> Pool:
        self.log_in()
        self.session()
        return self

    def talk(self, prompt: str, **headers: str) -> PlainResponse:
        sent = {"X-Authorization": f"Bearer {self.token}", "Cookie": self.cookie, "Content-Type": "application/json"}
        return self.send("POST", "/api/conversation", conversation_body(prompt), {**sent, **headers})


def conversation_body(prompt: str, **fields: Any) -> str:
    message = {
        "id": str(uuid.uuid4()),
        "author": {"role": "user"},
        "content": {"content_type": "text", "parts": [prompt]},
        "metadata": {},
    }
    body = {
        "action": "next",
        "messages": [message],
        "parent_message_id": str(uuid.uuid4()),
        "model": "text-davinci-002-render-sha",
        **fields,
    }
    return json.dumps(body)


def basic(value: str) -> str:
    return "Basic " + base64.b64encode(value.encode()).decode()


def data_of(stream: bytes) -> list[str]:
    """Return the data of each event, without comments and other fields."""
    return [line[6:].decode("utf-8") for line in re.split(rb"\r\n|\n|\r", stream) if line.startswith(b"data: ")]


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects in a stream."""
    return [json.loads(data) for data in data_of(stream) if data.startswith("{")]


def raw_socket(port: int, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    return sock if context is None else context.wrap_socket(sock, server_hostname="127.0.0.1")


def raw_request(path: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "127.0.0.1", **({"Content-Length": str(len(body))} if body else {}), **headers}
    head = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


def read_all(sock: socket.socket) -> tuple[bytes, BaseException | None]:
    """Read to the end; return the data, and the error if the connection ended with one."""
    received = b""
    while True:
        try:
            data = sock.recv(65536)
        except OSError as error:
            return received, error
        if not data:
            return received, None
        received += data


def tls_exchange(port: int, context: ssl.SSLContext, request: bytes) -> tuple[bytes, BaseException | None]:
    """Send ``request``; return the response, and the error of the *TCP* connection if it ended with one.

    It uses TLS in memory, because ssl.SSLSocket reports a reset as a regular end on some versions.
    """
    incoming, http_request = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, http_request, server_hostname="127.0.0.1")
    received, error, ended, sent = b"", None, False, False
    with raw_socket(port, None) as sock:
        while not ended:
            try:
                if not sent:
                    tls.do_handshake()
                    tls.write(request)
                    sent = True
                sock.sendall(http_request.read())
                while data := tls.read(65536):
                    received += data
                ended = True
            except ssl.SSLWantReadError:
                try:
                    sock.sendall(http_request.read())
                    data = sock.recv(65536)
                except OSError as problem:
                    error, ended = problem, True
                else:
                    incoming.write(data) if data else incoming.write_eof()
            except ssl.SSLEOFError:
                ended = True
    return received, error


def soon(condition: Callable[[], bool], within_s: float = TIMEOUT_S) -> bool:
    """Wait until ``condition`` returns True; return False when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
