"""``gigaclient models``."""

from __future__ import annotations

import click

from gigaclient.cli.options import Terminal, with_client

__all__ = ["command"]


@click.command("models", short_help="list the models that your key can use")
@click.option("--type", "type_", metavar="TYPE", help="Only models of this type: chat, embedder, aicheck …")
@with_client
def command(terminal: Terminal, type_: str | None) -> None:
    """List the models that your key can use.

    In a pipe: a line for each, with a tab between name and type.
    """
    with terminal.gigachat() as giga:
        response = giga.get_models()
    models = [model for model in response.data if type_ is None or model.type == type_]
    if terminal.json:
        terminal.document(
            {"models": [{"id": model.id, "type": model.type, "owned_by": model.owned_by} for model in models]}
        )
    else:
        terminal.table(("model", "type"), [(model.id, model.type) for model in models])
