"""Files: upload, list, download, delete."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import time
from typing import TYPE_CHECKING, Any, Protocol, overload

import msgspec.structs

from gigaclient import types
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import embedded_error, invalid_response
from gigaclient._primitives.deadline import Timeouts
from gigaclient.errors import ConfigError, NotFoundError
from gigaclient.gigachat.attachments import forget_upload
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import FILE_NOT_FOUND_ADVICE, advising
from gigaclient.transport.request import Request, RetrySafety, path

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.gigachat.resources.uploads import UploadFile
    from gigaclient.transport.multipart import FileForm

__all__ = ["FilesEndpoints"]


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
        """Upload a file: ``POST /files``. Put its ``.id`` into the ``attachments`` of a message.

        Args:
            file: a path; bytes; a file open in binary mode, which is sent from its beginning (from its position, if it
                cannot seek); or ``(name, content)`` and ``(name, content, MIME type)`` as in the official SDK, where a
                string as content is the text itself. A file above 1 MB that can seek is read while it is sent, again
                for each attempt. Anything else is read before, and is then in memory twice.
            purpose: ``general``; others may come.
            filename: the name, in place of the file's own.
            content_type: the MIME type; by default the API's type for the file extension, or else the type detected in
                the first bytes.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` … With
                ``client_id`` the file belongs to that user, and only calls with the same one find it.

        Returns:
            The file as the server stored it.

        Raises:
            ConfigError: the file does not exist, is empty or is open in text mode; nothing was sent. Or a large file
                became shorter, or could not be read any more, while it was sent.
            BadRequestError, UnprocessableEntityError: the API does not accept such a file.
            RequestEntityTooLargeError: the limits are 40 MB for texts, 15 for images, 35 for audio.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Retried only after 429 and 503 and if certainly not sent, because each upload creates a file.
        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-file
        """
        settings = self._call_settings(options)
        with contextlib.ExitStack() as opened:
            body, form_type = _form(file, purpose, filename, content_type, opened)
            safety = RetrySafety.NON_IDEMPOTENT
            request = Request("POST", "/files", body=body, content_type=form_type, retry_safety=safety)
            return parse_response(self._send_with_options(request, settings), types.UploadedFile)

    def get_files(self, **options: Unpack[CallSettings]) -> types.UploadedFiles:
        """List the files of this key: ``GET /files``.

        Args:
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            All of them as ``.data``; the API does not paginate them.

        Raises:
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-files
        """
        return self._request(Request("GET", "/files"), types.UploadedFiles, options)

    def get_file(self, file: str | _HasId, **options: Unpack[CallSettings]) -> types.UploadedFile:
        """Return the metadata of a file: ``GET /files/{id}``.

        Args:
            file: its id, or an object with an ``.id``.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            Its name, size and purpose.

        Raises:
            ConfigError: ``file`` is not an id.
            NotFoundError: this key, or this ``client_id``, has no such file.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file
        """
        with advising(NotFoundError, FILE_NOT_FOUND_ADVICE):
            return self._request(Request("GET", path("files", _file_id(file))), types.UploadedFile, options)

    def delete_file(self, file: str | _HasId, **options: Unpack[CallSettings]) -> types.DeletedFile:
        """Delete a file: ``POST /files/{id}/delete``.

        Args:
            file: its id, or an object with an ``.id``.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``client_id`` …

        Returns:
            Its id, and ``.deleted``.

        Raises:
            ConfigError: ``file`` is not an id.
            NotFoundError: this key, or this ``client_id``, has no such file. If ``.attempts`` is above 1, an earlier
                attempt may have deleted it.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-file-delete
        """
        file_id = _file_id(file)
        with advising(NotFoundError, FILE_NOT_FOUND_ADVICE):
            deleted = self._request(Request("POST", path("files", file_id, "delete")), types.DeletedFile, options)
        forget_upload(self, file_id)
        return deleted

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
        """Download a file: ``GET /files/{id}/content``. Images, audio, 3D models, results of batches.

        The read timeout limits each read, the ``deadline`` the whole download.

        Args:
            file_id: its id, or an object with an ``.id``.
            to: None returns the bytes. A path, or a file open in binary mode, receives them in blocks, which takes
                little memory. The file at a path is created or replaced only when the download is complete.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``; ``client_id`` must be that
                of the call that created the file, if it had one.

        Returns:
            The bytes; with ``to``, their number.

        Raises:
            ConfigError: ``file_id`` is not an id, or ``to`` cannot be written to; nothing was sent.
            NotFoundError: this key, or this ``client_id``, has no such file.
            APIConnectionError: the download was cut. The file at a path is not changed then.
            InvalidResponseError: the file is larger than 256 MB, and ``to`` is None.
            OSError: writing failed, because the disk is full for example.
            APIStatusError, APITimeoutError, TLSError: as for every call.

        Not retried after the first byte. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        from gigaclient.gigachat.resources import _downloads

        settings = self._call_settings(options)
        request = _download_request(file_id)
        if to is None:
            return _downloads.download_to_memory(self._executor, request, settings).body
        if isinstance(to, (str, os.PathLike)):
            with _downloads.replacing(os.path.expanduser(os.fspath(to))) as target:
                return _downloads.download_to(self._executor, target.write, request, settings)
        if isinstance(to, io.TextIOBase) or not callable(getattr(to, "write", None)):
            raise ConfigError(
                f"to must be a path or a file open in binary mode, not {type(to).__name__}"
                + ('; open it with open(path, "wb")' if isinstance(to, io.TextIOBase) else "")
            )
        return _downloads.download_to(self._executor, functools.partial(_downloads.write_all, to), request, settings)

    def get_image(self, file_id: str | _HasId, **options: Unpack[CallSettings]) -> types.Image:
        """Download an image: ``GET /files/{id}/content``.

        Args:
            file_id: its id, or an object with an ``.id``.
            options: as for :meth:`get_file_content`.

        Returns:
            The image: ``.data`` has its bytes, ``.save(path)`` writes them, notebooks show it. ``.content`` has them
            in base64, as in the official SDK.

        Raises:
            ConfigError: ``file_id`` is not an id.
            NotFoundError: this key, or this ``client_id``, has no such file.
            InvalidResponseError: it is a page or a text, or larger than 256 MB.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        return self._download_image(file_id, self._call_settings(options))

    def get_images(self, completion: _HasImages, **options: Unpack[CallSettings]) -> list[types.Image]:
        """Download the images that a response names: ``GET /files/{id}/content`` for each.

        Args:
            completion: the result of ``chat`` or ``stream``, of either API version: an object with ``.images``.
            options: as for :meth:`get_file_content`; the ``deadline`` is for all images together. The ``client_id``
                defaults to that of the response.

        Returns:
            The images in the order of the response; an empty list if it names none.

        Raises:
            ConfigError: ``completion`` has no ``.images``.
            GigaClientError: as for :meth:`get_image`, for the first image that cannot be downloaded.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-file-content
        """
        images = getattr(completion, "images", None)
        if not isinstance(images, (list, tuple)):
            raise ConfigError(f"get_images needs an answer, which has .images, not {type(completion).__name__}")
        call_options: dict[str, Any] = dict(options)
        owner = (getattr(completion, "headers", None) or {}).get("x-client-id")
        if call_options.get("client_id") is None and owner is not None:
            call_options["client_id"] = owner
        settings = self._call_settings(call_options)
        timeouts = settings.timeouts or self._executor.timeouts
        ends_at = time.monotonic() + timeouts.deadline
        return [self._download_image(image, _ending_at(ends_at, settings, timeouts)) for image in images]

    def _download_image(self, file_id: str | _HasId, settings: RequestOptions) -> types.Image:
        import base64

        from gigaclient.gigachat.resources import _downloads
        from gigaclient.types.files import media_type

        response = _downloads.download_to_memory(self._executor, _download_request(file_id), settings)
        declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_text = declared.startswith("text/") or declared == "application/json"
        if is_text and media_type(response.body[:16]) is None:
            raise embedded_error(response) or invalid_response(response, "it is not an image")
        image = types.Image(content=base64.b64encode(response.body).decode())
        return image.attach(request_id=response.request_id, headers=response.headers)


def _form(
    file: Any, purpose: str, filename: str | None, content_type: str | None, opened: contextlib.ExitStack
) -> tuple[bytes | FileForm, str]:
    # Imported here because few programs upload. A separate function, so that the file is freed when its form is ready.
    from gigaclient.gigachat.resources.uploads import as_upload
    from gigaclient.transport.multipart import form_with_file

    if not isinstance(purpose, str) or not purpose:
        raise ConfigError('purpose must be a string, such as "general"')
    upload = as_upload(file, filename, content_type, opened=opened)
    return form_with_file(
        "file",
        upload.content,
        size=upload.size,
        filename=upload.filename,
        content_type=upload.content_type,
        headers=upload.headers,
        fields={"purpose": purpose},
    )


def _file_id(file: Any) -> str:
    identifier = file if isinstance(file, str) else getattr(file, "id", None)
    if not isinstance(identifier, str):
        raise ConfigError(f"a file must be an id or an object with an .id, not {type(file).__name__}")
    return identifier


def _download_request(file: Any) -> Request:
    return Request("GET", path("files", _file_id(file), "content"), accept="*/*")


def _ending_at(ends_at: float, settings: RequestOptions, timeouts: Timeouts) -> RequestOptions:
    if ends_at == math.inf:
        return settings
    left = max(ends_at - time.monotonic(), 0.0)
    return msgspec.structs.replace(settings, timeouts=timeouts.within(left))
