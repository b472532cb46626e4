"""Our types under the names of the official SDK's ``gigachat.models.response_format``."""

from __future__ import annotations

from gigaclient.types import ResponseFormat
from gigaclient.types import ResponseFormat as JsonSchemaResponseFormat

__all__ = [
    "JsonSchemaResponseFormat",
    "ResponseFormat",
]
