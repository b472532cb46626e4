"""g4f's GigaChat provider, through its synchronous interface.

Its addresses are constants, so a resolver directs them to the server here. It makes a new session, hence a new
connection, for each call, and keeps its token in a global variable.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiohttp.abc
from g4f.Provider import GigaChat  # type: ignore[import-untyped]
from g4f.providers.asyncio import to_sync_generator  # type: ignore[import-untyped]


class _Leading(aiohttp.abc.AbstractResolver):
    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": self._port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        return


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        if auth_url is not None:
            raise NotImplementedError("g4f's provider shares one token by a global variable, and no call waits for it")
        self._port = urlsplit(base_url).port or 443
        self._context = ssl.create_default_context(cafile=ca_file)
        module: Any = sys.modules[GigaChat.__module__]
        module.access_token, module.token_expires_at = "token", 1 << 62

    def call(self) -> str:
        return "".join(self._answer(stream=False))

    def stream(self) -> Iterator[str]:
        return self._answer(stream=True)

    def _answer(self, *, stream: bool) -> Iterator[str]:
        answer: Iterator[str] = to_sync_generator(self._texts(stream), stream=stream)
        return answer

    async def _texts(self, stream: bool) -> AsyncIterator[str]:
        connector = aiohttp.TCPConnector(resolver=_Leading(self._port), ssl=self._context, use_dns_cache=False)
        async for text in GigaChat.create_async_generator(
            "GigaChat", [{"role": "user", "content": "Hello"}], stream=stream, api_key="key", connector=connector
        ):
            yield text
