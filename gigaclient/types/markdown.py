"""Convert a model's Markdown for notebooks: formulas in their notation, and no active HTML.

Notebooks run the HTML and load the pictures in the Markdown of an output, and a web page may have influenced the model.
Outside code tags are therefore escaped, pictures from other hosts stay addresses, and links lead only to web pages or
mail addresses.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

__all__ = ["cut_point", "for_notebook", "of_answer", "with_note"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)([^\n|]*?[^\n|`])\1(?!`)")
# Inside a code span, marks that some Markdown readers pair with marks outside.
_PAIRED = re.compile(r"[*_~\[\]]")
_ANY_SPAN = re.compile(rf"\\.|{_CODE_SPAN.pattern}")

# Longer text is not a formula. The limit also stops the search for the end of an unclosed one.
_MAX_FORMULA = 4000

_TOKEN = re.compile(
    rf"""
      \\\[ (?P<display>(?:(?!(?<!\\)\\\[).){{1,{_MAX_FORMULA}}}?) (?<!\\)\\\]
    | \\\( (?P<inline>(?:(?!\\\(|\n[ \t]*\n).){{1,{_MAX_FORMULA}}}?) (?<!\\)\\\)
    | (?P<escaped>\\.)
    | (?P<block>\$\$(?:(?!\$\$).){{1,{_MAX_FORMULA}}}?\$\$)
    | (?P<formula>\$(?=[^\s$])[^$\n]{{0,{_MAX_FORMULA}}}?(?<=[^\s\\])\$(?!\d))
    | (?P<dollar>\$)
    | <(?P<generated>img|video|audio)\s(?=[^<>]*\bfuse\b)[^<>]*>
    | (?P<address><https?://[^\s<>"'`]+>)
    | (?P<tag><(?=[A-Za-z/!?]))
    | (?P<picture>!(?=\[))
    | (?P<link>(?:\]\(|(?<=\]):)(?=\s{{0,50}}(?P<target><[^<>\n]{{0,300}}|[^\s)]{{0,300}})))
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
# An incomplete tag of a generated file at the end of the text so far.
_BEGUN = re.compile(
    r"<(?:i|im|v|vi|vid|vide|a|au|aud|audi|(?:img|video|audio)(?:\s[^<>]*)?)?\Z",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"</?(?:br|sub|sup)\s*/?>", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_SAFE_SCHEMES = frozenset({"http", "https", "mailto"})
# Active HTML, which is escaped in code that some Markdown readers may not treat as code.
_ACTIVE = re.compile(
    r"<(?=/?(?:script|style|iframe|object|embed|link|meta|base|form|svg|math)\b|[A-Za-z][^<>]*=|[!?])", re.IGNORECASE
)
_BEGINS_SOMETHING = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:\[])|!(?=\[)")
_NEW_BLOCK = re.compile(r"[^\s|>:<]")


def for_notebook(text: str, *, pictures: bool = True, unfinished: bool = False) -> str:
    r"""Convert a model's Markdown for a notebook.

    Outside code, ``\( \)`` and ``\[ \]`` become ``$ $`` and ``$$ $$``. A dollar sign that starts no formula is escaped.

    Args:
        text: the model's text, or its beginning.
        pictures: True replaces a generated picture by a note; False omits it, if the caller shows the picture.
        unfinished: True if more text follows; an incomplete tag at the end is then omitted.
    """
    pieces = list(_pieces(text))
    if unfinished and pieces and pieces[-1][0] == "text":
        pieces[-1] = ("text", _BEGUN.sub("", pieces[-1][1]))
    return "".join(
        piece if type_ == "code" else _ACTIVE.sub("&lt;", piece) if type_ == "perhaps" else _escape(piece, pictures)
        for type_, piece in pieces
    )


def of_answer(text: str, calls: Iterable[Any] = ()) -> str:
    """Return the Markdown of a response: its text, and the function calls of the model.

    Args:
        text: the text of the response.
        calls: objects with ``name`` and ``arguments``.
    """
    shown = []
    for call in calls:
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = msgspec.json.format(msgspec.json.encode(arguments, enc_hook=str), indent=2).decode()
        shown.append(f"*the model wants this function called:*\n\n{_as_code(f'{call.name} {arguments}')}")
    converted = for_notebook(text)
    return "\n\n".join([converted, *shown] if converted or not shown else shown)


def _as_code(text: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def with_note(text: str, note: str) -> str:
    """Append ``note`` as a paragraph outside code, even if the text ends inside a code block."""
    fence = _Fences()
    for line in text.split("\n"):
        fence.type_of(line)
    closing = f"\n{fence.open}" if fence.open else ""
    return f"{text}{closing}\n\n{note}" if text.strip() else note


def cut_point(text: str, start: int, least: int) -> int:
    """Return a position at which ``text`` can be split so that both parts render as before.

    Args:
        text: Markdown, or its beginning.
        start: the start of the part to split: an earlier cut point, or 0.
        least: the minimum number of characters of the part.

    Returns:
        The last position that is certain already; ``start`` if there is none.
    """
    fence = _Fences()
    found = at = start
    blank = False
    for line in text[start:].split("\n")[:-1]:
        outside = not fence.open
        if blank and outside and at - start >= least and _NEW_BLOCK.match(line) and _no_open_formula(text[start:at]):
            found = at
        fence.type_of(line)
        blank = not line.strip()
        at += len(line) + 1
    return found


def _no_open_formula(text: str) -> bool:
    return text.count("\\[") == text.count("\\]") and text.count("$$") % 2 == 0


class _Fences:
    """Recognise the lines of fenced code.

    Attributes:
        open: the line that would close the open fence; empty if none is open.
    """

    def __init__(self) -> None:
        self.open = ""
        self._certain = True
        self._closing: re.Pattern[str] | None = None

    def type_of(self, line: str) -> str:
        """Return ``"text"``, ``"code"``, or ``"perhaps"`` if Markdown readers disagree about the line."""
        if self._closing is not None:
            closing = self._closing.match(line)
            if closing is not None:
                # Some readers accept more closing fences than others.
                self._certain = self._certain and closing[1] is not None
                self._closing, self.open = None, ""
            return "code" if self._certain else "perhaps"
        found = _FENCE.match(line)
        if found is None:
            return "text"
        indent, fence = found.groups()
        # An indented fence belongs to a list item or is not a fence, so the rest of the text is ambiguous.
        self._certain = self._certain and not indent
        exactly = rf" {{0,3}}{fence[0]}{{{len(fence)},}} *"
        self._closing = re.compile(rf"({exactly}$)|\s*{fence[0]}{{{len(fence)},}}[`~]*\s*$")
        self.open = indent + fence
        return "text"  # some readers ignore a fence at the end of the text


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Split the text into pieces with their types; text pieces are as long as possible."""
    fences = _Fences()
    plain: list[str] = []
    stray = False  # an unpaired mark of code on a line of this paragraph may pair with a later one
    for line in _LINE.findall(text):
        type_ = fences.type_of(line.rstrip("\r\n"))
        if type_ != "text":
            stray = False
            yield from _flushed(plain)
            yield type_, line
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


def _escape(text: str, pictures: bool) -> str:
    return _TOKEN.sub(lambda found: _ESCAPES[str(found.lastgroup)](found, pictures), text)


def _formula(tex: str) -> str:
    # An empty line would end the formula. TeX ignores the added space, and Markdown then finds no tag or link.
    return _BEGINS_SOMETHING.sub(r"\g<0> ", re.sub(r"\n[ \t]*(?=\n)", "", tex))


def _is_safe_link(target: str) -> bool:
    address = re.sub(r"[\s\\\x00-\x1f]", "", html.unescape(target.lstrip("<")))
    scheme = _SCHEME.match(address)
    if scheme is None:
        return 0 < len(target) < 300  # a longer target may hide its scheme
    return scheme[1].lower() in _SAFE_SCHEMES


def _inline_formula(found: re.Match[str], pictures: bool) -> str:
    inside = _formula(found["inline"].strip())
    return f"${inside}$" if "$" not in inside else f"\\\\({inside}\\\\)"


def _generated_file(found: re.Match[str], pictures: bool) -> str:
    if found["generated"].lower() != "img":
        return "*(a file that the model made: `.files` of the answer names it)*"
    return "*(a picture that the model made: `giga.get_images(answer)` fetches it)*" if pictures else ""


def _tag(found: re.Match[str], pictures: bool) -> str:
    harmless = _HARMLESS.match(found.string, found.start())
    line = found.string[found.string.rfind("\n", 0, found.start()) + 1 : found.start()]
    # A tag alone on its line would start an HTML block, in which Markdown is not read.
    return "<" if harmless and re.search(r"[^\W\d_]", line) else "&lt;"


def _link(found: re.Match[str], pictures: bool) -> str:
    if _is_safe_link(found["target"]):
        return found[0]
    return "]\\(" if found[0] == "](" else "\\:"


# How to write each token of _TOKEN for a notebook.
_ESCAPES: dict[str, Callable[[re.Match[str], bool], str]] = {
    "display": lambda found, _: f"$${_formula(found['display'])}$$",
    "inline": _inline_formula,
    "block": lambda found, _: _formula(found[0]),
    "formula": lambda found, _: _formula(found[0]),
    "escaped": lambda found, _: "&lt;" if found[0] == "\\<" else found[0],
    "dollar": lambda *_: "\\$",
    "generated": _generated_file,
    "tag": _tag,
    "address": lambda found, _: found[0],
    "picture": lambda *_: "\\!",
    "link": _link,
}
