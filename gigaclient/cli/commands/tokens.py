"""``gigaclient tokens``."""

from __future__ import annotations

import click

from gigaclient.cli.options import Terminal, input_text, with_client

__all__ = ["command"]


@click.command("tokens", short_help="count the tokens of texts")
@click.argument("text", nargs=-1)
@click.option("-m", "--model", help="The model whose tokens are counted.")
@with_client
def command(terminal: Terminal, text: tuple[str, ...], model: str | None) -> None:
    """Count the tokens of each TEXT, or of piped text. Costs no tokens.

    "-" means standard input. In a pipe: only the numbers, a line for each text.
    """
    texts = input_text(text)
    with terminal.gigachat() as giga:
        model = model or giga.model
        counts = giga.tokens_count(texts, model=model)
    if terminal.json:
        terminal.document(
            {
                "model": model,
                "tokens": sum(count.tokens for count in counts),
                "counts": [{"tokens": count.tokens, "characters": count.characters} for count in counts],
            }
        )
        return
    for count in counts:
        terminal.line(
            f"{count.tokens} tokens, {count.characters} characters" if terminal.on_terminal else str(count.tokens)
        )
