"""Markdown as lines for a terminal, block by block, so that what is finished can be told from what still grows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.syntax import Syntax
from rich.theme import Theme

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

__all__ = ["Blocks", "Renderer"]

# The terminal's own colours: they suit its background, whether that is dark or light.
_CODE_THEME = "ansi_dark"
_THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "italic",
        "markdown.h6": "italic",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
        "markdown.block_quote": "dim",
    }
)

# The beginning of a number may yet become an item of the list before it.
_PERHAPS_AN_ITEM = re.compile(r"\s{0,3}(?:\d{1,9}[.)]?|[-*+])\s*")

# A line's end of spaces and escapes, which copying and narrowing the window would both show.
_PADDING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

_FORMULAS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"))


def _formula(state: StateInline, silent: bool) -> bool:
    """Leaves a formula as it is: Markdown would take its backslashes and underscores for its own."""
    for opening, closing in _FORMULAS:
        if state.src.startswith(opening, state.pos):
            end = state.src.find(closing, state.pos + len(opening), state.posMax)
            if end < 0:
                return False
            if not silent:
                state.pending += state.src[state.pos : end + len(closing)]
            state.pos = end + len(closing)
            return True
    return False


def _parser() -> MarkdownIt:
    # HTML is shown as it was written: it may be what was asked for, and names the pictures that a model made.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


class _Code(CodeBlock):
    """Code without a frame of empty lines, and with its lines wrapped."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Syntax(
            str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 2), tab_size=4
        )


class _Heading(Heading):
    """A heading at the left, whatever rich thinks of the middle."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Answer(Markdown):
    """Markdown of tokens that were parsed before. A line break in the source is one: verses are written so."""

    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", code_theme=_CODE_THEME, hyperlinks=False)
        for token in tokens:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
        self.parsed = tokens


class Blocks(NamedTuple):
    """A text that is still coming, in two parts.

    Attributes:
        finished: the blocks that nothing can change any more.
        growing: the last block.
        rest: the source of ``growing``.
        grows_at_its_end: whether the lines of ``growing`` stay as they are when more comes, as those of code do.
    """

    finished: list[Token]
    growing: list[Token]
    rest: str
    grows_at_its_end: bool


class Renderer:
    """Markdown to lines.

    Args:
        colour: False leaves bold and italics, which say something, and no colour.
    """

    def __init__(self, *, colour: bool) -> None:
        self._parser = _parser()
        self._colour = colour
        self._console: Console | None = None

    def split(self, source: str) -> Blocks:
        """``source``, whose lines end in ``\\n``, as what is finished and what grows."""
        tokens = self._parser.parse(source)
        starts = [place for place, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0 and token.map]
        if not starts:
            return Blocks([], tokens, source, False)
        last = starts[-1]
        line = (tokens[last].map or [0])[0]
        rest = _from_line(source, line)
        code = tokens[last].type in ("fence", "code_block")
        if len(starts) == 1 or _PERHAPS_AN_ITEM.fullmatch(rest):
            return Blocks([], tokens, source, code and len(starts) == 1)
        return Blocks(tokens[:last], tokens[last:], rest, code)

    def lines(self, tokens: list[Token], width: int) -> list[str]:
        """Parsed blocks as lines with escapes, none longer than ``width``."""
        if not tokens:
            return []
        if self._console is None or self._console.width != width:
            self._console = self._made(width)
        console = self._console
        found: list[str] = []
        for block in _blocks(tokens):
            with console.capture() as drawn:
                console.print(_Answer(block))
            lines = [_trimmed(line) for line in drawn.get().split("\n")]
            # Tables and code bring empty lines of their own, and between any two blocks there is to be one.
            visible = [place for place, line in enumerate(lines) if _ESCAPE.sub("", line).strip()]
            if visible:
                found += [*([""] if found else []), *lines[visible[0] : visible[-1] + 1]]
        return found

    def _made(self, width: int) -> Console:
        return Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="standard",
            no_color=not self._colour,
            width=width,
            theme=_THEME,
            legacy_windows=False,
            highlight=False,
        )


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    block: list[Token] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0 and block:
            yield block
            block = []
        block.append(token)
    if block:
        yield block


def _from_line(source: str, number: int) -> str:
    place = 0
    for _ in range(number):
        place = source.index("\n", place) + 1
    return source[place:]


def _trimmed(line: str) -> str:
    padding: Any = _PADDING.search(line)
    if padding is None:
        return line
    return line[: padding.start()] + ("\x1b[0m" if "\x1b" in line else "")
