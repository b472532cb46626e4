"""Files of the GigaChat emulator: upload, list, download and delete; and the pictures in its answers.

A file belongs to the client (key) that sent it. If the request had an ``X-Client-ID``, only requests with the same
``X-Client-ID`` can access the file.
"""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gigaclient.testing.http_messages import Answer
from gigaclient.testing.routing import AnyAnswer, Refusal, Route, RoutedRequest, Service

__all__ = ["PICTURE", "EmulatedFiles", "Part", "form"]

# Extension, MIME types, modality. The first MIME type is the default for files without one.
_FORMATS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("txt", ("text/plain",), "text"),
    ("doc", ("application/msword",), "text"),
    ("docx", ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",), "text"),
    ("pdf", ("application/pdf",), "text"),
    ("epub", ("application/epub",), "text"),
    ("ppt", ("application/ppt",), "text"),
    ("pptx", ("application/pptx",), "text"),
    ("xlsx", ("application/vnd.ms-excel",), "text"),
    ("jpeg", ("image/jpeg",), "image"),
    ("jpg", ("image/jpeg",), "image"),
    ("png", ("image/png",), "image"),
    ("tiff", ("image/tiff",), "image"),
    ("bmp", ("image/bmp",), "image"),
    ("mp4", ("audio/mp4",), "audio"),
    ("mp3", ("audio/mp3",), "audio"),
    ("m4a", ("audio/x-m4a",), "audio"),
    ("wav", ("audio/x-wav", "audio/wave", "audio/wav", "audio/x-pn-wav"), "audio"),
    ("weba", ("audio/webm",), "audio"),
    ("ogg", ("audio/x-ogg",), "audio"),
    ("opus", ("audio/opus",), "audio"),
)
_MODALITIES = {mime: modality for _, mimes, modality in _FORMATS for mime in mimes}
_MIME_OF = {ending: mimes[0] for ending, mimes, _ in _FORMATS}
_MEGABYTE = 1024 * 1024
_LIMITS = {"text": 40 * _MEGABYTE, "image": 15 * _MEGABYTE, "audio": 35 * _MEGABYTE}
_PURPOSES = ("general", "assistant")

PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6"
    "/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCABAAEAD"
    "ASIAAhEBAxEB/8QAGAABAQEBAQAAAAAAAAAAAAAAAAIEAQP/xAAgEAEBAAIBBAMBAAAAAAAAAAAAEQEDAgQTMVEhQYEy/8QAGAEBAQEBAQAAAAAA"
    "AAAAAAAAAAIDBAH/xAAZEQADAQEBAAAAAAAAAAAAAAAAARECAxL/2gAMAwEAAhEDEQA/APCEdhHVTKHIR2EKIchHrq08tvKY8fefTVjotc+eXKs9"
    "ds5cZSw2YIR7btHLVn3xz4y8otbWlUS1CoRUIzpUJhFQhRDV0eMdrln7rQw6dudXL3jPlqx1Gqf1Pxx9ca9U2y1DnVYxnRy/GCPffu7sxjE44eUb"
    "8k85jI26zsIqEe0QmEVCFEJhFQhRCYRUIUQqEVCMqVCYRUIUQmEVCFEJhFQhRD//2Q=="
)
"""The picture that the emulated model draws for every prompt: a JPEG of 64 by 64 pixels, a sun over water."""


@dataclass(frozen=True)
class _File:
    client: str
    end_user: str | None
    filename: str
    content: bytes
    mime: str
    purpose: str
    created_at: int


