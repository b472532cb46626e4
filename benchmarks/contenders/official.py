"""The official SDK, synchronous client."""

from __future__ import annotations

from collections.abc import Iterator

from gigachat import GigaChat


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        if auth_url is None:
            self._giga = GigaChat(base_url=base_url, ca_bundle_file=ca_file, access_token="token", model="GigaChat-2")
        else:
            self._giga = GigaChat(
                base_url=base_url,
                ca_bundle_file=ca_file,
                auth_url=auth_url,
                credentials="bm9ib2R5Om5vdGhpbmc=",
                model="GigaChat-2",
            )

    def call(self) -> str:
        return str(self._giga.chat("Hello").choices[0].message.content)

    def stream(self) -> Iterator[str]:
        for chunk in self._giga.stream("Hello"):
            yield chunk.choices[0].delta.content or ""
