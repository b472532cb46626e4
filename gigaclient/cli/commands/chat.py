"""``gigaclient chat``: one question, or a conversation."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from gigaclient.cli.console import is_terminal, piped_input
from gigaclient.cli.options import Terminal, input_text, model_options, provider_option, with_client

__all__ = ["command"]

_HELP = """\
Ask a question and stream the answer; without a question, hold a conversation.

The words of PROMPT are the question; "-" means standard input. Piped text is added below the question, or is the
question if there is none. The answer is plain text in a pipe, and Markdown on a terminal.

\b
gigaclient chat What is the capital of Russia?
gigaclient chat "Explain this:" < error.log
git diff | gigaclient chat -s "You review code." -
gigaclient chat
"""


@click.command("chat", short_help="ask one question or hold a conversation; also reads a pipe", help=_HELP)
@click.argument("prompt", nargs=-1)
@model_options
@click.option("-s", "--system", metavar="TEXT", help="The system message.")
@click.option("-a", "--attach", multiple=True, metavar="ID", help="The id of an uploaded file. May be repeated.")
@provider_option
@click.option("--stream", is_flag=True, help="With --json: a line for each chunk, and the whole answer as the last.")
@click.option("--plain", is_flag=True, help="Print plain text on a terminal too, not Markdown.")
@click.option("--usage", is_flag=True, help="Print the used tokens to standard error.")
@with_client
def command(
    terminal: Terminal,
    prompt: tuple[str, ...],
    system: str | None,
    attach: tuple[str, ...],
    provider: str,
    stream: bool,
    plain: bool,
    usage: bool,
    **fields: Any,
) -> None:
    """Run ``gigaclient chat``."""
    options = {name: value for name, value in fields.items() if value is not None}
    if attach and provider == "fakegpt":
        raise click.UsageError("--attach is for GigaChat: FakeGpt accepts no files")
    if stream and not terminal.json:
        raise click.UsageError("--stream is for --json: without it, answers are streamed anyway")
    if not prompt and not piped_input() and is_terminal(sys.stdin):
        if terminal.json or not terminal.on_terminal:
            raise click.UsageError("there is no question: pass it as an argument, or pipe it in")
        _converse(terminal, provider, system, options, attach, plain)
        return
    question = _question(prompt)
    with terminal.client(provider) as client:
        _ask(terminal, client, _messages(question, system, attach), options, stream=stream, plain=plain, usage=usage)


def _question(prompt: tuple[str, ...]) -> str:
    if prompt.count("-") > 1:
        raise click.UsageError("- is standard input, which can be read once")
    words = [word for word in prompt if word != "-"]
    piped = input_text(("-",))[0] if "-" in prompt or piped_input() else ""
    parts = [part for part in (" ".join(words).strip(), piped.strip("\n")) if part.strip()]
    if not parts:
        raise click.UsageError("the question is empty: pass it as an argument, or pipe it in")
    return "\n\n".join(parts)


def _messages(question: str, system: str | None, attach: tuple[str, ...]) -> list[Any]:
    from gigaclient import Message

    messages = [Message(role="system", content=system)] if system else []
    return [*messages, Message(role="user", content=question, attachments=list(attach) or None)]


def _ask(
    terminal: Terminal,
    client: Any,
    messages: list[Any],
    options: dict[str, Any],
    *,
    stream: bool,
    plain: bool,
    usage: bool,
) -> None:
    from gigaclient.cli.output import as_document, echo_off, show, show_notes

    if terminal.json and not stream:
        terminal.document(as_document(client.chat(messages, **options)))
        return
    with (
        echo_off() if terminal.on_terminal else contextlib.nullcontext(),
        client.stream(messages, **options) as answer,
    ):
        if terminal.json:
            for chunk in answer:
                if chunk.text:
                    terminal.json_line({"event": "text", "text": chunk.text})
            terminal.json_line({"event": "answer", **as_document(answer.completion)})
            return
        show(terminal, answer, plain=plain)
        completion = answer.completion
    show_notes(terminal, completion)
    if usage and completion.usage is not None:
        tokens = completion.usage
        sys.stderr.write(
            f"{tokens.prompt_tokens} + {tokens.completion_tokens} = {tokens.total_tokens} tokens, {completion.model}\n"
        )


def _converse(
    terminal: Terminal,
    provider: str,
    system: str | None,
    options: dict[str, Any],
    attach: tuple[str, ...],
    plain: bool,
) -> None:
    from gigaclient.cli.interactive import ChatSession

    if attach:
        raise click.UsageError("--attach needs a question: pass it as an argument")
    with terminal.client(provider) as client:
        ChatSession(terminal, client, system=system, options=options, plain=plain).run()
