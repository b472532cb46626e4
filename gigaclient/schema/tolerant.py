"""Find JSON documents in the text of a model, and mend the mistakes that models make in them. Pure.

It reads each character once and never recurses: its time and memory are linear in the length of the text. It mends the
form of a document and invents no content. A document whose end is missing is not one, nor is any part of it.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from gigaclient._primitives.surrogates import well_formed

__all__ = ["NULLS", "Document", "find_documents"]

# Deeper documents are refused by the strict reader too.
_MAX_DEPTH = 200
# Of more documents the last ones are returned.
_MAX_DOCUMENTS = 64

_THINK_END = "</think>"

# Each of these expressions matches one token. Their alternatives begin with different characters, so that none of them
# can match a text in two ways.
_OPENING = re.compile(r"[{\[]")
_SPACE = re.compile(r"[\s\ufeff]*")
_STRINGS = {
    '"': re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
    "'": re.compile(r"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[+-]?[^\W\d]\w*")
_NAME = re.compile(r"(?:[^\W\d]|\$)[\w$-]*")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair
    r"|\\u[0-9a-fA-F]{4}"
    r'|\\["\\/bfnrt]'
    r"|\\"
    r'|["\x00-\x1f]',
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_CONTROL = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_WORDS = {"true": "true", "false": "false", "null": "null"}
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_NO_NUMBERS = frozenset({"NaN", "nan", "Infinity", "-Infinity", "+Infinity", "inf", "-inf", "undefined"})

_AROUND = "left out the text around the JSON"
_THOUGHTS = "left out the <think> part"
_BREAKS = "escaped line breaks, tabs or control characters in strings"
_BACKSLASHES = "kept backslashes that begin no escape"
_QUOTES = "read single quotes as double quotes"
_KEYS = "quoted the names of fields"
_COMMAS = "removed commas before closing brackets"
NULLS = "read NaN, infinite numbers and undefined as null"
"""The sentence of ``completion.repaired`` for numbers without a form in JSON."""

_NUMBERS = "read NaN and infinite numbers as numbers"
_PYTHON = "read True, False and None of Python"
_SPACES = "read other white space as spaces"
_CHARACTERS = "replaced halves of surrogate pairs by U+FFFD"


class Document(NamedTuple):
    """A JSON document that was found in a text.

    Attributes:
        data: the document as strict JSON.
        repaired: what was mended, in short sentences.
    """

    data: bytes
    repaired: tuple[str, ...]


def find_documents(text: str, *, nan_as_text: bool = False) -> list[Document]:
    """Return the objects and arrays in ``text``, in their order and without those inside others.

    Mended are: line breaks, tabs and control characters in strings, single quotes, names without quotes, commas before
    closing brackets, ``NaN``, ``True`` and ``None``, backslashes that begin no escape, and lone surrogates. Text around
    documents is skipped, and so is everything up to ``</think>``.

    Args:
        text: the text of a model.
        nan_as_text: write ``NaN`` and infinite numbers as strings, which decoders of numbers read, instead of null.
    """
    skipped: dict[str, None] = {}
    _, end, answer = text.rpartition(_THINK_END)
    if end:
        skipped[_THOUGHTS] = None
    joined = well_formed(answer)
    if joined != answer:
        skipped[_CHARACTERS] = None
    found: deque[Document] = deque(maxlen=_MAX_DOCUMENTS)
    position = after_last = 0
    open_brackets = 0  # of documents that could not be read: nothing inside them is a document
    while True:
        opening = _OPENING.search(joined, position)
        if opening is None:
            break
        closed = joined.count("}", position, opening.start()) + joined.count("]", position, opening.start())
        open_brackets = max(0, open_brackets - closed)
        reader = _DocumentReader(joined, opening.start(), nan_as_text)
        if not reader.read():
            open_brackets += reader.depth
        elif not open_brackets:
            if joined[after_last : opening.start()].strip():
                skipped[_AROUND] = None
            found.append(Document("".join(reader.pieces).encode(), tuple(reader.notes)))
            after_last = reader.position
        position = reader.position
    if joined[after_last:].strip():
        skipped[_AROUND] = None
    return [Document(data, (*skipped, *notes)) for data, notes in found]


class _DocumentReader:
    """Read one document from its opening bracket.

    Attributes:
        position: where reading stopped: after the document, or at the character that fits no document. It is the end of
            the text if the document has no end.
        depth: the number of open brackets there.
        pieces: the document as strict JSON, in pieces.
        notes: what was mended; the keys of a dict, each once and in order.
    """

    __slots__ = ("_closing", "_nan_as_text", "_text", "notes", "pieces", "position")

    def __init__(self, text: str, start: int, nan_as_text: bool) -> None:
        self._text = text
        self._nan_as_text = nan_as_text
        self._closing: list[str] = []
        self.position = start
        self.pieces: list[str] = []
        self.notes: dict[str, None] = {}

    @property
    def depth(self) -> int:
        """The number of open brackets."""
        return len(self._closing)

    def read(self) -> bool:
        """Read the document; return False if there is none here."""
        if not self._open():
            return False
        while self._closing:
            # Here a value or a closing bracket follows.
            if self._next() == self._closing[-1]:
                self._close()
            elif not self._member():
                return False
            while self._closing and self._next() == self._closing[-1]:
                self._close()
            # Only after an opening bracket does a value follow without a comma.
            if self._closing and self.pieces[-1] not in ("{", "["):
                if self._next() != ",":
                    return False
                self.position += 1
                self.pieces.append(",")
        return True

    def _next(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        match = _SPACE.match(self._text, self.position)
        assert match is not None
        self.position = match.end()
        if match[0].strip(" \t\r\n"):
            self.notes[_SPACES] = None
        return self._text[self.position : self.position + 1]

    def _open(self) -> bool:
        if len(self._closing) == _MAX_DEPTH:
            return False
        opening = self._text[self.position]
        self._closing.append("}" if opening == "{" else "]")
        self.pieces.append(opening)
        self.position += 1
        return True

    def _close(self) -> None:
        if self.pieces[-1] == ",":
            self.pieces.pop()
            self.notes[_COMMAS] = None
        self.pieces.append(self._closing.pop())
        self.position += 1

    def _member(self) -> bool:
        """Read an item of an array, or a name and its value; of a value with brackets only the opening one."""
        if self._closing[-1] == "]":
            return self._value()
        if not self._name() or self._next() != ":":
            return False
        self.position += 1
        self.pieces.append(":")
        self._next()
        return self._value()

    def _name(self) -> bool:
        character = self._next()
        if character in ('"', "'"):
            return self._string(character)
        word = _NAME.match(self._text, self.position)
        if word is None:
            return False
        self.notes[_KEYS] = None
        self.pieces.append(f'"{word[0]}"')
        self.position = word.end()
        return True

    def _value(self) -> bool:
        character = self._text[self.position : self.position + 1]
        if character in ("{", "["):
            return self._open()
        if character in ('"', "'"):
            return self._string(character)
        number = _NUMBER.match(self._text, self.position)
        if number is not None:
            self.pieces.append(number[0])
            self.position = number.end()
            return True
        return self._word()

    def _word(self) -> bool:
        match = _WORD.match(self._text, self.position)
        if match is None:
            return False
        word = match[0]
        if word in _NO_NUMBERS:
            self.notes[_NUMBERS if self._nan_as_text else NULLS] = None
            self.pieces.append(f'"{word}"' if self._nan_as_text else "null")
        elif word in _PYTHON_WORDS:
            self.notes[_PYTHON] = None
            self.pieces.append(_PYTHON_WORDS[word])
        elif word in _WORDS:
            self.pieces.append(word)
        else:
            return False
        self.position = match.end()
        return True

    def _string(self, quote: str) -> bool:
        match = _STRINGS[quote].match(self._text, self.position)
        if match is None:
            self.position = len(self._text)
            return False
        if quote == "'":
            self.notes[_QUOTES] = None
        content = _ESCAPE.sub(self._escaped, match[0][1:-1])
        self.pieces.append(f'"{content}"')
        self.position = match.end()
        return True

    def _escaped(self, match: re.Match[str]) -> str:
        """Return a quote, a control character or an escape of a string as strict JSON."""
        found = match[0]
        if len(found) > 2:
            if len(found) == 6 and _SURROGATE.match(found):
                self.notes[_CHARACTERS] = None
                return r"\ufffd"
            return found
        if len(found) == 2:
            return found
        if found == '"':
            return r"\""
        if found == "\\":
            if match.string[match.end() : match.end() + 1] == "'":
                return ""
            self.notes[_BACKSLASHES] = None
            return r"\\"
        self.notes[_BREAKS] = None
        return _CONTROL.get(found, f"\\u{ord(found):04x}")
