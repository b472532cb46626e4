"""``gigaclient batch``."""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gigaclient._primitives.serialization import decode_or_none
from gigaclient.cli import exit_codes
from gigaclient.cli.options import POSITIVE, Terminal, file_text, input_text, model_options, with_client
from gigaclient.cli.output import as_document, waiting
from gigaclient.cli.prompts import NOT_JSON_SUFFIXES, line_options, read_prompts, read_template, row_template
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from gigaclient.types import Batch, BatchResult

__all__ = ["command"]


@click.group("batch", short_help="send many requests as one file and get the answers later")
def command() -> None:
    """Send many requests as one file and get the answers later. For pay-as-you-go accounts."""


_CREATE_HELP = """\
Send the requests in FILE, or standard input for "-", and print the id of the batch.

The lines are those of gigaclient map: JSON (.jsonl), questions (.txt or --lines), or columns with headings (.csv, .tsv)
for --template. The results have the "id" of a line, or row-1, row-2 …

Lines in the format of the API are sent unchanged:

\b
{"id": "1", "request": {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Hello!"}]}}
"""


@command.command("create", short_help="Send requests from a file.", help=_CREATE_HELP)
@click.argument("file")
@line_options
@click.option(
    "--method",
    type=click.Choice(["chat_completions", "embedder"]),
    default="chat_completions",
    help="embedder: compute embeddings.",
)
@model_options
@click.option("-s", "--system", metavar="TEXT", help="The system message of each question.")
@with_client
def create(
    terminal: Terminal,
    file: str,
    template: str | None,
    template_file: str | None,
    lines: bool,
    method: str,
    system: str | None,
    **fields: Any,
) -> None:
    """Run ``gigaclient batch create``."""
    options = {name: value for name, value in fields.items() if value is not None}
    if method == "embedder" and (system or options.keys() - {"model"}):
        raise click.UsageError("--system, --temperature, --top-p and --max-tokens are for chats")
    with contextlib.ExitStack() as stack:
        prompts: Any
        if lines or Path(file).suffix.lower() in NOT_JSON_SUFFIXES:
            prompts = read_prompts(file, lines, stack)
        else:
            text = input_text(("-",))[0] if file == "-" else file_text(file)
            prompts = io.BytesIO(text.encode("utf-8"))
        filled = read_template(template, template_file)
        if isinstance(prompts, io.BytesIO) and _are_rows(prompts.getvalue()):
            if options or system or filled:
                raise click.UsageError("this file is sent unchanged: set the model and other fields in its rows")
            requests: Any = prompts.getvalue()
        else:
            requests = _requests(prompts, row_template(prompts, filled, system), method)
    with terminal.gigachat() as giga:
        batch = giga.create_batch(requests, method=method, **options)
    _show(terminal, batch, only_id=True)


def _are_rows(content: bytes) -> bool:
    """Return True if the first line is a row in the format of the API."""
    first = next((line for line in content.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()), b"")
    row = decode_or_none(first)
    return isinstance(row, dict) and "request" in row


def _requests(prompts: Any, template: Any, method: str) -> list[Any]:
    """Return a request for each line, with the id of the line if it has one.

    Raises:
        click.UsageError: there are no lines, or one cannot be a request.
    """
    from gigaclient.bulk.prompts import Prompts

    lines = Prompts(prompts, template)
    requests = []
    reason = None
    for number, line in enumerate(lines, 1):
        fields: Mapping[str, Any] = line if isinstance(line, Mapping) else {}
        try:
            request = line if method == "embedder" and "input" in fields else lines.prompt_for(line)
        except ConfigError as error:
            reason = f"line {number}: {exit_codes.with_commands(error.message)}"
            break
        if isinstance(request, Mapping):
            request = {name: value for name, value in request.items() if name != "id"}
        row_id = fields.get("id")
        requests.append({"request": request, **({} if row_id is None else {"id": str(row_id)})})
    if reason is None and requests:
        return requests
    raise click.UsageError(reason or "the file has no questions")


