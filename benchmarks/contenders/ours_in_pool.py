"""gigaclient in a thread pool, as programs without ``giga.map`` use it: the limit has to be known."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contenders import ours
from gigaclient import GigaChat


class Client(ours.Client):
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        super().__init__(base_url, ca_file, auth_url)
        self._address: dict[str, Any] = {"base_url": base_url, "ca_bundle_file": ca_file}

    def many(self, count: int, at_once: int) -> Iterator[str]:
        giga = GigaChat(**self._address, access_token="token", max_connections=at_once)
        with giga, ThreadPoolExecutor(at_once) as pool:
            for completion in pool.map(giga.chat, ours.prompts(count)):
                yield completion.text
