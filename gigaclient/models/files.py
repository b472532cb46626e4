"""Our types under the names of the official SDK's ``gigachat.models.files``."""

from __future__ import annotations

from gigaclient import types

DeletedFile = types.DeletedFile
Image = types.Image
UploadedFile = types.UploadedFile
UploadedFiles = types.UploadedFiles
