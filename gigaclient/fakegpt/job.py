"""What FakeGpt can be asked of many prompts."""

from __future__ import annotations

from typing import Any

import msgspec

from gigaclient.bulk.jobs import ChatJob
from gigaclient.errors import ConfigError
from gigaclient.transport.request import Request

__all__ = ["FakeGptJob"]

# Results would lack what was asked for by these.
_OF_GIGACHAT = frozenset({"batch_size", "functions", "poll_interval", "response_format", "via"})


class FakeGptJob(ChatJob):
    """``FakeGpt.chat`` for each prompt.

    Raises:
        ConfigError: an option is GigaChat's alone.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        foreign = sorted(_OF_GIGACHAT & options.keys())
        if foreign:
            raise ConfigError(f"FakeGpt has no {', '.join(foreign)}: only GigaChat.map takes what its API alone can do")
        super().__init__("FakeGpt", options)

    def content(self, request: Request) -> bytes:
        # Each request has ids of its own, but for those that the caller gave.
        body = msgspec.json.decode(request.body or b"{}")
        for message in body["messages"]:
            del message["id"]
        if "parent_message_id" not in self.options:
            del body["parent_message_id"]
        return msgspec.json.encode(body)
