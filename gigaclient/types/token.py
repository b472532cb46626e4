"""The access token."""

from __future__ import annotations

from typing import Any

from gigaclient.types.base import APIResponse

__all__ = ["AccessToken"]


class AccessToken(APIResponse):
    """The current token, as ``giga.get_token()`` returns it. ``repr`` hides the token.

    Attributes:
        access_token: the Bearer token.
        expires_at: Unix time in milliseconds, GigaChat's unit; 0 if unknown.
    """

    access_token: str
    expires_at: int = 0

    @classmethod
    def _prepared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        # The fields of the official SDK's Token, and of some servers' responses.
        renamed = {"tok": "access_token", "exp": "expires_at"}
        return {renamed.get(name, name): value for name, value in fields.items()}

    @property
    def tok(self) -> str:
        """The token by its other name."""
        return self.access_token

    @property
    def exp(self) -> int:
        """The time by its other name."""
        return self.expires_at

    def __repr__(self) -> str:
        return f"AccessToken(access_token='***', expires_at={self.expires_at})"
