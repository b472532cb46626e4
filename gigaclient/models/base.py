"""Our types under the names of the official SDK's ``gigachat.models.base``."""

from __future__ import annotations

from gigaclient import types

APIResponse = types.APIResponse
XHeadersMixin = types.APIResponse
