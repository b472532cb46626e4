"""Faults of the emulators: :class:`Fault` describes one, :class:`FaultQueue` holds it until a request gets it.

Some fields replace the regular answer (``status``, ``html``, ``reset``, ``hang_up``, ``unauthorized``). The others
change the regular answer while it is sent. They can be combined.
"""

from __future__ import annotations

import datetime
import email.utils
import http
import json
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gigaclient.testing.http_messages import Answer, Cut, HeaderItems, Pause, RawAnswer, Reset, Step

__all__ = ["END_MARKER", "EventAnswer", "Fault", "FaultQueue", "apply", "event", "http_date", "respond"]

END_MARKER = b"data: [DONE]\n\n"

_PAGE = """<!DOCTYPE html>
<html><head><title>{title}</title></head>
<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>
"""


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

    def take(self, path: str, *, named_only: bool = False) -> Fault | None:
        """Remove and return the first fault for ``path``. ``named_only`` skips faults without a path."""
        with self._lock:
            for index, (fault, suffix, times) in enumerate(self._waiting):
                if (suffix is None and named_only) or (suffix is not None and not path.endswith(suffix)):
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


def http_date(moment: datetime.datetime) -> str:
    """Format ``moment`` as an HTTP date; without a time zone it is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return email.utils.format_datetime(moment.astimezone(datetime.timezone.utc), usegmt=True)


def respond(
    fault: Fault | None,
    regular_answer: Callable[[], Answer | RawAnswer | EventAnswer],
    *,
    headers: Mapping[str, str],
    error_body: Callable[[int], Any],
) -> Answer | RawAnswer:
    """Return the answer to a request that gets ``fault``.

    Args:
        fault: The fault, or None.
        regular_answer: Makes the regular answer; not called when the fault replaces it.
        headers: The provider's usual headers, for an answer that replaces the regular one.
        error_body: Returns the provider's usual error body for a status.
    """
    if fault is None:
        return apply(Fault(), regular_answer())
    if fault.reset or fault.hang_up:
        before: list[Step] = [Pause(_to_pause(fault.before_s))] if fault.before_s else []
        return RawAnswer([*before, Reset() if fault.reset else Cut(close_notify=True)])
    if fault.replaces_the_answer:
        return apply(fault, _replacement(fault, headers, error_body))
    return apply(fault, regular_answer())


def _replacement(fault: Fault, headers: Mapping[str, str], error_body: Callable[[int], Any]) -> Answer:
    status = fault.status if fault.status is not None else 401 if fault.unauthorized else 200
    body = fault.body
    content_type = "application/json; charset=utf-8"
    if body is None and fault.html:
        body = _PAGE.format(title=f"{status} {http.HTTPStatus(status).phrase}")
    elif body is None:
        body = error_body(status)
    if fault.html or isinstance(body, (bytes, str)):
        content_type = "text/html; charset=utf-8" if fault.html else "text/plain; charset=utf-8"
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, {**headers, "Content-Type": content_type}, body)


def apply(fault: Fault, answer: Answer | RawAnswer | EventAnswer) -> Answer | RawAnswer:
    """Apply ``fault`` to ``answer``."""
    if isinstance(answer, RawAnswer):
        return answer
    if isinstance(answer, EventAnswer):
        pairs = list(answer.headers.items() if isinstance(answer.headers, Mapping) else answer.headers)
        answer = Answer(
            200,
            [*pairs, ("Content-Type", answer.content_type)],
            _faulty_events(fault, answer),
            "chunked",
            done=answer.done,
        )
    pairs = list(answer.headers.items() if isinstance(answer.headers, Mapping) else answer.headers)
    if fault.content_type is not None:
        pairs = [(name, value) for name, value in pairs if name.lower() != "content-type"]
        if fault.content_type:
            pairs.append(("Content-Type", fault.content_type))
    if fault.retry_after is not None:
        moment = fault.retry_after
        pairs.append(("Retry-After", http_date(moment) if isinstance(moment, datetime.datetime) else str(moment)))
    added = {name.lower() for name in fault.headers}
    pairs = [(name, value) for name, value in pairs if name.lower() not in added] + list(fault.headers.items())
    body = answer.body
    if fault.cut_after_bytes is not None:
        steps = body.encode() if isinstance(body, str) else body
        if isinstance(steps, bytes):
            if not fault.close_delimited and not fault.gzip:
                pairs.append(("Content-Length", str(len(steps))))
            body = [steps[: fault.cut_after_bytes], Cut()]
        else:
            body = _cut_steps(steps, fault.cut_after_bytes)
    framing = answer.framing
    if isinstance(answer.body, (bytes, str)) and framing is None:
        framing = "length"
    return replace(
        answer,
        headers=pairs,
        body=body,
        framing="close" if fault.close_delimited else framing,
        write_size=fault.write_size if fault.write_size is not None else answer.write_size,
        write_pause_s=fault.write_pause_s or answer.write_pause_s,
        gzip=fault.gzip or answer.gzip,
        before_s=_to_pause(fault.before_s) if fault.before_s else answer.before_s,
        header_pause_s=fault.header_pause_s or answer.header_pause_s,
    )


def _to_pause(seconds: float) -> float | None:
    """Return ``seconds``, or None for an infinite pause, as :class:`Pause` and :class:`Answer` expect it."""
    return None if seconds == float("inf") else seconds


def _cut_steps(steps: Iterable[Step], limit: int) -> Iterator[Step]:
    left = limit
    for step in steps:
        if isinstance(step, bytes):
            if len(step) >= left:
                yield step[:left]
                break
            left -= len(step)
        yield step
    yield Cut()


def _faulty_events(fault: Fault, answer: EventAnswer) -> Iterator[Step]:
    pause_s = answer.pause_s if fault.event_pause_s is None else fault.event_pause_s
    sent = 0
    for item in answer.events:
        if isinstance(item, Pause):
            yield item
            continue
        is_end_marker = item == END_MARKER
        if is_end_marker and fault.no_end_marker:
            continue
        if sent and pause_s:
            yield Pause(pause_s)
        ended = yield from _faults_between_events(fault, answer, sent)
        if ended:
            return
        if fault.comments:
            yield _with_line_ends(b": keep-alive\n\n", fault.crlf) * fault.comments
        block = item
        if fault.no_finish_reason and not is_end_marker:
            block = _without_finish_reason(block)
        if fault.malformed_after_events == sent:
            block = _truncate_json(block)
        if fault.invalid_utf8_after_events == sent:
            block = _insert_invalid_utf8(block)
        yield _with_line_ends(block, fault.crlf)
        sent += 1
    yield from _faults_between_events(fault, answer, sent)


def _faults_between_events(fault: Fault, answer: EventAnswer, sent: int) -> Generator[Step, None, bool]:
    """Yield the steps of faults after ``sent`` events; return True at the end of the stream."""
    if fault.extra_after_events == sent and fault.extra:
        yield fault.extra
    if fault.cut_after_events == sent:
        yield Cut()
    if fault.reset_after_events == sent:
        yield Reset()
    if fault.stall_after_events == sent:
        yield Pause(fault.stall_s)
    if fault.error_after_events == sent:
        yield _with_line_ends(event(answer.error if fault.error is None else fault.error), fault.crlf)
        return True
    if fault.comments_forever_after_events == sent:
        while True:
            yield _with_line_ends(b": keep-alive\n\n", fault.crlf)
            yield Pause(fault.comment_pause_s)
    return fault.end_after_events == sent


def _with_line_ends(block: bytes, line_end: str) -> bytes:
    return block if line_end == "\n" else block.replace(b"\n", line_end.encode())


def _truncate_json(block: bytes) -> bytes:
    head, field_name, tail = block.partition(b"data: ")
    data = tail.rstrip(b"\n")
    return head + field_name + data[: max(1, len(data) // 2)].decode("utf-8", "ignore").encode() + b"\n\n"


def _insert_invalid_utf8(block: bytes) -> bytes:
    for marker in (b'"content":"', b'"parts": ["', b'"text":"', b"{"):
        before, found, after = block.partition(marker)
        if found:
            invalid = b'"\xff\xfe":0,' if found == b"{" else b"\xd0\xff\xfe"
            return before + found + invalid + after
    return b'data: "\xff\xfe"\n\n'


def _without_finish_reason(block: bytes) -> bytes:
    head, _, tail = block.partition(b"data: ")
    try:
        payload = json.loads(tail)
    except ValueError:
        return block
    if not isinstance(payload, dict):
        return block
    changed = payload.pop("finish_reason", None) is not None
    for choice in payload.get("choices") or ():
        changed = choice.pop("finish_reason", None) is not None or changed
    message = payload.get("message")
    if isinstance(message, dict) and message.get("author", {}).get("role") == "assistant":
        changed = message.pop("end_turn", None) is not None or changed
        if message.get("status") == "finished_successfully":
            message["status"], changed = "in_progress", True
        changed = message.get("metadata", {}).pop("finish_details", None) is not None or changed
    return head + event(payload) if changed else block
