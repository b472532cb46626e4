"""Convert every accepted form of a file into its content, name and MIME type."""

from __future__ import annotations

import contextlib
import io
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


# A larger file that can seek is read while it is sent. Bytes are simpler for mocks, hooks and recorders.
_MAX_BYTES_IN_MEMORY = 1024 * 1024


class Upload(NamedTuple):
    """A file to send. Its ``repr`` does not show the content."""

    content: Any  # bytes, or an open file
    size: int
    filename: str
    content_type: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Upload {self.filename!r}, {self.content_type}, {self.size} bytes>"


def as_upload(
    file: Any,
    filename: str | None = None,
    content_type: str | None = None,
    *,
    opened: contextlib.ExitStack | None = None,
) -> Upload:
    """Read ``file``; ``filename`` and ``content_type`` override its own.

    Args:
        file: as for ``upload_file``.
        filename: the name, in place of the file's own.
        content_type: the MIME type, in place of the detected one.
        opened: closes the files that are opened here. With it, the content of a large file is the open file, at its
            beginning, if it can seek.

    Raises:
        ConfigError: it cannot be read, is empty, or is not a file; the message says which and why.
    """
    headers: dict[str, str] = {}
    if isinstance(file, tuple):
        name, file, own_type, headers = _unpack(file)
        filename, content_type = filename or name, content_type or own_type
        content, own_name = _content_of(file, opened, text=True)
    else:
        content, own_name = _content_of(file, opened, text=False)
    if filename is not None and not isinstance(filename, str):
        raise ConfigError(f"filename must be a string, not {type(filename).__name__}")
    name = filename or own_name
    size = len(content) if isinstance(content, bytes) else _size_of(content) or 0
    if not size:
        shown = f"the file {name!r}" if name else "the file"
        raise ConfigError(f"{shown} is empty: there is nothing to send")
    for header in [header for header in headers if header.lower() == "content-type"]:
        content_type = headers.pop(header)
    if content_type is None:
        content_type = _mime_of(name) or media_type(_beginning_of(content)) or "application/octet-stream"
    checked_headers({"Content-Type": content_type})
    name = name or f"upload{EXTENSION_OF.get(content_type, '')}"
    return Upload(content, size, _sanitized(name), content_type, headers)


def _unpack(file: tuple[Any, ...]) -> tuple[str | None, Any, str | None, dict[str, str]]:
    if not 2 <= len(file) <= 4:
        raise ConfigError("a tuple as file is (name, content) or (name, content, MIME type)")
    name, content, content_type, headers = (*file, None, None)[:4]
    return name, content, content_type, checked_headers(headers or {})


def _content_of(file: Any, opened: contextlib.ExitStack | None, *, text: bool) -> tuple[bytes | IO[bytes], str | None]:
    """Return the content and the file's name, if any. A string is content if ``text`` is set, or else a path."""
    if isinstance(file, (bytes, bytearray, memoryview)):
        return bytes(file), None
    if isinstance(file, str) and text:
        try:
            return joined_pairs(file).encode(), None
        except UnicodeDecodeError:
            raise ConfigError("the text holds half of a surrogate pair: repair it where it was decoded") from None
    if isinstance(file, (str, os.PathLike)):
        path = os.path.expanduser(os.fsdecode(file))
        return _read_path(path, opened), os.path.basename(path)
    if callable(getattr(file, "read", None)):
        return _read_open(file, is_streamed=opened is not None), _name_of(file)
    raise ConfigError(
        f"file must be a path, bytes, a file open in binary mode, or (name, content), not {type(file).__name__}"
    )


def _read_path(path: str, opened: contextlib.ExitStack | None) -> bytes | IO[bytes]:
    shown = repr(path if len(path) <= 200 else f"{path[:200]}…")
    hint = '; a text to upload is passed as ("name.txt", text)'
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            if opened is None or (_size_of(file) or 0) <= _MAX_BYTES_IN_MEMORY:
                return file.read()
            opened.push(stack.pop_all())
            return file
    except FileNotFoundError:
        reason = f"there is no file {shown}{hint}"
    except IsADirectoryError:
        reason = f"{shown} is a folder"
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it holds a null character"
        reason = f"the file {shown} cannot be read ({problem}){hint if len(path) > 200 else ''}"
    raise ConfigError(reason)


def _read_open(file: Any, *, is_streamed: bool) -> bytes | IO[bytes]:
    if getattr(file, "closed", False):
        raise ConfigError("the file object is closed")
    size = _size_of(file)  # None for a pipe: only the unread rest is available
    is_streamed = is_streamed and size is not None and size > _MAX_BYTES_IN_MEMORY
    try:
        content = _beginning_of(file) if is_streamed else file.read()
    except OSError as error:
        raise ConfigError(f"the file object cannot be read: {error.strerror or error}") from None
    if isinstance(content, str):
        raise ConfigError('the file is open in text mode: open it with open(path, "rb")')
    if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
        raise ConfigError(f"read() of the file object gave {type(content).__name__}, not bytes")
    return file if is_streamed else bytes(content or b"")


def _size_of(file: Any) -> int | None:
    """Return the size of an open file, which is then at its beginning; None when it is unknown."""
    size = None
    try:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            file.seek(0, io.SEEK_END)
            size = file.tell()
        file.seek(0)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return size if isinstance(size, int) else None


def _beginning_of(content: Any) -> Any:
    if isinstance(content, bytes):
        return content[:16]
    beginning = content.read(16)
    content.seek(0)
    return beginning


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
