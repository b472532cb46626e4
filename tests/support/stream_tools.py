"""Helpers of the streaming tests: chunks and events as bytes, a response without a network, waits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gigaclient._primitives.deadline import Deadline, Timeouts

WAIT_SECONDS = 20.0
"""The limit of every wait in seconds."""

DONE = b"data: [DONE]\n\n"


def payload(content: str | None = None, *, finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a chunk of API v1. ``delta`` and ``choice`` in ``fields`` add to these; other fields add to the top."""
    delta = dict(fields.pop("delta", {}))
    if content is not None:
        delta["content"] = content
    choice = {"delta": delta, "index": index, **fields.pop("choice", {})}
    if finish is not None:
        choice["finish_reason"] = finish
    return {
        "choices": [choice],
        "created": 1790000002,
        "model": "GigaChat-2:2.0.31.04",
        "object": "chat.completion",
        **fields,
    }


def event(data: Any) -> bytes:
    """Encode an event; data that is neither text nor bytes is sent as JSON."""
    if not isinstance(data, (str, bytes)):
        data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    line: bytes = data if isinstance(data, bytes) else data.encode()
    return b"data: " + line + b"\n\n"


def sse_bytes(*data: Any) -> bytes:
    """Encode several events."""
    return b"".join(map(event, data))


class FakeResponse:
    """A response with these blocks. An exception among them is raised, and a callable is called for its block."""

    def __init__(self, blocks: Iterable[bytes | BaseException | Callable[[], bytes]], **timeouts: float) -> None:
        self._blocks = blocks
        self.deadline = Deadline(Timeouts(**timeouts))
        self.closed = 0
        self.drained = 0
        self.read = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the blocks of the body."""
        for block in self._blocks:
            self.read += 1
            if isinstance(block, BaseException):
                raise block
            yield block if isinstance(block, bytes) else block()

    def drain(self, blocks: Iterator[bytes]) -> None:
        """Count the call."""
        self.drained += 1

    def close(self) -> None:
        """Count the call."""
        self.closed += 1


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait until ``condition`` returns True; fail when it does not in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not become true within {WAIT_SECONDS} s")
        time.sleep(0.005)


class Background:
    """Runs a function in a thread and keeps its result or error."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    def join(self) -> Background:
        """Wait for the end."""
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the thread hangs"
        return self
