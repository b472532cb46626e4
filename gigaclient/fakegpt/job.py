"""The job of FakeGpt: a chat for each prompt."""

from __future__ import annotations

from typing import Any

import msgspec

from gigaclient.bulk.jobs import ChatJob
from gigaclient.errors import ConfigError
from gigaclient.transport.request import Request

__all__ = ["FakeGptJob"]

# Without support for these, results would lack what the caller requested.
_GIGACHAT_OPTIONS = frozenset({"batch_size", "functions", "poll_interval", "response_format", "via"})


class FakeGptJob(ChatJob):
    """``FakeGpt.chat`` for each prompt.

    Raises:
        ConfigError: an option exists only for GigaChat.
    """

    def __init__(self, options: dict[str, Any], *, keep_blocked: bool = False) -> None:
        unsupported = sorted(_GIGACHAT_OPTIONS & options.keys())
        if unsupported:
            raise ConfigError(f"FakeGpt does not support {', '.join(unsupported)}: only GigaChat.map does")
        super().__init__("FakeGpt", options, keep_blocked=keep_blocked)

    def content(self, request: Request) -> bytes:
        """Return the body without its generated ids."""
        # Each request has new ids, except those that the caller set.
        body = msgspec.json.decode(request.body or b"{}")
        for message in body["messages"]:
            del message["id"]
        if "parent_message_id" not in self.options:
            del body["parent_message_id"]
        return msgspec.json.encode(body)
