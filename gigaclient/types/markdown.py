"""Convert a model's Markdown for notebooks: formulas in their notation, and no active HTML.

Notebooks run the HTML and load the pictures in the Markdown of an output, and a web page may have influenced the model.
Outside code tags are therefore escaped, pictures from other hosts stay addresses, and links lead only to web pages or
mail addresses. ``types/markdown_code.py`` decides what is code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

__all__ = ["cut_point", "for_notebook", "of_answer", "of_dialogue", "with_note"]

# JupyterLab reads the Markdown first, and then takes the text between two dollar signs for a formula. An escape alone
# does not help there, but both signs must be in one element.
_DOLLAR = r"<span>\$</span>"
_ADDRESS = re.compile(r"https?://[^\s<>\"'`(){}]+", re.IGNORECASE)

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
_PICTURE = re.compile(r"!(?=\[)")
_BEGINS_SOMETHING = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:\[])|!(?=\[)")
_UNESCAPED_DOLLAR = re.compile(r"(?<!\\)\$")
_NEW_BLOCK = re.compile(r"[^\s|>:<]")

# A harmless tag needs a letter before it on its line; no line of a person has it further away.
_LOOK_BEHIND_CHARS = 200


def for_notebook(text: str, *, pictures: bool = True, unfinished: bool = False) -> str:
    r"""Convert a model's Markdown for a notebook.

    Outside code, ``\( \)`` and ``\[ \]`` become ``$ $`` and ``$$ $$``. Any other dollar sign becomes an HTML element,
    in which no notebook looks for a formula. Without ``markdown-it-py``, which comes with the extra ``jupyter``, the
    text becomes one block of code.

    Args:
        text: the model's text, or its beginning.
        pictures: True replaces a generated picture by a note; False omits it, if the caller shows the picture.
        unfinished: True if more text follows; an incomplete tag at the end is then omitted.
    """
    try:
        from gigaclient.types.markdown_code import may_contain_code, pieces_of, same_code
    except ImportError:
        return _as_code(text) if text.strip() else ""
    pieces = pieces_of(text)
    if unfinished and pieces and pieces[-1][0] == "text":
        pieces[-1] = ("text", _BEGUN.sub("", pieces[-1][1]))
    shown = "".join(_ESCAPED[type_](piece, pictures) for type_, piece in pieces)
    if may_contain_code(text) and not same_code("".join(piece for _, piece in pieces), shown):
        # A tag or an escape moved the bounds of the code, so what was left alone may be alive.
        shown = _escape(text, pictures)
    return shown


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


def of_dialogue(messages: Iterable[Any]) -> str:
    """Return the Markdown of a dialogue, with the role above the text of each message.

    Args:
        messages: objects of :class:`gigaclient.types.Message`.
    """
    shown = []
    for message in messages:
        calls = [message.function_call] if message.function_call is not None else []
        if message.role == "function":
            text = _as_code(message.content or "")
        else:
            text = of_answer(message.content or "", calls)
        shown.append(with_note(text, "").rstrip() if text else "*(no text)*")
        shown[-1] = f"**{' '.join(filter(None, [message.role, message.name]))}**\n\n{shown[-1]}"
    return "\n\n".join(shown) or "*(the dialogue is empty)*"


def _as_code(text: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def with_note(text: str, note: str) -> str:
    """Append ``note`` as a paragraph outside code, even if the text ends inside a code block."""
    if not text.strip():
        return note
    from gigaclient.types.markdown_code import open_fence

    closing = open_fence(text)
    return f"{text}\n{closing}\n\n{note}" if closing else f"{text}\n\n{note}"


def cut_point(text: str, start: int, least: int) -> int:
    """Return a position at which ``text`` can be split so that both parts render as before.

    Args:
        text: Markdown, or its beginning.
        start: the start of the part to split: an earlier cut point, or 0.
        least: the minimum number of characters of the part.

    Returns:
        The last position that is certain already; ``start`` if there is none.
    """
    from gigaclient.types.markdown_code import lines_of_code

    code = lines_of_code(text[start:])
    found = at = start
    blank = False
    brackets = dollars = 0  # formulas that are open
    for number, line in enumerate(text[start:].split("\n")[:-1]):
        certain = blank and number not in code and not brackets and dollars % 2 == 0
        if certain and at - start >= least and _NEW_BLOCK.match(line):
            found = at
        brackets += line.count("\\[") - line.count("\\]")
        dollars += line.count("$$")
        blank = not line.strip()
        at += len(line) + 1
    return found


def _escape(text: str, pictures: bool) -> str:
    # An address with an element in it would end there.
    text = _ADDRESS.sub(lambda found: found[0].replace("$", "%24"), text)
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
    return f"${inside}$" if _UNESCAPED_DOLLAR.search(inside) is None else f"\\\\({inside}\\\\)"


def _escaped(found: re.Match[str], pictures: bool) -> str:
    return {"\\<": "&lt;", "\\$": _DOLLAR}.get(found[0], found[0])


def _generated_file(found: re.Match[str], pictures: bool) -> str:
    if found["generated"].lower() != "img":
        return "*(a file that the model made: `.files` of the answer names it)*"
    return "*(a picture that the model made: `giga.get_images(answer)` fetches it)*" if pictures else ""


def _tag(found: re.Match[str], pictures: bool) -> str:
    text, at = found.string, found.start()
    if _HARMLESS.match(text, at):
        # A tag alone on its line would start an HTML block, in which Markdown is not read.
        before = text[max(0, at - _LOOK_BEHIND_CHARS) : at].rpartition("\n")[2]
        if any(map(str.isalpha, before)):
            return "<"
    return "&lt;"


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
    "escaped": _escaped,
    "dollar": lambda *_: _DOLLAR,
    "generated": _generated_file,
    "tag": _tag,
    "address": lambda found, _: found[0],
    "picture": lambda *_: "\\!",
    "link": _link,
}


def _escape_doubtful_code(text: str, pictures: bool) -> str:
    return _PICTURE.sub(r"\\!", _ACTIVE.sub("&lt;", text))


# How to write each piece of a text for a notebook, by its type in pieces_of.
_ESCAPED: dict[str, Callable[[str, bool], str]] = {
    "text": _escape,
    "code": lambda piece, _: piece,
    "perhaps": _escape_doubtful_code,
}
