"""Encode a form with a file as ``multipart/form-data`` (RFC 7578)."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping
from typing import IO

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from gigaclient._primitives.foreign_errors import is_foreign
from gigaclient.errors import ConfigError

__all__ = ["FileForm", "form_with_file"]

_BLOCK_BYTES = 256 * 1024


class FileForm:
    """A form with a file that is read while the form is sent.

    It reads like an open binary file, for ``http.client``, recorders and mocks. Only one thread at a time may use it.

    Args:
        head: the form up to the content of the file.
        file: an open file that can seek.
        size: the number of bytes to send of it, from its beginning.
        tail: the end of the form.
    """

    def __init__(self, head: bytes, file: IO[bytes], size: int, tail: bytes) -> None:
        self._head = head
        self._file = file
        self._file_end = len(head) + size
        self._tail = tail
        self._position = 0

    def __len__(self) -> int:
        return self._file_end + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the whole form in blocks."""
        self.seek(0)
        return iter(functools.partial(self.read, _BLOCK_BYTES), b"")

    def tell(self) -> int:
        """Return the number of bytes before the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to ``offset``, as in a file; a new attempt begins at 0."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self)}[whence]
        position = max(0, origin + offset)
        try:
            self._file.seek(min(max(0, position - len(self._head)), self._file_end - len(self._head)))
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` of the next bytes, all of them without a size, and nothing at the end.

        Raises:
            ConfigError: the file cannot be read, or has fewer bytes than before.
        """
        if size < 0:
            return b"".join(iter(functools.partial(self.read, _BLOCK_BYTES), b""))
        start = self._position
        if start < len(self._head):
            block = self._head[start : start + size]
        elif start < self._file_end:
            block = self._read_file(min(size, self._file_end - start))
        else:
            start -= self._file_end
            block = self._tail[start : start + size]
        self._position += len(block)
        return block

    def _read_file(self, size: int) -> bytes:
        try:
            block = self._file.read(size)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        if size and not block:
            raise ConfigError("the file became shorter while it was sent: send a copy that nothing changes")
        return block

    def _unreadable(self, error: OSError | ValueError) -> Exception:
        """Return the error for a file that failed; a program's own exception is returned unchanged."""
        if is_foreign(error):
            return error
        reason = error.strerror if isinstance(error, OSError) else None
        return ConfigError(f"the file cannot be read any more: {reason or error}")


def form_with_file(
    name: str,
    content: bytes | IO[bytes],
    *,
    size: int,
    filename: str,
    content_type: str,
    headers: Mapping[str, str],
    fields: Mapping[str, str],
) -> tuple[bytes | FileForm, str]:
    """Return the body and its ``Content-Type``. The body holds a copy of bytes, and reads an open file when it is sent.

    Args:
        name: the name of the file's field.
        content: the content of the file, or a file that is open in binary mode and can seek.
        size: the size of the content in bytes.
        filename: the name of the file, sent in UTF-8; ``"`` and line breaks are quoted as browsers do it.
        content_type: the MIME type of the file.
        headers: further headers of the file's part.
        fields: the other fields; sent first, so that a server that reads incrementally has them in time.
    """
    data = content if isinstance(content, bytes) else b""
    part = RequestField(name, data, filename=filename, headers=dict(headers))
    part.make_multipart(content_type=content_type)
    text_parts = [RequestField.from_tuples(field, value) for field, value in fields.items()]
    form, form_type = encode_multipart_formdata([*text_parts, part])
    if isinstance(content, bytes):
        return form, form_type
    end = form.rindex(b"\r\n--")
    return FileForm(form[:end], content, size, form[end:]), form_type
