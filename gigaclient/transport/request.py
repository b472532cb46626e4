"""Requests, independent of any HTTP library: importing this module loads none."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError

__all__ = ["EVENT_STREAM", "Request", "RetrySafety", "origin_of", "path"]

EVENT_STREAM = "text/event-stream"


class RetrySafety(enum.Enum):
    """The consequence of sending a request twice."""

    IDEMPOTENT = "idempotent"
    """No consequence: it only reads or fetches a token. Also retried when the connection broke before the response."""

    BILLABLE = "billable"
    """A second response may be charged (a chat). Retried after an error status, or when it was certainly not sent."""

    NON_IDEMPOTENT = "non_idempotent"
    """It would create something twice (an upload). Retried only when the server refused it, or it was not sent."""


def origin_of(url: str) -> str:
    """Return ``scheme://host[:port]`` of ``url``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Request(FrozenStruct, frozen=True):
    """A request to an API, before the base URL and the credential are added.

    Attributes:
        method: the HTTP method.
        path: relative to the base URL, made by :func:`path`; or an absolute URL of an origin of the client.
        body: the encoded body, if any; bytes, or a ``FileForm``, which is read while it is sent.
        content_type: the MIME type of the body.
        accept: the MIME type of the expected response.
        query: parameters of the query string.
        retry_safety: the consequence of sending the request twice.
        authorized: False for the few requests without a credential.
        attempt_id: the name of a header that gets a new UUID for each attempt, if the server wants one.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"body"})

    method: str
    path: str
    body: Any = None
    content_type: str | None = "application/json"
    accept: str = "application/json"
    query: Mapping[str, str] = {}
    retry_safety: RetrySafety = RetrySafety.IDEMPOTENT
    authorized: bool = True
    attempt_id: str | None = None


def path(*segments: str) -> str:
    """Join quoted segments to a path, so that an id never changes the rest of the path."""
    for segment in segments:
        if not isinstance(segment, str) or segment in ("", ".", ".."):
            raise ConfigError(f"not an id: {segment!r}")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)
