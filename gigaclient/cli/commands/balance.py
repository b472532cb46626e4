"""``gigaclient balance``."""

from __future__ import annotations

import click

from gigaclient.cli.options import Terminal, with_client

__all__ = ["command"]


@click.command("balance", short_help="the tokens that are left")
@with_client
def command(terminal: Terminal) -> None:
    """The tokens that are left of each package.

    Plans that pay as they go have no packages: that is exit code 4. In a pipe: a line for each, with a tab between what
    it is for and the number.
    """
    with terminal.gigachat() as giga:
        packages = giga.get_balance().balance
    if terminal.json:
        terminal.document({"balance": [{"usage": package.usage, "value": package.value} for package in packages]})
    else:
        terminal.table(("for", "tokens left"), [(package.usage, package.value) for package in packages])
