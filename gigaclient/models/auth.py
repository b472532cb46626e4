"""Our types under the names of the official SDK's ``gigachat.models.auth``."""

from __future__ import annotations

from gigaclient.types import AccessToken
from gigaclient.types import AccessToken as Token

__all__ = [
    "AccessToken",
    "Token",
]
