"""Threads and runs of the GigaChat emulator as data, and the chat requests and replies of their runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gigaclient.testing import canned_model, replies_v1
from gigaclient.testing.assistants import StoredAssistant
from gigaclient.testing.routing import Service
from gigaclient.testing.validation_v1 import check

__all__ = ["EmulatedRun", "EmulatedThread", "chat_request", "chunks", "message_to_json", "reply_to"]

_RUN_OPTIONS = (
    "temperature",
    "top_p",
    "max_tokens",
    "repetition_penalty",
    "profanity_check",
    "flags",
    "function_call",
    "functions",
    "update_interval",
    "stream",
)


@dataclass
class EmulatedRun:
    """A run in the background. Its result is computed at the start and published at the end."""

    started_at: float
    final_status: Literal["ready", "failed"]
    message: dict[str, Any]
    polls: int = 0


@dataclass
class EmulatedThread:
    """A thread as the emulator stores it."""

    client: str
    model: str
    created_at: int
    updated_at: int
    assistant: StoredAssistant | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "ready"
    messages: list[dict[str, Any]] = field(default_factory=list)
    run: EmulatedRun | None = None
    run_messages: list[dict[str, Any]] = field(default_factory=list)


def chat_request(
    thread: EmulatedThread, messages: Sequence[dict[str, Any]], body: Mapping[str, Any], service: Service
) -> dict[str, Any]:
    """Return the chat request that answers ``messages``; raise :class:`Refusal` when it is invalid.

    Args:
        thread: The thread.
        messages: Its messages.
        body: The body of the request for a run.
        service: The emulator.
    """
    limit = body.get("limit")
    if isinstance(limit, int) and limit > 0:
        messages = messages[-limit:]
    known = ("role", "content", "name", "function_call", "functions_state_id", "attachments")
    sent: list[dict[str, Any]] = [{name: message[name] for name in known if name in message} for message in messages]
    fields: dict[str, Any] = thread.assistant.fields if thread.assistant is not None else {}
    if fields.get("instructions") and not any(message["role"] == "system" for message in sent):
        sent.insert(0, {"role": "system", "content": fields["instructions"]})
    request = {name: body[name] for name in _RUN_OPTIONS if body.get(name) is not None}
    if "functions" not in request and fields.get("functions"):
        request["functions"] = fields["functions"]
    return check({**request, "model": thread.model, "messages": sent}, service)


def reply_to(
    request: Mapping[str, Any], thread: EmulatedThread, service: Service
) -> tuple[replies_v1.ModelReply, dict[str, Any]]:
    """Return the model's reply to a chat request, and the message to store."""
    reply = replies_v1.replies(request)[0]
    message = {
        **reply.message(),
        "message_id": str(uuid.uuid4()),
        "created_at": int(service.now_s()),
        "finish_reason": reply.finish_reason,
        "model": replies_v1.with_build(thread.model),
    }
    return reply, message


def message_to_json(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as responses show it."""
    known = ("message_id", "role", "content", "created_at", "function_call", "finish_reason", "model")
    fields = {name: message[name] for name in known if name in message}
    file_ids = message.get("attachments") or []
    return {**fields, "attachments": [{"file_id": file_id, "name": f"{file_id}.txt"} for file_id in file_ids]}


def chunks(reply: replies_v1.ModelReply, prompt: int) -> Iterator[dict[str, Any]]:
    """Yield the reply in chunks. Each has the usage that it adds; the last text has the finish reason."""
    pieces = canned_model.words(reply.content) or [""]
    total, counted, text = reply.tokens(), 0, ""
    for index, piece in enumerate(pieces):
        is_last = index == len(pieces) - 1
        text += piece
        so_far = total if is_last else canned_model.tokens(text)
        delta: dict[str, Any] = {"content": piece, **({"role": "assistant"} if index == 0 else {})}
        choice: dict[str, Any] = {"delta": delta, "index": 0}
        if is_last:
            choice["finish_reason"] = reply.finish_reason
            delta.update({name: value for name, value in reply.message().items() if name not in ("role", "content")})
        yield {"choices": [choice], "usage": replies_v1.usage(prompt if index == 0 else 0, so_far - counted)}
        counted = so_far
