"""Where output goes: text for people, lines for pipes, JSON for programs; in UTF-8 whatever the locale."""

from __future__ import annotations

import codecs
import contextlib
import io
import locale
import os
import stat
import sys
import unicodedata
from collections.abc import Sequence
from typing import IO, Any, TextIO

import msgspec

__all__ = [
    "Screen",
    "is_terminal",
    "piped_input",
    "printable",
    "read_input",
    "speak_utf8",
    "wants_colour",
    "write_json",
]

_BOLD, _DIM, _RED, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"

# What a model, a server or a file name says must not steer the terminal: escapes can retitle it or reach the clipboard.
_HARMLESS: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    0x0D: None,
}


def printable(text: str) -> str:
    """``text`` for a terminal: control characters show as symbols and do nothing."""
    return text.translate(_HARMLESS)


def is_terminal(stream: Any) -> bool:
    """Whether a person sees ``stream``; False for None and for a closed one."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def wants_colour(stream: Any, no_color: bool = False) -> bool:
    """Whether to colour ``stream``: ``--no-color`` and NO_COLOR over FORCE_COLOR over what it is connected to."""
    if no_color or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def speak_utf8() -> None:
    """Have standard output and errors take any text: the C locale and Windows' code pages have no Cyrillic, or half."""
    for name, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8", errors))
            continue
        if not isinstance(stream, io.TextIOWrapper):  # a notebook's, or a test's: those take any text
            continue
        if codecs.lookup(stream.encoding).name != "utf-8" or stream.errors != errors:
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(encoding="utf-8", errors=errors)


def piped_input() -> bool:
    """Whether somebody feeds standard input: a pipe, a file, a socket; not a terminal, and not /dev/null."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # no descriptor behind it
        return not is_terminal(sys.stdin)
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_input(stream: IO[Any] | None = None) -> str:
    """All of standard input as text: UTF-8, UTF-16 with its mark (as PowerShell pipes it), or the locale's encoding.

    Raises:
        ValueError: it is none of these.
    """
    stream = sys.stdin if stream is None else stream
    if stream is None:
        return ""
    data = getattr(stream, "buffer", stream).read()
    if isinstance(data, str):
        return data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", locale.getpreferredencoding(False)]
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            text: str = data.decode(encoding)
            return text.replace("\r\n", "\n")
    raise ValueError("the input is not text in UTF-8")


def write_json(stream: TextIO, value: Any) -> None:
    """One JSON document: indented for a person, on one line for a program. Letters are not escaped."""
    encoded = msgspec.json.encode(value)
    if is_terminal(stream):
        encoded = msgspec.json.format(encoded, indent=2)
    stream.write(encoded.decode() + "\n")
    stream.flush()


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


class Screen:
    """What a command says.

    Args:
        json: it is for a program.
        no_color: no colours, whatever the output is.
    """

    def __init__(self, *, json: bool = False, no_color: bool = False) -> None:
        self.json = json
        self.no_color = no_color

    @property
    def on_terminal(self) -> bool:
        """Whether a person reads standard output."""
        return is_terminal(sys.stdout)

    def document(self, value: Any) -> None:
        """One JSON document, or one of several JSON lines."""
        write_json(sys.stdout, value)

    def json_line(self, value: Any) -> None:
        """One of several JSON documents: always on a line of its own."""
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """A line of the result."""
        sys.stdout.write(self._shown(text) + "\n")
        sys.stdout.flush()

    def text(self, text: str) -> None:
        """A piece of the result, at once."""
        sys.stdout.write(self._shown(text))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line that is not part of the result: to standard error, and only when a person is there."""
        if not self.json and is_terminal(sys.stderr):
            self._aside(_DIM, "", text)

    def warning(self, text: str) -> None:
        """Something to know, to standard error."""
        if not self.json:
            self._aside(_BOLD, "warning: ", text)

    def error(self, text: str, hint: str | None = None) -> None:
        """What went wrong, in one sentence, to standard error."""
        self._aside(_RED, "error: ", text)
        if hint is not None:
            self._aside(_DIM, "", f"hint: {hint}")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Columns with headings for a person; for a pipe, the cells with tabs between them, and no headings."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not self.on_terminal:
            for row in cells:
                sys.stdout.write("\t".join(row) + "\n")
            sys.stdout.flush()
            return
        shown = [[printable(text) for text in row] for row in cells]
        widths = [max(map(_width, column)) for column in zip(headings, *shown, strict=True)]
        numeric = [
            bool(rows) and all(isinstance(value, (int, float)) or value is None for value in column)
            for column in (zip(*rows, strict=True) if rows else [()] * len(headings))
        ]
        bold, reset = (_BOLD, _RESET) if wants_colour(sys.stdout, self.no_color) else ("", "")
        for number, row in enumerate([list(headings), *shown]):
            padded = [
                " " * (width - _width(text)) + text if right else text + " " * (width - _width(text))
                for text, width, right in zip(row, widths, numeric, strict=True)
            ]
            line = "  ".join(padded).rstrip()
            sys.stdout.write(f"{bold}{line}{reset}\n" if number == 0 else f"{line}\n")
        sys.stdout.flush()

    def _shown(self, text: str) -> str:
        return printable(text) if self.on_terminal else text

    def _aside(self, style: str, label: str, text: str) -> None:
        stream = sys.stderr
        shown = printable(text) if is_terminal(stream) else text
        if wants_colour(stream, self.no_color):
            shown = f"{style}{label}{_RESET}{shown}" if label else f"{style}{shown}{_RESET}"
        else:
            shown = label + shown
        stream.write(shown + "\n")
        stream.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # A tab or a line break in a name would make two cells, or two rows, of one.
    return str(value).translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): None})
