"""``gigaclient map``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gigaclient.cli import exit_codes
from gigaclient.cli.console import write_json
from gigaclient.cli.options import POSITIVE, Terminal, model_options, provider_option, with_client
from gigaclient.cli.prompts import line_options, read_prompts, read_schema, read_template, row_template
from gigaclient.errors import APIStatusError, GigaClientError

if TYPE_CHECKING:
    from gigaclient.bulk.results import MapResults
    from gigaclient.types import MapResult

__all__ = ["command"]

_COUNT = click.IntRange(min=1)
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
@line_options
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
        "response_format": None if schema is None else read_schema(schema),
        "via": via,
        "checkpoint": output,
    }
    # A progress bar would mix with the lines of results.
    shows_lines = output is None and terminal.on_terminal
    options["progress"] = False if quiet or no_progress or terminal.json or shows_lines else None
    with contextlib.ExitStack() as stack:
        prompts = read_prompts(file, lines, stack)
        map_template = row_template(prompts, read_template(template, template_file), system)
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
                        message = exit_codes.with_commands(str(result.error))
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
        self._terminal.summary(text)
        for index, message in list(self._failures.values())[:_MAX_ERROR_TYPES]:
            self._terminal.warning(f"input {index}: {message}")


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
        error: dict[str, Any] = {
            "type": type(result.error).__name__,
            "message": exit_codes.with_commands(str(result.error)),
        }
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
