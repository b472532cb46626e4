"""GigaChat: its settings, tokens, requests and streams."""

from __future__ import annotations

from gigaclient.gigachat.client import GigaChat

__all__ = ["GigaChat"]
