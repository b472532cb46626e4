"""Faults of the emulators: :class:`Fault` describes one, :class:`FaultQueue` holds it until a request gets it.

Some fields replace the regular answer (``status``, ``html``, ``reset``, ``hang_up``, ``unauthorized``). The others
change the regular answer while it is sent. They can be combined.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gigaclient.testing.http_messages import HeaderItems, Pause, Step

__all__ = ["END_MARKER", "EventAnswer", "Fault", "FaultQueue", "event"]

END_MARKER = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Fault:
    """One or more failures of one request. All fields are optional.

    Instead of the answer:
        status: The status to send, with the provider's usual error body for it.
        body: The body for ``status`` (200 by default): bytes, text, or any JSON value. ``b""`` is an empty body.
        headers: Headers to add to any response.
        retry_after: The ``Retry-After`` header: a text, a number of seconds, or a date and time (sent as HTTP date).
        html: A gateway's HTML page, with status 200 unless ``status`` says otherwise.
        unauthorized: 401 for a valid token.
        reset: A TCP reset before the first byte.
        hang_up: A regular close of the connection before the first byte.
        before_s: Seconds before the head of the answer. ``float("inf")`` is for ever.

    How the answer is written:
        header_pause_s: The head is sent byte by byte with this pause.
        write_size, write_pause_s: The size of each write of the body in bytes, and the pause after it.
        gzip: The body is compressed, and flushed after every event.
        close_delimited: The end of the connection ends the body: there is neither a length nor chunks.
        content_type: A wrong content type; ``""`` omits the header.
        cut_after_bytes: The connection ends after this many bytes of the body.
        early: The answer is sent when the head of the request has been read, while the client still sends the body.
            Needs one of the fields that replace the answer.
        before_head: Raw steps before the head of the answer: bytes (each in a separate packet) and pauses, such as
            ``(interim(103), interim(100) * 2)``.
        head: The raw head to send instead of the regular one, with its empty line; the body follows unchanged.
        after_body: Raw bytes after the complete answer.

    Within an event stream (counted in events; ``0`` is before the first one, the end marker counts as one):
        cut_after_events: The connection ends without the last chunk.
        reset_after_events: A TCP reset.
        end_after_events: The stream ends regularly, but too early.
        stall_after_events, stall_s: Nothing is sent for ``stall_s`` seconds, for ever when ``None``.
        error_after_events, error: An error object is sent as an event, then the stream ends regularly.
        malformed_after_events: The next event has truncated JSON; the stream continues.
        invalid_utf8_after_events: The next event has bytes that are not UTF-8; the stream continues.
        no_end_marker: ``[DONE]`` is not sent.
        no_finish_reason: No event has a finish reason.
        event_pause_s: Seconds between two events.
        comments: The number of keep-alive comments before every event.
        comments_forever_after_events: Only comments are sent from here on, ``comment_pause_s`` seconds apart.
        extra_after_events, extra: Raw bytes to insert.
        crlf: The line ends of the stream.
    """

    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: str | float | datetime.datetime | None = None
    html: bool = False
    unauthorized: bool = False
    reset: bool = False
    hang_up: bool = False
    before_s: float = 0.0

    header_pause_s: float = 0.0
    write_size: int | None = None
    write_pause_s: float = 0.0
    gzip: bool = False
    close_delimited: bool = False
    content_type: str | None = None
    cut_after_bytes: int | None = None
    early: bool = False
    before_head: Sequence[Step] = ()
    head: bytes | None = None
    after_body: bytes = b""

    cut_after_events: int | None = None
    reset_after_events: int | None = None
    end_after_events: int | None = None
    stall_after_events: int | None = None
    stall_s: float | None = None
    error_after_events: int | None = None
    error: Any = None
    malformed_after_events: int | None = None
    invalid_utf8_after_events: int | None = None
    no_end_marker: bool = False
    no_finish_reason: bool = False
    event_pause_s: float | None = None
    comments: int = 0
    comments_forever_after_events: int | None = None
    comment_pause_s: float = 0.02
    extra_after_events: int | None = None
    extra: bytes = b""
    crlf: Literal["\n", "\r\n", "\r"] = "\n"

    def __post_init__(self) -> None:
        if self.extra and self.extra_after_events is None:
            object.__setattr__(self, "extra_after_events", 0)
        if self.early and not self.replaces_the_answer:
            raise ValueError("early needs an answer to send: status, body, html, unauthorized, reset or hang_up")

    @property
    def replaces_the_answer(self) -> bool:
        """True when the regular answer is not needed."""
        return (
            self.status is not None
            or self.body is not None
            or self.html
            or self.unauthorized
            or self.reset
            or self.hang_up
        )


@dataclass
class EventAnswer:
    """An event stream before faults and framing are applied.

    Attributes:
        events: Complete events (each ends in an empty line, with LF line ends), and pauses between them.
        headers: All headers except Content-Type.
        content_type: The Content-Type.
        pause_s: Seconds between two events.
        error: The provider's error object within a stream.
        done: Called at the end, as in :class:`Answer`.
    """

    events: Iterable[bytes | Pause]
    headers: HeaderItems = field(default_factory=dict)
    content_type: str = "text/event-stream"
    pause_s: float = 0.0
    error: Any = None
    done: Callable[[], None] | None = None


class FaultQueue:
    """Faults that wait for their requests. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, str | None, int | None]] = []

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Queue ``fault`` for the next ``times`` requests whose path ends in ``path``; ``times=None`` has no limit."""
        if times is not None and times < 1:
            raise ValueError("times must be at least 1, or None for every request from now on")
        with self._lock:
            self._waiting.append((fault, path, times))

    def take(self, path: str, *, named_only: bool = False, early: bool = False) -> Fault | None:
        """Remove and return the first fault for ``path``.

        Args:
            path: The path of the request.
            named_only: Skip faults without a path.
            early: Return a fault with ``early``. Others are skipped, and without this argument those with it are.
        """
        with self._lock:
            for index, (fault, suffix, times) in enumerate(self._waiting):
                if fault.early is not early or (named_only if suffix is None else not path.endswith(suffix)):
                    continue
                if times == 1:
                    del self._waiting[index]
                elif times is not None:
                    self._waiting[index] = (fault, suffix, times - 1)
                return fault
        return None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._waiting.clear()


def event(payload: Any, *, name: str | None = None) -> bytes:
    """Encode a server-sent event. Its data is ``payload`` as compact JSON, or unchanged when it is a text."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()
