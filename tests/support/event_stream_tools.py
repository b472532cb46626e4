"""Streams without a network, and the bodies of event streams."""

from __future__ import annotations

from typing import Any

from support.stream_tools import DONE, FakeResponse, payload, sse_bytes

from gigaclient import ChatStream
from gigaclient.contrib.event_stream import EventStream
from gigaclient.gigachat.stream_events import ChunkParser

COUNT = "Count from 1 to 5"
FIVE = "1, 2, 3, 4, 5"


def stream_of(*blocks: Any) -> tuple[ChatStream, FakeResponse]:
    """Return a stream of the blocks of a :class:`FakeResponse`, without a network."""
    reply = FakeResponse(blocks)
    return ChatStream(reply, ChunkParser(None)), reply


def answer_of(*texts: str) -> ChatStream:
    return stream_of(sse_bytes(*(payload(text) for text in texts), payload("", finish="stop")) + DONE)[0]


def body_of(stream: Any, **options: Any) -> bytes:
    return b"".join(EventStream(stream, **options))


async def collected(body: EventStream) -> bytes:
    return b"".join([piece async for piece in body])
