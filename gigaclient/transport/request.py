"""Requests, as the layers above describe them. Importing this loads no HTTP library."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote, urlsplit

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError

__all__ = ["EVENT_STREAM", "HTTPRequest", "Request", "RetrySafety", "origin_of", "path"]

EVENT_STREAM = "text/event-stream"


class RetrySafety(enum.Enum):
    """What it would mean to send a call twice."""

    IDEMPOTENT = "freely"
    """Nothing: it reads, or asks for a token. Also repeated when the connection broke before the answer."""

    BILLABLE = "paid"
    """A second answer may have to be paid for (a chat): repeated after an error status or when surely not sent."""

    NON_IDEMPOTENT = "never twice"
    """Something would exist twice (an upload): repeated only when turned away by the server or surely not sent."""


class HTTPRequest:
    """A request ready to leave: absolute URL, headers, body. Its ``repr`` shows neither headers nor body.

    With ``fresh`` it leaves on a new connection. A kept one may be closed by the server at that very moment, and then
    nobody can say whether the request was taken: it would have to be lost or sent again.
    """

    __slots__ = ("body", "fresh", "headers", "method", "url")

    def __init__(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None, *, fresh: bool = False
    ) -> None:
        self.fresh = fresh
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Outgoing {self.method} {self.url.partition('?')[0]}>"


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of ``url``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Request(FrozenStruct, frozen=True):
    """What one API call is: where it goes and what it carries. An endpoint is described by making one of these.

    Attributes:
        method: the HTTP method.
        path: relative to the base URL, made by :func:`path`; or an absolute URL of an origin that the client knows.
        body: the encoded body, if any.
        content_type: what the body is.
        accept: what is wanted back.
        query: parameters of the query string.
        repeat: what sending it twice would mean.
        authorized: False for the few calls that carry no credential.
        attempt_id: the name of a header that gets a new UUID for each try, where a server wants one.
        accept_redirect: True where a redirect is an answer like any other (a login by cookie). It is not followed.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"body"})

    method: str
    path: str
    body: bytes | None = None
    content_type: str | None = "application/json"
    accept: str = "application/json"
    query: Mapping[str, str] = {}
    retry_safety: RetrySafety = RetrySafety.IDEMPOTENT
    authorized: bool = True
    attempt_id: str | None = None
    accept_redirect: bool = False


def path(*segments: str) -> str:
    """A path from its segments, each quoted: an id can never climb out of its segment."""
    for segment in segments:
        if not isinstance(segment, str) or segment in ("", ".", ".."):
            raise ConfigError(f"not an id: {segment!r}")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)
