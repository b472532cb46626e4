"""Our types under the names of the official SDK's ``gigachat.models.auth``."""

from __future__ import annotations

from gigaclient import types

AccessToken = types.AccessToken
Token = types.AccessToken
