"""``gigaclient chat``: one question, or a conversation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gigaclient.cli.console import is_terminal, piped_input
from gigaclient.cli.options import Terminal, input_text, model_options, provider_option, with_client
from gigaclient.cli.prompts import read_schema

__all__ = ["command"]

_HELP = """\
Ask a question and stream the answer; without a question, hold a conversation.

The words of PROMPT are the question; "-" means standard input. Piped text is added below the question, or is the
question if there is none. The answer is plain text in a pipe, and Markdown on a terminal.

\b
gigaclient chat What is the capital of Russia?
gigaclient chat "Explain this:" < error.log
git diff | gigaclient chat -s "You review code." -
gigaclient chat "Sum it up" -a report.pdf
gigaclient chat "Draw a cat" --image cat.jpg
gigaclient chat

A log of all questions, templates, and conversations that continue the next day are those of the command llm, which
works with GigaChat too:

\b
llm -m gigachat "Count from 1 to 5"
llm --continue "And back"
"""


@click.command("chat", short_help="ask one question or hold a conversation; also reads a pipe", help=_HELP)
@click.argument("prompt", nargs=-1)
@model_options
@click.option("-s", "--system", metavar="TEXT", help="The system message.")
@click.option(
    *("-a", "--attach"),
    multiple=True,
    metavar="FILE",
    help="A file, which is deleted from the service after the answer; or the id of an uploaded one. May be repeated.",
)
@click.option("--schema", type=click.Path(dir_okay=False), metavar="PATH", help="A JSON Schema: the answer is JSON.")
@click.option("--image", metavar="PATH", help="Let the model draw, and save the picture here.")
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
    schema: str | None,
    image: str | None,
    provider: str,
    stream: bool,
    plain: bool,
    usage: bool,
    **fields: Any,
) -> None:
    """Run ``gigaclient chat``."""
    options = {name: value for name, value in fields.items() if value is not None}
    files = {"--attach": attach, "--schema": schema, "--image": image}
    needs_question = next((option for option, value in files.items() if value), None)
    if needs_question and provider == "fakegpt":
        raise click.UsageError(f"{needs_question} is for GigaChat: FakeGpt answers texts with texts")
    if stream and (schema is not None or not terminal.json):
        raise click.UsageError("--stream is for --json, without --schema: other answers are streamed anyway, or whole")
    if not prompt and not piped_input() and is_terminal(sys.stdin):
        if terminal.json or not terminal.on_terminal:
            raise click.UsageError("there is no question: pass it as an argument, or pipe it in")
        if needs_question:
            raise click.UsageError(f"{needs_question} needs a question: pass it as an argument")
        _converse(terminal, provider, system, options, plain)
        return
    question = _Question(
        text=_text(prompt),
        system=system,
        attachments=attach,
        schema=None if schema is None else read_schema(schema),
        image=image,
        options=options,
    )
    with terminal.client(provider) as client:
        question.ask(terminal, client, stream=stream, plain=plain, usage=usage)


def _text(prompt: tuple[str, ...]) -> str:
    if prompt.count("-") > 1:
        raise click.UsageError("- is standard input, which can be read once")
    words = [word for word in prompt if word != "-"]
    piped = input_text(("-",))[0] if "-" in prompt or piped_input() else ""
    parts = [part for part in (" ".join(words).strip(), piped.strip("\n")) if part.strip()]
    if not parts:
        raise click.UsageError("the question is empty: pass it as an argument, or pipe it in")
    return "\n\n".join(parts)


class _Question:
    """A question with all that is sent with it.

    Args:
        text: the question.
        system: the system message.
        attachments: paths and ids of files.
        schema: a JSON Schema for the answer.
        image: the path for the picture of the answer.
        options: fields of the request.
    """

    def __init__(
        self,
        *,
        text: str,
        system: str | None,
        attachments: tuple[str, ...],
        schema: dict[str, Any] | None,
        image: str | None,
        options: dict[str, Any],
    ) -> None:
        from gigaclient.cli.chat_files import check_attachments, check_image_path

        check_attachments(attachments)
        self._text, self._system, self._attachments, self._schema = text, system, attachments, schema
        self._image = None if image is None else check_image_path(image)
        # Without it the model describes a picture instead of drawing it.
        self._options = options if image is None else {"function_call": "auto", **options}

    def ask(self, terminal: Terminal, client: Any, *, stream: bool, plain: bool, usage: bool) -> None:
        """Send the question and write the answer."""
        from gigaclient import Message
        from gigaclient.cli.chat_files import save_images, uploaded
        from gigaclient.cli.output import as_document, echo_off, show_notes, waiting

        messages = [Message(role="system", content=self._system)] if self._system else []
        saved: dict[str, Path] = {}
        added: dict[str, Any] = {}
        with (
            echo_off() if terminal.on_terminal else contextlib.nullcontext(),
            uploaded(terminal, client, self._attachments) as ids,
            waiting(terminal) as before_text,
        ):
            messages.append(Message(role="user", content=self._text, attachments=ids or None))
            if self._schema is not None:
                completion, value = client.chat_parse(messages, response_format=self._schema, **self._options)
                added["value"] = value
            else:
                streams = stream or not terminal.json
                completion = self._answer(terminal, client, messages, streams, plain, before_text)
            if self._image is not None:
                saved = save_images(client, completion, self._image)
        if terminal.json:
            event = {"event": "answer"} if stream else {}
            write = terminal.json_line if stream else terminal.document
            write({**event, **as_document(completion, saved), **added})
        elif self._schema is not None:
            terminal.document(added["value"])
        show_notes(terminal, completion, saved)
        if usage and completion.usage is not None:
            tokens = completion.usage
            parts = f"{tokens.prompt_tokens} + {tokens.completion_tokens} = {tokens.total_tokens}"
            terminal.summary(f"{parts} tokens, {completion.model}")
        if self._image is not None and not saved:
            raise click.ClickException("the answer has no picture: ask for one, as in «Draw a cat»")

    def _answer(
        self,
        terminal: Terminal,
        client: Any,
        messages: list[Any],
        streams: bool,
        plain: bool,
        before_text: Callable[[], None],
    ) -> Any:
        """Return the answer; write its text as it arrives if ``streams``."""
        from gigaclient.cli.output import show

        if not streams:
            return client.chat(messages, **self._options)
        with client.stream(messages, **self._options) as answer:
            if not terminal.json:
                show(terminal, answer, plain=plain, before_text=before_text)
                return answer.completion
            for chunk in answer:
                if chunk.text:
                    terminal.json_line({"event": "text", "text": chunk.text})
            return answer.completion


def _converse(terminal: Terminal, provider: str, system: str | None, options: dict[str, Any], plain: bool) -> None:
    from gigaclient.cli.interactive import ChatSession

    with terminal.client(provider) as client:
        ChatSession(terminal, client, system=system, options=options, plain=plain).run()
