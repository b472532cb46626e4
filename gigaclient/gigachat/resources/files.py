"""Files: sent, listed, fetched, deleted."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, overload

import msgspec.structs

from gigaclient import types
from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import BufferedResponse
from gigaclient._primitives.deadline import Timeouts
from gigaclient.errors import ConfigError, GigaClientError, InvalidResponseError, NotFoundError
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import advising
from gigaclient.transport.request import Request, RetrySafety, path

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.gigachat.resources.uploads import UploadFile
    from gigaclient.transport import Response

__all__ = ["FilesEndpoints"]

# The API takes files of 40 MB and makes smaller ones; what is larger than this should not be taken into memory unasked.
_MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024

_NO_FILE = "get_files() lists the files there are; one made in a call with client_id= needs the same client_id= here"


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class _Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class _HasImages(Protocol):
    @property
    def images(self) -> list[types.GeneratedFile]: ...


class FilesEndpoints(APIResource):
    """``/files``."""

    def upload_file(
        self,
        file: UploadFile,
        purpose: str = "general",
        *,
        filename: str | None = None,
        content_type: str | None = None,
        **options: Unpack[CallSettings],
    ) -> types.UploadedFile:
        """Send a file: ``POST /files``. Name its ``.id`` in the ``attachments`` of a message.

        Args:
            file: a path; bytes; a file that is open in binary mode, which is sent from its beginning wherever it stands
                (from where it stands, if it cannot go back); or ``(name, content)`` and ``(name, content, MIME type)``
                as the official SDK has it, where a string as content is the text itself. It is read as a whole, once,
                before anything is sent, and is in memory twice meanwhile.
            purpose: ``general``; others may come.
            filename: the name, where the file has none or another.
            content_type: the MIME type; by default the one that the API has for the name's ending, or else what the
                first bytes say.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` … With
                ``client_id`` the file belongs to that user of yours, and is found with the same one alone.

        Returns:
            The file as the server has it.

        Raises:
            ConfigError: the file is not there, is empty or is open in text mode; nothing was sent.
            BadRequestError, UnprocessableEntityError: the API does not take such a file.
            RequestEntityTooLargeError: it is too large (40 MB for texts, 15 for images, 35 for audio).
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Sent twice, a file would be there twice. So it is repeated only after 429 and 503 and when surely not sent.
        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-file
        """
        settings = self._call_settings(options)
        body, kind = _form(file, purpose, filename, content_type)
        request = Request("POST", "/files", body=body, content_type=kind, retry_safety=RetrySafety.NON_IDEMPOTENT)
        return parse_response(self._send_with_options(request, settings), types.UploadedFile)

    def get_files(self, **options: Unpack[CallSettings]) -> types.UploadedFiles:
        """The files of this key: ``GET /files``.

        Args:
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            All of them as ``.data``; the API has no pages here.

        Raises:
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-files
        """
        return self._request(Request("GET", "/files"), types.UploadedFiles, options)

    def get_file(self, file: str | _HasId, **options: Unpack[CallSettings]) -> types.UploadedFile:
        """What the server knows of a file: ``GET /files/{id}``.

        Args:
            file: its id, or what has it as ``.id``.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            Its name, size and purpose.

        Raises:
            ConfigError: ``file`` is no id.
            NotFoundError: this key, or this ``client_id``, has no such file.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file
        """
        with advising(NotFoundError, _NO_FILE):
            return self._request(Request("GET", path("files", _id_of(file))), types.UploadedFile, options)

    def delete_file(self, file: str | _HasId, **options: Unpack[CallSettings]) -> types.DeletedFile:
        """Delete a file: ``POST /files/{id}/delete``.

        Args:
            file: its id, or what has it as ``.id``.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            Its id, and ``.deleted``.

        Raises:
            ConfigError: ``file`` is no id.
            NotFoundError: this key, or this ``client_id``, has no such file. After more than one of ``.attempts`` an
                earlier one may have deleted it.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-file-delete
        """
        with advising(NotFoundError, _NO_FILE):
            return self._request(Request("POST", path("files", _id_of(file), "delete")), types.DeletedFile, options)

    @overload
    def get_file_content(self, file_id: str | _HasId, to: None = None, **options: Unpack[CallSettings]) -> bytes: ...

    @overload
    def get_file_content(
        self, file_id: str | _HasId, to: str | os.PathLike[str] | _Writable, **options: Unpack[CallSettings]
    ) -> int: ...

    def get_file_content(
        self,
        file_id: str | _HasId,
        to: str | os.PathLike[str] | _Writable | None = None,
        **options: Unpack[CallSettings],
    ) -> bytes | int:
        """What is in a file: ``GET /files/{id}/content``. Images, audio, 3D models, the results of batches.

        The read timeout bounds silence, not the whole download, and the ``deadline`` the whole.

        Args:
            file_id: its id, or what has it as ``.id``.
            to: None for the bytes themselves; else where to write them as they come, which takes little memory however
                large the file is: a path, which appears, or is replaced, when all is there and not before; or a file
                that is open in binary mode.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``; ``client_id`` has to be the
                one of the call that made the file, if that had one.

        Returns:
            The bytes; with ``to``, how many there were.

        Raises:
            ConfigError: ``file_id`` is no id, or ``to`` cannot be written to; nothing was sent.
            NotFoundError: this key, or this ``client_id``, has no such file.
            APIConnectionError: the download was cut. At a path there is nothing then, or what was there before.
            InvalidResponseError: without ``to``, it is larger than 256 MB.
            OSError: the disk is full, say.
            APIStatusError, APITimeoutError, TLSError: as for every call.

        Not begun again once the first byte is here. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        settings = self._call_settings(options)
        request = _download(file_id)
        if to is None:
            return self._content(request, settings).body
        if isinstance(to, (str, os.PathLike)):
            with _replacing(os.path.expanduser(os.fspath(to))) as target:
                return self._write(request, settings, target.write)
        if isinstance(to, io.TextIOBase) or not callable(getattr(to, "write", None)):
            raise ConfigError(
                f"to must be a path or a file open in binary mode, not {type(to).__name__}"
                + ('; open it with open(path, "wb")' if isinstance(to, io.TextIOBase) else "")
            )
        return self._write(request, settings, functools.partial(_write_all, to))

    def get_image(self, file_id: str | _HasId, **options: Unpack[CallSettings]) -> types.Image:
        """A picture: ``GET /files/{id}/content``.

        Args:
            file_id: its id, or what has it as ``.id``.
            options: as for :meth:`get_file_content`.

        Returns:
            The picture: ``.data`` are its bytes, ``.save(path)`` writes them, a notebook shows it; ``.content`` is the
            same in base64, as the official SDK has it.

        Raises:
            ConfigError: ``file_id`` is no id.
            NotFoundError: this key, or this ``client_id``, has no such file.
            InvalidResponseError: it is a page or a text, or larger than 256 MB.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        return self._image(file_id, self._call_settings(options))

    def get_images(self, completion: _HasImages, **options: Unpack[CallSettings]) -> list[types.Image]:
        """The pictures that the model made for an answer: ``GET /files/{id}/content`` for each.

        Args:
            completion: an answer of ``chat`` or ``stream``, of either version of the API: whatever has ``.images``.
            options: as for :meth:`get_file_content`; the ``deadline`` is for all of them. The ``client_id`` that the
                answer came with is taken from it unless another one is given.

        Returns:
            The pictures in the order of the answer; none if it names none.

        Raises:
            ConfigError: ``completion`` is no answer.
            As :meth:`get_image`, for the first that cannot be fetched.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        images = getattr(completion, "images", None)
        if not isinstance(images, (list, tuple)):
            raise ConfigError(f"get_images needs an answer, which has .images, not {type(completion).__name__}")
        given: dict[str, Any] = dict(options)
        owner = (getattr(completion, "headers", None) or {}).get("x-client-id")
        if given.get("client_id") is None and owner is not None:
            given["client_id"] = owner
        settings = self._call_settings(given)
        timeouts = settings.timeouts or self._core.timeouts
        ends_at = time.monotonic() + timeouts.deadline
        return [self._image(image, _ending_at(ends_at, settings, timeouts)) for image in images]

    # -- what they share ---------------------------------------------------------------------------------------------

    def _image(self, file_id: str | _HasId, settings: RequestOptions) -> types.Image:
        import base64

        from gigaclient.types.files import media_type

        answered = self._content(_download(file_id), settings)
        kind = answered.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type(answered.body[:16]) is None and (kind.startswith("text/") or kind == "application/json"):
            raise answered.refusal() or answered.invalid("it is not an image")
        image = types.Image(content=base64.b64encode(answered.body).decode())
        return image.attach(request_id=answered.request_id, headers=answered.headers)

    def _content(self, request: Request, settings: RequestOptions) -> BufferedResponse:
        parts: list[bytes] = []
        size = 0
        response, request_id = self._begin(request, settings)
        with contextlib.closing(_blocks(response, request_id)) as blocks:
            for block in blocks:
                parts.append(block)
                size += len(block)
                if size > _MAX_BYTES_IN_MEMORY:
                    raise InvalidResponseError(
                        f"the file is larger than {_MAX_BYTES_IN_MEMORY >> 20} MB: pass to= to have it written to disk",
                        request_id=request_id,
                        status_code=response.status,
                        headers=response.headers,
                    )
        return BufferedResponse(b"".join(parts), response.status, response.headers, request_id)

    def _write(self, request: Request, settings: RequestOptions, write: Callable[[bytes], Any]) -> int:
        written = 0
        response, request_id = self._begin(request, settings)
        with contextlib.closing(_blocks(response, request_id)) as blocks:
            for block in blocks:
                write(block)
                written += len(block)
        return written

    def _begin(self, request: Request, settings: RequestOptions) -> tuple[Response, str]:
        with advising(NotFoundError, _NO_FILE):
            response, request_id = self._core.open(request, settings)
        # Each read has its bound, and all of them the deadline; a large file may take longer than one read timeout.
        response.deadline.begin("read", math.inf)
        return response, request_id


def _form(file: Any, purpose: str, filename: str | None, content_type: str | None) -> tuple[bytes, str]:
    # Few programs upload. And in a function of its own, so that the file is not kept beside the form that holds it.
    from gigaclient.gigachat.resources.uploads import as_upload
    from gigaclient.transport.multipart import form_with_file

    if not isinstance(purpose, str) or not purpose:
        raise ConfigError('purpose must be a string, such as "general"')
    upload = as_upload(file, filename, content_type)
    return form_with_file(
        "file",
        upload.content,
        filename=upload.filename,
        content_type=upload.content_type,
        headers=upload.headers,
        fields={"purpose": purpose},
    )


def _id_of(file: Any) -> str:
    identifier = file if isinstance(file, str) else getattr(file, "id", None)
    if not isinstance(identifier, str):
        raise ConfigError(f"a file is named by its id, or by what has one, not by {type(file).__name__}")
    return identifier


def _download(file: Any) -> Request:
    return Request("GET", path("files", _id_of(file), "content"), accept="*/*")


def _ending_at(ends_at: float, settings: RequestOptions, timeouts: Timeouts) -> RequestOptions:
    if ends_at == math.inf:
        return settings
    left = max(ends_at - time.monotonic(), 0.0)
    return msgspec.structs.replace(settings, timeouts=timeouts.within(left))


def _blocks(response: Response, request_id: str) -> Generator[bytes, None, None]:
    """The file's bytes as they come.

    Raises:
        APIStatusError: what came is an error object in place of the file.
        GigaClientError: as for reading any reply, with the call's id.
    """
    with contextlib.closing(Executor.blocks(response)) as blocks:
        try:
            if response.media_type == "application/json":
                yield from _unless_refused(response, blocks, request_id)
            yield from blocks
        except GigaClientError as error:
            error.request_id = error.request_id or request_id
            raise


def _unless_refused(response: Response, blocks: Iterator[bytes], request_id: str) -> Iterator[bytes]:
    # A file may be JSON, too; an error object is a short one with these fields and no others.
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) > _MAX_REFUSAL_BYTES:
            break
    else:
        refusal = BufferedResponse(bytes(head), response.status, response.headers, request_id).refusal()
        if refusal is not None and refusal.body.keys() <= {"status", "code", "message", "error"}:
            raise refusal
    if head:
        yield bytes(head)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[BinaryIO]:
    """A new file in the folder of ``path``, which takes its place at the end of the block and is gone after an error.

    Raises:
        ConfigError: there can be no file at ``path``.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise ConfigError(f"{path!r} is a folder: name a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        raise ConfigError(f"{path!r} is no ordinary file: pass it open, in binary mode")
    temporary = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.part")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 - it is renamed between its end and the end of the block
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path!r} cannot be written: {reason}") from None
    try:
        with file:
            yield file
        with contextlib.suppress(OSError):  # there is none yet, or it is somebody else's
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_all(file: Any, data: bytes) -> None:
    while data:
        written = file.write(data)
        if not isinstance(written, int) or written >= len(data):
            return
        if written <= 0:
            raise OSError("the file does not take any more bytes")
        data = data[written:]  # an unbuffered file may take less than it is given
