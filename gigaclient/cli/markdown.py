"""Render Markdown as lines for a terminal, and separate complete blocks from the one that still grows."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from rich import box
from rich.cells import get_character_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, TableElement
from rich.measure import Measurement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from gigaclient.cli.layout import column_widths

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

__all__ = ["Blocks", "Renderer", "rows_of"]

# The 16 colours of the terminal suit its background, dark or light.
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

# An incomplete number may become an item of the list before it.
_POSSIBLE_LIST_ITEM = re.compile(r"\s{0,3}(?:\d{1,9}[.)]?|[-*+])\s*")

# Trailing spaces and escapes: they would be copied with the text, and wrap in a narrower window.
_PADDING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

_FORMULAS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"))


def _formula(state: StateInline, silent: bool) -> bool:
    """Keep a formula unchanged: Markdown would interpret its backslashes and underscores."""
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
    # HTML is shown unchanged: it may be the requested answer, and it names pictures that a model made.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


# The place of a block of code in the rendered text. An answer cannot contain it: control characters are replaced.
_CODE_MARK = "\x01"


class _Code(CodeBlock):
    """Code that can be copied from the screen: its lines have no margin, no padding and no line breaks of ours.

    rich would indent, pad and crop it in lists and quotes. So only a mark is rendered, for which
    :meth:`Renderer.lines` inserts the lines.
    """

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        """Make the element, and note it in ``markdown``."""
        code = cast("_Code", super().create(markdown, token))
        cast("_ParsedMarkdown", markdown).blocks_of_code.append(code)
        return code

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(_CODE_MARK)
        yield Segment.line()

    def lines(self, console: Console) -> list[str]:
        """Return the highlighted lines with escapes."""
        # Without a tab size Pygments keeps the tabs, as a Makefile needs them.
        syntax = Syntax("", self.lexer_name, theme=self.theme, tab_size=0)
        text = syntax.highlight(str(self.text).rstrip("\n"))
        with console.capture() as capture:
            for line in text.split("\n"):
                console.print(_Unwrapped(line), soft_wrap=True)
        return capture.get().split("\n")[:-1]


class _Unwrapped:
    """A line of text that rich neither wraps nor pads, with its tabs."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._text.render(console, "\n")


class _Table(TableElement):
    """A table whose cells are wrapped between words; rows of fields if the words are too wide for columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = self.header.row.cells if self.header is not None and self.header.row is not None else []
        headings = [cell.content.copy() for cell in cells]
        for heading in headings:
            heading.stylize("markdown.table.header")
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body is not None else []
        columns = list(zip(headings, *rows, strict=True))
        measured = [[Measurement.get(console, options, cell) for cell in column] for column in columns]
        widths = column_widths(
            [max(cell.minimum for cell in column) for column in measured],
            [max(cell.maximum for cell in column) for column in measured],
            options.max_width - 2 * len(columns),
        )
        if widths is None:
            yield from _records(headings, rows)
            return
        table = Table(box=box.SIMPLE, pad_edge=False, style="markdown.table.border", collapse_padding=True)
        for cell, heading, width in zip(cells, headings, widths, strict=True):
            table.add_column(heading, justify=cell.justify, width=width)
        for row in rows:
            table.add_row(*row)
        yield table


def _records(headings: list[Text], rows: list[list[Text]]) -> RenderResult:
    """Yield each row as lines of a heading and a cell, with an empty line between rows."""
    for number, row in enumerate(rows):
        if number:
            yield Text()
        for heading, cell in zip(headings, row, strict=True):
            yield Text(": ").join([heading, cell])


class _Heading(Heading):
    """A heading aligned to the left instead of centred."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _ParsedMarkdown(Markdown):
    """Markdown from parsed tokens. It keeps the line breaks of the source, for example in verses."""

    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "table_open": _Table,
    }

    def __init__(self, tokens: list[Token]) -> None:
        self.blocks_of_code: list[_Code] = []
        super().__init__("", code_theme=_CODE_THEME, hyperlinks=False)
        for token in tokens:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
        self.parsed = tokens


class Blocks(NamedTuple):
    """An incomplete text, in two parts.

    Attributes:
        finished: the complete blocks, which more text cannot change.
        growing: the last block.
        rest: the source of ``growing``.
        grows_at_its_end: True when more text does not change the lines of ``growing``, as in code.
    """

    finished: list[Token]
    growing: list[Token]
    rest: str
    grows_at_its_end: bool


class Renderer:
    """Renders Markdown to lines.

    Args:
        colour: False keeps bold and italics, but no colours.
    """

    def __init__(self, *, colour: bool) -> None:
        self._parser = _parser()
        self._colour = colour
        self._console: Console | None = None

    def split(self, source: str) -> Blocks:
        """Split ``source``, whose lines end in a line feed, into complete blocks and the growing one."""
        tokens = self._parser.parse(source)
        starts = [index for index, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0 and token.map]
        if not starts:
            return Blocks([], tokens, source, False)
        last = starts[-1]
        line = (tokens[last].map or [0])[0]
        rest = source.split("\n", line)[-1]
        code = tokens[last].type in ("fence", "code_block")
        if len(starts) == 1 or _POSSIBLE_LIST_ITEM.fullmatch(rest):
            return Blocks([], tokens, source, code and len(starts) == 1)
        return Blocks(tokens[:last], tokens[last:], rest, code)

    def lines(self, tokens: list[Token], width: int) -> list[str]:
        """Render parsed blocks to lines with escapes: at most ``width`` columns, except for lines of code."""
        if not tokens:
            return []
        if self._console is None or self._console.width != width:
            self._console = self._make_console(width)
        console = self._console
        rendered: list[str] = []
        for block in SyntaxTreeNode(tokens).children:
            markdown = _ParsedMarkdown(block.to_tokens())
            with console.capture() as capture:
                console.print(markdown)
            code = iter(markdown.blocks_of_code)
            lines: list[str] = []
            for line in capture.get().split("\n"):
                lines += ["", *next(code).lines(console), ""] if _CODE_MARK in line else [_trim(line)]
            # Tables and code add empty lines; there should be one between two blocks.
            visible = [index for index, line in enumerate(lines) if _ESCAPE.sub("", line).strip()]
            if visible:
                rendered += [*([""] if rendered else []), *lines[visible[0] : visible[-1] + 1]]
        return rendered

    def _make_console(self, width: int) -> Console:
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


def rows_of(line: str, columns: int) -> int:
    """Return the number of rows that a terminal of ``columns`` columns shows a rendered line in."""
    rows, column = 1, 0
    for letter in _ESCAPE.sub("", line):
        if letter == "\t":  # a tab never begins a new row
            column = min(column + 8 - column % 8, columns - 1)
            continue
        width = get_character_cell_size(letter)
        if column + width > columns:
            rows, column = rows + 1, 0
        column += width
    return rows


def _trim(line: str) -> str:
    padding: Any = _PADDING.search(line)
    if padding is None:
        return line
    return line[: padding.start()] + ("\x1b[0m" if "\x1b" in line else "")
