"""Find the code in a model's Markdown with a CommonMark parser. Needs ``markdown-it-py``, of the extra ``jupyter``."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, backtick
from markdown_it.token import Token

__all__ = ["lines_of_code", "may_contain_code", "open_fence", "pieces_of", "same_code"]

# The parser reads some 200 000 characters a second. Beyond these limits text is taken for no code, which is safe.
_MAX_LINES = 10_000
_MAX_INLINE_CHARS = 50_000

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_INDENTED = re.compile(r"^(?: {4}| {0,3}\t)", re.MULTILINE)
# Marks that some Markdown readers pair with marks outside of a code span, and bounds that some do not let it cross.
_PAIRED = re.compile(r"[*_~\[\]\n\r|]")
# The code in the notes that replace generated files.
_NOTES = ("`giga.get_images(answer)`", "`.files`")


class _Range(NamedTuple):
    """Code from ``start`` to ``end``, in characters; ``certain`` if all Markdown readers agree."""

    start: int
    end: int
    certain: bool


def may_contain_code(text: str) -> bool:
    """Return False if no part of ``text`` is code."""
    return "`" in text or "~~~" in text or _INDENTED.search(text) is not None


def pieces_of(text: str) -> list[tuple[str, str]]:
    """Split ``text`` into pieces: ``"text"``, ``"code"``, or ``"perhaps"`` if Markdown readers disagree."""
    pieces: list[tuple[str, str]] = []
    at = 0
    for start, end, certain in _code_in(text):
        if at < start:
            pieces.append(("text", text[at:start]))
        pieces.append(("code" if certain else "perhaps", text[start:end]))
        at = end
    if at < len(text):
        pieces.append(("text", text[at:]))
    return pieces


def same_code(text: str, shown: str) -> bool:
    """Return True if a notebook finds in ``shown`` the same code as :func:`pieces_of` in ``text``, escaped or not."""
    return _contents(text, _parser()) == _contents(shown, _parser(as_notebook=True))


def lines_of_code(text: str) -> set[int]:
    """Return the numbers of the lines in code blocks, from 0, without those that open a block."""
    blocks = [token for token in _blocks(text, _parser()) if token.type in ("fence", "code_block") and token.map]
    return {number for token in blocks for number in range(token.map[0] + 1, token.map[1])}  # type: ignore[index]


def open_fence(text: str) -> str:
    """Return the line that closes the code block in which ``text`` ends; empty if it ends outside."""
    lines = _LINE.findall(text)
    for token in _blocks(text, _parser()):
        if token.type == "fence" and token.map and token.map[1] >= len(lines):
            first, end = token.map
            if token.content.count("\n") == end - first - 1:
                before = lines[first].partition(token.markup)[0]
                return re.sub("[^ >]", " ", before) + token.markup
    return ""


# -- parsing -----------------------------------------------------------------------------------------------------------


def _note_span(state: StateInline, silent: bool) -> bool:
    """Read a code span as the parser does, and note where it is."""
    start = state.pos
    if not backtick(state, silent):
        return False
    if not silent and state.tokens and state.tokens[-1].type == "code_inline" and not state.pending:
        state.env["spans"].append((start, state.pos))
    return True


@functools.cache
def _parser(*, as_notebook: bool = False) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": as_notebook}).enable(["strikethrough", "table"])
    parser.disable("inline")  # only the content with a backtick is parsed
    if not as_notebook:
        parser.disable("image")  # tags and pictures will be escaped, so they must not decide what is code
    parser.inline.ruler.at("backticks", _note_span)
    return parser


def _blocks(text: str, parser: MarkdownIt) -> list[Token]:
    """Return the blocks of ``text``, with unparsed inline content; none if there are too many lines."""
    if not may_contain_code(text) or text.count("\n") + text.count("\r") > _MAX_LINES:
        return []
    return parser.parse(text if text.endswith(("\n", "\r")) else text + "\n")


class _Spans:
    """Finds code spans, in a limited number of characters."""

    def __init__(self, parser: MarkdownIt) -> None:
        self._parser = parser
        self._left = _MAX_INLINE_CHARS

    def of(self, content: str) -> list[tuple[int, int]]:
        """Return the start and the end of each code span in the content of an inline token."""
        if "`" not in content or len(content) > self._left:
            return []
        self._left -= len(content)
        spans: list[tuple[int, int]] = []
        self._parser.inline.parse(content, self._parser, {"spans": spans}, [])
        return spans


def _contents(text: str, parser: MarkdownIt) -> list[str]:
    """Return the content of all code in ``text``, without the escapes and the notes of a notebook's Markdown."""
    found: list[str] = []
    spans = _Spans(parser)
    for token in _blocks(text, parser):
        if token.type in ("fence", "code_block"):
            found.append(token.content)
        elif token.type == "inline":
            found += [" ".join(token.content[start:end].split()) for start, end in spans.of(token.content)]
    unescaped = (content.replace("&lt;", "<").replace("\\!", "!") for content in found)
    return [content for content in unescaped if content not in _NOTES]


def _code_in(text: str) -> Iterator[_Range]:
    """Yield the code in ``text``, in order."""
    lines = _LINE.findall(text)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    offsets += [len(text)] * 2  # for the line end that was added
    spans = _Spans(_parser())
    certain = True
    at = 0  # where the search for the next inline content begins
    for token in _blocks(text, _parser()):
        if token.map is None:
            continue
        first, end = token.map
        if token.type == "fence":
            # Some readers end the code of a list item elsewhere, and then all that follows is doubtful.
            certain = certain and lines[first].startswith(token.markup)
            yield _Range(offsets[first + 1], offsets[end], certain)
        elif token.type == "code_block":
            certain = certain and "```" not in token.content and "~~~" not in token.content
            yield _Range(offsets[first], offsets[end], False)
        elif token.type == "inline":
            for found in _located(token, spans.of(token.content), text, offsets, max(at, offsets[first])):
                yield found._replace(certain=found.certain and certain)
                at = found.end


def _located(token: Token, spans: list[tuple[int, int]], text: str, offsets: list[int], at: int) -> Iterator[_Range]:
    """Yield the code spans of an inline token; none if ``text`` does not contain it unchanged."""
    if not spans or token.map is None:
        return
    content = token.content
    outside = content[: spans[0][0]] + "".join(content[a:b] for (_, a), (b, _) in itertools.pairwise(spans))
    outside += content[spans[-1][1] :]
    # A stray mark of code, or of a link, may pair with one inside.
    certain = "`" not in outside and "](" not in outside
    positions = _positions(content, token.map[0], text, offsets, at)
    for start, end in spans:
        if start not in positions or end - 1 not in positions:
            return
        inside = content[start:end]
        yield _Range(positions[start], positions[end - 1] + 1, certain and _PAIRED.search(inside) is None)


def _positions(content: str, first: int, text: str, offsets: list[int], at: int) -> dict[int, int]:
    """Return the place in ``text`` of each backtick of ``content``, whose lines lack the marks of lists and quotes."""
    positions: dict[int, int] = {}
    begun = 0
    for number, line in enumerate(content.split("\n"), first):
        if "`" in line:
            # Marks of lists and quotes have no backtick, so the first occurrence is the right one.
            place = text.find(line, max(at, offsets[number]), offsets[number + 1])
            if place < 0:
                break
            positions.update((begun + n, place + n) for n, character in enumerate(line) if character == "`")
            at = place + len(line)
        begun += len(line) + 1
    return positions