@command.command("list", short_help="List all batches.")
@with_client
def list_batches(terminal: Terminal) -> None:
    """List all batches. In a pipe: a line for each, with tabs between id, status, answered rows and rows."""
    with terminal.gigachat() as giga:
        batches = giga.get_batches().batches
    if terminal.json:
        terminal.document({"batches": [_as_document(batch) for batch in batches]})
        return
    rows = []
    for batch in batches:
        counts = batch.request_counts
        rows.append((batch.id, batch.status, counts.completed if counts else None, counts.total if counts else None))
    terminal.table(("id", "status", "answered", "rows"), rows)


@command.command("get", short_help="Show the status of a batch.")
@click.argument("id")
@with_client
def get(terminal: Terminal, id: str) -> None:
    """Show the status of a batch."""
    with terminal.gigachat() as giga:
        _show(terminal, giga.get_batch(id))


@command.command("wait", short_help="Wait until a batch is completed.")
@click.argument("id")
@click.option("--poll", type=POSITIVE, default=2.0, metavar="S", help="Seconds between checks.")
@click.option("--within", type=POSITIVE, metavar="S", help="Stop waiting after S seconds.")
@with_client
def wait(terminal: Terminal, id: str, poll: float, within: float | None) -> None:
    """Wait until a batch is completed. --within ends the wait with exit code 6; the batch continues."""
    with terminal.gigachat() as giga:
        with waiting(terminal):
            batch = giga.wait_for_batch(id, poll_interval=poll, timeout=within)
        _show(terminal, batch)


@command.command("results", short_help="Print the answers of a batch.")
@click.argument("id")
@click.option("--wait", "waits", is_flag=True, help="Wait until it is completed.")
@with_client
def results(terminal: Terminal, id: str, waits: bool) -> int:
    """Print the answers of a completed batch. The exit code is 1 if some rows failed."""
    with terminal.gigachat() as giga, waiting(terminal):
        batch: Any = giga.wait_for_batch(id) if waits else id
        rows = giga.batch_results(batch)
    for row in rows:
        if terminal.json:
            terminal.json_line(_result_document(row))
        elif row.error is not None:
            terminal.line(f"# {row.id}: failed: {row.error}")
        elif row.embeddings is not None:
            vectors = "\n".join(msgspec.json.encode(vector).decode() for vector in row.embeddings.vectors)
            terminal.text(f"# {row.id}\n{vectors}\n\n")
        else:
            terminal.text(f"# {row.id}\n{row.text}\n\n")
    failed = sum(row.error is not None for row in rows)
    if failed:
        terminal.warning(f"{failed} of {len(rows)} rows failed")
        return exit_codes.FAILED
    return exit_codes.OK


def _show(terminal: Terminal, batch: Batch, *, only_id: bool = False) -> None:
    if terminal.json:
        terminal.document(_as_document(batch))
        return
    counts = batch.request_counts
    progress = f", {counts.completed or 0} of {counts.total} rows answered" if counts is not None else ""
    if only_id and not terminal.on_terminal:
        terminal.line(batch.id)
    else:
        terminal.line(f"{batch.id}: {batch.status or 'unknown'}{progress}")


def _as_document(batch: Batch) -> dict[str, Any]:
    names = ("id", "method", "status", "created_at", "updated_at", "output_file_id")
    document = {name: getattr(batch, name) for name in names if name == "id" or getattr(batch, name) is not None}
    if batch.request_counts is not None:
        document["request_counts"] = msgspec.to_builtins(batch.request_counts)
    return document


def _result_document(row: BatchResult) -> dict[str, Any]:
    document: dict[str, Any] = {"id": row.id}
    if row.error is not None:
        document.update(exit_codes.as_json(row.error))
    elif row.embeddings is not None:
        document["embeddings"] = row.embeddings.vectors
    elif row.completion is not None:
        document.update(as_document(row.completion))
    return document
