"""Our types under the names of the official SDK's ``gigachat.models.files``."""

from __future__ import annotations

from gigaclient.types import DeletedFile, Image, UploadedFile, UploadedFiles

__all__ = [
    "DeletedFile",
    "Image",
    "UploadedFile",
    "UploadedFiles",
]
