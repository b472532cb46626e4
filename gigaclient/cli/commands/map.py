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

from gigaclient.cli import exit_codes
from gigaclient.cli.console import is_terminal, piped_input, printable, write_json
from gigaclient.cli.options import POSITIVE, Terminal, file_text, model_options, provider_option, with_client
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError

if TYPE_CHECKING:
    from gigaclient.bulk.results import MapResults
    from gigaclient.types import MapResult

__all__ = ["command"]

_COUNT = click.IntRange(min=1)
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".txt")
_TABLE_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
_OPTION_NAMES = {
    "max_tokens_total": "--max-tokens-total",
    "max_seconds": "--max-seconds",
    "max_errors_in_row": "--stop-after-errors",
}
_MAX_ERROR_TYPES = 3

_HELP = """\
Ask a question for each line of FILE, as many at a time as your account allows.

FILE has JSON on each line (.jsonl), a question on each line (.txt) or columns with headings (.csv, .tsv); "-" or a
pipe has JSON. A line is a question, an object with "prompt" or "messages", or fields for --template.

Without --output, results are JSON lines on standard output. With it, they are saved in a file; run the same command
again to continue: saved lines are not sent again. The exit code is 1 if some lines have no answer.

\b
gigaclient map reviews.csv -o results.jsonl --template "Positive or negative? {text}"
gigaclient map questions.txt | jq -r .text
"""


@click.command("map", short_help="ask a question for each line of a file, many at a time", help=_HELP)
@click.argument("file", required=False)
@click.option(
    "-o", "--output", "checkpoint", metavar="PATH", help="Save the results here; the same command again continues."
)
@click.option("--template", metavar="TEXT", help="The question: {field} stands for a field, {} for a whole line.")
@click.option("--template-file", type=click.Path(dir_okay=False), metavar="PATH", help="The same, from a file.")
@click.option("--lines", is_flag=True, help="Each line is a question, not JSON; always so in a .txt file.")
@model_options
@click.option("-s", "--system", metavar="TEXT", help="The system message of each question.")
@click.option("--schema", type=click.Path(dir_okay=False), metavar="PATH", help="A JSON Schema for the answers.")
@click.option("--as-completed", is_flag=True, help="Print results in the order in which they finish.")
@click.option("--workers", "max_workers", type=_COUNT, metavar="N", help="Run at most N requests at a time.")
@click.option("--max-tokens-total", type=_COUNT, metavar="N", help="Stop before more than N tokens are spent.")
@click.option("--max-seconds", type=POSITIVE, metavar="S", help="Stop after S seconds.")
@click.option(
    "--stop-after-errors", "max_errors_in_row", type=_COUNT, metavar="N", help="Stop after N failed lines in a row."
)
@click.option("--via", type=click.Choice(["chat", "batches"]), help="batches: use the batch API; later, cheaper.")
@provider_option
@click.option("--no-progress", is_flag=True, help="No progress bar.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no summary.")
@with_client
def command(
    terminal: Terminal,
    file: str | None,
    checkpoint: str | None,
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
    **fields: Any,
) -> int:
    """Run ``gigaclient map``."""
    output = None if checkpoint == "-" else checkpoint
    if provider == "fakegpt" and (schema is not None or via is not None):
        raise click.UsageError("--schema and --via are for GigaChat")
    options = {
        **fields,
        "response_format": None if schema is None else _schema(schema),
        "via": via,
        "checkpoint": output,
    }
    # A progress bar would mix with the lines of results.
    shows_lines = output is None and terminal.on_terminal
    options["progress"] = False if quiet or no_progress or terminal.json or shows_lines else None
    with contextlib.ExitStack() as stack:
        prompts = _prompts(file, lines, stack)
        map_template = _map_template(prompts, _template(template, template_file), system)
        client: Any = stack.enter_context(terminal.client(provider))
        arguments = {name: value for name, value in options.items() if value is not None}
        results = client.map(prompts, template=map_template, ordered=not as_completed and output is None, **arguments)
        writer = _ResultWriter(terminal, results, output, quiet=quiet)
        return writer.write_all()


class _ResultWriter:
    """Write the results and the summary of a run."""

    def __init__(self, terminal: Terminal, results: MapResults[MapResult], output: str | None, *, quiet: bool) -> None:
        self._terminal = terminal
        self._results = results
        self._output = output
        self._quiet = quiet
        # The first failure of each error type: its input line and its message.
        self._failures: dict[str, tuple[int, str]] = {}

    def write_all(self) -> int:
        """Write all results; return the exit code."""
        try:
            with self._results:
                for result in self._results:
                    if result.error is not None:
                        message = _with_option_names(str(result.error))
                        self._failures.setdefault(type(result.error).__name__, (result.index, message))
                    if self._output is None:
                        _write_line(_document(result))
        except KeyboardInterrupt:
            self._report("interrupted")
            raise
        except GigaClientError as error:
            self._report(type(error).__name__)
            raise
        stopped = self._results.stopped
        self._report(stopped)
        return exit_codes.FAILED if stopped is not None or self._results.progress.failed else exit_codes.OK

    def _report(self, stopped: str | None) -> None:
        progress = self._results.progress
        document = {
            "answered": progress.answered,
            "failed": progress.failed,
            **({"blocked": progress.blocked} if progress.blocked else {}),
            "restored": progress.restored,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "stopped": stopped,
            "output": self._output,
        }
        if self._terminal.json:
            if self._output is not None:
                self._terminal.document(document)
            elif not self._quiet:
                write_json(sys.stderr, {"summary": document})
        elif not self._quiet:
            self._write_summary(document)

    def _write_summary(self, document: Mapping[str, Any]) -> None:
        restored = f" ({document['restored']} of them earlier)" if document["restored"] else ""
        number_blocked = document.get("blocked", 0)
        blocked = f" ({number_blocked} blocked by the filter)" if number_blocked else ""
        text = (
            f"{document['answered']} answered{restored}, {document['failed']} failed{blocked}; "
            f"{document['tokens']} tokens, {document['seconds']:.1f} s"
        )
        stopped = document["stopped"]
        if stopped is not None:
            text += (
                "; interrupted" if stopped == "interrupted" else f"; stopped by {_OPTION_NAMES.get(stopped, stopped)}"
            )
            if self._output is not None:
                text += f"; run the same command again to continue {self._output}"
        elif document["failed"] > number_blocked and self._output is not None:
            text += "; run the same command again to retry them"
        sys.stderr.write((printable(text) if is_terminal(sys.stderr) else text) + "\n")
        sys.stderr.flush()
        for index, message in list(self._failures.values())[:_MAX_ERROR_TYPES]:
            self._terminal.warning(f"input {index}: {message}")


