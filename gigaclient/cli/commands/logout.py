"""``gigaclient logout``."""

from __future__ import annotations

import click

from gigaclient.cli.console import Screen
from gigaclient.cli.options import with_screen

__all__ = ["command"]


@click.command("logout", short_help="forget the stored key")
@with_screen
def command(screen: Screen) -> None:
    """Forget the key that gigaclient login stored. It stays good: revoke it in Studio if others may have seen it."""
    from gigaclient.cli import credentials

    where = credentials.forget()
    if screen.json:
        screen.document({"removed": where is not None, "place": where})
    elif where is None:
        screen.line("There was no stored key.")
    else:
        screen.line(f"Removed from {where}.")
    variable = credentials.variable_in_use()
    if variable is not None:
        screen.warning(f"{variable} is set, and goes on being used")
