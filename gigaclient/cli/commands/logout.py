"""``gigaclient logout``."""

from __future__ import annotations

import click

from gigaclient.cli.console import Screen
from gigaclient.cli.options import with_screen

__all__ = ["command"]


@click.command("logout", short_help="delete the stored key")
@with_screen
def command(screen: Screen) -> None:
    """Delete the key that gigaclient login stored. It stays valid: revoke it in Studio if others may have seen it."""
    from gigaclient.cli import credentials

    place = credentials.forget()
    if screen.json:
        screen.document({"removed": place is not None, "place": place})
    elif place is None:
        screen.line("There was no stored key.")
    else:
        screen.line(f"Removed from {place}.")
    variable = credentials.variable_in_use()
    if variable is not None:
        screen.warning(f"{variable} is set, and is still used")
