"""The class of ``giga.threads`` under the name of the official SDK's ``gigachat.threads``."""

from __future__ import annotations

from gigaclient._primitives.lazy import async_names
from gigaclient.gigachat.resources.threads import ThreadsResource as ThreadsSyncClient

__all__ = ["ThreadsSyncClient"]

__getattr__ = async_names(__name__, "ThreadsAsyncClient")
