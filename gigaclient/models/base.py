"""Our types under the names of the official SDK's ``gigachat.models.base``."""

from __future__ import annotations

from gigaclient.types import APIResponse
from gigaclient.types import APIResponse as XHeadersMixin

__all__ = [
    "APIResponse",
    "XHeadersMixin",
]
