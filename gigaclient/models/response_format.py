"""Our types under the names of the official SDK's ``gigachat.models.response_format``."""

from __future__ import annotations

from gigaclient import types

JsonSchemaResponseFormat = types.ResponseFormat
ResponseFormat = types.ResponseFormat
