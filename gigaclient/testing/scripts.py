"""Scripted answers of the emulators: a queue by path, and the replay of recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gigaclient.testing.faults import END_MARKER, EventAnswer
from gigaclient.testing.http_messages import Answer, Pause
from gigaclient.testing.recordings import Recording

__all__ = ["ScriptQueue", "replay_answer"]


@dataclass
class _Script:
    paths: tuple[str, ...]
    value: Any
    times: int | None


class ScriptQueue:
    """Scripted answers that wait for their requests. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: list[_Script] = []

    def add(self, value: Any, *paths: str, times: int | None) -> None:
        """Queue ``value`` for the next ``times`` requests for one of ``paths``.

        ``None`` has no limit: the value is used whenever no other script waits, and the latest one replaces the others.
        """
        if times is not None and times < 1:
            raise ValueError("times must be at least 1, or None for every request from now on")
        with self._lock:
            unlimited = next((i for i, script in enumerate(self._scripts) if script.times is None), len(self._scripts))
            self._scripts.insert(unlimited, _Script(paths, value, times))

    def next(self, path: str, *, only: tuple[type, ...] | None = None) -> Any:
        """Return the next script for ``path``, or None.

        ``only`` returns None unless the script is of these types, and keeps the script.
        """
        with self._lock:
            for index, script in enumerate(self._scripts):
                if path in script.paths:
                    if only is not None and not isinstance(script.value, only):
                        return None
                    if script.times is not None:
                        script.times -= 1
                    if script.times == 0:
                        del self._scripts[index]
                    return script.value
        return None

    def clear(self) -> None:
        """Remove all scripts."""
        with self._lock:
            self._scripts.clear()


def replay_answer(
    recording: Recording, release: Callable[[], None], *, pause_s: float, error: Any
) -> Answer | EventAnswer:
    """Return a recorded response, byte for byte.

    Args:
        recording: The recorded response.
        release: Called at the end.
        pause_s: Seconds between two events of a stream.
        error: The provider's error object within a stream.
    """
    headers = {
        name: value
        for name, value in recording.headers.items()
        if name.lower() not in ("content-length", "content-type", "transfer-encoding")
    }
    content_type = recording.headers["Content-Type"]
    if recording.is_stream:
        return EventAnswer(_with_release(recording.events, release), headers, content_type, pause_s, error, release)
    return Answer(recording.status, {**headers, "Content-Type": content_type}, recording.body, done=release)


def _with_release(events: Iterable[bytes], release: Callable[[], None]) -> Iterator[bytes | Pause]:
    """Yield the events, and call ``release`` before the end marker."""
    for block in events:
        if block == END_MARKER:
            release()
        yield block
