"""The class of ``giga.assistants`` under the name of the official SDK's ``gigachat.assistants``."""

from __future__ import annotations

from gigaclient._primitives.lazy import async_names
from gigaclient.gigachat.resources.assistants import AssistantsResource as AssistantsSyncClient

__all__ = ["AssistantsSyncClient"]

__getattr__ = async_names(__name__, "AssistantsAsyncClient")
