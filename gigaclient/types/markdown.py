"""What a model wrote, as Markdown that a notebook may show: formulas as notebooks write them, no live HTML. Pure.

Notebooks run the HTML and load the pictures that they find in the Markdown of an output, and what a model writes may be
what somebody else's web page told it to write. So outside code each tag is shown, not obeyed, a picture from elsewhere
stays an address, and a link leads to a page or nowhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

__all__ = ["cut_point", "for_notebook", "of_answer", "with_note"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)([^\n|]*?[^\n|`])\1(?!`)")
# Within a span of code, what some readers pair with the same outside.
_PAIRED = re.compile(r"[*_~\[\]]")
_ANY_SPAN = re.compile(rf"\\.|{_CODE_SPAN.pattern}")

# A formula that is longer is none; and what is not closed is not looked for over the whole text.
_LONGEST = 4000

_TOKEN = re.compile(
    rf"""
      \\\[ (?P<display>(?:(?!(?<!\\)\\\[).){{1,{_LONGEST}}}?) (?<!\\)\\\]
    | \\\( (?P<inline>(?:(?!\\\(|\n[ \t]*\n).){{1,{_LONGEST}}}?) (?<!\\)\\\)
    | (?P<escaped>\\.)
    | (?P<block>\$\$(?:(?!\$\$).){{1,{_LONGEST}}}?\$\$)
    | (?P<formula>\$(?=[^\s$])[^$\n]{{0,{_LONGEST}}}?(?<=[^\s\\])\$(?!\d))
    | (?P<dollar>\$)
    | <(?P<made>img|video|audio)\s(?=[^<>]*\bfuse\b)[^<>]*>
    | (?P<address><https?://[^\s<>"'`]+>)
    | (?P<tag><(?=[A-Za-z/!?]))
    | (?P<picture>!(?=\[))
    | (?P<link>(?:\]\(|(?<=\]):)(?=\s{{0,50}}(?P<target><[^<>\n]{{0,300}}|[^\s)]{{0,300}})))
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
# The beginning of such a tag, at the end of what has come so far.
_BEGUN = re.compile(
    r"<(?:i|im|v|vi|vid|vide|a|au|aud|audi|(?:img|video|audio)(?:\s[^<>]*)?)?\Z",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"</?(?:br|sub|sup)\s*/?>", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_GOOD_SCHEMES = frozenset({"http", "https", "mailto"})
# Within code that one reader of Markdown may not take for code: what does something by being there.
_ACTIVE = re.compile(
    r"<(?=/?(?:script|style|iframe|object|embed|link|meta|base|form|svg|math)\b|[A-Za-z][^<>]*=|[!?])", re.IGNORECASE
)
_BEGINS_SOMETHING = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:\[])|!(?=\[)")
_NEW_BLOCK = re.compile(r"[^\s|>:<]")


def for_notebook(text: str, *, pictures: bool = True, unfinished: bool = False) -> str:
    r"""Markdown of a model as a notebook shows it well.

    Outside code, ``\( \)`` and ``\[ \]`` become ``$ $`` and ``$$ $$``, and a dollar that begins no formula stays one.

    Args:
        text: what the model wrote, or the beginning of it.
        pictures: say where the text names a picture that the model made; False when it is shown beside.
        unfinished: more is to come: what may begin the name of a picture is left out until its end is there.
    """
    pieces = list(_pieces(text))
    if unfinished and pieces and pieces[-1][0] == "text":
        pieces[-1] = ("text", _BEGUN.sub("", pieces[-1][1]))
    return "".join(
        piece if kind == "code" else _ACTIVE.sub("&lt;", piece) if kind == "perhaps" else _plain(piece, pictures)
        for kind, piece in pieces
    )


def of_answer(text: str, calls: Iterable[Any] = ()) -> str:
    """What a notebook shows for an answer: its text, and the functions that the model wants called.

    Args:
        text: the text of the answer.
        calls: objects with ``name`` and ``arguments``.
    """
    wanted = []
    for call in calls:
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = msgspec.json.format(msgspec.json.encode(arguments, enc_hook=str), indent=2).decode()
        wanted.append(f"*the model wants this function called:*\n\n{_as_code(f'{call.name} {arguments}')}")
    return "\n\n".join([shown for shown in (for_notebook(text),) if shown or not wanted] + wanted)


def _as_code(text: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def with_note(text: str, note: str) -> str:
    """Markdown with ``note`` as a paragraph at its end, outside the code that the text may have broken off in."""
    fence = _Fences()
    for line in text.split("\n"):
        fence.kind_of(line)
    closing = f"\n{fence.open}" if fence.open else ""
    return f"{text}{closing}\n\n{note}" if text.strip() else note


def cut_point(text: str, start: int, least: int) -> int:
    """Where ``text`` may be parted: what is before shows the same when it stands alone, and so does what follows.

    Args:
        text: Markdown, or the beginning of it.
        start: where the part begins that is looked at; a cut point of before, or 0.
        least: how many characters that part must have.

    Returns:
        The last such place that is known already; ``start`` when there is none.
    """
    fence = _Fences()
    found = at = start
    blank = False
    for line in text[start:].split("\n")[:-1]:
        outside = not fence.open
        if blank and outside and at - start >= least and _NEW_BLOCK.match(line) and _no_open_formula(text[start:at]):
            found = at
        fence.kind_of(line)
        blank = not line.strip()
        at += len(line) + 1
    return found


def _no_open_formula(text: str) -> bool:
    return text.count("\\[") == text.count("\\]") and text.count("$$") % 2 == 0


class _Fences:
    """Tells lines of fenced code from text.

    Attributes:
        open: the line that would close the fence that is open; empty when none is.
    """

    def __init__(self) -> None:
        self.open = ""
        self._certain = True
        self._closing: re.Pattern[str] | None = None

    def kind_of(self, line: str) -> str:
        """``"text"``, ``"code"``, or ``"perhaps"``, where it depends on who reads it."""
        if self._closing is not None:
            closing = self._closing.match(line)
            if closing is not None:
                # Some readers close it for more than others do.
                self._certain = self._certain and closing[1] is not None
                self._closing, self.open = None, ""
            return "code" if self._certain else "perhaps"
        found = _FENCE.match(line)
        if found is None:
            return "text"
        indent, fence = found.groups()
        # An indented one belongs to an item of a list, or is no fence at all. From there on nothing is certain.
        self._certain = self._certain and not indent
        exactly = rf" {{0,3}}{fence[0]}{{{len(fence)},}} *"
        self._closing = re.compile(rf"({exactly}$)|\s*{fence[0]}{{{len(fence)},}}[`~]*\s*$")
        self.open = indent + fence
        return "text"  # to some readers, where nothing follows


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text in pieces, each with its kind; text in the longest pieces that have no code in them."""
    fences = _Fences()
    plain: list[str] = []
    stray = False  # a mark of code in this paragraph that has no other on its line: it may pair with a later one
    for line in _LINE.findall(text):
        kind = fences.kind_of(line.rstrip("\r\n"))
        if kind != "text":
            stray = False
            yield from _flushed(plain)
            yield kind, line
            continue
        at = 0
        for span in _ANY_SPAN.finditer(line) if "`" in line else ():
            if span[0].startswith("`"):
                left = line[at : span.start()]
                plain.append(left)
                yield from _flushed(plain)
                stray = stray or "`" in left or "](" in left
                yield "perhaps" if stray or _PAIRED.search(span[0]) else "code", span[0]
                at = span.end()
        plain.append(line[at:])
        stray = (stray or "`" in line[at:]) and bool(line.strip())
    yield from _flushed(plain)


def _flushed(plain: list[str]) -> Iterator[tuple[str, str]]:
    joined = "".join(plain)
    plain.clear()
    if joined:
        yield "text", joined


def _plain(text: str, pictures: bool) -> str:
    def replaced(found: re.Match[str]) -> str:
        kind, whole = found.lastgroup, found[0]
        if kind == "display":
            return f"$${_formula(found['display'])}$$"
        if kind == "inline":
            inside = _formula(found["inline"].strip())
            return f"${inside}$" if "$" not in inside else f"\\\\({inside}\\\\)"
        if kind in ("block", "formula"):
            return _formula(whole)
        if whole == "\\<":
            return "&lt;"
        if kind == "dollar":
            return "\\$"
        if kind == "made":
            if found["made"].lower() != "img":
                return "*(a file that the model made: `.files` of the answer names it)*"
            return "*(a picture that the model made: `giga.get_images(answer)` fetches it)*" if pictures else ""
        if kind == "tag":
            harmless = _HARMLESS.match(text, found.start())
            line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
            # Alone on its line it would begin a block of HTML, in which nothing is Markdown.
            return "<" if harmless and re.search(r"[^\W\d_]", line) else "&lt;"
        if kind == "picture":
            return "\\!"
        if kind == "link" and not _leads_to_a_page(found["target"]):
            return "]\\(" if whole == "](" else "\\:"
        return whole

    return _TOKEN.sub(replaced, text)


def _formula(tex: str) -> str:
    # An empty line would end the formula. To TeX a space is nothing, and Markdown finds no tag and no link then.
    return _BEGINS_SOMETHING.sub(r"\g<0> ", re.sub(r"\n[ \t]*(?=\n)", "", tex))


def _leads_to_a_page(target: str) -> bool:
    address = re.sub(r"[\s\\\x00-\x1f]", "", html.unescape(target.lstrip("<")))
    scheme = _SCHEME.match(address)
    if scheme is None:
        return 0 < len(target) < 300  # nobody's address is so long that its scheme cannot be seen
    return scheme[1].lower() in _GOOD_SCHEMES
