"""The type of files under the name of the official SDK's ``gigachat._types``, for scripts that migrate."""

from __future__ import annotations

from gigaclient.gigachat.resources.uploads import Content as FileContent
from gigaclient.gigachat.resources.uploads import UploadFile as FileTypes

__all__ = ["FileContent", "FileTypes"]
