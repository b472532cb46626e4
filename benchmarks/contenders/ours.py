"""gigaclient, through its public API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gigaclient import GigaChat


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        if auth_url is None:
            self._giga = GigaChat(base_url=base_url, ca_bundle_file=ca_file, access_token="token")
        else:
            self._giga = GigaChat(
                base_url=base_url, ca_bundle_file=ca_file, auth_url=auth_url, credentials="bm9ib2R5Om5vdGhpbmc="
            )

    def call(self) -> str:
        return self._giga.chat("Hello").text

    def stream(self) -> Iterator[str]:
        for chunk in self._giga.stream("Hello"):
            yield chunk.text

    def many(self, count: int, at_once: int) -> Iterator[str]:
        """Send many prompts; the client finds the limit by itself."""
        return self._texts(count)

    def embed(self, count: int) -> int:
        """Return how many vectors came for ``count`` texts."""
        results = self._giga.embed_many(prompts(count), raise_errors=True, progress=False)
        return sum(1 for result in results if result.embedding)

    def upload(self, path: str) -> None:
        self._giga.upload_file(path)

    def download(self, path: str) -> None:
        self._giga.get_file_content("6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e", to=path)

    def read_json(self, text: str) -> int:
        """Return how many objects the tolerant reader found."""
        from gigaclient.schema.tolerant import find_documents

        return len(json.loads(find_documents(text)[-1].data))

    def validate(self, fields: dict[str, Any]) -> int:
        """Return how many choices a record had after it was validated and dumped."""
        from gigaclient.types import ChatCompletion

        return len(ChatCompletion.model_validate(fields).model_dump(mode="json")["choices"])

    def _texts(self, count: int, **options: Any) -> Iterator[str]:
        for result in self._giga.map(prompts(count), raise_errors=True, progress=False, **options):
            yield result.text


def prompts(count: int) -> Iterator[str]:
    return (f"Prompt {number}" for number in range(count))
