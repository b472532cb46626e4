"""Input and output: text for people, lines for pipes, JSON for programs; UTF-8 in any locale."""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import locale
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any, TextIO

import msgspec

from gigaclient.cli.layout import column_widths, columns_of, text_width, wrap

__all__ = [
    "Screen",
    "is_terminal",
    "piped_input",
    "printable",
    "read_input",
    "use_utf8",
    "wants_colour",
    "write_json",
]

_BOLD, _DIM, _RED, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"

# Text of a model or a server must not control the terminal: escapes can change its title or the clipboard.
_CONTROL_SYMBOLS: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    0x0D: None,
}


def printable(text: str) -> str:
    """Replace control characters by symbols, so that a terminal does not execute them."""
    return text.translate(_CONTROL_SYMBOLS)


def is_terminal(stream: Any) -> bool:
    """Return True when ``stream`` is a terminal; False for None and for a closed stream."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def wants_colour(stream: Any, no_color: bool = False) -> bool:
    """Decide whether to colour ``stream``: ``--no-color`` and NO_COLOR, then FORCE_COLOR, then its type."""
    if no_color or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def use_utf8() -> None:
    """Switch standard output and errors to UTF-8: the C locale and Windows code pages lack many letters."""
    for name, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8", errors))
            continue
        if not isinstance(stream, io.TextIOWrapper):  # of a notebook or a test: these accept any text
            continue
        if codecs.lookup(stream.encoding).name != "utf-8" or stream.errors != errors:
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(encoding="utf-8", errors=errors)


def piped_input() -> bool:
    """Return True when standard input is a pipe, a file or a socket, and not a terminal or /dev/null."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # it has no descriptor
        return not is_terminal(sys.stdin)
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_input(stream: IO[Any] | None = None) -> str:
    """Read all of standard input as text: UTF-8, UTF-16 with a byte order mark (PowerShell), or the locale's encoding.

    Raises:
        ValueError: the input has another encoding.
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
    """Write one JSON document: indented on a terminal, else on one line. Letters are not escaped."""
    text = msgspec.json.encode(value).decode()
    stream.write((printable(msgspec.json.format(text, indent=2)) if is_terminal(stream) else text) + "\n")
    stream.flush()


class Screen:
    """The output of a command.

    Args:
        json: write JSON.
        no_color: use no colours.
    """

    def __init__(self, *, json: bool = False, no_color: bool = False) -> None:
        self.json = json
        self.no_color = no_color

    @property
    def on_terminal(self) -> bool:
        """True when standard output is a terminal."""
        return is_terminal(sys.stdout)

    def document(self, value: Any) -> None:
        """Write one JSON document."""
        write_json(sys.stdout, value)

    def json_line(self, value: Any) -> None:
        """Write one of several JSON documents, always on one line."""
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Write a line of the result; wrap it on a terminal."""
        self.text((wrap(text, columns_of(sys.stdout)) if self.on_terminal else text) + "\n")

    def text(self, text: str) -> None:
        """Write a part of the result, and flush it."""
        sys.stdout.write(printable(text) if self.on_terminal else text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Write a remark to standard error, but only on a terminal."""
        if not self.json and is_terminal(sys.stderr):
            self._write_error(_DIM, "", text)

    def summary(self, text: str) -> None:
        """Write a line about the result to standard error, also in a pipe."""
        self._write_error("", "", text)

    def warning(self, text: str) -> None:
        """Write a warning to standard error."""
        if not self.json:
            self._write_error(_BOLD, "warning: ", text)

    def error(self, text: str, hint: str | None = None) -> None:
        """Write an error, and the hint if there is one, to standard error."""
        self._write_error(_RED, "error: ", text)
        if hint is not None:
            self._write_error(_DIM, "", f"hint: {hint}")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table: columns with headings on a terminal; in a pipe, cells separated by tabs, without headings."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not self.on_terminal:
            for row in cells:
                sys.stdout.write("\t".join(row) + "\n")
            sys.stdout.flush()
            return
        printable_cells = [[printable(text) for text in row] for row in cells]
        bold, reset = (_BOLD, _RESET) if wants_colour(sys.stdout, self.no_color) else ("", "")
        columns = list(zip(headings, *printable_cells, strict=True))
        widths = column_widths(
            [max(text_width(word) for cell in column for word in cell.split() or [""]) for column in columns],
            [max(map(text_width, column)) for column in columns],
            columns_of(sys.stdout) - 2 * (len(columns) - 1),
        )
        if widths is None:  # the words do not fit into columns
            for number, row in enumerate(printable_cells):
                fields = [f"{heading}: {cell}" for heading, cell in zip(headings, row, strict=True)]
                sys.stdout.write("\n" * (number > 0) + wrap("\n".join(fields), columns_of(sys.stdout)) + "\n")
        else:
            numeric = [
                bool(rows) and all(isinstance(value, (int, float)) or value is None for value in column)
                for column in (zip(*rows, strict=True) if rows else [()] * len(headings))
            ]
            for number, row in enumerate([list(headings), *printable_cells]):
                for line in _row_lines(row, widths, numeric):
                    sys.stdout.write(f"{bold}{line}{reset}\n" if number == 0 else f"{line}\n")
        sys.stdout.flush()

    def _write_error(self, style: str, label: str, text: str) -> None:
        stream = sys.stderr
        output = wrap(label + printable(text), columns_of(stream)) if is_terminal(stream) else label + text
        if style and wants_colour(stream, self.no_color):
            styled, rest = (label, output.removeprefix(label)) if label else (output, "")
            output = f"{style}{styled}{_RESET}{rest}"
        stream.write(output + "\n")
        stream.flush()


def _row_lines(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> Iterator[str]:
    """Yield the lines of a row of a table; numbers are aligned to the right."""
    cells = [wrap(text, width).split("\n") for text, width in zip(row, widths, strict=True)]
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        padded = [
            " " * (width - text_width(text)) + text if right else text + " " * (width - text_width(text))
            for text, width, right in zip(parts, widths, numeric, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # A tab or a line break in a name would split the cell or the row.
    return str(value).translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): None})
