"""Results of ``giga.request``: a response that is not decoded, and the events of a raw stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gigaclient._primitives.headers import Headers
from gigaclient.errors import InvalidResponseError

__all__ = ["RawResponse", "ServerEvent"]


class RawResponse:
    """A response that is not decoded. Its status is 2xx; others are raised as errors.

    Attributes:
        status_code: the HTTP status.
        headers: its headers without cookies; names are case-insensitive.
        content: the body.
        request_id: the ``X-Request-Id`` of the call.
    """

    __slots__ = ("content", "headers", "request_id", "status_code")

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes, request_id: str | None) -> None:
        self.status_code = status_code
        self.headers = Headers(headers)
        self.content = content
        self.request_id = request_id

    @property
    def text(self) -> str:
        """The body as text, in the charset of its Content-Type or UTF-8; invalid bytes become U+FFFD."""
        _, _, rest = self.headers.get("content-type", "").lower().partition("charset=")
        try:
            return self.content.decode(rest.partition(";")[0].strip(" \"'") or "utf-8", "replace")
        except LookupError:  # no such charset
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Decode the body as JSON.

        Raises:
            InvalidResponseError: it is not JSON.
        """
        return _decoded(self.content, self.status_code, self.headers, self.request_id)

    def __repr__(self) -> str:
        return f"<RawResponse {self.status_code}, {len(self.content)} bytes, request {self.request_id}>"


class ServerEvent(NamedTuple):
    """One event of a raw stream.

    Attributes:
        data: its data in bytes; ``[DONE]`` is an event too.
        event: its name; ``"message"`` if the server sent none.
        id: the last event id so far; empty if there is none.
    """

    data: bytes
    event: str = "message"
    id: str = ""

    @property
    def text(self) -> str:
        """The data as text."""
        return self.data.decode("utf-8", "replace")

    def json(self) -> Any:
        """Decode the data as JSON.

        Raises:
            InvalidResponseError: it is not JSON, for example ``[DONE]``.
        """
        return _decoded(self.data, 200, {}, None)


def _decoded(content: bytes, status: int, headers: Mapping[str, str], request_id: str | None) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise InvalidResponseError(
        f"the answer is not JSON ({reason})",
        request_id=request_id,
        status_code=status,
        body=content[:2000].decode("utf-8", "replace")[:500],
        headers=headers,
    )
