"""The lines of a checkpoint: encoding, decoding, and the fields that identify them. Pure."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS, decode_or_none
from gigaclient._primitives.surrogates import convert_texts, well_formed

__all__ = [
    "BROKEN",
    "FOREIGN",
    "KEY_BYTES",
    "Head",
    "decode_line",
    "encode_line",
    "is_absent",
    "may_be_checkpoint",
    "parse_head",
    "parse_key",
    "result_key",
]

KEY_BYTES = 16

_RESULT_PREFIX = b'{"key":"'
_NOTE_PREFIX = b'{"by":"gigaclient","note":'
_HEXADECIMAL = frozenset("0123456789abcdef")

_MAX_EXCERPT_CHARACTERS = 200


# -- reading -----


class Head(msgspec.Struct):
    """The fields that identify a line and say if it is finished. All others are skipped without being decoded."""

    key: str | None = None
    index: int | None = None
    error: msgspec.Raw = msgspec.Raw()
    note: msgspec.Raw = msgspec.Raw()
    by: msgspec.Raw = msgspec.Raw()

    def is_marked(self) -> bool:
        """Return True for a note that names this package as its writer."""
        return bytes(self.by) == b'"gigaclient"'


FOREIGN, BROKEN = Head(), Head()

_head_decoder = decoder(Head)


def is_absent(field: msgspec.Raw) -> bool:
    """Return True if a line has no such field, or null."""
    # A table that was written back has null where a line had no such field.
    return bytes(field) in (b"", b"null")


def result_key(head: Head) -> bytes | None:
    """Return the key of a result; None for any other line."""
    return parse_key(head.key) if head.key is not None and head.index is not None else None


def parse_key(text: str) -> bytes | None:
    """Return the 16 bytes of 32 hexadecimal digits; None for any other text."""
    if len(text) != 2 * KEY_BYTES:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None  # bytes.fromhex allows blanks between digits


def parse_head(line: bytes) -> Head:
    """Return the identifying fields; ``FOREIGN`` for JSON of another shape, ``BROKEN`` for anything else."""
    try:
        return _head_decoder.decode(line)
    except msgspec.ValidationError:
        return FOREIGN
    except JSON_ERRORS:
        return BROKEN


def may_be_checkpoint(tail: bytes) -> bool:
    """Return True if a file's only content is one of our lines, or the beginning of one."""
    text = tail.rstrip(b"\0")
    line = decode_line(text)
    if line is not None:
        head = parse_head(text)
        return result_key(head) is not None or (head.is_marked() and not is_absent(head.note))
    if not text:
        return False
    digits = len(_RESULT_PREFIX)
    after = digits + 2 * KEY_BYTES
    is_half_a_result = (
        _RESULT_PREFIX.startswith(text[:digits])
        and _HEXADECIMAL.issuperset(text[digits:after].decode("latin-1"))
        and b'",'.startswith(text[after : after + 2])
    )
    return is_half_a_result or _NOTE_PREFIX.startswith(text[: len(_NOTE_PREFIX)])


def decode_line(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a line; None if it is not one."""
    line = decode_or_none(data)
    return line if isinstance(line, dict) else None


# -- writing -----


def encode_line(line: Mapping[str, Any]) -> bytes:
    """Return a result or a note as one line of JSON.

    Raises:
        ValueError: it is neither.
    """
    key = line.get("key")
    # The fields that identify half a line come first.
    if key is None and line.get("note") is not None:
        fields = {"by": None, "note": None, **line}
        fields["by"] = "gigaclient"
    elif isinstance(key, str) and parse_key(key) and isinstance(line.get("index"), int):
        fields = {"key": key, "index": None, **line}
    else:
        raise ValueError('a line needs a "key" of 32 hexadecimal digits and an "index", or a "note" and no key')
    try:
        data = _encoder.encode(fields)
    except Exception:  # an object of the user may raise anything
        data = b""
    if not data or b"\n" in data:
        data = b"{%b}" % b",".join(
            b"%b:%b" % (_encode_leniently(name), _encode_leniently(value)) for name, value in fields.items()
        )
    return data + b"\n"


def _encode_leniently(value: Any) -> bytes:
    """Encode ``value`` as readable JSON: unchanged, with unpaired surrogates replaced, or as an excerpt."""
    with contextlib.suppress(Exception):
        data = _encoder.encode(value)
        if b"\n" not in data:
            return data
    with contextlib.suppress(Exception):
        builtins_ = convert_texts(msgspec.to_builtins(value, str_keys=True, enc_hook=_substitute), well_formed)
        return _encoder.encode(builtins_)
    return _encoder.encode(well_formed(_excerpt(value)))


def _substitute(value: Any) -> Any:
    """Return a replacement for an object that msgspec cannot encode."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(value)
    with contextlib.suppress(Exception):
        return operator.index(value)
    import numbers

    if isinstance(value, numbers.Real):
        return float(value)
    return _excerpt(value)


def _excerpt(value: Any) -> str:
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_EXCERPT_CHARACTERS else text[: _MAX_EXCERPT_CHARACTERS - 1] + "…"


_encoder = msgspec.json.Encoder(enc_hook=_substitute)
