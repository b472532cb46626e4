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
    """The files of your key: those that you uploaded, and those that a model made."""


@command.command("list")
@with_client
def list_files(terminal: Terminal) -> None:
    """All files. In a pipe: a line for each, with tabs between id, size, purpose, time and name."""
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
@click.option("--purpose", default="general", show_default=True, help="What the file is for.")
@click.option("--name", help="The name, where it is not the file's own; needed for standard input.")
@with_client
def upload(terminal: Terminal, path: tuple[str, ...], purpose: str, name: str | None) -> None:
    """Upload each PATH; "-" is standard input. In a pipe: a line with its id for each.

    Name the id in a question with gigaclient chat --attach ID.
    """
    if "-" in path and name is None:
        raise click.UsageError('--name is needed for "-": its ending says what kind of file it is')
    if name is not None and len(path) > 1:
        raise click.UsageError("--name is for a single file")
    uploaded: list[UploadedFile] = []
    with terminal.gigachat() as giga:
        for each in path:
            content: Any = sys.stdin.buffer.read() if each == "-" else each
            file = giga.upload_file(content, purpose, filename=name)
            uploaded.append(file)
            if not terminal.json:
                shown = f"{file.id}  {file.filename or each}" if terminal.on_terminal else file.id
                terminal.line(shown)
    if terminal.json:
        terminal.document({"files": [_as_document(file) for file in uploaded]})


@command.command("get", short_help="What the service knows of a file.")
@click.argument("id")
@with_client
def get(terminal: Terminal, id: str) -> None:
    """What the service knows of a file; gigaclient files download fetches the file itself."""
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


@command.command("download")
@click.argument("id")
@click.option("-o", "--output", metavar="PATH", help="Where to write it; - is standard output. Else by its own name.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--client-id", help="The X-Client-ID of the call that made the file, if it had one.")
@with_client
def download(terminal: Terminal, id: str, output: str | None, force: bool, client_id: str | None) -> None:
    """Fetch a file. It appears when all of it is there, and not before. Prints where it was written."""
    options: dict[str, Any] = {} if client_id is None else {"client_id": client_id}
    if output == "-":
        if terminal.json:
            raise click.UsageError("--json and --output - would both write to standard output")
        if terminal.on_terminal:
            raise click.UsageError("a file is not for a terminal: name one with --output, or pipe it on")
        with terminal.gigachat() as giga:
            giga.get_file_content(id, sys.stdout.buffer, **options)
        sys.stdout.buffer.flush()
        return
    with terminal.gigachat() as giga:
        path = output or _own_name(giga.get_file(id, **options))
        if os.path.isdir(path):
            path = os.path.join(path, _own_name(giga.get_file(id, **options)))
        if os.path.exists(path) and not force:
            raise click.UsageError(f"{path} is there already: choose another --output, or --force")
        size = giga.get_file_content(id, path, **options)
    if terminal.json:
        terminal.document({"id": id, "path": path, "bytes": size})
    else:
        terminal.line(path)


@command.command("delete")
@click.argument("id", nargs=-1, required=True)
@with_client
def delete(terminal: Terminal, id: tuple[str, ...]) -> None:
    """Delete files for good. In a pipe: a line with its id for each that is gone."""
    gone = []
    with terminal.gigachat() as giga:
        for each in id:
            answer = giga.delete_file(each)
            gone.append({"id": answer.id, "deleted": answer.deleted})
            if not terminal.json:
                terminal.line(f"deleted  {answer.id}" if terminal.on_terminal else answer.id)
    if terminal.json:
        terminal.document({"files": gone})


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


def _own_name(file: UploadedFile) -> str:
    """A name in this folder, whatever the service says: no folders, no hidden file, no control characters."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable()).strip().lstrip(".")
    return name or file.id.replace("/", "_").lstrip(".")