class EmulatedFiles:
    """The state and the routes of ``/files``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/files", self._upload),
            Route("GET", "v1", "/files", self._list),
            Route("GET", "v1", "/files/{id}", self._get),
            Route("GET", "v1", "/files/{id}/content", self._content),
            Route("POST", "v1", "/files/{id}/delete", self._delete),
        )

    # -- for other endpoints

    def add(
        self,
        client: str,
        content: bytes,
        filename: str,
        *,
        mime: str = "application/octet-stream",
        purpose: str = "general",
        end_user: str | None = None,
        identifier: str | None = None,
    ) -> str:
        """Store a file for ``client`` (and its user ``end_user``), and return its id."""
        identifier = identifier or str(uuid.uuid4())
        file = _File(client, end_user, filename, content, mime, purpose, int(self._service.now_s()))
        with self._lock:
            self._files[identifier] = file
        return identifier

    def create_image(self, client: str, *, end_user: str | None = None) -> str:
        """Store a picture for ``client``, and return its id. ``end_user`` is the request's ``X-Client-ID``, if any."""
        return self.add(client, PICTURE, "image.jpg", mime="image/jpeg", end_user=end_user)

    def create_missing_images(self, call: RoutedRequest, texts: Iterable[str]) -> None:
        """Create the pictures that the answers to ``call`` refer to, if they do not exist."""
        for text in texts:
            for identifier in re.findall(r"""\b(?:src|cover)=["']([0-9a-fA-F-]{36})["']""", text):
                with self._lock:
                    exists = identifier in self._files
                if not exists:
                    end_user = call.end_user
                    self.add(
                        call.client, PICTURE, "image.jpg", mime="image/jpeg", end_user=end_user, identifier=identifier
                    )

    def read(self, client: str, identifier: str, *, end_user: str | None = None) -> bytes:
        """Return the content of a file; raise :class:`Refusal` when this client and user have no such file."""
        return self._find(client, identifier, end_user).content

    # -- endpoints

    def _upload(self, call: RoutedRequest) -> AnyAnswer:
        parts = form(call.request.headers.get("content-type", ""), call.request.body)
        # Invented: the documentation gives the status 400 for these, but no texts.
        if "file" not in parts or parts["file"].filename is None:
            raise Refusal(400, "Invalid params: file is required")
        if "purpose" not in parts:
            raise Refusal(400, "Invalid params: purpose is required")
        purpose = parts["purpose"].content.decode("utf-8", "replace")
        if purpose not in _PURPOSES:
            raise Refusal(400, f"Invalid params: unknown purpose {purpose}")
        file = parts["file"]
        filename = file.filename or "file"
        mime = file.mime
        if mime in (None, "application/octet-stream"):
            mime = _MIME_OF.get(filename.rpartition(".")[2].lower())
        if mime not in _MODALITIES:
            raise Refusal(400, f"Invalid params: files of type {file.mime} are not supported")
        if not file.content:
            raise Refusal(400, "Invalid params: file is empty")
        if purpose == "assistant" and mime == "application/pdf":
            raise Refusal(400, "Invalid params: purpose assistant does not support application/pdf")
        if len(file.content) > _LIMITS[_MODALITIES[mime]]:
            raise Refusal(413, "Payload too large")
        identifier = self.add(
            call.client,
            file.content,
            filename,
            mime=mime,
            purpose=purpose,
            end_user=call.end_user,
        )
        return self._describe(call, identifier)

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        end_user = call.end_user
        with self._lock:
            files = dict(self._files)
        found = [_to_json(name, file) for name, file in files.items() if _is_for(file, call.client, end_user)]
        return call.answer({"data": found})

    def _get(self, call: RoutedRequest) -> AnyAnswer:
        return self._describe(call, call.arguments["id"])

    def _describe(self, call: RoutedRequest, identifier: str) -> AnyAnswer:
        file = self._find(call.client, identifier, call.end_user)
        return call.answer(_to_json(identifier, file))

    def _content(self, call: RoutedRequest) -> AnyAnswer:
        file = self._find(call.client, call.arguments["id"], call.end_user)
        content_type = file.mime if file.mime.startswith("image/") else "application/octet-stream"
        return Answer(200, {**call.headers, "Content-Type": content_type}, file.content)

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        identifier = call.arguments["id"]
        self._find(call.client, identifier, call.end_user)
        with self._lock:
            deleted = self._files.pop(identifier, None)
        if deleted is None:
            raise Refusal(404, _NO_FILE)
        response = {"id": identifier, "deleted": True, "object": "file", "access_policy": "private"}
        return call.answer(response)

    def _find(self, client: str, identifier: str, end_user: str | None) -> _File:
        with self._lock:
            file = self._files.get(identifier)
        if file is None or not _is_for(file, client, end_user):
            raise Refusal(404, _NO_FILE)
        return file


# Invented: the documentation shows the texts of another endpoint here.
_NO_FILE = "No such file"


def _is_for(file: _File, client: str, end_user: str | None) -> bool:
    return file.client == client and file.end_user in (None, end_user)


def _to_json(identifier: str, file: _File) -> dict[str, Any]:
    response = {
        "id": identifier,
        "object": "file",
        "bytes": len(file.content),
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "access_policy": "private",
    }
    modality = _MODALITIES.get(file.mime)
    return {**response, "modalities": [modality]} if modality is not None else response


# --- forms with files (RFC 7578) --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One field of a form."""

    content: bytes
    filename: str | None
    mime: str | None


def form(content_type: str, body: bytes) -> Mapping[str, Part]:
    """Return the fields of a ``multipart/form-data`` body by name; raise :class:`Refusal` for an invalid one."""
    media_type, _, parameters = content_type.partition(";")
    found = re.search(r'boundary="?([^";,\s]+)"?', parameters)
    if media_type.strip().lower() != "multipart/form-data" or found is None:
        raise Refusal(400, "request Content-Type isn't multipart/form-data")
    _, *sections = (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1"))
    if not sections or not sections[-1].startswith(b"--"):
        raise Refusal(400, "multipart: NextPart: EOF")
    parts = {}
    for section in sections[:-1]:
        head, blank, content = section.partition(b"\r\n\r\n")
        headers = {}
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        names = _parameters(headers.get("content-disposition", ""))
        if not blank or "name" not in names:
            raise Refusal(400, "multipart: NextPart: malformed part")
        mime = headers.get("content-type", "").partition(";")[0].strip().lower() or None
        parts[names["name"]] = Part(content, names.get("filename"), mime)
    return parts


def _parameters(disposition: str) -> dict[str, str]:
    """Return ``name`` and ``filename``, with the characters that browsers escape (``%22``, ``%0D``, ``%0A``)."""
    found = re.findall(r';\s*(name|filename)=(?:"([^"]*)"|([^;\s]+))', disposition)
    return {
        name: re.sub(r"%(22|0D|0A)", lambda code: chr(int(code[1], 16)), quoted or bare) for name, quoted, bare in found
    }
