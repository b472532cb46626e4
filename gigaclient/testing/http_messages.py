"""Requests and responses of the fault server: what a test sees, and every detail of a response that it controls."""

from __future__ import annotations

import http
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

__all__ = [
    "Answer",
    "Cut",
    "Framing",
    "Handler",
    "HeaderItems",
    "HeaderList",
    "Pause",
    "RawAnswer",
    "RecordedRequest",
    "Reset",
    "Step",
    "head_of",
    "header_pairs",
    "interim",
]

_SECRET_HEADERS = frozenset({"authorization", "x-authorization", "cookie", "proxy-authorization"})


# --- steps of a body -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Send nothing for ``seconds``; ``None`` lasts until the client disconnects or the server closes."""

    seconds: float | None


@dataclass(frozen=True)
class Reset:
    """End the connection with a TCP reset, shortly after the previous step, so that the client has received that."""


@dataclass(frozen=True)
class Cut:
    """End the connection in the middle of the body: without the last chunk or the rest of the announced length.

    ``close_notify`` sends TLS's close_notify first, so that it looks like a regular end.
    """

    close_notify: bool = False


Step: TypeAlias = bytes | Pause | Reset | Cut
Framing = Literal["length", "chunked", "close"]
HeaderItems: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Answer:
    """The response to one request.

    Attributes:
        status: The HTTP status.
        headers: A mapping, or pairs for repeated names. Missing ``Date`` and framing headers are added.
        body: Bytes, text (sent as UTF-8), or an iterable of steps.
        framing: ``"length"`` (Content-Length; steps are collected first), ``"chunked"`` (one chunk per step),
            or ``"close"`` (the end of the connection ends the body). By default, bytes are sent with their length
            and steps are chunked.
        write_size: The largest write in bytes. In chunked framing, each piece of the content becomes a separate
            chunk, so that the client's decoder gets every boundary.
        write_pause_s: Seconds after each piece of ``write_size`` bytes.
        gzip: Compress the body, and flush after every step.
        before_s: Seconds before the first byte of the response; ``None`` is for ever.
        before_head: Raw steps before the head, such as :func:`interim`. Bytes of one step share a packet.
        head: The raw head, with its empty line, instead of the one from ``status`` and ``headers``. ``framing`` then
            only says how the body is written: plain by default, steps in chunks.
        after_body: Raw bytes after the complete response, in its last packet.
        header_pause_s: Send the head byte by byte with this pause between two bytes.
        keep_alive: ``False`` sends ``Connection: close`` and closes the connection.
        done: Called once, before the last bytes are sent or when the client has disconnected.
    """

    status: int = 200
    headers: HeaderItems = field(default_factory=dict)
    body: bytes | str | Iterable[Step] = b""
    framing: Framing | None = None
    write_size: int | None = None
    write_pause_s: float = 0.0
    gzip: bool = False
    before_s: float | None = 0.0
    before_head: Iterable[Step] = ()
    head: bytes | None = None
    after_body: bytes = b""
    header_pause_s: float = 0.0
    keep_alive: bool = True
    done: Callable[[], None] | None = None


@dataclass
class RawAnswer:
    """Raw steps without head and framing, written after the request has been read. Then the connection ends."""

    steps: Iterable[Step]
    done: Callable[[], None] | None = None


def interim(status: int = 103, headers: HeaderItems = ()) -> bytes:
    """Return an interim response (1xx) for :attr:`Answer.before_head`."""
    return head_of(status, header_pairs(headers))


def header_pairs(headers: HeaderItems) -> list[tuple[str, str]]:
    """Return the names and values of ``headers`` in their order."""
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def head_of(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Encode the status line and the headers, with the empty line at their end."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


# --- requests --------------------------------------------------------------------------------------------------


class HeaderList(Mapping[str, str]):
    """Case-insensitive header fields. The values of a repeated name are joined by ``", "``."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """Return all values of ``name`` in their order."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET_HEADERS else self[name] for name in self}
        return f"HeaderList({shown})"


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the server has read.

    Attributes:
        method: The method in capitals.
        path: The percent-encoded path, without the query.
        query: The part after the ``?``, or ``""``.
        headers: The headers, with case-insensitive names.
        body: The complete body.
        connection: The number of the TCP connection, from 1.
        at: The time at which it had been read, on the monotonic clock, in seconds.
        client_certificate: The subject's common name of the client's certificate, if it sent one.
    """

    method: str
    path: str
    query: str
    headers: HeaderList
    body: bytes
    connection: int
    at: float
    client_certificate: str | None = None

    def json(self) -> Any:
        """Parse the body; raise ``ValueError`` when it is not JSON in UTF-8."""
        return json.loads(self.body.decode("utf-8"))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body (the last value of each); empty for other bodies."""
        if self.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return {}
        return _last_values(self.body.decode("utf-8", "replace"))

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query (the last value of each)."""
        return _last_values(self.query)

    def __repr__(self) -> str:
        # Without headers and body: failing assertions print this, and both may contain secrets.
        return f"<{self.method} {self.path} on connection {self.connection}, {len(self.body)} bytes>"


def _last_values(encoded: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(encoded, keep_blank_values=True).items()}


Handler: TypeAlias = Callable[[RecordedRequest], Answer | RawAnswer]
