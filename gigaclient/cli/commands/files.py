"""``gigaclient files``."""

from __future__ import annotations

import datetime
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gigaclient.cli.options import Terminal, with_client

if TYPE_CHECKING:
    from gigaclient.types import UploadedFile

__all__ = ["command"]


@click.group("files", short_help="list, upload, download and delete files")
def command() -> None:
    """Manage the files of your key: uploaded files, and files that a model made."""


@command.command("list", short_help="List all files.")
@with_client
def list_files(terminal: Terminal) -> None:
    """List all files. In a pipe: a line for each, with tabs between id, size, purpose, time and name."""
    with terminal.gigachat() as giga:
        files = giga.get_files().data
    if terminal.json:
        terminal.document({"files": [_as_document(file) for file in files]})
        return
    terminal.table(
        ("id", "bytes", "purpose", "created", "name"),
        [(file.id, file.bytes, file.purpose, _time(file.created_at), file.filename) for file in files],
    )


@command.command("upload", short_help="Upload files.")
@click.argument("path", nargs=-1, required=True)
@click.option("--purpose", default="general", show_default=True, help="The purpose of the file.")
@click.option("--name", help="Another name for the file; needed for standard input.")
@with_client
def upload(terminal: Terminal, path: tuple[str, ...], purpose: str, name: str | None) -> None:
    """Upload each PATH; "-" is standard input. In a pipe: a line with its id for each.

    Pass the id to a question with gigaclient chat --attach ID.
    """
    if "-" in path and name is None:
        raise click.UsageError('--name is needed for "-": its extension sets the type of the file')
    if name is not None and len(path) > 1:
        raise click.UsageError("--name is for a single file")
    uploaded: list[UploadedFile] = []
    with terminal.gigachat() as giga:
        for each in path:
            content: Any = sys.stdin.buffer.read() if each == "-" else each
            file = giga.upload_file(content, purpose, filename=name)
            uploaded.append(file)
            if not terminal.json:
                line = f"{file.id}  {file.filename or each}" if terminal.on_terminal else file.id
                terminal.line(line)
    if terminal.json:
        terminal.document({"files": [_as_document(file) for file in uploaded]})


@command.command("get", short_help="Show the properties of a file.")
@click.argument("id")
@with_client
def get(terminal: Terminal, id: str) -> None:
    """Show the properties of a file; gigaclient files download fetches its content."""
    with terminal.gigachat() as giga:
        file = giga.get_file(id)
    document = _as_document(file)
    if terminal.json:
        terminal.document(document)
        return
    for name, value in document.items():
        if name == "created_at":
            value = _time(value)
        terminal.line(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


@command.command("download", short_help="Fetch a file and print its path.")
@click.argument("id")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="The path to write to; - is standard output. By default the name of the file.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--client-id", help="The X-Client-ID of the call that made the file, if any.")
@with_client
def download(terminal: Terminal, id: str, output: str | None, force: bool, client_id: str | None) -> None:
    """Fetch a file and print its path. The file appears only when it is complete."""
    options: dict[str, Any] = {} if client_id is None else {"client_id": client_id}
    if output == "-":
        if terminal.json:
            raise click.UsageError("--json and --output - would both write to standard output")
        if terminal.on_terminal:
            raise click.UsageError("the content is not printed to a terminal: use --output PATH, or a pipe")
        with terminal.gigachat() as giga:
            giga.get_file_content(id, sys.stdout.buffer, **options)
        sys.stdout.buffer.flush()
        return
    with terminal.gigachat() as giga:
        path = output or _safe_name(giga.get_file(id, **options))
        if os.path.isdir(path):
            path = os.path.join(path, _safe_name(giga.get_file(id, **options)))
        if os.path.exists(path) and not force:
            raise click.UsageError(f"{path} already exists: choose another --output, or --force")
        size = giga.get_file_content(id, path, **options)
    if terminal.json:
        terminal.document({"id": id, "path": path, "bytes": size})
    else:
        terminal.line(path)


@command.command("delete", short_help="Delete files permanently.")
@click.argument("id", nargs=-1, required=True)
@with_client
def delete(terminal: Terminal, id: tuple[str, ...]) -> None:
    """Delete files permanently. In a pipe: a line with the id of each deleted file."""
    deleted = []
    with terminal.gigachat() as giga:
        for each in id:
            response = giga.delete_file(each)
            deleted.append({"id": response.id, "deleted": response.deleted})
            if not terminal.json:
                terminal.line(f"deleted  {response.id}" if terminal.on_terminal else response.id)
    if terminal.json:
        terminal.document({"files": deleted})


def _as_document(file: UploadedFile) -> dict[str, Any]:
    names = ("id", "filename", "bytes", "created_at", "purpose", "access_policy", "modalities")
    return {name: getattr(file, name) for name in names if name == "id" or getattr(file, name) is not None}


def _time(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _safe_name(file: UploadedFile) -> str:
    """Return a safe name in this folder: no other folders, no hidden file, no control characters."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable()).strip().lstrip(".")
    return name or file.id.replace("/", "_").lstrip(".")
