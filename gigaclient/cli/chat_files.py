"""The files of a question, which are uploaded for it, and the pictures of its answer, which are saved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gigaclient.cli.output import exit_on_signals
from gigaclient.errors import GigaClientError
from gigaclient.gigachat.credentials import UUID

if TYPE_CHECKING:
    from gigaclient import GigaChat
    from gigaclient.cli.console import Screen
    from gigaclient.types import ChatCompletion

__all__ = ["check_attachments", "check_image_path", "save_images", "uploaded"]

_REMOVAL_SECONDS = 15.0


def check_attachments(attachments: Sequence[str]) -> None:
    """Check that each is a file of this machine, or has the form of an id.

    Raises:
        click.UsageError: one is neither.
    """
    for attachment in attachments:
        path = _path(attachment)
        if path is None and not UUID.fullmatch(attachment):
            raise click.UsageError(
                f"--attach {attachment}: there is no such file, and the id of an uploaded one looks different; "
                "gigaclient files list lists those"
            )
        if path is not None and not path.is_file():
            raise click.UsageError(f"--attach {attachment} is not a file")


@contextlib.contextmanager
def uploaded(screen: Screen, giga: GigaChat, attachments: Sequence[str]) -> Iterator[list[str]]:
    """Yield the ids of the attachments. Paths are uploaded, and deleted at the end: also after an error or Ctrl-C."""
    with contextlib.ExitStack() as stack:
        if any(map(_path, attachments)):
            stack.enter_context(exit_on_signals())
        ids = []
        for attachment in attachments:
            path = _path(attachment)
            if path is None:
                screen.note(f"attached by its id: {attachment}")
                ids.append(attachment)
                continue
            screen.note(f"uploading {attachment}; it is deleted after the answer")
            file = giga.upload_file(path)
            stack.callback(_delete, screen, giga, file.id)
            ids.append(file.id)
        yield ids


def _path(attachment: str) -> Path | None:
    path = Path(os.path.expanduser(attachment))
    return path if path.exists() else None


def _delete(screen: Screen, giga: GigaChat, file_id: str) -> None:
    try:
        giga.delete_file(file_id, deadline=_REMOVAL_SECONDS)
    except BaseException as error:
        screen.warning(f"an uploaded file remains; delete it with gigaclient files delete {file_id}")
        if not isinstance(error, GigaClientError):
            raise


def check_image_path(path: str) -> Path:
    """Return the path of ``--image``.

    Raises:
        click.UsageError: there is something at this path, or no folder for it.
    """
    target = Path(os.path.expanduser(path))
    if target.exists():
        raise click.UsageError(f"--image {path} already exists: choose another name, or delete it")
    if not target.parent.is_dir():
        raise click.UsageError(f"--image {path}: there is no folder {target.parent}")
    return target


def save_images(giga: GigaChat, completion: ChatCompletion, target: Path) -> dict[str, Path]:
    """Save the pictures of an answer; the second one as ``name-2.jpg``. Return their paths by their ids.

    Raises:
        GigaClientError: one cannot be downloaded.
        OSError: one cannot be written.
    """
    saved = {}
    for number, (file, image) in enumerate(zip(completion.images, giga.get_images(completion), strict=True), 1):
        path = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        saved[file.id] = image.save(path)
    return saved
