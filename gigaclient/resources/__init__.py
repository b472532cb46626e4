"""The class of ``giga.chat`` under the name of the official SDK's ``gigachat.resources``."""

from __future__ import annotations

from gigaclient._primitives.lazy import async_names
from gigaclient.resources.chat import ChatNamespace

__all__ = ["ChatNamespace"]

__getattr__ = async_names(__name__, "AsyncChatNamespace")
