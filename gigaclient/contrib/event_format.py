"""The text of server-sent events: comments, data and the last event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient.contrib.error_payloads import error_payload
from gigaclient.types.tool_runs import Run

__all__ = ["PING", "data_event", "default_data", "done_event", "error_event"]

PING = b": ping\n\n"

_LINE_END = re.compile(r"\r\n|\r|\n")


def default_data(chunk: Any) -> Mapping[str, Any] | None:
    """Return the data of a chunk that has text, otherwise None."""
    text = getattr(chunk, "text", "")
    return {"text": text} if text else None


def data_event(rendered: str | Mapping[str, Any] | None) -> bytes:
    """Return the event of rendered data; empty for None."""
    if rendered is None:
        return b""
    if isinstance(rendered, str):
        return _as_data(rendered)
    if isinstance(rendered, Mapping):
        return _as_data(_json(rendered))
    raise TypeError(f"render must return text, a mapping or None, not {type(rendered).__name__}")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _as_data(text: str) -> bytes:
    lines = _LINE_END.split(text) if "\n" in text or "\r" in text else (text,)
    return "".join([*(f"data: {line}\n" for line in lines), "\n"]).encode("utf-8", "replace")


def done_event(stream: Any) -> bytes:
    """Return the last event of a complete answer."""
    return b"event: done\n" + _as_data(_json(_done_payload(stream)))


def error_event(error: BaseException) -> bytes:
    """Return the last event of an answer that ended early."""
    return b"event: error\n" + _as_data(_json(error_payload(error)))


def _done_payload(stream: Any) -> dict[str, Any]:
    completion = stream.completion
    run = getattr(stream, "run", None)
    usage = run.usage if isinstance(run, Run) else getattr(completion, "usage", None)
    return {
        **({"blocked": True} if getattr(completion, "blocked", False) else {}),
        "finish_reason": getattr(completion, "finish_reason", None),
        "model": getattr(completion, "model", None),
        "usage": None if usage is None else msgspec.to_builtins(usage),
        "request_id": getattr(stream, "request_id", None),
    }
