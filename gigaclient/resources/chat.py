"""The class of ``giga.chat`` under the name of the official SDK's ``gigachat.resources.chat``."""

from __future__ import annotations

from gigaclient._primitives.lazy import async_names
from gigaclient.gigachat.chat import ChatResource as ChatNamespace

__all__ = ["ChatNamespace"]

__getattr__ = async_names(__name__, "AsyncChatNamespace")
