"""``gigaclient map``."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from gigaclient.cli import exit_codes as exits
from gigaclient.cli.console import is_terminal, piped_input, printable, write_json
from gigaclient.cli.options import Terminal, file_text, with_client
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError

if TYPE_CHECKING:
    from gigaclient.bulk.results import MapResults
    from gigaclient.types import MapResult

__all__ = ["command"]

_POSITIVE = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)
_OF_LIBRARY = (".jsonl", ".ndjson", ".txt")
_TABLES = {".csv": ",;\t", ".tsv": "\t"}
_OPTIONS = {
    "max_tokens_total": "--max-tokens-total",
    "max_seconds": "--max-seconds",
    "max_errors_in_row": "--stop-after-errors",
}
_MOST_KINDS_TOLD = 3


@click.command("map", short_help="ask a question of each line of a file")
@click.argument("file", required=False)
@click.option("-o", "--output", metavar="PATH", help="Keep the results here; the same command again goes on.")
@click.option("--template", metavar="TEXT", help="The question: {field} stands for a field, {} for a whole line.")
@click.option("--template-file", type=click.Path(dir_okay=False), metavar="PATH", help="The same, from a file.")
@click.option("--lines", is_flag=True, help="Each line is a question, and not JSON; so it is in a .txt file anyway.")
@click.option("-m", "--model", help="The model; gigaclient models lists them.")
@click.option("-s", "--system", metavar="TEXT", help="Instructions that come before each question.")
@click.option("-t", "--temperature", type=click.FloatRange(min=0), help="Higher is more various.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="How much of the probable is considered, 0 to 1.")
@click.option("--max-tokens", type=_COUNT, help="Where each answer is cut.")
@click.option("--schema", type=click.Path(dir_okay=False), metavar="PATH", help="A JSON Schema that answers follow.")
@click.option("--as-completed", is_flag=True, help="Results as they come, and not in the order of the lines.")
@click.option("--workers", type=_COUNT, metavar="N", help="Ask no more than N at a time.")
@click.option("--max-tokens-total", type=_COUNT, metavar="N", help="Ask no more once N tokens are about to be spent.")
@click.option("--max-seconds", type=_POSITIVE, metavar="S", help="End after so long.")
@click.option("--stop-after-errors", type=_COUNT, metavar="N", help="End after N failed lines in a row.")
@click.option(
    "--via", type=click.Choice(["chat", "batches"]), help="batches: by the service's batches; later, cheaper."
)
@click.option("--provider", type=click.Choice(["gigachat", "fakegpt"]), default="gigachat", help="Which service.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no line at the end.")
@with_client
def command(
    terminal: Terminal,
    file: str | None,
    output: str | None,
    template: str | None,
    template_file: str | None,
    lines: bool,
    as_completed: bool,
    system: str | None,
    schema: str | None,
    via: str | None,
    provider: str,
    no_progress: bool,
    quiet: bool,
    workers: int | None,
    max_tokens_total: int | None,
    max_seconds: float | None,
    stop_after_errors: int | None,
    **fields: Any,
) -> int:
    """Ask a question of each line of FILE, as many at a time as your account allows.

    FILE has JSON on each line (.jsonl), a question on each line (.txt) or columns with headings (.csv, .tsv); "-" or a
    pipe has JSON. A line is a question, an object with "prompt" or "messages", or what --template makes a question of.

    Without --output, results are JSON lines on standard output. With it they are kept in a file, and what is there is
    not asked again: the same command goes on where it stopped. Exit code 1 when lines were left without an answer.

    \b
    gigaclient map reviews.csv -o results.jsonl --template "Positive or negative? {text}"
    gigaclient map questions.txt | jq -r .text
    """
    output = None if output == "-" else output
    if provider == "fakegpt" and (schema is not None or via is not None):
        raise click.UsageError("--schema and --via are for GigaChat")
    options = {
        **fields,
        "max_workers": workers,
        "max_tokens_total": max_tokens_total,
        "max_seconds": max_seconds,
        "max_errors_in_row": stop_after_errors,
        "response_format": None if schema is None else _schema(schema),
        "via": via,
        "checkpoint": output,
    }
    # A bar between lines of results would be a mess.
    shows_lines = output is None and terminal.on_terminal
    options["progress"] = False if quiet or no_progress or terminal.json or shows_lines else None
    with contextlib.ExitStack() as stack:
        prompts = _prompts(file, lines, stack)
        making = _making(prompts, _template(template, template_file), system)
        client: Any = stack.enter_context(terminal.gigachat() if provider == "gigachat" else terminal.fakegpt())
        given = {name: value for name, value in options.items() if value is not None}
        results = client.map(prompts, template=making, ordered=not as_completed and output is None, **given)
        run = _Run(terminal, results, output, quiet=quiet)
        return run.through()


class _Run:
    """The results on their way out, and what is to be said of them."""

    def __init__(self, terminal: Terminal, results: MapResults[MapResult], output: str | None, *, quiet: bool) -> None:
        self._terminal = terminal
        self._results = results
        self._output = output
        self._quiet = quiet
        # The first failure of each kind: its line, and what it says.
        self._failures: dict[str, tuple[int, str]] = {}

    def through(self) -> int:
        """Write all results; the exit code."""
        try:
            with self._results:
                for result in self._results:
                    if result.error is not None:
                        said = _in_options(str(result.error))
                        self._failures.setdefault(type(result.error).__name__, (result.index, said))
                    if self._output is None:
                        _write_line(_document(result))
        except KeyboardInterrupt:
            self._tell("interrupted")
            raise
        except GigaClientError as error:
            self._tell(type(error).__name__)
            raise
        stopped = self._results.stopped
        self._tell(stopped)
        return exits.FAILED if stopped is not None or self._results.progress.failed else exits.OK

    def _tell(self, stopped: str | None) -> None:
        reached = self._results.progress
        document = {
            "answered": reached.answered,
            "failed": reached.failed,
            "restored": reached.restored,
            "tokens": reached.tokens,
            "seconds": round(reached.seconds, 3),
            "stopped": stopped,
            "output": self._output,
        }
        if self._terminal.json:
            if self._output is not None:
                self._terminal.document(document)
            elif not self._quiet:
                write_json(sys.stderr, {"summary": document})
        elif not self._quiet:
            self._say(document)

    def _say(self, document: Mapping[str, Any]) -> None:
        restored = f" ({document['restored']} of them before)" if document["restored"] else ""
        text = (
            f"{document['answered']} answered{restored}, {document['failed']} failed; {document['tokens']} tokens, "
            f"{document['seconds']:.1f} s"
        )
        stopped = document["stopped"]
        if stopped is not None:
            text += "; interrupted" if stopped == "interrupted" else f"; stopped by {_OPTIONS.get(stopped, stopped)}"
            if self._output is not None:
                text += f"; the same command goes on with {self._output}"
        elif document["failed"] and self._output is not None:
            text += "; the same command asks those again"
        sys.stderr.write((printable(text) if is_terminal(sys.stderr) else text) + "\n")
        sys.stderr.flush()
        for index, said in list(self._failures.values())[:_MOST_KINDS_TOLD]:
            self._terminal.warning(f"input {index}: {said}")


# -- what comes in -----------------------------------------------------------------------------------------------------


def _prompts(file: str | None, lines: bool, stack: contextlib.ExitStack) -> Any:
    """What ``map`` takes as prompts; files that are opened for it are closed with ``stack``."""
    if file is None or file == "-":
        if file is None and not piped_input():
            raise click.UsageError("there are no prompts: name a file, or pipe JSON lines in")
        stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
        return _questions(stream, "standard input") if lines else stream
    path = Path(file).expanduser()
    ending = path.suffix.lower()
    if not lines and ending in _OF_LIBRARY:
        return path
    if not lines and ending and ending not in _TABLES:
        known = ", ".join((*_OF_LIBRARY, *_TABLES))
        raise click.UsageError(
            f"{file}: a file of prompts ends in {known}; with --lines, each line of any is a question"
        )
    try:
        opened = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    else:
        if lines:
            return _questions(opened, file)
        return _rows(opened, file, _TABLES[ending]) if ending in _TABLES else opened
    raise click.UsageError(f"{file}: {reason}")


def _questions(stream: IO[Any], name: str) -> Iterator[str]:
    for line in _text(stream, name):
        question = line.rstrip("\r\n")
        if question.strip():
            yield question


def _rows(stream: IO[Any], name: str, delimiters: str) -> Iterator[dict[str, Any]]:
    lines = _text(stream, name)
    headings = next(lines, "")
    # Where the decimal sign is a comma, spreadsheets separate columns by semicolons.
    delimiter = max(delimiters, key=headings.count)
    try:
        for row in csv.DictReader(itertools.chain([headings], lines), delimiter=delimiter, restkey="more"):
            # A cell without a value, and not one whose value is a text of no length.
            yield {name: value or None for name, value in row.items()}
    except csv.Error as error:
        reason = str(error)
    else:
        return
    raise ConfigError(f"{name} cannot be read as a table: {reason}")


def _text(stream: IO[Any], name: str) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            text = line if isinstance(line, str) else line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text = None
        if text is None:
            raise ConfigError(f"{name}, line {number}, is not text in UTF-8: save the file as that")
        yield text


def _template(template: str | None, path: str | None) -> str | None:
    if path is None:
        return template
    if template is not None:
        raise click.UsageError("--template and --template-file are one and the same: leave one out")
    return file_text(path).rstrip("\n")


def _schema(path: str) -> Any:
    text = file_text(path)
    try:
        schema = json.loads(text)
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(schema, dict):
            return schema
        reason = "it is no object"
    raise click.UsageError(f"{path} is no JSON Schema: {reason}")


def _making(prompts: Any, template: str | None, system: str | None) -> str | Callable[[Any], Any] | None:
    """What ``map`` takes as template."""
    from gigaclient.bulk.prompts import Prompts

    try:
        made = Prompts(prompts, template)
    except ConfigError as error:
        reason = _in_options(error.message)
    else:
        return template if not system else lambda given: _with_system(made.ask(given), system)
    raise click.UsageError(reason)


def _with_system(prompt: Any, system: str) -> Any:
    """``prompt`` with instructions before it, unless it has some."""
    if isinstance(prompt, Mapping):
        return {**prompt, "messages": _with_system(prompt["messages"], system)}
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if isinstance(messages, list) and not any(_is_system(message) for message in messages):
        return [{"role": "system", "content": system}, *messages]
    return messages


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"


# -- what goes out -----------------------------------------------------------------------------------------------------


def _document(result: MapResult) -> dict[str, Any]:
    """A result as a line of standard output has it."""
    document: dict[str, Any] = {"index": result.index, "input": result.input}
    completion = result.completion
    if completion is not None:
        document["text"] = completion.text
        if result.value is not None:
            document["value"] = result.value
        document["model"], document["finish_reason"] = completion.model, completion.finish_reason
    if result.error is not None:
        said: dict[str, Any] = {"type": type(result.error).__name__, "message": _in_options(str(result.error))}
        if isinstance(result.error, APIStatusError):
            said["status_code"] = result.error.status_code
        document["error"] = said
    document["usage"] = None if result.usage is None else msgspec.to_builtins(result.usage)
    document["attempts"], document["seconds"] = result.attempts, round(result.seconds, 3)
    return document


def _write_line(document: Mapping[str, Any]) -> None:
    try:
        line = msgspec.json.encode(document, enc_hook=str).decode()  # a line that was none is a kind of str
    except UnicodeEncodeError:  # an input with half of a surrogate pair
        line = json.dumps(document)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _in_options(message: str) -> str:
    """What an error says, with the options of the command in place of the library's arguments."""
    message = exits.in_commands(message).replace('template="', '--template "')
    return re.sub(r"\btemplate=|^template\b", "--template", message)
