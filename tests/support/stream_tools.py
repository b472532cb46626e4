"""What tests of streams share: chunks and events as bytes, a client, a reply without a network, waits with a limit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gigaclient import GigaChat
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient.testing import GigaChatEmulator

WAIT_SECONDS = 20.0
"""No wait in these tests may be longer; it is a hang then."""

DONE = b"data: [DONE]\n\n"


def payload(content: str | None = None, *, finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """A chunk as the API sends it; ``delta`` and ``choice`` in ``fields`` add to those, the rest to the top."""
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
    """One event; text and bytes as they are, anything else as JSON."""
    if not isinstance(data, (str, bytes)):
        data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    line: bytes = data if isinstance(data, bytes) else data.encode()
    return b"data: " + line + b"\n\n"


def wire(*data: Any) -> bytes:
    """Events, one after the other."""
    return b"".join(event(one) for one in data)


def client_of(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    """A client that never waits between tries.

    Its account is its own: limits and tokens of one test are no concern of the next.
    """
    given = {"timeout": WAIT_SECONDS, "retry_backoff_factor": 0.0, **emulator.client_options, **options}
    given["credentials"] = emulator.add_credentials()
    return GigaChat(**given)


class FakeReply:
    """A reply whose blocks are given; an exception among them is raised, a callable is called for its block."""

    def __init__(self, blocks: Iterable[bytes | BaseException | Callable[[], bytes]], **timeouts: float) -> None:
        self._blocks = blocks
        self.deadline = Deadline(Timeouts(**timeouts))
        self.closed = 0
        self.drained = 0
        self.read = 0

    def blocks(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.read += 1
            if isinstance(block, BaseException):
                raise block
            yield block if isinstance(block, bytes) else block()

    def drain(self, blocks: Iterator[bytes]) -> None:
        self.drained += 1

    def close(self) -> None:
        self.closed += 1


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait for ``condition``; fails when it does not come true in time."""
    limit = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"{what} did not come true within {WAIT_SECONDS} s")
        time.sleep(0.005)


class Background:
    """Runs a function in a thread and hands out what it returned or raised."""

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
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the thread hangs"
        return self
