"""``gigaclient embed``."""

from __future__ import annotations

import click
import msgspec

from gigaclient.cli.options import Terminal, input_text, with_client

__all__ = ["command"]

_MAX_SHOWN_NUMBERS = 4


@click.command("embed", short_help="compute the embeddings of texts")
@click.argument("text", nargs=-1)
@click.option("-m", "--model", default="Embeddings", show_default=True, help="A model of type embedder.")
@click.option("--lines", is_flag=True, help="Each line of the input is a text; empty lines are skipped.")
@with_client
def command(terminal: Terminal, text: tuple[str, ...], model: str, lines: bool) -> None:
    """Compute the embedding of each TEXT, or of piped text.

    "-" means standard input. In a pipe: a line for each text, which is a JSON array of numbers.
    """
    texts = input_text(text)
    if lines:
        texts = [line for each in texts for line in each.splitlines()]
        texts = [line for line in texts if line.strip()]
    if not texts or not all(each.strip() for each in texts):
        raise click.UsageError("an empty text has no embedding")
    with terminal.gigachat() as giga:
        response = giga.embeddings(texts, model=model)
    if terminal.json:
        terminal.document(
            {
                "model": response.model,
                "embeddings": [{"index": item.index, "embedding": item.embedding} for item in response.data],
                "usage": msgspec.to_builtins(response.usage),
            }
        )
        return
    for vector in response.vectors:
        if terminal.on_terminal:
            first = ", ".join(f"{number:.4f}" for number in vector[:_MAX_SHOWN_NUMBERS])
            terminal.line(f"{len(vector)} numbers: {first}, …")
        else:
            terminal.line(msgspec.json.encode(vector).decode())
