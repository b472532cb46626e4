"""What ``giga.request`` gives back: the answer of an endpoint that has no method of its own, as it came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gigaclient._primitives.headers import Headers
from gigaclient.errors import InvalidResponseError

__all__ = ["RawResponse", "ServerEvent"]


class RawResponse:
    """A whole answer, undecoded. Only answers with a good status (2xx) become one; the others are raised.

    Attributes:
        status_code: the HTTP status.
        headers: its headers, without cookies, under any spelling of their names.
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
        """The body as text: in the ``charset`` of its Content-Type, else UTF-8; what is neither shows as U+FFFD."""
        _, _, rest = self.headers.get("content-type", "").lower().partition("charset=")
        try:
            return self.content.decode(rest.partition(";")[0].strip(" \"'") or "utf-8", "replace")
        except LookupError:  # no such charset
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            InvalidResponseError: it is not JSON.
        """
        return _decoded(self.content, self.status_code, self.headers, self.request_id)

    def __repr__(self) -> str:
        return f"<RawResponse {self.status_code}, {len(self.content)} bytes, request {self.request_id}>"


class ServerEvent(NamedTuple):
    """One event of a stream, as it came.

    Attributes:
        data: its data, as bytes; ``[DONE]`` is an event like any other.
        event: its name; ``"message"`` when the server gave none.
        id: the last event id so far; empty when there is none.
    """

    data: bytes
    event: str = "message"
    id: str = ""

    @property
    def text(self) -> str:
        """The data as text."""
        return self.data.decode("utf-8", "replace")

    def json(self) -> Any:
        """The data as JSON.

        Raises:
            InvalidResponseError: it is not JSON; ``[DONE]`` is not.
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
