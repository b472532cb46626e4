"""``gigaclient chat``: one question and its answer, or a conversation."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from gigaclient.cli.console import is_terminal, piped_input
from gigaclient.cli.options import Terminal, input_text, with_client

__all__ = ["command"]


@click.command("chat", short_help="ask a question, or talk; reads a pipe as well")
@click.argument("prompt", nargs=-1)
@click.option("-m", "--model", help="The model; gigaclient models lists them.")
@click.option("-s", "--system", metavar="TEXT", help="Instructions that come before the conversation.")
@click.option("-t", "--temperature", type=click.FloatRange(min=0), help="Higher is more various.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="How much of the probable is considered, 0 to 1.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Where the answer is cut.")
@click.option("-a", "--attach", multiple=True, metavar="ID", help="A file that was uploaded. May be repeated.")
@click.option("--provider", type=click.Choice(["gigachat", "fakegpt"]), default="gigachat", help="Which service.")
@click.option("--stream", is_flag=True, help="With --json: a line for each piece, and the whole answer as the last.")
@click.option("--plain", is_flag=True, help="On a terminal, too, show the text as it came and not as Markdown.")
@click.option("--usage", is_flag=True, help="Say on standard error how many tokens it took.")
@with_client
def command(
    terminal: Terminal,
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    attach: tuple[str, ...],
    provider: str,
    stream: bool,
    plain: bool,
    usage: bool,
) -> None:
    """Ask a question, and see the answer as it comes; without a question, talk.

    The words of PROMPT are the question; "-" stands for standard input. What is piped in goes below the question, or is
    the question if there is none. The answer is plain text in a pipe, and drawn as Markdown on a terminal.

    \b
    gigaclient chat What is the capital of Russia?
    gigaclient chat "Explain this:" < error.log
    git diff | gigaclient chat -s "You review code." -
    gigaclient chat
    """
    fields = {"model": model, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    options = {name: value for name, value in fields.items() if value is not None}
    if attach and provider == "fakegpt":
        raise click.UsageError("--attach is for GigaChat: FakeGpt takes no files")
    if stream and not terminal.json:
        raise click.UsageError("--stream is for --json: without it, answers are streamed anyway")
    if not prompt and not piped_input() and is_terminal(sys.stdin):
        if terminal.json or not terminal.on_terminal:
            raise click.UsageError("there is no question: pass it as an argument, or pipe it in")
        _talk(terminal, provider, system, options, attach, plain)
        return
    question = _question(prompt)
    with terminal.gigachat() if provider == "gigachat" else terminal.fakegpt() as client:
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
    from gigaclient.cli.output import as_document, notes, show, undisturbed

    if terminal.json and not stream:
        terminal.document(as_document(client.chat(messages, **options)))
        return
    with (
        undisturbed() if terminal.on_terminal else contextlib.nullcontext(),
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
    notes(terminal, completion)
    if usage and completion.usage is not None:
        counted = completion.usage
        sys.stderr.write(
            f"{counted.prompt_tokens} + {counted.completion_tokens} = {counted.total_tokens} tokens, "
            f"{completion.model}\n"
        )


def _talk(
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
    with contextlib.closing(terminal.gigachat() if provider == "gigachat" else terminal.fakegpt()) as client:
        ChatSession(terminal, client, system=system, options=options, plain=plain).run()
