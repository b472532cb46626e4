"""Find the end of a body (RFC 9112, section 6), without I/O: by chunks, by its length, or by the end of the connection.

An event of a stream must be delivered with its last byte, however the server packs events into chunks. Many small
chunks that arrive together should cost one step; in ``http.client`` and urllib3 each chunk costs several.
"""

from __future__ import annotations

from http.client import HTTPException, IncompleteRead
from typing import Protocol

__all__ = [
    "ChunkedDecoder",
    "Framing",
    "MalformedChunkError",
    "MalformedHeadError",
    "SizedDecoder",
    "UnframedDecoder",
    "chunk_size",
]

_MAX_DIGITS = 16
_HEXADECIMAL = b"0123456789abcdefABCDEF"
_MAX_LINE_BYTES = 8 * 1024
_MAX_TRAILER_BYTES = 64 * 1024


class MalformedChunkError(ValueError):
    """The bytes are not a valid chunked body."""


class MalformedHeadError(HTTPException):
    """The status line or the headers are invalid. The text quotes nothing of them."""


class Framing(Protocol):
    """Removes the framing of a body that arrives in arbitrary blocks.

    Attributes:
        ended: True after the end of the body.
        excess: bytes after it; a connection with any must not be used again.
    """

    ended: bool
    excess: bytes

    def feed(self, block: bytes) -> bytes:
        """Return the payload in ``block``."""

    def finish(self) -> bytes:
        """Note that the server sends no more; raise ``IncompleteRead`` when the body is cut short."""


class UnframedDecoder:
    """A body that ends with the connection, or whose end a library finds."""

    __slots__ = ("ended", "excess")

    def __init__(self) -> None:
        self.ended = False
        self.excess = b""

    def feed(self, block: bytes) -> bytes:
        """Return ``block``."""
        return block

    def finish(self) -> bytes:
        """Note the end of the body."""
        self.ended = True
        return b""


class SizedDecoder:
    """A body of ``length`` bytes."""

    __slots__ = ("_left", "ended", "excess")

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = not length
        self.excess = b""

    def feed(self, block: bytes) -> bytes:
        """Return ``block`` without the bytes after the body."""
        left = self._left = self._left - len(block)
        if left > 0:
            return block
        self.ended = True
        if left:
            self.excess = block[left:]
            return block[:left]
        return block

    def finish(self) -> bytes:
        """Raise ``IncompleteRead``, because bytes are missing."""
        raise IncompleteRead(b"", self._left)


def chunk_size(line: bytes) -> int:
    """Return the size in the first line of a chunk, given without its line break; ignore extensions.

    Raises:
        MalformedChunkError: it is not a hexadecimal number.
    """
    digits = line.split(b";", 1)[0].strip(b" \t")
    # int() alone would take a sign, a prefix and underscores.
    if digits.strip(_HEXADECIMAL) or not 0 < len(digits) <= _MAX_DIGITS:
        raise MalformedChunkError("the size of a chunk is not a number")
    return int(digits, 16)


class ChunkedDecoder:
    """A body in chunks (RFC 9112, section 7.1); see :class:`Framing`."""

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "ended", "excess")

    def __init__(self) -> None:
        self._state = "size"  # size -> data -> crlf -> size …, or size -> trailers
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.ended = False
        self.excess = b""

    def feed(self, block: bytes) -> bytes:
        """Return the payload in ``block``; empty when it holds only framing.

        Raises:
            MalformedChunkError: an invalid chunk size, or misplaced framing.
        """
        if self._state == "size" and not self._line:
            # Fast path: exactly one whole chunk, which is how servers send an event.
            end = block.find(b"\r\n", 0, 12)
            if end > 0 and block.endswith(b"\r\n"):
                digits = block[:end]
                if not digits.strip(_HEXADECIMAL) and 0 < int(digits, 16) == len(block) - end - 4:
                    return block[end + 2 : -2]
        payload: list[bytes] = []
        position, length = 0, len(block)
        while position < length:
            if self._state == "data":
                piece = block[position : position + self._left]
                payload.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "crlf"
                continue
            if self.ended:
                self.excess = block[position:]
                break
            end = block.find(b"\n", position)
            if end < 0:
                self._line += block[position:]
                if len(self._line) > _MAX_LINE_BYTES:
                    raise MalformedChunkError("a line of the chunked coding is too long")
                break
            line, self._line = (self._line + block[position:end]).removesuffix(b"\r"), b""
            position = end + 1
            self._parse_line(line)
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def finish(self) -> bytes:
        """Raise ``IncompleteRead``, because the last chunk is missing."""
        raise IncompleteRead(b"")

    def _parse_line(self, line: bytes) -> None:
        if self._state == "crlf":
            if line:
                raise MalformedChunkError("a chunk is longer than its size")
            self._state = "size"
        elif self._state == "size":
            self._left = chunk_size(line)
            self._state = "data" if self._left else "trailers"
        elif line:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise MalformedChunkError("the trailers are too long")
        else:
            self.ended = True
