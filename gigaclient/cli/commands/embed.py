"""``gigaclient embed``."""

from __future__ import annotations

import click
import msgspec

from gigaclient.cli.options import Terminal, input_text, with_client

__all__ = ["command"]

_SHOWN = 4


@click.command("embed", short_help="the vectors of texts")
@click.argument("text", nargs=-1)
@click.option("-m", "--model", default="Embeddings", show_default=True, help="A model of type embedder.")
@click.option("--lines", is_flag=True, help="Each line of the input is a text of its own; empty ones are left out.")
@with_client
def command(terminal: Terminal, text: tuple[str, ...], model: str, lines: bool) -> None:
    """The vectors of each TEXT, or of what is piped in.

    "-" stands for standard input. In a pipe: a line for each text, which is a JSON array of numbers.
    """
    texts = input_text(text)
    if lines:
        texts = [line for each in texts for line in each.splitlines()]
        texts = [line for line in texts if line.strip()]
    if not texts or not all(each.strip() for each in texts):
        raise click.UsageError("an empty text has no vector")
    with terminal.gigachat() as giga:
        answer = giga.embeddings(texts, model=model)
    if terminal.json:
        terminal.document(
            {
                "model": answer.model,
                "embeddings": [{"index": item.index, "embedding": item.embedding} for item in answer.data],
                "usage": msgspec.to_builtins(answer.usage),
            }
        )
        return
    for vector in answer.vectors:
        if terminal.on_terminal:
            begins = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN])
            terminal.line(f"{len(vector)} numbers: {begins}, …")
        else:
            terminal.line(msgspec.json.encode(vector).decode())
