"""``gigaclient balance``."""

from __future__ import annotations

import click

from gigaclient.cli.options import Terminal, with_client

__all__ = ["command"]


@click.command("balance", short_help="show the remaining tokens")
@with_client
def command(terminal: Terminal) -> None:
    """Show the tokens left in each package.

    Pay-as-you-go plans have no packages: the exit code is 4. In a pipe: a line for each package, with a tab between its
    name and the number.
    """
    with terminal.gigachat() as giga:
        packages = giga.get_balance().balance
    if terminal.json:
        terminal.document({"balance": [{"usage": package.usage, "value": package.value} for package in packages]})
    else:
        terminal.table(("for", "tokens left"), [(package.usage, package.value) for package in packages])
