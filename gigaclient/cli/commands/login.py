"""``gigaclient login``."""

from __future__ import annotations

import base64
import binascii
import getpass
import os
import re
import sys
import warnings
from typing import Any

import click

from gigaclient._core.settings import named
from gigaclient._primitives.secret import Secret
from gigaclient.cli import exit_codes as exits
from gigaclient.cli.console import is_terminal
from gigaclient.cli.options import Terminal, with_client
from gigaclient.errors import AuthenticationError, ConfigError

__all__ = ["command"]

_SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
_OTHER_PLAN = 7  # the code of the OAuth host for a key that belongs to another scope
_MAX_KEY_CHARACTERS = 64 * 1024


@click.command("login", short_help="store your key in the system's keyring, or in a file")
@click.option("--scope", metavar="SCOPE", help="GIGACHAT_API_PERS, _B2B or _CORP; found out when it is not given.")
@click.option("--file", "in_file", is_flag=True, help="In a file for you alone, even where there is a keyring.")
@click.option("--status", is_flag=True, help="Say where the key comes from that would be used; sends nothing.")
@with_client
def command(terminal: Terminal, scope: str | None, in_file: bool, status: bool) -> int:
    """Store your authorization key, so that no command and no script needs it in its environment.

    Asks for the key without showing it, or reads it from standard input or --credentials-file; it is never an argument,
    which other users could see. A token is fetched with it first: what is refused is not stored. It goes into the
    system's keyring, or where there is none, into a file that only you can read.
    """
    from gigaclient.cli import credentials

    if status:
        return _status(terminal)
    key = _key_to_store(terminal)
    scope = _verified(terminal, key, scope)
    kept = credentials.store(key, scope, in_file=in_file)
    if terminal.json:
        terminal.document({"logged_in": True, **_described(key, kept.place, kept.description, scope)})
    else:
        terminal.line(f"Logged in with {_name_of(key)}, {scope}. The key is in {kept.description}.")
        if kept.place == "file" and not in_file:
            terminal.note("there is no keyring on this system; the file is readable for you alone")
    variable = credentials.variable_in_use()
    if variable is not None:
        terminal.warning(f"{variable} is set, and is used instead of the stored key")
    return exits.OK


def _key_to_store(terminal: Terminal) -> Secret:
    key = terminal.key_from_file()
    if key is None:
        key = _typed() if is_terminal(sys.stdin) else _piped()
    if not key:
        raise ConfigError("no key was given: paste it, or pipe it in")
    from gigaclient.gigachat.credentials import authorization_key

    # As the service wants it, whatever was pasted along with it.
    return named("the key", authorization_key, key)


def _typed() -> Secret:
    with warnings.catch_warnings():
        # Raised, so that a terminal that cannot hide what is typed is not used.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return Secret(getpass.getpass("Authorization key (not shown): ", stream=sys.stderr).strip())
        except EOFError:
            raise click.Abort from None
        except getpass.GetPassWarning:
            unhidden = True
    assert unhidden
    raise ConfigError("this terminal cannot hide what is typed: pipe the key in, from a file or another program")


def _piped() -> Secret:
    if sys.stdin is None:
        return Secret("")
    return Secret(sys.stdin.read(_MAX_KEY_CHARACTERS).strip().strip("\ufeff"))


def _verified(terminal: Terminal, key: Secret, scope: str | None) -> str:
    """The scope that a token comes with."""
    from gigaclient import GigaChat

    scope = scope or os.environ.get("GIGACHAT_SCOPE", "").strip() or None
    scopes = (scope,) if scope is not None else _SCOPES
    refusal: AuthenticationError | None = None
    for candidate in scopes:
        with GigaChat(**{**terminal.settings, "credentials": key, "scope": candidate}) as giga:
            try:
                giga.get_token()
                return candidate
            except AuthenticationError as error:
                if error.code != _OTHER_PLAN:
                    raise
                refusal = error
    assert refusal is not None
    raise refusal


def _status(terminal: Terminal) -> int:
    from gigaclient.cli import credentials

    variable = credentials.variable_in_use()
    found: dict[str, Any]
    if variable is not None:
        key = Secret(os.environ[variable].strip())
        scope = os.environ.get("GIGACHAT_SCOPE", "").strip() or None
        found = {"logged_in": True, **_described(key, "environment", variable, scope)}
        if variable != "GIGACHAT_CREDENTIALS":
            found["key"] = None
    else:
        stored = credentials.stored()
        if stored is None:
            if terminal.json:
                terminal.document({"logged_in": False})
            else:
                terminal.line("There is no key: gigaclient login stores one.")
            return exits.SETTINGS
        found = {"logged_in": True, **_described(stored.credentials, stored.place, stored.description, stored.scope)}
    if terminal.json:
        terminal.document(found)
    else:
        named = f"{found['key']}, " if found["key"] else ""
        terminal.line(f"{named}{found['scope'] or _SCOPES[0]}, from {found['description']}.")
    return exits.OK


def _described(key: Secret, place: str, description: str, scope: str | None) -> dict[str, Any]:
    return {"key": _name_of(key), "scope": scope, "place": place, "description": description}


def _name_of(key: Secret) -> str:
    """A key by the beginning of its client id, which is no secret, and which Studio shows."""
    try:
        identifier = base64.b64decode(key.reveal(), validate=True).partition(b":")[0].decode("ascii")
    except (binascii.Error, ValueError):
        return "a key"
    if not re.fullmatch(r"[0-9a-fA-F-]{36}", identifier):
        return "a key"
    return f"the key of client {identifier[:8]}…"
