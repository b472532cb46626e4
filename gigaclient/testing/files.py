"""Files of the GigaChat emulator: uploaded, listed, fetched, deleted; and the pictures that its answers name.

A file belongs to the client (key) that sent it. One that came with an ``X-Client-ID``, or was made for a request with
one, is there for requests with the same one alone.
"""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gigaclient.testing.chat_v1 import Refusal
from gigaclient.testing.fault_server import Answer
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer

__all__ = ["PICTURE", "EmulatedFiles", "Part", "form"]

# Ending, MIME types, modality. The first MIME type is what a file gets that comes without one.
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
"""What the emulated model draws, whatever it is asked for: a JPEG of 64 by 64 pixels, a sun over water."""


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
    """``/files``.

    Args:
        service: the emulator that they belong to.
    """

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

    # -- for the other rooms

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
        """Put a file there for ``client`` (and its user ``end_user``); returns its id."""
        identifier = identifier or str(uuid.uuid4())
        file = _File(client, end_user, filename, content, mime, purpose, int(self._service.now_s()))
        with self._lock:
            self._files[identifier] = file
        return identifier

    def create_image(self, client: str, *, end_user: str | None = None) -> str:
        """Draw a picture for ``client``; returns its id. ``end_user`` is the ``X-Client-ID`` of the request, if any."""
        return self.add(client, PICTURE, "image.jpg", mime="image/jpeg", end_user=end_user)

    def draw_named(self, call: RoutedRequest, texts: Iterable[str]) -> None:
        """Have the pictures that answers to ``call`` name: what is not there yet is drawn."""
        for text in texts:
            for identifier in re.findall(r"""\b(?:src|cover)=["']([0-9a-fA-F-]{36})["']""", text):
                with self._lock:
                    known = identifier in self._files
                if not known:
                    end_user = call.request.headers.get("x-client-id")
                    self.add(
                        call.client, PICTURE, "image.jpg", mime="image/jpeg", end_user=end_user, identifier=identifier
                    )

    def read(self, client: str, identifier: str, *, end_user: str | None = None) -> bytes:
        """What is in a file; a :class:`Refusal` when there is none for this client and user."""
        return self._found(client, identifier, end_user).content

    # -- endpoints

    def _upload(self, call: RoutedRequest) -> AnyAnswer:
        parts = form(call.request.headers.get("content-type", ""), call.request.body)
        # The texts of these refusals are invented: that they are 400 is documented, what they say is not.
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
            end_user=call.request.headers.get("x-client-id"),
        )
        return self._get_by(call, identifier)

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        end_user = call.request.headers.get("x-client-id")
        with self._lock:
            files = dict(self._files)
        listed = [_shown(name, file) for name, file in files.items() if _is_for(file, call.client, end_user)]
        return json_answer(200, {"data": listed}, call.headers)

    def _get(self, call: RoutedRequest) -> AnyAnswer:
        return self._get_by(call, call.arguments["id"])

    def _get_by(self, call: RoutedRequest, identifier: str) -> AnyAnswer:
        file = self._found(call.client, identifier, call.request.headers.get("x-client-id"))
        return json_answer(200, _shown(identifier, file), call.headers)

    def _content(self, call: RoutedRequest) -> AnyAnswer:
        file = self._found(call.client, call.arguments["id"], call.request.headers.get("x-client-id"))
        kind = file.mime if file.mime.startswith("image/") else "application/octet-stream"
        return Answer(200, {**call.headers, "Content-Type": kind}, file.content)

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        identifier = call.arguments["id"]
        self._found(call.client, identifier, call.request.headers.get("x-client-id"))
        with self._lock:
            gone = self._files.pop(identifier, None)
        if gone is None:
            raise Refusal(404, _NO_FILE)
        answer = {"id": identifier, "deleted": True, "object": "file", "access_policy": "private"}
        return json_answer(200, answer, call.headers)

    def _found(self, client: str, identifier: str, end_user: str | None) -> _File:
        with self._lock:
            file = self._files.get(identifier)
        if file is None or not _is_for(file, client, end_user):
            raise Refusal(404, _NO_FILE)
        return file


# Invented: the documentation gives this endpoint the texts of another one.
_NO_FILE = "No such file"


def _is_for(file: _File, client: str, end_user: str | None) -> bool:
    return file.client == client and file.end_user in (None, end_user)


def _shown(identifier: str, file: _File) -> dict[str, Any]:
    shown = {
        "id": identifier,
        "object": "file",
        "bytes": len(file.content),
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "access_policy": "private",
    }
    modality = _MODALITIES.get(file.mime)
    return {**shown, "modalities": [modality]} if modality is not None else shown


# --- forms with files (RFC 7578) --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One field of a form."""

    content: bytes
    filename: str | None
    mime: str | None


def form(content_type: str, body: bytes) -> Mapping[str, Part]:
    """The fields of a ``multipart/form-data`` body by name; a :class:`Refusal` when it is not one."""
    kind, _, parameters = content_type.partition(";")
    found = re.search(r'boundary="?([^";,\s]+)"?', parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
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
        named = _parameters(headers.get("content-disposition", ""))
        if not blank or "name" not in named:
            raise Refusal(400, "multipart: NextPart: malformed part")
        mime = headers.get("content-type", "").partition(";")[0].strip().lower() or None
        parts[named["name"]] = Part(content, named.get("filename"), mime)
    return parts


def _parameters(disposition: str) -> dict[str, str]:
    """``name`` and ``filename``, with what browsers quote in them unquoted."""
    found = re.findall(r';\s*(name|filename)=(?:"([^"]*)"|([^;\s]+))', disposition)
    return {
        name: re.sub(r"%(22|0D|0A)", lambda code: chr(int(code[1], 16)), quoted or bare) for name, quoted, bare in found
    }
