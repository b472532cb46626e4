"""The event stream of a FakeGpt conversation."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from gigaclient.testing import canned_model
from gigaclient.testing.faults import END_MARKER

__all__ = ["StreamSwitches", "cumulative_states", "stream_events"]

_MODEL = "text-davinci-002-render-sha"


class StreamSwitches(Protocol):
    """The switches of the emulator that change a stream."""

    no_done: bool
    never_finished: bool
    error_event: str | None
    detail_event: str | Mapping[str, Any] | None
    only_keep_alives: bool
    rewritten: bool
    new_message_id: bool
    keep_alive: bool


def cumulative_states(switches: StreamSwitches, text: str) -> list[str]:
    """Return the cumulative states of ``text``, changed by the switches."""
    pieces = canned_model.words(text) or [""]
    states = ["".join(pieces[: count + 1]) for count in range(len(pieces))]
    if switches.rewritten:
        first_half = "".join(pieces[: max(1, len(pieces) // 2)])
        # The states share the first half of the text; one state continues it differently.
        states = [*states[: max(1, len(pieces) // 2)], f"{first_half} — no, wait", *states[len(pieces) // 2 :]]
    if switches.new_message_id:
        states = [*states[: max(1, len(states) // 2)], *states]
    # An error comes after two events with text, and a text of one word has too few.
    while len(states) < 3 and (switches.error_event is not None or switches.detail_event is not None):
        states.append(states[-1] + ".")
    return states


def stream_events(
    switches: StreamSwitches,
    body: Mapping[str, Any],
    conversation_id: str,
    states: list[str],
    release: Callable[[], None],
) -> Iterator[bytes]:
    """Yield the events of a conversation, changed by the switches, and call ``release`` before the end.

    Args:
        switches: The emulator.
        body: The body of the request.
        conversation_id: The id of the conversation.
        states: The cumulative texts of the answer.
        release: Called when only the end marker is left.
    """
    yield _prompt_event(body["messages"][0], conversation_id)
    if switches.keep_alive:
        yield _timestamp()
    if switches.only_keep_alives:
        for _ in range(3):
            yield _timestamp()
        release()
        yield END_MARKER
        return
    message_id = str(uuid.uuid4())
    middle = len(states) // 2
    for number, state in enumerate(states):
        if number == 2 and switches.error_event is not None:
            yield _encode_event({"message": None, "conversation_id": conversation_id, "error": switches.error_event})
            return
        if number == 2 and switches.detail_event is not None:
            yield _encode_event({"detail": switches.detail_event})
            return
        if number == middle and switches.new_message_id:
            message_id = str(uuid.uuid4())
        if number and number % 5 == 0 and switches.keep_alive:
            yield b"event: ping\n" + _timestamp()
        finished = number == len(states) - 1 and not switches.never_finished
        yield _encode_event(_message(message_id, conversation_id, state, finished))
    yield _moderation_event(message_id, conversation_id)
    release()
    if not switches.no_done:
        yield END_MARKER


def _prompt_event(prompt: Mapping[str, Any], conversation_id: str) -> bytes:
    message = {
        "id": prompt.get("id"),
        "author": {"role": "user", "name": None, "metadata": {}},
        "create_time": time.time(),
        "content": prompt["content"],
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": {"timestamp_": "absolute", "message_type": None},
        "recipient": "all",
    }
    return _encode_event({"message": message, "conversation_id": conversation_id, "error": None})


def _moderation_event(message_id: str, conversation_id: str) -> bytes:
    moderation_id = f"modr-{message_id.replace('-', '')[:20]}"
    moderation = {"flagged": False, "blocked": False, "moderation_id": moderation_id}
    event = {"conversation_id": conversation_id, "message_id": message_id, "is_completion": True}
    return _encode_event({**event, "moderation_response": moderation})


def _message(message_id: str, conversation_id: str, text: str, finished: bool) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": message_id,
        "author": {"role": "assistant", "name": None, "metadata": {}},
        "create_time": time.time(),
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully" if finished else "in_progress",
        "weight": 1.0,
        "metadata": {"message_type": "next", "model_slug": _MODEL},
        "recipient": "all",
    }
    if finished:
        message["end_turn"] = True
        message["metadata"]["finish_details"] = {"type": "stop", "stop_tokens": [100260]}
    return {"message": message, "conversation_id": conversation_id, "error": None}


def _encode_event(payload: Any) -> bytes:
    try:
        data = json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold as an escape alone
        data = json.dumps(payload).encode()
    return b"data: %b\n\n" % data


def _timestamp() -> bytes:
    return time.strftime("data: %Y-%m-%d %H:%M:%S.000000\n\n", time.gmtime()).encode()
