"""The heads of requests and answers, written and read in one step where they are plain.

``http.client`` reads an answer's head with the e-mail parser and writes a request's line by line; together that costs
more than all else it does for a call. Heads as servers and clients write them need none of it. Whatever is odd (a
folded line, an interim answer, a head in pieces, a value with a line break) is left to the libraries, untouched, and
gets from them what it always got.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, ValuesView
from http.client import HTTPMessage, HTTPResponse
from typing import Any

from requests.structures import CaseInsensitiveDict
from urllib3.util import SKIP_HEADER

__all__ = ["HeaderDict", "PlainHeadResponse", "Written", "header_block"]

# A final status, and lines of one name and one value each. Names as in RFC 9110, or a little wider, as the libraries
# take them.
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([^\r\n]*))?\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")
_MOST_LINES = 64  # the library's own limit is 100
_LONGEST_LENGTH = 18  # digits; what is longer is no length

_PLAIN_NAMES = re.compile(r"[!-9;-~]+(?:\n[!-9;-~]+)*")
_LINE_BREAK = re.compile(r"[\r\n\0]")


class HeaderDict(CaseInsensitiveDict[str]):
    """A ``CaseInsensitiveDict`` like any other, made in one step of pairs that are known."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = {name.lower(): (name, value) for name, value in pairs}

    def __setitem__(self, name: str, value: str) -> None:
        self._pairs[name.lower()] = (name, value)

    def __getitem__(self, name: str) -> str:
        return self._pairs[name.lower()][1]

    def __delitem__(self, name: str) -> None:
        del self._pairs[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._pairs.values()])

    def __len__(self) -> int:
        return len(self._pairs)

    def lower_items(self) -> Iterator[tuple[str, str]]:
        return iter([(lowered, pair[1]) for lowered, pair in self._pairs.items()])

    def copy(self) -> HeaderDict:
        return HeaderDict(self._pairs.values())

    def pairs(self) -> ValuesView[tuple[str, str]]:
        """Names as they were written, and values."""
        return self._pairs.values()


class PlainHeadResponse(HTTPResponse):
    """Reads a head that has arrived whole and is plain by itself; leaves any other to ``http.client``."""

    def begin(self, **options: Any) -> None:
        # Later Pythons pass limits of their own here; where one is set, the library keeps it.
        if self.headers is not None or any(options.values()) or not self._begin_plain():
            super().begin(**options)

    def _begin_plain(self) -> bool:
        # Looks, and takes nothing until all of it is known to be plain.
        found = _PLAIN_HEAD.match(self.fp.peek())
        if found is None:
            return False
        status, reason, lines = found.groups()
        fields = [line.partition(":") for line in lines.decode("iso-8859-1").split("\r\n")[:-1]]
        if len(fields) > _MOST_LINES:
            return False
        message = HTTPMessage()
        first: dict[str, str] = {}
        for name, _, value in fields:
            value = value.lstrip(" \t")
            message.set_raw(name, value)
            first.setdefault(name.lower(), value)
        length = first.get("content-length")
        if length is not None and not (length.isdecimal() and len(length) <= _LONGEST_LENGTH):
            return False
        self.fp.read(found.end())

        self.headers = self.msg = message
        self.version = 11
        self.code = self.status = int(status)
        self.reason = reason.decode("iso-8859-1").strip() if reason else ""
        self.chunked = first.get("transfer-encoding", "").lower() == "chunked"
        if self.chunked:
            self.chunk_left = None
        self.length = None if length is None or self.chunked else int(length)
        if self.status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        # Without a framing, the end of the connection is the end of the body.
        self.will_close = "close" in first.get("connection", "").lower() or not (
            self.chunked or self.length is not None
        )
        return True


def header_block(headers: Mapping[str, Any]) -> bytes | None:
    """The lines of a request's headers in one piece, without the last line break; None where that is not safe to say.

    A name or a value that could begin a line of its own is refused by ``http.client``, line by line.
    """
    names, values = list(headers), list(headers.values())
    try:
        lines = "\n".join(names)
        if _PLAIN_NAMES.fullmatch(lines) is None or lines.count("\n") != len(names) - 1:
            return None
        if _LINE_BREAK.search("".join(values)) is not None:
            return None
        if SKIP_HEADER in values:  # a word of urllib3's, not a value
            return None
        # Joined, not formatted: a secret formats itself as a mask.
        return "\r\n".join(map(": ".join, zip(names, values, strict=True))).encode("latin-1")
    except (TypeError, UnicodeEncodeError):  # bytes, or characters that no header can have
        return None


class Written:
    """What urllib3 is told of headers that are written already: that they are there, and that none is left to write."""

    __slots__ = ("_names",)

    def __init__(self, headers: Mapping[str, Any]) -> None:
        self._names = headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def items(self) -> tuple[tuple[str, str], ...]:
        return ()
