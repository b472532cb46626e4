"""What stands behind ``%giga``: options, then the text, which is taken as it is. Pure.

Not the parser of IPython's own magics: that one splits the whole line as a shell does, and a question may have an
apostrophe in it.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gigaclient.errors import ConfigError

__all__ = ["LOGIN_USAGE", "USAGE", "GigaOptions", "LoginOptions", "filled", "parse_giga", "parse_login"]

USAGE = """\
%giga [options] text        ask, and see the answer come
%%giga [options] [text]     the same with the cell below as the text; what stands on the line goes before it

  -m, --model NAME        the model
  -s, --system TEXT       the system text; it begins a dialogue, or replaces the one that is there
  -t, --temperature X     how freely the model chooses its words
  --max-tokens N          how long the answer may get
  --into NAME             put the answer, a ChatCompletion, into this variable
  --reset                 forget the dialogue first, its system text too
  --alone                 ask without the dialogue, which stays as it is
  --auto                  the model may use the service's own functions, such as drawing pictures
  -f, --fill              {name}, {name.field} and {name[0]} in the text stand for variables; {{name}} for {name}
  -h, --help              show this
  --                      what follows is text, even where it begins with a dash

Values with spaces go in quotes. -m, -t and --max-tokens without a text hold from then on; an empty value ("") undoes
it. Without anything, %giga says how things stand."""

LOGIN_USAGE = """\
%giga_login [options]       ask for the authorization key, unless one is stored, and try it

  --scope SCOPE           GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP; found out when left out
  --store                 keep the key in the system's keyring, or a file for its owner alone, for gigaclient everywhere
  --again                 ask though a key is stored
  --forget                remove the stored key
  --into NAME             put the client, a GigaChat, into this variable
  -h, --help              show this"""


class GigaOptions(msgspec.Struct):
    """What ``%giga`` was given. None is what was not; an empty string undoes."""

    model: str | None = None
    system: str | None = None
    temperature: str | None = None
    max_tokens: str | None = None
    into: str | None = None
    reset: bool = False
    alone: bool = False
    auto: bool = False
    fill: bool = False
    help: bool = False

    def body(self) -> dict[str, Any]:
        """The fields of the request's body, None for those that are undone.

        Raises:
            ConfigError: one is not what it has to be.
        """
        given: dict[str, Any] = {}
        if self.model is not None:
            given["model"] = self.model or None
        if self.temperature is not None:
            given["temperature"] = _number(self.temperature, float, "-t takes a number, such as 0.7")
        if self.max_tokens is not None:
            given["max_tokens"] = _number(self.max_tokens, int, "--max-tokens takes a whole number, 1 or more")
        return given


class LoginOptions(msgspec.Struct):
    """What ``%giga_login`` was given."""

    scope: str | None = None
    store: bool = False
    again: bool = False
    forget: bool = False
    into: str | None = None
    help: bool = False


_GIGA: Mapping[str, tuple[str, bool]] = {
    **dict.fromkeys(("-m", "--model"), ("model", True)),
    **dict.fromkeys(("-s", "--system"), ("system", True)),
    **dict.fromkeys(("-t", "--temperature"), ("temperature", True)),
    "--max-tokens": ("max_tokens", True),
    "--into": ("into", True),
    "--reset": ("reset", False),
    "--alone": ("alone", False),
    "--auto": ("auto", False),
    **dict.fromkeys(("-f", "--fill"), ("fill", False)),
    **dict.fromkeys(("-h", "--help"), ("help", False)),
}
_LOGIN: Mapping[str, tuple[str, bool]] = {
    "--scope": ("scope", True),
    "--store": ("store", False),
    "--again": ("again", False),
    "--forget": ("forget", False),
    "--into": ("into", True),
    **dict.fromkeys(("-h", "--help"), ("help", False)),
}

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\s\"']+")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
# A dash, a letter or two: "-5 degrees" and "— no" are text.
_OPTION = re.compile(r"--[A-Za-z][\w-]*|-[A-Za-z]")


def parse_giga(line: str) -> tuple[GigaOptions, str]:
    """Options and text of ``%giga``.

    Raises:
        ConfigError: there is no such option, or its value is missing or cannot be.
    """
    given, text = _parsed(line, _GIGA, "%giga")
    return GigaOptions(**given), text


def parse_login(line: str) -> LoginOptions:
    """Options of ``%giga_login``.

    Raises:
        ConfigError: as :func:`parse_giga`, or there is something else on the line. What it is, is not said: people
            paste their keys there.
    """
    given, rest = _parsed(line, _LOGIN, "%giga_login")
    if rest:
        raise ConfigError(
            "%giga_login takes options alone, and asks for the key itself: a key on this line would be stored with the "
            "notebook; delete it here, and make a new one in Studio if you have saved it"
        )
    return LoginOptions(**given)


def _parsed(line: str, options: Mapping[str, tuple[str, bool]], magic: str) -> tuple[dict[str, Any], str]:
    given: dict[str, Any] = {}
    at = _after_space(line, 0)
    while (found := _OPTION.match(line, at)) is not None:
        name = found[0]
        at = found.end()
        if name not in options:
            raise ConfigError(_unknown(name, options, magic))
        field, takes_value = options[name]
        if not takes_value:
            if line[at : at + 1].strip():
                raise ConfigError(f"{magic}: {name} stands alone, and is followed by a space")
            given[field] = True
        else:
            start = at + 1 if line[at : at + 1] == "=" else _after_space(line, at)
            value, at = _value(line, start, name, magic)
            given[field] = value
        at = _after_space(line, at)
    if line[at : at + 2] == "--" and not line[at + 2 : at + 3].strip():
        at = _after_space(line, at + 2)
    into = given.get("into")
    if into is not None and (not into.isidentifier() or keyword.iskeyword(into)):
        raise ConfigError(f"{magic}: --into takes the name of a variable, which {into!r:.50} is not")
    return given, line[at:].rstrip()


def _value(line: str, at: int, name: str, magic: str) -> tuple[str, int]:
    """One word as a shell reads it, and where it ends."""
    begun = at
    pieces: list[str] = []
    while at < len(line) and not line[at].isspace():
        quoted = _QUOTED.match(line, at)
        bare = _WORD.match(line, at)
        if quoted is not None:
            inside = quoted[1] if quoted[1] is not None else quoted[2]
            pieces.append(re.sub(r"\\([\"'\\])", r"\1", inside))
            at = quoted.end()
        elif bare is not None:
            pieces.append(bare[0])
            at = bare.end()
        else:
            raise ConfigError(f"{magic}: the quotation mark behind {name} has no other to close it")
    if at == begun:
        raise ConfigError(f"{magic}: {name} needs a value; write {magic} --help to see how")
    return "".join(pieces), at


def _after_space(line: str, at: int) -> int:
    found = _SPACE.match(line, at)
    return found.end() if found else at


def _unknown(name: str, options: Mapping[str, Any], magic: str) -> str:
    near = difflib.get_close_matches(name, list(options), 1) if name.startswith("--") else []
    perhaps = f"; is it {near[0]}?" if near else ""
    return f"{magic} has no option {name:.30}{perhaps} (write -- before a text that begins with a dash)"


def _number(text: str, kind: Callable[[str], float], needs: str) -> float | None:
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (kind is int and value < 1):
        raise ConfigError(needs)
    return value


# -- variables in the text ---------------------------------------------------------------------------------------------

_PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[(?:-?\d+|'[^'\]\n]*'|\"[^\"\]\n]*\")\])*(?:![rsa])?(?::[\w<>=^+#,.%-]+)?"
_PLACE = re.compile(rf"\{{(\{{{_PATH}\}})\}}|\{{({_PATH})\}}")
_STEP = re.compile(r"\.([^\W\d]\w*)|\[(-?\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_PARTS = re.compile(r"([^\W\d]\w*)([^!:]*)(?:!([rsa]))?(?::(.+))?", re.DOTALL)
_CONVERSIONS: Mapping[str | None, Callable[[Any], Any]] = {"r": repr, "s": str, "a": ascii}


def filled(text: str, variables: Mapping[str, Any]) -> str:
    """``text`` with variables in the place of ``{name}``, ``{name.field}``, ``{name[0]}``, ``{name['key']}``.

    ``!r`` and a format, as in ``{price:.2f}``, mean what they mean in Python. Braces around anything else (JSON, sets,
    code) are left as they are, and ``{{name}}`` is the text ``{name}``.

    Raises:
        ConfigError: there is no such variable, or nothing can be made of it.
    """

    def value(found: re.Match[str]) -> str:
        return found[1] if found[1] is not None else _looked_up(found[2], variables)

    return _PLACE.sub(value, text)


def _looked_up(place: str, variables: Mapping[str, Any]) -> str:
    parts = _PARTS.fullmatch(place)
    assert parts is not None, "what _PLACE found has these parts"
    name, steps, conversion, form = parts.groups()
    if name not in variables:
        raise ConfigError(
            f"{{{place}}}: there is no variable {name}; define it, or write {{{{{place}}}}} for the braces themselves"
        )
    try:
        value = variables[name]
        for field, number, single, double in _STEP.findall(steps):
            value = getattr(value, field) if field else value[int(number) if number else single or double]
        if conversion:
            value = _CONVERSIONS[conversion](value)
        return format(value, form or "")
    except Exception as error:  # whatever the variable's own code raises
        reason = f"{type(error).__name__}: {error}"
    raise ConfigError(f"{{{place}}} has no value ({reason:.200})")
