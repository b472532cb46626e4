"""What the floors above hand to the wire. Pure, and apart from it, so that naming it does not load the wire."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["Outgoing", "origin_of"]


class Outgoing:
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
