"""The client under the names of the official SDK's ``gigachat.client``, for scripts that migrate."""

from __future__ import annotations

from gigaclient._primitives.lazy import async_names
from gigaclient.gigachat import GigaChat

__all__ = ["GigaChat", "GigaChatSyncClient"]

GigaChatSyncClient = GigaChat

__getattr__ = async_names(__name__, "GigaChatAsyncClient")
