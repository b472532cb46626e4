"""Parse the line of ``%giga``: options, then the text, which is left unchanged. Pure.

The argument parser of IPython is not used, because it splits the whole line like a shell, and a question may contain an
apostrophe.
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

__all__ = ["LOGIN_USAGE", "USAGE", "GigaOptions", "LoginOptions", "fill_in", "parse_giga", "parse_login"]

USAGE = """\
%giga [options] text        send a question and show the answer as it arrives
%%giga [options] [text]     the same with the cell below as the text; text on the line goes before it

  -m, --model NAME        the model
  -s, --system TEXT       the system text at the start of the dialogue; replaces the current one
  -t, --temperature X     how freely the model chooses its words
  --max-tokens N          how long the answer may get
  --into NAME             put the answer, a ChatCompletion, into this variable
  --reset                 forget the dialogue first, its system text too
  --history               show the dialogue
  --alone                 ask without the dialogue, which does not change
  --auto                  the model may use the service's own functions, such as drawing pictures
  -f, --fill              {name}, {name.field} and {name[0]} in the text stand for variables; {{name}} for {name}
  -h, --help              show this
  --                      the rest is text, even if it begins with a dash

Values with spaces go in quotes. -m, -s, -t and --max-tokens without a text apply to all following questions; an empty
value ("") resets them. %giga alone shows the current options."""

LOGIN_USAGE = """\
%giga_login [options]       ask for the authorization key, unless one is stored, and try it

  --scope SCOPE           GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP; by default all are tried
  --store                 store the key in the system's keyring, or in a file that only its owner can read
  --again                 ask even if a key is stored
  --forget                remove the stored key
  --into NAME             put the client, a GigaChat, into this variable
  -h, --help              show this"""


class GigaOptions(msgspec.Struct):
    """The options of ``%giga``. None is an option that is absent; an empty string resets an option."""

    model: str | None = None
    system: str | None = None
    temperature: str | None = None
    max_tokens: str | None = None
    into: str | None = None
    reset: bool = False
    history: bool = False
    alone: bool = False
    auto: bool = False
    fill: bool = False
    help: bool = False

    def body(self) -> dict[str, Any]:
        """Return the fields for the request's body, None for those to reset.

        Raises:
            ConfigError: a value is not a number, or out of range.
        """
        fields: dict[str, Any] = {}
        if self.model is not None:
            fields["model"] = self.model or None
        if self.temperature is not None:
            fields["temperature"] = _number(self.temperature, float, "-t takes a number, such as 0.7")
        if self.max_tokens is not None:
            fields["max_tokens"] = _number(self.max_tokens, int, "--max-tokens takes a whole number, 1 or more")
        return fields


class LoginOptions(msgspec.Struct):
    """The options of ``%giga_login``."""

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
    "--history": ("history", False),
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
# Dashes and a letter: "-5 degrees" and "— no" are text.
_OPTION = re.compile(r"--[A-Za-z][\w-]*|-[A-Za-z]")


def parse_giga(line: str) -> tuple[GigaOptions, str]:
    """Split the line of ``%giga`` into options and text.

    Raises:
        ConfigError: an option is unknown, or its value is missing or invalid.
    """
    options, text = _parse(line, _GIGA, "%giga")
    return GigaOptions(**options), text


def parse_login(line: str) -> LoginOptions:
    """Parse the options of ``%giga_login``.

    Raises:
        ConfigError: as in :func:`parse_giga`, or the line has other text. The message does not quote it, because people
            paste their keys there.
    """
    options, rest = _parse(line, _LOGIN, "%giga_login")
    if rest:
        raise ConfigError(
            "%giga_login takes only options, and asks for the key itself: a key on this line would be stored with the "
            "notebook; delete it here, and make a new one in Studio if you have saved it"
        )
    return LoginOptions(**options)


def _parse(line: str, options: Mapping[str, tuple[str, bool]], magic: str) -> tuple[dict[str, Any], str]:
    values: dict[str, Any] = {}
    at = _after_space(line, 0)
    while (found := _OPTION.match(line, at)) is not None:
        name = found[0]
        at = found.end()
        if name not in options:
            raise ConfigError(_unknown(name, options, magic))
        field, takes_value = options[name]
        if not takes_value:
            if line[at : at + 1].strip():
                raise ConfigError(f"{magic}: {name} takes no value, and is followed by a space")
            values[field] = True
        else:
            start = at + 1 if line[at : at + 1] == "=" else _after_space(line, at)
            values[field], at = _value(line, start, name, magic)
        at = _after_space(line, at)
    if line[at : at + 2] == "--" and not line[at + 2 : at + 3].strip():
        at = _after_space(line, at + 2)
    into = values.get("into")
    if into is not None and (not into.isidentifier() or keyword.iskeyword(into)):
        raise ConfigError(f"{magic}: --into takes the name of a variable, which {into!r:.50} is not")
    return values, line[at:].rstrip()


def _value(line: str, at: int, name: str, magic: str) -> tuple[str, int]:
    """Read one word with the quoting rules of a shell; return it and the index of its end."""
    start = at
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
            raise ConfigError(f"{magic}: the quotation mark after {name} is not closed")
    if at == start:
        raise ConfigError(f"{magic}: {name} needs a value; write {magic} --help to see how")
    return "".join(pieces), at


def _after_space(line: str, at: int) -> int:
    found = _SPACE.match(line, at)
    return found.end() if found else at


def _unknown(name: str, options: Mapping[str, Any], magic: str) -> str:
    near = difflib.get_close_matches(name, list(options), 1) if name.startswith("--") else []
    suggestion = f"; is it {near[0]}?" if near else ""
    return f"{magic} has no option {name:.30}{suggestion} (write -- before a text that begins with a dash)"


def _number(text: str, convert: Callable[[str], float], message: str) -> float | None:
    if not text:
        return None
    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (convert is int and value < 1):
        raise ConfigError(message)
    return value


# -- variables in the text ---------------------------------------------------------------------------------------------

_PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[(?:-?\d+|'[^'\]\n]*'|\"[^\"\]\n]*\")\])*(?:![rsa])?(?::[\w<>=^+#,.%-]+)?"
_PLACEHOLDER = re.compile(rf"\{{(\{{{_PATH}\}})\}}|\{{({_PATH})\}}")
_STEP = re.compile(r"\.([^\W\d]\w*)|\[(-?\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_PARTS = re.compile(r"([^\W\d]\w*)([^!:]*)(?:!([rsa]))?(?::(.+))?", re.DOTALL)
_CONVERSIONS: Mapping[str | None, Callable[[Any], Any]] = {"r": repr, "s": str, "a": ascii}


def fill_in(text: str, variables: Mapping[str, Any]) -> str:
    """Replace ``{name}``, ``{name.field}``, ``{name[0]}`` and ``{name['key']}`` in ``text`` by values of variables.

    ``!r`` and a format, as in ``{price:.2f}``, have the same meaning as in Python. Braces around anything else (JSON,
    sets, code) are left unchanged, and ``{{name}}`` becomes the text ``{name}``.

    Raises:
        ConfigError: there is no such variable, or it cannot be formatted.
    """

    def value(found: re.Match[str]) -> str:
        return found[1] if found[1] is not None else _format_variable(found[2], variables)

    return _PLACEHOLDER.sub(value, text)


def _format_variable(expression: str, variables: Mapping[str, Any]) -> str:
    parts = _PARTS.fullmatch(expression)
    assert parts is not None, "every match of _PLACEHOLDER has these parts"
    name, steps, conversion, form = parts.groups()
    if name not in variables:
        raise ConfigError(
            f"{{{expression}}}: there is no variable {name}; define it, or write {{{{{expression}}}}} for the braces "
            "themselves"
        )
    try:
        value = variables[name]
        for field, number, single, double in _STEP.findall(steps):
            value = getattr(value, field) if field else value[int(number) if number else single or double]
        if conversion:
            value = _CONVERSIONS[conversion](value)
        return format(value, form or "")
    except Exception as error:  # attributes and formats run the variable's own code
        reason = f"{type(error).__name__}: {error}"
    raise ConfigError(f"{{{expression}}} has no value ({reason:.200})")
