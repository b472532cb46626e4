"""Fast paths for the headers of requests and responses.

``http.client`` parses response headers with the e-mail parser and writes request headers line by line. Together that
costs more than the rest of a call. Typical headers are handled here in one step. Unusual ones (a folded line, an
interim response, headers in several packets, a value with a line break) are left to the libraries unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, ValuesView
from http.client import HTTPMessage, HTTPResponse
from typing import Any

from requests.structures import CaseInsensitiveDict
from urllib3.util import SKIP_HEADER

__all__ = ["HeaderDict", "PlainHeadResponse", "WrittenHeaders", "header_block"]

# A final status, and lines of one name and one value each. Names are slightly wider than in RFC 9110, like in the
# libraries.
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([^\r\n]*))?\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")
_MAX_HEADERS = 64  # below http.client's limit of 100
_MAX_LENGTH_DIGITS = 18

_PLAIN_NAMES = re.compile(r"[!-9;-~]+(?:\n[!-9;-~]+)*")
_LINE_BREAK = re.compile(r"[\r\n\0]")


class HeaderDict(CaseInsensitiveDict[str]):
    """A ``CaseInsensitiveDict`` that is built from pairs in one step."""

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
        """Iterate over names in lower case, and values."""
        return iter([(lowered, pair[1]) for lowered, pair in self._pairs.items()])

    def copy(self) -> HeaderDict:
        """Return a copy."""
        return HeaderDict(self._pairs.values())

    def pairs(self) -> ValuesView[tuple[str, str]]:
        """Return the names in their original case, and values."""
        return self._pairs.values()


class PlainHeadResponse(HTTPResponse):
    """Parses typical headers that have arrived completely; leaves all others to ``http.client``."""

    def begin(self, **options: Any) -> None:
        """Read the status and the headers."""
        # Later Pythons pass limits here; when one is set, the library must apply it.
        if self.headers is not None or any(options.values()) or not self._begin_plain():
            super().begin(**options)

    def _begin_plain(self) -> bool:
        # Peek first: nothing may be consumed before all headers are known to be typical.
        found = _PLAIN_HEAD.match(self.fp.peek())
        if found is None:
            return False
        status, reason, lines = found.groups()
        fields = [line.partition(":") for line in lines.decode("iso-8859-1").split("\r\n")[:-1]]
        if len(fields) > _MAX_HEADERS:
            return False
        message = HTTPMessage()
        first_values: dict[str, str] = {}
        for name, _, value in fields:
            value = value.lstrip(" \t")
            message.set_raw(name, value)
            first_values.setdefault(name.lower(), value)
        length = first_values.get("content-length")
        if length is not None and not (length.isdecimal() and len(length) <= _MAX_LENGTH_DIGITS):
            return False
        self.fp.read(found.end())

        self.headers = self.msg = message
        self.version = 11
        self.code = self.status = int(status)
        self.reason = reason.decode("iso-8859-1").strip() if reason else ""
        self.chunked = first_values.get("transfer-encoding", "").lower() == "chunked"
        if self.chunked:
            self.chunk_left = None
        self.length = None if length is None or self.chunked else int(length)
        if self.status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        # Without a length or chunks, the body ends with the connection.
        self.will_close = "close" in first_values.get("connection", "").lower() or not (
            self.chunked or self.length is not None
        )
        return True


def header_block(headers: Mapping[str, Any]) -> bytes | None:
    """Return the header lines of a request without the last line break; None when they may be unsafe.

    Then ``http.client`` checks them line by line and refuses a name or a value that could start another line.
    """
    names, values = list(headers), list(headers.values())
    try:
        lines = "\n".join(names)
        if _PLAIN_NAMES.fullmatch(lines) is None or lines.count("\n") != len(names) - 1:
            return None
        if _LINE_BREAK.search("".join(values)) is not None:
            return None
        if SKIP_HEADER in values:  # an instruction to urllib3, not a value
            return None
        # Join and do not format: formatting a secret gives the mask.
        return "\r\n".join(map(": ".join, zip(names, values, strict=True))).encode("latin-1")
    except (TypeError, UnicodeEncodeError):  # bytes, or characters that are not allowed in a header
        return None


class WrittenHeaders:
    """Headers that are written already: urllib3 finds their names, but nothing to write."""

    __slots__ = ("_names",)

    def __init__(self, headers: Mapping[str, Any]) -> None:
        self._names = headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return nothing, because nothing is left to write."""
        return ()
