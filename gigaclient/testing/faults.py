"""What can go wrong, as values: a :class:`Fault` says it, :class:`FaultQueue` keeps it until a request meets it.

Two kinds of fields. Some put an answer of their own in the place of the real one (``status``, ``html``, ``reset``,
``hang_up``, ``unauthorized``); the others bend the real answer on its way out. They combine.
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

from gigaclient.testing.fault_server import Answer, Cut, HeaderItems, Pause, RawAnswer, Reset, Step

__all__ = ["END_MARKER", "EventAnswer", "Fault", "FaultQueue", "apply", "event", "http_date", "respond"]

END_MARKER = b"data: [DONE]\n\n"

_PAGE = """<!DOCTYPE html>
<html><head><title>{title}</title></head>
<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>
"""


@dataclass(frozen=True)
class Fault:
    """One thing (or several at once) that goes wrong with one request. All fields are optional.

    Instead of the answer:
        status: This status, with the provider's usual error body for it.
        body: The body for ``status`` (or for 200 without one): bytes, text, or anything that JSON can say. ``b""``
            is an empty body.
        headers: Added to whatever is sent.
        retry_after: The ``Retry-After`` header: text as it is, a number of seconds, or a moment (sent as HTTP date).
        html: A gateway's HTML page, with status 200 unless ``status`` says otherwise.
        unauthorized: 401, though the token is good.
        reset: A TCP reset before the first byte.
        hang_up: The connection is closed in good order before the first byte.
        before_s: Silence before the head; then the answer follows. ``float("inf")`` is for ever.

    How the answer is written:
        header_pause_s: The head comes byte by byte with this pause.
        write_size, write_pause_s: The body comes in pieces of so many bytes, with this pause after each.
        gzip: Compressed, flushed event by event.
        close_delimited: Neither length nor chunks; the end of the connection is the end.
        content_type: In place of the right one; ``""`` leaves the header out.
        cut_after_bytes: The connection ends after so many bytes of the body.

    Within an event stream (counted in events; ``0`` is before the first one, the end marker counts as one):
        cut_after_events: The connection ends without the last chunk.
        reset_after_events: A TCP reset.
        end_after_events: The stream ends in good order, only too early.
        stall_after_events, stall_s: Silence for ``stall_s`` seconds, for ever when ``None``.
        error_after_events, error: An error object comes as an event, then the stream ends in good order.
        malformed_after_events: The next event's JSON is broken off in the middle; the stream goes on.
        invalid_utf8_after_events: The next event has bytes in it that are not UTF-8; the stream goes on.
        no_end_marker: ``[DONE]`` never comes.
        no_finish_reason: No event says why the answer ended.
        event_pause_s: The pause between two events.
        comments: So many keep-alive comments before every event.
        comments_forever_after_events: From here on nothing but comments, ``comment_pause_s`` apart.
        extra_after_events, extra: These bytes are put in, as they are.
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
        """Whether the real answer is not needed at all."""
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
    """An event stream before it is bent and framed.

    Attributes:
        events: Whole events (each ends in an empty line, with LF line ends), and pauses between them.
        headers: All but Content-Type.
        content_type: Its value.
        pause_s: Between two events.
        error: What this provider sends as an error within a stream.
        done: As in :class:`Answer`.
    """

    events: Iterable[bytes | Pause]
    headers: HeaderItems = field(default_factory=dict)
    content_type: str = "text/event-stream"
    pause_s: float = 0.0
    error: Any = None
    done: Callable[[], None] | None = None


class FaultQueue:
    """Faults waiting for their requests; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, str | None, int | None]] = []

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Queue ``fault`` for the next ``times`` requests whose path ends in ``path``; ``None`` times is for good."""
        if times is not None and times < 1:
            raise ValueError("times must be at least 1, or None for every request from now on")
        with self._lock:
            self._waiting.append((fault, path, times))

    def take(self, path: str, *, named_only: bool = False) -> Fault | None:
        """The first fault that fits ``path``, used up by this call. With ``named_only`` it must name its path."""
        with self._lock:
            for index, (fault, wanted, times) in enumerate(self._waiting):
                if (wanted is None and named_only) or (wanted is not None and not path.endswith(wanted)):
                    continue
                if times == 1:
                    del self._waiting[index]
                elif times is not None:
                    self._waiting[index] = (fault, wanted, times - 1)
                return fault
        return None

    def clear(self) -> None:
        """Forget what is still waiting."""
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)


def event(payload: Any, *, name: str | None = None) -> bytes:
    """One server-sent event whose data is ``payload`` as compact JSON (text is taken as it is)."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def http_date(moment: datetime.datetime) -> str:
    """``moment`` as HTTP writes it; one without a time zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return email.utils.format_datetime(moment.astimezone(datetime.timezone.utc), usegmt=True)


