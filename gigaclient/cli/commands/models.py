"""``gigaclient models``."""

from __future__ import annotations

import click

from gigaclient.cli.options import Terminal, with_client

__all__ = ["command"]


@click.command("models", short_help="the models that your key may use")
@click.option("--type", "kind", metavar="TYPE", help="Only these: chat, embedder, aicheck …")
@with_client
def command(terminal: Terminal, kind: str | None) -> None:
    """The models that your key may use.

    In a pipe: a line for each, its name and its type with a tab between them.
    """
    with terminal.gigachat() as giga:
        answer = giga.get_models()
    models = [model for model in answer.data if kind is None or model.type == kind]
    if terminal.json:
        terminal.document(
            {"models": [{"id": model.id, "type": model.type, "owned_by": model.owned_by} for model in models]}
        )
    else:
        terminal.table(("model", "type"), [(model.id, model.type) for model in models])
