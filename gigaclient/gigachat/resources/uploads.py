"""Convert every accepted form of a file into its bytes, name and MIME type."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

from gigaclient._core.request_options import checked_headers
from gigaclient._primitives.surrogates import joined_pairs
from gigaclient.errors import ConfigError
from gigaclient.types.files import media_type

__all__ = ["EXTENSION_OF", "Upload", "UploadFile", "as_upload"]

Content = str | bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes]
UploadFile = (
    Content
    | tuple[str | None, Content]
    | tuple[str | None, Content, str | None]
    | tuple[str | None, Content, str | None, Mapping[str, str]]
)
"""A path, bytes or an open binary file.

Or, as in the official SDK, ``(name, content)`` or ``(name, content, MIME type)``, where a string as content is the text
itself.
"""

# The types that the service accepts. The system's ``mimetypes`` differ for half of them:
# https://developers.sber.ru/docs/ru/gigachat/guides/working-with-files
_MIME_OF = {
    "bmp": "image/bmp",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/x-m4a",
    "mp3": "audio/mp3",
    "mp4": "audio/mp4",
    "ogg": "audio/x-ogg",
    "opus": "audio/opus",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/ppt",
    "pptx": "application/pptx",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "wav": "audio/x-wav",
    "weba": "audio/webm",
    "xlsx": "application/vnd.ms-excel",
}
EXTENSION_OF = {mime: f".{extension}" for extension, mime in _MIME_OF.items()}
"""The extension of each MIME type that the service accepts."""


class Upload(NamedTuple):
    """A file to send. Its ``repr`` does not show the content."""

    content: bytes
    filename: str
    content_type: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Upload {self.filename!r}, {self.content_type}, {len(self.content)} bytes>"


def as_upload(file: Any, filename: str | None = None, content_type: str | None = None) -> Upload:
    """Read ``file``; ``filename`` and ``content_type`` override its own.

    Raises:
        ConfigError: it cannot be read, is empty, or is not a file; the message says which and why.
    """
    headers: dict[str, str] = {}
    if isinstance(file, tuple):
        name, file, own_type, headers = _unpack(file)
        filename, content_type = filename or name, content_type or own_type
        content, own_name = _content_of(file, text=True)
    else:
        content, own_name = _content_of(file, text=False)
    if filename is not None and not isinstance(filename, str):
        raise ConfigError(f"filename must be a string, not {type(filename).__name__}")
    name = filename or own_name
    if not content:
        shown = f"the file {name!r}" if name else "the file"
        raise ConfigError(f"{shown} is empty: there is nothing to send")
    for header in [header for header in headers if header.lower() == "content-type"]:
        content_type = headers.pop(header)
    if content_type is None:
        content_type = _mime_of(name) or media_type(content[:16]) or "application/octet-stream"
    checked_headers({"Content-Type": content_type})
    name = name or f"upload{EXTENSION_OF.get(content_type, '')}"
    return Upload(content, _sanitized(name), content_type, headers)


def _unpack(file: tuple[Any, ...]) -> tuple[str | None, Any, str | None, dict[str, str]]:
    if not 2 <= len(file) <= 4:
        raise ConfigError("a tuple as file is (name, content) or (name, content, MIME type)")
    name, content, content_type, headers = (*file, None, None)[:4]
    return name, content, content_type, checked_headers(headers or {})


def _content_of(file: Any, *, text: bool) -> tuple[bytes, str | None]:
    """Return the bytes and the file's name, if any. A string is content if ``text`` is set, or else a path."""
    if isinstance(file, (bytes, bytearray, memoryview)):
        return bytes(file), None
    if isinstance(file, str) and text:
        try:
            return joined_pairs(file).encode(), None
        except UnicodeDecodeError:
            raise ConfigError("the text holds half of a surrogate pair: repair it where it was decoded") from None
    if isinstance(file, (str, os.PathLike)):
        path = os.path.expanduser(os.fsdecode(file))
        return _read_path(path), os.path.basename(path)
    if callable(getattr(file, "read", None)):
        return _read_open(file), _name_of(file)
    raise ConfigError(
        f"file must be a path, bytes, a file open in binary mode, or (name, content), not {type(file).__name__}"
    )


def _read_path(path: str) -> bytes:
    shown = repr(path if len(path) <= 200 else f"{path[:200]}…")
    hint = '; a text to upload is passed as ("name.txt", text)'
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except FileNotFoundError:
        reason = f"there is no file {shown}{hint}"
    except IsADirectoryError:
        reason = f"{shown} is a folder"
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it holds a null character"
        reason = f"the file {shown} cannot be read ({problem}){hint if len(path) > 200 else ''}"
    raise ConfigError(reason)


def _read_open(file: Any) -> bytes:
    if getattr(file, "closed", False):
        raise ConfigError("the file object is closed")
    seek = getattr(file, "seek", None)
    if callable(seek):
        try:
            seek(0)
        except (OSError, ValueError):
            seek = None  # a pipe: only the unread rest is available
    try:
        content = file.read()
    except OSError as error:
        raise ConfigError(f"the file object cannot be read: {error.strerror or error}") from None
    if isinstance(content, str):
        raise ConfigError('the file is open in text mode: open it with open(path, "rb")')
    if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
        raise ConfigError(f"read() of the file object gave {type(content).__name__}, not bytes")
    return bytes(content or b"")


def _name_of(file: Any) -> str | None:
    name = getattr(file, "name", None)
    if not isinstance(name, (str, bytes, os.PathLike)):
        return None  # the descriptor number of a pipe or a temporary file
    name = os.path.basename(os.fsdecode(name))
    return None if name.startswith("<") else name or None


def _mime_of(name: str | None) -> str | None:
    if not name:
        return None
    known = _MIME_OF.get(name.rpartition(".")[2].lower()) if "." in name else None
    if known is None:
        import mimetypes

        known = mimetypes.guess_type(name)[0]
    return known


def _sanitized(name: str) -> str:
    """Return ``name`` as valid UTF-8 without control characters, which would break the header."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", name.encode("utf-8", "replace").decode())