def respond(
    fault: Fault | None,
    real: Callable[[], Answer | RawAnswer | EventAnswer],
    *,
    headers: Mapping[str, str],
    error_body: Callable[[int], Any],
) -> Answer | RawAnswer:
    """The answer to a request that met ``fault``.

    Args:
        fault: What goes wrong, if anything.
        real: Makes the proper answer; not called when the fault takes its place.
        headers: The provider's usual headers, for an answer that the fault makes.
        error_body: The provider's usual error body for a status.
    """
    if fault is None:
        return apply(Fault(), real())
    if fault.reset or fault.hang_up:
        # An infinite pause is written None further down the line.
        before: list[Step] = [Pause(_finite(fault.before_s))] if fault.before_s else []
        return RawAnswer([*before, Reset() if fault.reset else Cut(close_notify=True)])
    if fault.replaces_the_answer:
        return apply(fault, _substitute(fault, headers, error_body))
    return apply(fault, real())


def _substitute(fault: Fault, headers: Mapping[str, str], error_body: Callable[[int], Any]) -> Answer:
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
    """``answer`` as ``fault`` bends it."""
    if isinstance(answer, RawAnswer):
        return answer
    if isinstance(answer, EventAnswer):
        pairs = list(answer.headers.items() if isinstance(answer.headers, Mapping) else answer.headers)
        answer = Answer(
            200, [*pairs, ("Content-Type", answer.content_type)], _bent(fault, answer), "chunked", done=answer.done
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
        whole = body.encode() if isinstance(body, str) else body
        if isinstance(whole, bytes):
            if not fault.close_delimited and not fault.gzip:
                pairs.append(("Content-Length", str(len(whole))))
            body = [whole[: fault.cut_after_bytes], Cut()]
        else:
            body = _cut_steps(whole, fault.cut_after_bytes)
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
        before_s=_finite(fault.before_s) if fault.before_s else answer.before_s,
        header_pause_s=fault.header_pause_s or answer.header_pause_s,
    )


def _finite(seconds: float) -> float | None:
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


def _bent(fault: Fault, answer: EventAnswer) -> Iterator[Step]:
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
        ended = yield from _between(fault, answer, sent)
        if ended:
            return
        if fault.comments:
            yield _ends(b": keep-alive\n\n", fault.crlf) * fault.comments
        block = item
        if fault.no_finish_reason and not is_end_marker:
            block = _without_finish(block)
        if fault.malformed_after_events == sent:
            block = _broken_off(block)
        if fault.invalid_utf8_after_events == sent:
            block = _not_utf8(block)
        yield _ends(block, fault.crlf)
        sent += 1
    yield from _between(fault, answer, sent)


def _between(fault: Fault, answer: EventAnswer, sent: int) -> Generator[Step, None, bool]:
    """What happens when ``sent`` events are out; returns True when the stream is over."""
    if fault.extra_after_events == sent and fault.extra:
        yield fault.extra
    if fault.cut_after_events == sent:
        yield Cut()
    if fault.reset_after_events == sent:
        yield Reset()
    if fault.stall_after_events == sent:
        yield Pause(fault.stall_s)
    if fault.error_after_events == sent:
        yield _ends(event(answer.error if fault.error is None else fault.error), fault.crlf)
        return True
    if fault.comments_forever_after_events == sent:
        while True:
            yield _ends(b": keep-alive\n\n", fault.crlf)
            yield Pause(fault.comment_pause_s)
    return fault.end_after_events == sent


def _ends(block: bytes, line_end: str) -> bytes:
    return block if line_end == "\n" else block.replace(b"\n", line_end.encode())


def _broken_off(block: bytes) -> bytes:
    head, mark, tail = block.partition(b"data: ")
    data = tail.rstrip(b"\n")
    return head + mark + data[: max(1, len(data) // 2)].decode("utf-8", "ignore").encode() + b"\n\n"


def _not_utf8(block: bytes) -> bytes:
    for place in (b'"content":"', b'"parts": ["', b'"text":"', b"{"):
        before, found, after = block.partition(place)
        if found:
            rubbish = b'"\xff\xfe":0,' if found == b"{" else b"\xd0\xff\xfe"
            return before + found + rubbish + after
    return b'data: "\xff\xfe"\n\n'


def _without_finish(block: bytes) -> bytes:
    head, _, tail = block.partition(b"data: ")
    try:
        payload = json.loads(tail)
    except ValueError:
        return block
    if not isinstance(payload, dict):
        return block
    found = payload.pop("finish_reason", None) is not None
    for choice in payload.get("choices") or ():
        found = choice.pop("finish_reason", None) is not None or found
    message = payload.get("message")
    if isinstance(message, dict) and message.get("author", {}).get("role") == "assistant":
        found = message.pop("end_turn", None) is not None or found
        if message.get("status") == "finished_successfully":
            message["status"], found = "in_progress", True
        found = message.get("metadata", {}).pop("finish_details", None) is not None or found
    return head + event(payload) if found else block
