"""Uploaded and generated files.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-file
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gigaclient.types.base import APIResponse, Record

if TYPE_CHECKING:
    import pathlib

__all__ = ["DeletedFile", "GeneratedFile", "Image", "UploadedFile", "UploadedFiles", "generated_files", "media_type"]


class UploadedFile(APIResponse):
    """A file on the server: ``POST /files`` and ``GET /files/{id}``.

    Attributes:
        id: its id, for the ``attachments`` of a message.
        filename: its name.
        bytes: its size in bytes.
        created_at: Unix time in seconds.
        purpose: ``general``; others may come.
        access_policy: ``private`` or ``public``.
        modalities: content that a model can read from it: ``text``, ``image``, ``audio``; others may come.
        object: the server's name for this kind of response.
    """

    id: str
    filename: str | None = None
    bytes: int | None = None
    created_at: int | None = None
    purpose: str | None = None
    access_policy: str | None = None
    modalities: list[str] | None = None
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table([self])


class UploadedFiles(APIResponse):
    """The files of this key: ``GET /files``.

    Attributes:
        data: all files; the API does not paginate them.
        object: the server's name for this kind of response.
    """

    data: list[UploadedFile]
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table(self.data)


def _table(files: list[UploadedFile]) -> str:
    from gigaclient.types.tables import moment, size, table

    rows = [
        (
            *(file.filename, size(file.bytes), file.purpose, file.access_policy),
            *(", ".join(file.modalities or ()), moment(file.created_at), file.id),
        )
        for file in files
    ]
    return table(("file", "size", "purpose", "access", "for", "made", "id"), rows)


class DeletedFile(APIResponse):
    """A deleted file: ``POST /files/{id}/delete``.

    Attributes:
        id: the id of the file.
        deleted: True if it was deleted.
        access_policy: its former access policy.
        object: the server's name for this kind of response.
    """

    id: str
    deleted: bool
    access_policy: str | None = None
    object: str | None = None


class GeneratedFile(Record):
    """A file that the model generated and its response names.

    Attributes:
        id: its id, for ``get_image`` and ``get_file_content``.
        kind: ``image``, ``video``, ``audio``, ``cover`` (the image of a video or a piece of music), ``3dmodel``; others
            may come.
        mime: the file's MIME type, if the response has it (API v2).
    """

    id: str
    kind: str
    mime: str | None = None


class Image(APIResponse):
    """An image. Notebooks show it.

    Attributes:
        content: the bytes in base64, as in the official SDK; :attr:`data` has the bytes.
    """

    content: str

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        return base64.b64decode(self.content)

    @property
    def mime(self) -> str | None:
        """The MIME type by the first bytes, or by the server's Content-Type; None if neither is an image's."""
        try:
            found = media_type(base64.b64decode(self.content[:64]))
        except ValueError:  # a user's value that is not base64
            found = None
        if found is None:
            declared = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            found = declared if declared.startswith("image/") else None
        return found

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the bytes to ``path``, replacing a file there; return the path.

        Raises:
            OSError: it cannot be written.
        """
        import pathlib

        target = pathlib.Path(path).expanduser()
        target.write_bytes(self.data)
        return target

    def _repr_png_(self) -> bytes | None:
        return self.data if self.mime == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.data if self.mime == "image/jpeg" else None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # For types without a dedicated _repr_*_ method.
        return {self.mime: self.content} if self.mime in ("image/gif", "image/webp", "image/bmp") else {}

    def __repr__(self) -> str:
        size = len(self.content) * 3 // 4 - self.content[-2:].count("=")
        return f"<Image {self.mime or 'of unknown type'}, {size} bytes>"


# The magic numbers of each format: offset and bytes, all of which must match.
_MAGIC: tuple[tuple[str, tuple[tuple[int, bytes], ...]], ...] = (
    ("image/jpeg", ((0, b"\xff\xd8\xff"),)),
    ("image/png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("image/gif", ((0, b"GIF8"),)),
    ("image/webp", ((0, b"RIFF"), (8, b"WEBP"))),
    ("image/tiff", ((0, b"II*\0"),)),
    ("image/tiff", ((0, b"MM\0*"),)),
    ("image/bmp", ((0, b"BM"), (6, b"\0\0\0\0"))),
    ("application/pdf", ((0, b"%PDF-"),)),
    ("audio/x-wav", ((0, b"RIFF"), (8, b"WAVE"))),
    ("audio/x-ogg", ((0, b"OggS"),)),
    ("audio/mp3", ((0, b"ID3"),)),
)


def media_type(data: bytes) -> str | None:
    """Return the MIME type for the first bytes of a file, or None for formats that GigaChat does not use."""
    for mime, numbers in _MAGIC:
        if all(data.startswith(magic, offset) for offset, magic in numbers):
            return mime
    return None


# No part of these patterns can match in two ways, so a failed match takes linear time.
_TAG = re.compile(r"<(img|video|audio)\s([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TYPE_OF_TAG = {"img": "image", "video": "video", "audio": "audio"}


def generated_files(texts: Iterable[str | None]) -> list[GeneratedFile]:
    """Return the files that the markup in ``texts`` names, each once, in the order of the text.

    Known forms are ``<img src="id" fuse="true"/>`` and ``<video cover="id" src="id" fuse="true"/>``, with either kind
    of quotes and attributes in any order. HTML that a user requested is ignored: it has no ``fuse``, and no address
    that is just a UUID.
    """
    found: dict[str, GeneratedFile] = {}
    for text in texts:
        if not text or "<" not in text:
            continue
        for tag, inside in _TAG.findall(text):
            type_ = _TYPE_OF_TAG[tag.lower()]
            attributes = {
                name.lower(): double or single or bare.rstrip("/")
                for name, double, single, bare in _ATTRIBUTE.findall(inside)
            }
            for name, file_type in (("src", type_), ("cover", "cover")):
                identifier = attributes.get(name, "").strip()
                if identifier and ("fuse" in attributes or _UUID.fullmatch(identifier)):
                    found.setdefault(identifier, GeneratedFile(id=identifier, kind=file_type))
    return list(found.values())