# -- input -------------------------------------------------------------------------------------------------------------


def _prompts(file: str | None, lines: bool, stack: contextlib.ExitStack) -> Any:
    """Return the prompts for ``map``; ``stack`` closes the file that is opened for them."""
    if file is None or file == "-":
        if file is None and not piped_input():
            raise click.UsageError("there are no prompts: name a file, or pipe JSON lines in")
        stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
        return _questions(stream, "standard input") if lines else stream
    path = Path(file).expanduser()
    suffix = path.suffix.lower()
    if not lines and suffix in _LINE_SUFFIXES:
        return path
    if not lines and suffix and suffix not in _TABLE_DELIMITERS:
        known = ", ".join((*_LINE_SUFFIXES, *_TABLE_DELIMITERS))
        raise click.UsageError(
            f"{file}: a file of prompts ends in {known}; with --lines, any file works, and each line is a question"
        )
    try:
        stream = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    else:
        if lines:
            return _questions(stream, file)
        return _rows(stream, file, _TABLE_DELIMITERS[suffix]) if suffix in _TABLE_DELIMITERS else stream
    raise click.UsageError(f"{file}: {reason}")


def _questions(stream: IO[Any], name: str) -> Iterator[str]:
    for line in _text(stream, name):
        question = line.rstrip("\r\n")
        if question.strip():
            yield question


def _rows(stream: IO[Any], name: str, delimiters: str) -> Iterator[dict[str, Any]]:
    lines = _text(stream, name)
    headings = next(lines, "")
    # Spreadsheets separate columns by semicolons if the decimal separator is a comma.
    delimiter = max(delimiters, key=headings.count)
    try:
        for row in csv.DictReader(itertools.chain([headings], lines), delimiter=delimiter, restkey="more"):
            # An empty cell means no value, not an empty text.
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
        raise click.UsageError("--template and --template-file exclude each other: leave one out")
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
        reason = "it is not an object"
    raise click.UsageError(f"{path} is not a JSON Schema: {reason}")


def _map_template(prompts: Any, template: str | None, system: str | None) -> str | Callable[[Any], Any] | None:
    """Return the template for ``map``."""
    from gigaclient.bulk.prompts import Prompts

    try:
        converter = Prompts(prompts, template)
    except ConfigError as error:
        reason = _with_option_names(error.message)
    else:
        return template if not system else lambda row: _with_system(converter.prompt_for(row), system)
    raise click.UsageError(reason)


def _with_system(prompt: Any, system: str) -> Any:
    """Add a system message to ``prompt``, unless it has one."""
    if isinstance(prompt, Mapping):
        return {**prompt, "messages": _with_system(prompt["messages"], system)}
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if isinstance(messages, list) and not any(_is_system(message) for message in messages):
        return [{"role": "system", "content": system}, *messages]
    return messages


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"


# -- output ------------------------------------------------------------------------------------------------------------


def _document(result: MapResult) -> dict[str, Any]:
    """Return the JSON document of a result."""
    document: dict[str, Any] = {"index": result.index, "input": result.input}
    completion = result.completion
    if completion is not None:
        document["text"] = completion.text
        if result.value is not None:
            document["value"] = result.value
        document["model"], document["finish_reason"] = completion.model, completion.finish_reason
    if result.error is not None:
        error: dict[str, Any] = {"type": type(result.error).__name__, "message": _with_option_names(str(result.error))}
        if isinstance(result.error, APIStatusError):
            error["status_code"] = result.error.status_code
        document["error"] = error
    document["usage"] = None if result.usage is None else msgspec.to_builtins(result.usage)
    document["attempts"], document["seconds"] = result.attempts, round(result.seconds, 3)
    return document


def _write_line(document: Mapping[str, Any]) -> None:
    try:
        line = msgspec.json.encode(document, enc_hook=str).decode()  # the input of an invalid line is a subclass of str
    except UnicodeEncodeError:  # the input has a lone surrogate
        line = json.dumps(document)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _with_option_names(message: str) -> str:
    """Replace the library's arguments in an error message by the options of the command."""
    message = exit_codes.with_commands(message).replace('template="', '--template "')
    return re.sub(r"\btemplate=|^template\b", "--template", message)
