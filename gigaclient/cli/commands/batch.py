"""``gigaclient batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from gigaclient.cli import exit_codes
from gigaclient.cli.options import POSITIVE, Terminal, file_text, input_text, with_client
from gigaclient.cli.output import as_document

if TYPE_CHECKING:
    from gigaclient.types import Batch, BatchResult

__all__ = ["command"]


@click.group("batch", short_help="send many requests as one file and get the answers later")
def command() -> None:
    """Send many requests as one file and get the answers later. For pay-as-you-go accounts."""


@command.command("create")
@click.argument("file")
@click.option("--lines", is_flag=True, help="Each line of the file is a question, not JSON.")
@click.option("--method", type=click.Choice(["chat_completions", "embedder"]), default="chat_completions")
@click.option("-m", "--model", help="With --lines: the model.")
@click.option("-s", "--system", metavar="TEXT", help="With --lines: the system message.")
@click.option(
    "-t", "--temperature", type=click.FloatRange(min=0), help="With --lines: higher values give more varied answers."
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="With --lines: the token limit of each answer.")
@with_client
def create(
    terminal: Terminal,
    file: str,
    lines: bool,
    method: str,
    system: str | None,
    **fields: Any,
) -> None:
    """Send FILE, or standard input for "-": one JSON object per line, in the format of the API.

    {"id": "1", "request": {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Hello!"}]}}

    Prints the id of the batch.
    """
    options = {name: value for name, value in fields.items() if value is not None}
    if (options or system) and not lines:
        raise click.UsageError("without --lines the file is sent unchanged: set the model and other fields in its rows")
    if method == "embedder" and (system or options.keys() - {"model"}):
        raise click.UsageError("--system, --temperature and --max-tokens are for chats")
    requests: Any = file
    if lines or file == "-":
        text = input_text(("-",))[0] if file == "-" else file_text(file)
        requests = _questions(text, system, method) if lines else text.encode("utf-8")
    with terminal.gigachat() as giga:
        batch = giga.create_batch(requests, method=method, **options)
    _show(terminal, batch, only_id=True)


def _questions(text: str, system: str | None, method: str) -> list[Any]:
    questions = [line for line in text.splitlines() if line.strip()]
    if not questions:
        raise click.UsageError("the file has no questions")
    if method == "embedder" or not system:
        return list(questions)
    return [[{"role": "system", "content": system}, {"role": "user", "content": question}] for question in questions]


@command.command("list")
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


@command.command("get")
@click.argument("id")
@with_client
def get(terminal: Terminal, id: str) -> None:
    """Show the status of a batch."""
    with terminal.gigachat() as giga:
        _show(terminal, giga.get_batch(id))


@command.command("wait")
@click.argument("id")
@click.option("--poll", type=POSITIVE, default=2.0, metavar="S", help="Seconds between checks.")
@click.option("--within", type=POSITIVE, metavar="S", help="Stop waiting after S seconds.")
@with_client
def wait(terminal: Terminal, id: str, poll: float, within: float | None) -> None:
    """Wait until a batch is completed. --within ends the wait with exit code 6; the batch continues."""
    with terminal.gigachat() as giga:
        _show(terminal, giga.wait_for_batch(id, poll_interval=poll, timeout=within))


@command.command("results")
@click.argument("id")
@click.option("--wait", "waiting", is_flag=True, help="Wait until it is completed.")
@with_client
def results(terminal: Terminal, id: str, waiting: bool) -> int:
    """Print the answers of a completed batch. The exit code is 1 if some rows failed."""
    with terminal.gigachat() as giga:
        batch: Any = giga.wait_for_batch(id) if waiting else id
        rows = giga.batch_results(batch)
    for row in rows:
        if terminal.json:
            terminal.json_line(_result_document(row))
        elif row.error is not None:
            terminal.line(f"# {row.id}: failed: {row.error}")
        elif row.embeddings is not None:
            vectors = "\n".join(msgspec.json.encode(vector).decode() for vector in row.embeddings.vectors)
            terminal.line(f"# {row.id}\n{vectors}\n")
        else:
            terminal.line(f"# {row.id}\n{row.text}\n")
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
