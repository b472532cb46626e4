"""Files: uploaded ones, and those that a model made.

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
        id: what ``attachments`` of a message takes.
        filename: its name.
        bytes: its size.
        created_at: Unix time in seconds.
        purpose: ``general``; others may come.
        access_policy: ``private`` or ``public``.
        modalities: what a model can take from it: ``text``, ``image``, ``audio``; others may come.
        object: what the server calls this kind of answer.
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
        data: all of them; the API has no pages here.
        object: what the server calls this kind of answer.
    """

    data: list[UploadedFile]
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table(self.data)


def _table(files: list[UploadedFile]) -> str:
    from gigaclient.types.tables import moment, size, table  # for notebooks

    rows = [
        (
            *(file.filename, size(file.bytes), file.purpose, file.access_policy),
            *(", ".join(file.modalities or ()), moment(file.created_at), file.id),
        )
        for file in files
    ]
    return table(("file", "size", "purpose", "access", "for", "made", "id"), rows)


class DeletedFile(APIResponse):
    """A file that is no more: ``POST /files/{id}/delete``.

    Attributes:
        id: what it was known by.
        deleted: True when it is gone.
        access_policy: what it was.
        object: what the server calls this kind of answer.
    """

    id: str
    deleted: bool
    access_policy: str | None = None
    object: str | None = None


class GeneratedFile(Record):
    """A file that the model made and its answer names.

    Attributes:
        id: what ``get_image`` and ``get_file_content`` take.
        kind: ``image``, ``video``, ``audio``, ``cover`` (the picture of a video or a piece of music), ``3dmodel``;
            others may come.
        mime: the file's MIME type, where the answer tells it (v2 does).
    """

    id: str
    kind: str
    mime: str | None = None


class Image(APIResponse):
    """A picture, as its bytes. A notebook shows it.

    Attributes:
        content: the bytes in base64, as the official SDK has them; :attr:`data` are the bytes themselves.
    """

    content: str

    @property
    def data(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self.content)

    @property
    def mime(self) -> str | None:
        """``image/jpeg``, ``image/png`` …, by the first bytes, or as the server calls it; None for what is neither."""
        try:
            found = media_type(base64.b64decode(self.content[:64]))
        except ValueError:  # somebody's own, which is no base64
            found = None
        if found is None:
            told = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            found = told if told.startswith("image/") else None
        return found

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the bytes to ``path``, over what is there; returns the path.

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
        # Notebooks show more kinds than they have methods for.
        return {self.mime: self.content} if self.mime in ("image/gif", "image/webp", "image/bmp") else {}

    def __repr__(self) -> str:
        size = len(self.content) * 3 // 4 - self.content[-2:].count("=")
        return f"<Image {self.mime or 'of unknown type'}, {size} bytes>"


# The beginnings that tell a format: offset and bytes, all of which have to be there.
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
    """The MIME type of what begins with ``data``, for the formats that people exchange with GigaChat; else None."""
    for mime, beginnings in _MAGIC:
        if all(data.startswith(magic, offset) for offset, magic in beginnings):
            return mime
    return None


# Each start fails within one pass over the text: no part of it can match in two ways.
_TAG = re.compile(r"<(img|video|audio)\s([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KINDS = {"img": "image", "video": "video", "audio": "audio"}


def generated_files(texts: Iterable[str | None]) -> list[GeneratedFile]:
    """The files that the markup in ``texts`` names, each once, in the order of the text.

    Known: ``<img src="id" fuse="true"/>`` and ``<video cover="id" src="id" fuse="true"/>``, with either kind of quotes
    and the attributes in any order. HTML that a model was asked to write is not taken for it: that has no ``fuse``, and
    no address that is a UUID and nothing else.
    """
    found: dict[str, GeneratedFile] = {}
    for text in texts:
        if not text or "<" not in text:
            continue
        for tag, inside in _TAG.findall(text):
            kind = _KINDS[tag.lower()]
            attributes = {
                name.lower(): double or single or bare.rstrip("/")
                for name, double, single, bare in _ATTRIBUTE.findall(inside)
            }
            for name, its_kind in (("src", kind), ("cover", "cover")):
                identifier = attributes.get(name, "").strip()
                if identifier and ("fuse" in attributes or _UUID.fullmatch(identifier)):
                    found.setdefault(identifier, GeneratedFile(id=identifier, kind=its_kind))
    return list(found.values())
