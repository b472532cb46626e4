"""``gigaclient login``."""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from typing import Any

import click

from gigaclient._core.settings import named
from gigaclient._primitives.secret import Secret
from gigaclient.cli import exit_codes
from gigaclient.cli.console import is_terminal
from gigaclient.cli.options import Terminal, with_client
from gigaclient.errors import ConfigError
from gigaclient.gigachat.credentials import UUID, split_key
from gigaclient.gigachat.scopes import SCOPES, client_in_scope

__all__ = ["command"]


@click.command("login", short_help="store your key in the system's keyring, or in a file")
@click.option("--scope", metavar="SCOPE", help="GIGACHAT_API_PERS, _B2B or _CORP; detected by default.")
@click.option("--file", "in_file", is_flag=True, help="Store the key in a private file, even if there is a keyring.")
@click.option("--status", is_flag=True, help="Show which key is in use and where it comes from; sends nothing.")
@with_client
def command(terminal: Terminal, scope: str | None, in_file: bool, status: bool) -> int:
    """Store your authorization key, so that commands need no environment variable.

    The key is read from a hidden prompt, from standard input or from --credentials-file. Other users can see arguments,
    so it is never one. The key is stored only if the service returns a token for it. It goes into the system's keyring,
    or if there is none, into a file that only you can read.
    """
    from gigaclient.cli import credentials

    if status:
        return _status(terminal)
    key = _key_to_store(terminal)
    scope = _verify(terminal, key, scope)
    stored = credentials.store(key, scope, in_file=in_file)
    if terminal.json:
        terminal.document({"logged_in": True, **_describe(key, stored.place, stored.description, scope)})
    else:
        terminal.line(f"Logged in with {_describe_key(key)}, {scope}. The key is in {stored.description}.")
        if stored.place == "file" and not in_file:
            terminal.note("there is no keyring on this system; only you can read the file")
    variable = credentials.variable_in_use()
    if variable is not None:
        terminal.warning(f"{variable} is set, and is used instead of the stored key")
    return exit_codes.OK


def _key_to_store(terminal: Terminal) -> Secret:
    key = terminal.key_from_file()
    if key is None:
        key = _prompt_for_key() if is_terminal(sys.stdin) else _read_key()
    if not key:
        raise ConfigError("the key is empty: paste it, or pipe it in")
    from gigaclient.gigachat.credentials import authorization_key

    # Removes quotes, spaces and the scheme that people paste with the key.
    return named("the key", authorization_key, key)


def _prompt_for_key() -> Secret:
    with warnings.catch_warnings():
        # Turn the warning into an error: a terminal that cannot hide the input must not be used.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return Secret(getpass.getpass("Authorization key (not shown): ", stream=sys.stderr).strip())
        except EOFError:
            raise click.Abort from None
        except getpass.GetPassWarning:
            not_hidden = True
    assert not_hidden
    raise ConfigError("this terminal cannot hide the input: pipe the key in, from a file or another program")


def _read_key() -> Secret:
    if sys.stdin is None:
        return Secret("")
    from gigaclient.cli.credentials import MAX_KEY_CHARACTERS

    return Secret(sys.stdin.read(MAX_KEY_CHARACTERS).strip().strip("\ufeff"))


def _verify(terminal: Terminal, key: Secret, scope: str | None) -> str:
    """Fetch a token with the key; return the scope that the service accepts."""
    from gigaclient import GigaChat

    scope = scope or os.environ.get("GIGACHAT_SCOPE", "").strip() or None
    settings = {**terminal.settings, "credentials": key}
    giga, accepted = client_in_scope(
        lambda scope: GigaChat(**{**settings, "scope": scope}), (scope,) if scope else SCOPES
    )
    giga.close()
    return accepted


def _status(terminal: Terminal) -> int:
    from gigaclient.cli import credentials

    variable = credentials.variable_in_use()
    found: dict[str, Any]
    if variable is not None:
        key = Secret(os.environ[variable].strip())
        scope = os.environ.get("GIGACHAT_SCOPE", "").strip() or None
        found = {"logged_in": True, **_describe(key, "environment", variable, scope)}
        if variable != "GIGACHAT_CREDENTIALS":
            found["key"] = None
    else:
        stored = credentials.stored()
        if stored is None:
            if terminal.json:
                terminal.document({"logged_in": False})
            else:
                terminal.line("There is no key: gigaclient login stores one.")
            return exit_codes.SETTINGS
        found = {"logged_in": True, **_describe(stored.credentials, stored.place, stored.description, stored.scope)}
    if terminal.json:
        terminal.document(found)
    else:
        prefix = f"{found['key']}, " if found["key"] else ""
        terminal.line(f"{prefix}{found['scope'] or SCOPES[0]}, from {found['description']}.")
    return exit_codes.OK


def _describe(key: Secret, place: str, description: str, scope: str | None) -> dict[str, Any]:
    return {"key": _describe_key(key), "scope": scope, "place": place, "description": description}


def _describe_key(key: Secret) -> str:
    """Describe a key by the start of its client id, which is not secret and visible in Studio."""
    client_id, _ = split_key(key) or ("", "")
    return f"the key of client {client_id[:8]}…" if UUID.fullmatch(client_id) else "a key"
