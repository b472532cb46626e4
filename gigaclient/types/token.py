"""The access token."""

from __future__ import annotations

from gigaclient.types.base import Record

__all__ = ["AccessToken"]


class AccessToken(Record):
    """The current token, as ``giga.get_token()`` returns it. ``repr`` hides the token.

    Attributes:
        access_token: the Bearer token.
        expires_at: Unix time in milliseconds, GigaChat's unit; 0 if unknown.
    """

    access_token: str
    expires_at: int = 0

    def __repr__(self) -> str:
        return f"AccessToken(access_token='***', expires_at={self.expires_at})"
