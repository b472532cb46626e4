"""The answers of the emulators with faults: the regular answer changed, or another one instead."""

from __future__ import annotations

import datetime
import email.utils
import http
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gigaclient.testing.faults import END_MARKER, EventAnswer, Fault, event
from gigaclient.testing.http_messages import Answer, Cut, Pause, RawAnswer, Reset, Step, header_pairs

__all__ = ["apply", "early_answer", "http_date", "respond"]

_PAGE = """<!DOCTYPE html>
<html><head><title>{title}</title></head>
<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>
"""


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


def early_answer(fault: Fault | None, error_body: Callable[[int], Any]) -> Answer | RawAnswer | None:
    """Return the answer of ``fault`` to a request whose body has not been read; None without a fault."""
    return None if fault is None else respond(fault, Answer, headers={}, error_body=error_body)


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
        answer = Answer(
            200,
            [*header_pairs(answer.headers), ("Content-Type", answer.content_type)],
            _faulty_events(fault, answer),
            "chunked",
            done=answer.done,
        )
    pairs = header_pairs(answer.headers)
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
        before_head=fault.before_head or answer.before_head,
        head=answer.head if fault.head is None else fault.head,
        after_body=fault.after_body or answer.after_body,
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
