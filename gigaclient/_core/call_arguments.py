"""Check the keyword arguments of chat calls: a misspelt name is an error, not a field that the server ignores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gigaclient._core.request_options import CALL_OPTIONS, hide_secrets
from gigaclient.types import Chat

__all__ = ["CHAT_FIELDS", "RUN_OPTIONS", "check_constructor", "check_names", "move_unknown", "prompt_of"]

CHAT_FIELDS = frozenset(Chat.__struct_fields__) - {"messages"}
"""The body fields of API v1."""

RUN_OPTIONS = frozenset({"max_steps", "on_error", "on_result", "on_step", "repair"})
"""The options of ``giga.run`` besides the functions."""


def prompt_of(messages: Any, options: dict[str, Any], fields: frozenset[str]) -> Any:
    """Return the messages of a call, which may be in ``options`` under the official SDK's name ``payload``.

    Args:
        messages: the first argument; None if it is missing.
        options: the keyword arguments; ``payload`` is removed.
        fields: the names of body fields.

    Raises:
        TypeError: there are no messages, or two; or a name is neither a field nor an option of a call.
    """
    if "payload" in options:
        if messages is not None:
            raise TypeError("messages and payload are two names of one argument: pass one of them")
        messages = options.pop("payload")
    if messages is None:
        raise TypeError("messages are missing: pass a string, a list of messages or a whole request")
    check_names(options, fields)
    return messages


def move_unknown(options: dict[str, Any], fields: frozenset[str]) -> None:
    """Move the arguments whose names are unknown into ``additional_fields``, from where they are sent."""
    known = fields | CALL_OPTIONS
    unknown = {name: options.pop(name) for name in list(options) if name not in known}
    if unknown:
        options["additional_fields"] = {**(options.get("additional_fields") or {}), **unknown}


def check_names(options: Any, fields: frozenset[str], parameters: Iterable[str] = ()) -> None:
    """Check that all names of keyword arguments are names of body fields or options.

    Args:
        options: the dict of the arguments. Its secrets are hidden in place, and before an error unknown values are
            removed from it, because a traceback may show local variables.
        fields: the names of body fields.
        parameters: the names of the other parameters of the call, which a misspelt name may mean too. ``locals()`` at
            the start of a method is accepted.

    Raises:
        TypeError: a name is neither; the message has names that are close to it.
    """
    hide_secrets(options)
    known = fields | CALL_OPTIONS
    unknown = [name for name in options if name not in known]
    if not unknown:
        return
    options.update(dict.fromkeys(unknown))
    names = sorted(known.union(parameters) - {"self", "options"})
    hint = _close_names(unknown[0], names)
    advice = "A field of the API that this version does not know goes into additional_fields={…}"
    if "additional_fields" not in fields:
        advice = f"The call takes {', '.join(names)}"
    raise TypeError(f"no such argument: {unknown[0]}{hint} {advice}")


def check_constructor(client: type, init: Any, named: dict[str, Any], foreign: Mapping[str, str]) -> None:
    """Check the names of the keyword arguments of a constructor.

    Args:
        client: the class that is called. A subclass, or a test that patches the class, may have another constructor.
        init: the constructor that defines the names.
        named: the keyword arguments; emptied before an error, because a traceback may show local variables.
        foreign: what to do instead, by the names of arguments that other SDKs have.

    Raises:
        TypeError: the constructor has no such argument; the message has names that are close to it.
    """
    code = init.__code__
    known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    unknown = next((name for name in named if name not in known), None)
    if unknown is None or client.__init__ is not init:  # type: ignore[misc]
        return
    named.clear()
    kind = client.__name__
    if unknown in foreign:
        raise TypeError(f"{kind} has no argument {unknown}: {foreign[unknown]}")
    raise TypeError(
        f"{kind} has no argument {unknown}{_close_names(unknown, known)} help({kind}) explains all arguments"
    )


def _close_names(unknown: str, names: Sequence[str]) -> str:
    import difflib  # for the error only

    close = difflib.get_close_matches(unknown, names, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "."
