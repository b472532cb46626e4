"""Broken and dangerous characters: surrogates, bytes that are not UTF-8, and control characters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = [
    "BROKEN_CHARACTERS",
    "ESCAPED_CONTROL_CHARACTERS",
    "HalfJoiner",
    "convert_texts",
    "joined_pairs",
    "well_formed",
    "with_whole_characters",
]

BROKEN_CHARACTERS = "mended broken characters: halves of surrogate pairs, or bytes that are not UTF-8"
"""The sentence about them in ``completion.repaired``."""

_SHORT_ESCAPES = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r"}
ESCAPED_CONTROL_CHARACTERS = {
    code: _SHORT_ESCAPES.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
"""For ``str.translate``: line breaks, control characters and marks of direction could forge a line of a log."""

# An escaped surrogate pair, or one half of it, or any other escape, so that an escaped backslash is not read as one.
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL
)


def joined_pairs(text: str) -> str:
    """Return ``text`` with each surrogate pair joined to one character.

    Raises:
        UnicodeDecodeError: a surrogate is alone.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def well_formed(text: str) -> str:
    """Return ``text`` with each surrogate pair joined to one character, and each lone surrogate as U+FFFD."""
    # isascii() is a flag of the string, so that most texts are not encoded.
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def convert_texts(value: Any, convert: Callable[[str], str]) -> Any:
    """Return plain JSON types with each string, keys included, converted by ``convert``."""
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, dict):
        return {convert_texts(name, convert): convert_texts(inner, convert) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [convert_texts(inner, convert) for inner in value]
    return value


def with_whole_characters(body: bytes) -> bytes:
    """Return JSON with U+FFFD for bytes that are not UTF-8 and for escapes of lone surrogates.

    Bytes are replaced as the WHATWG standard decodes event streams.
    """

    def replaced(match: re.Match[str]) -> str:
        return r"\ufffd" if match[1] is not None and len(match[1]) == 5 else match[0]

    return _ESCAPES.sub(replaced, body.decode("utf-8", "replace")).encode()


class HalfJoiner(dict[Any, str]):
    """Join surrogates whose halves are in two chunks of a stream.

    A dict of the last halves that still may find their other half, by the text that they belong to.
    """

    __slots__ = ()

    def add(self, key: Any, text: str, *, is_last: bool) -> str:
        """Return the next piece of the text ``key`` with whole characters; keep half a character at its end.

        Args:
            key: identifies the text.
            text: the piece as it came.
            is_last: no piece follows, so that nothing is kept.
        """
        text = self.pop(key, "") + text
        if not is_last and "\ud800" <= text[-1:] <= "\udbff":
            self[key] = text[-1]
            text = text[:-1]
        return well_formed(text)

    def rest(self) -> dict[Any, str]:
        """Return U+FFFD for each half that still waits, by its text, and forget them."""
        return {key: self.add(key, "", is_last=True) for key in list(self)}
