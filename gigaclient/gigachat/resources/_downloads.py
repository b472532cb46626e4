"""Download files to memory or to a file."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import embedded_error
from gigaclient.errors import ConfigError, GigaClientError, InvalidResponseError, NotFoundError
from gigaclient.gigachat.resources._validation import FILE_NOT_FOUND_ADVICE, advising
from gigaclient.transport.request import Request

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["download_to", "download_to_memory", "replacing", "write_all"]

# The API accepts files of 40 MB and creates smaller ones; a larger download should not fill the memory by accident.
_MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
# Blocks arrive in records of 16 KB, and one system call for each may take a tenth of the time of a download.
_FILE_BUFFER_BYTES = 256 * 1024


def download_to_memory(executor: Executor, request: Request, settings: RequestOptions) -> Response:
    """Download a file as bytes.

    Raises:
        InvalidResponseError: the file is larger than 256 MB.
        GigaClientError: as for every call.
    """
    parts: list[bytes] = []
    size = 0
    response = _open(executor, request, settings)
    with contextlib.closing(_blocks(response)) as blocks:
        for block in blocks:
            parts.append(block)
            size += len(block)
            if size > _MAX_BYTES_IN_MEMORY:
                raise InvalidResponseError(
                    f"the file is larger than {_MAX_BYTES_IN_MEMORY >> 20} MB: pass to= to have it written to disk",
                    request_id=response.request_id,
                    status_code=response.status,
                    headers=response.headers,
                )
    response.body = b"".join(parts)
    return response


def download_to(executor: Executor, write: Callable[[bytes], Any], request: Request, settings: RequestOptions) -> int:
    """Pass a file to ``write`` in blocks; return its size in bytes."""
    written = 0
    response = _open(executor, request, settings)
    with contextlib.closing(_blocks(response)) as blocks:
        for block in blocks:
            write(block)
            written += len(block)
    return written


def _open(executor: Executor, request: Request, settings: RequestOptions) -> Response:
    with advising(NotFoundError, FILE_NOT_FOUND_ADVICE):
        response = executor.open(request, settings)
    # The socket limits each read, and the deadline all of them; a large file may take longer than one read timeout.
    response.deadline.begin("read", math.inf)
    return response


def _blocks(response: Response) -> Generator[bytes, None, None]:
    """Yield the file's bytes in blocks.

    Raises:
        APIStatusError: the body is an error object and not a file.
        GigaClientError: as for reading any response, with the request's id.
    """
    with contextlib.closing(response.observer.observe_blocks(response.blocks())) as blocks:
        try:
            if response.media_type == "application/json":
                yield from _raise_if_error(response, blocks)
            yield from blocks
        except GigaClientError as error:
            error.request_id = error.request_id or response.request_id
            raise


def _raise_if_error(response: Response, blocks: Iterator[bytes]) -> Iterator[bytes]:
    # A file may be JSON too; an error object is short and has no other fields than these.
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) > _MAX_ERROR_BYTES:
            break
    else:
        response.body = bytes(head)
        error = embedded_error(response)
        if error is not None and error.body.keys() <= {"status", "code", "message", "error"}:
            raise error
    if head:
        yield bytes(head)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``path`` when the block ends, and is deleted after an error.

    Raises:
        ConfigError: ``path`` cannot be a file.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise ConfigError(f"{path!r} is a folder: name a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        raise ConfigError(f"{path!r} is not a regular file: pass it open, in binary mode")
    temporary = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.part")
    try:
        # No "with", because the file is renamed after it is closed and before the block ends.
        file = open(temporary, "xb", buffering=_FILE_BUFFER_BYTES)  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path!r} cannot be written: {reason}") from None
    try:
        with file:
            yield file
        with contextlib.suppress(OSError):  # the target does not exist yet, or another user owns it
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_all(file: Any, data: bytes) -> None:
    """Write all of ``data``, also to an unbuffered file, which may write less at once."""
    while data:
        written = file.write(data)
        if not isinstance(written, int) or written >= len(data):
            return
        if written <= 0:
            raise OSError("the file does not take any more bytes")
        data = data[written:]
