"""The files of messages: uploaded files as objects or ids, and local files that are uploaded once."""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from gigaclient._core.call_arguments import CHAT_FIELDS
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import APIConnectionError, ConfigError, GigaClientError
from gigaclient.types import Chat
from gigaclient.types.base import APIResponse

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["CHAT_ARGUMENTS", "Uploader", "forget_upload", "with_attachments", "with_file_ids"]

CHAT_ARGUMENTS = CHAT_FIELDS | {"attachments", "upload"}
"""The names of body fields of API v1, and those that this module turns into fields."""

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Options of the chat that mean something else, or nothing, for an upload.
_NOT_FOR_UPLOADS = frozenset({"request_id", "event_timeout"})

Upload: TypeAlias = "Callable[[Any], str]"

# The uploads of each client, by the transport that a client shares with its copies. The process id is kept, because a
# forked child never sees the end of an upload that its parent has begun.
_uploads: weakref.WeakKeyDictionary[Any, dict[Any, tuple[int, Future[str]]]] = weakref.WeakKeyDictionary()


def _file_ids(attachments: Any, path: str, upload: Upload | None = None) -> list[str]:
    """Return the ids of the attachments of a message.

    Args:
        attachments: an uploaded file, its id, or a list of either; with ``upload`` also paths, bytes and open files.
        path: the name of the value in error messages.
        upload: uploads a local file and returns its id.

    Raises:
        ConfigError: an item is none of these, or a local file cannot be read.
    """
    is_list = isinstance(attachments, Iterable) and not isinstance(
        attachments, (str, bytes, bytearray, memoryview, Mapping, os.PathLike, msgspec.Struct)
    )
    if not is_list or callable(getattr(attachments, "read", None)):
        attachments = [attachments]
    return [_file_id(item, path, upload) for item in attachments]


def _file_id(item: Any, path: str, upload: Upload | None) -> str:
    id_ = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    if isinstance(id_, str) and id_:
        return id_
    if isinstance(item, str) and (upload is None or _ID.fullmatch(item)):
        return item
    if upload is not None and item is not None:
        return upload(item)
    raise ConfigError(
        f"{path} takes ids of uploaded files and what upload_file() returns, not {type(item).__name__}; "
        "upload=True uploads local files"
    )


def with_attachments(messages: Any, extra: Any, upload: Upload | None) -> Any:
    """Return messages of any form, or a whole request, with the ids of all attachments.

    Args:
        messages: as for ``giga.chat``; never changed.
        extra: more attachments, for the last message of the user; None for none.
        upload: uploads a local file and returns its id; None if only uploaded files are accepted.

    Raises:
        ConfigError: an attachment is not valid, or no message of the user could have ``extra``.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if isinstance(messages, msgspec.Struct) and not isinstance(messages, APIResponse):
        is_request = isinstance(messages, Chat) or hasattr(messages, "messages")
        messages = fields_of(messages) if is_request else [messages]
    if isinstance(messages, Mapping):
        return {**messages, "messages": with_attachments(messages.get("messages"), extra, upload)}
    if isinstance(messages, (bytes, APIResponse)) or not isinstance(messages, Iterable):
        return messages  # refused when the body is built
    changed = [with_file_ids(message, index, upload) for index, message in enumerate(messages)]
    if extra is not None:
        of_user = [index for index, message in enumerate(changed) if _field(message, "role") == "user"]
        if not of_user:
            raise ConfigError("attachments= belongs to a message of the user, and there is none")
        last = of_user[-1]
        ids = [*(_field(changed[last], "attachments") or ()), *_file_ids(extra, "attachments", upload)]
        changed[last] = {**_fields(changed[last]), "attachments": ids}
    return changed


def with_file_ids(message: Any, index: int, upload: Upload | None = None) -> Any:
    """Return a message with the ids of its attachments; the same message if it has none."""
    attachments = _field(message, "attachments")
    if attachments is None:
        return message
    ids = _file_ids(attachments, f"messages[{index}].attachments", upload)
    return {**_fields(message), "attachments": ids}


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _fields(message: Any) -> dict[str, Any]:
    return fields_of(message) if isinstance(message, msgspec.Struct) else dict(message)


class Uploader:
    """Upload local files for one call; a client uploads the same content once.

    Args:
        client: the client.
        options: the options of the call; those of every call apply to the uploads too.
    """

    def __init__(self, client: Any, options: Mapping[str, Any]) -> None:
        self._client = client
        self._options = {
            name: value for name, value in options.items() if name in CALL_OPTIONS and name not in _NOT_FOR_UPLOADS
        }

    def __call__(self, file: Any) -> str:
        """Upload a file and return its id; wait if another thread uploads the same content."""
        from concurrent.futures import Future  # loaded late, because few programs upload files this way

        from gigaclient.gigachat.resources.uploads import as_upload

        upload = as_upload(file)
        owner = self._options.get("client_id")  # a file belongs to one user of the application
        key = (hashlib.sha256(upload.content).digest(), upload.filename, upload.content_type, owner)
        uploads = _uploads.setdefault(self._client._executor.transport, {})
        mine: tuple[int, Future[str]] = os.getpid(), Future()
        found = uploads.setdefault(key, mine)
        if found[0] != mine[0] and not found[1].done():
            found = uploads[key] = mine
        if found is not mine:
            return found[1].result()
        future = mine[1]
        try:
            file_ = (upload.filename, upload.content, upload.content_type)
            future.set_result(self._client.upload_file(file_, **self._options).id)
        except BaseException as error:
            uploads.pop(key, None)
            # An interrupt of this thread is not one of the threads that wait.
            is_ours = isinstance(error, GigaClientError)
            future.set_exception(error if is_ours else APIConnectionError("another thread's upload was interrupted"))
            raise
        return future.result()


def forget_upload(client: Any, file_id: str) -> None:
    """Forget an uploaded file that was deleted, so that its content is uploaded again."""
    uploads = _uploads.get(client._executor.transport, {})
    for key, (_, future) in list(uploads.items()):
        if future.done() and future.exception() is None and future.result() == file_id:
            uploads.pop(key, None)
