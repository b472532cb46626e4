"""Send the requests of ``giga.threads``: what its threads, messages and runs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from gigaclient import types
from gigaclient._core.messages import as_messages, encode
from gigaclient._core.settings import whole as whole_number
from gigaclient.errors import ConfigError
from gigaclient.gigachat.resources._nested import NestedResource
from gigaclient.gigachat.resources._validation import checked_text, checked_texts
from gigaclient.gigachat.thread_stream import ThreadEventParser, ThreadStream
from gigaclient.transport.request import Request, RetrySafety

__all__ = [
    "MessageLike",
    "ThreadRequests",
    "checked_id",
    "checked_ids",
    "message_list",
    "path_with_query",
    "target_fields",
]

# A string is a message of the user.
MessageLike = types.Message | str | Mapping[str, Any]


class ThreadRequests(NestedResource):
    """Sends the requests of ``giga.threads``, streams too."""

    _name = "threads"
    _not_found_advice = "threads.list() lists the threads; not every server supports them"

    def _stream(
        self, path: str, body: dict[str, Any], options: Mapping[str, Any], retry_safety: RetrySafety
    ) -> ThreadStream:
        settings = self._client._call_settings(options)
        request = Request(
            "POST", path, body=encode({**body, "stream": True}), accept="text/event-stream", retry_safety=retry_safety
        )
        with self._advising_not_found():
            response = self._client._send_stream(request, settings)
        return ThreadStream(response, ThreadEventParser(response.request_id), request_id=response.request_id)


def checked_id(thread_id: Any) -> str:
    return checked_text(thread_id, "thread_id", "id")


def checked_ids(ids: Any, name: str) -> Iterable[str]:
    return checked_texts(ids, name) if not isinstance(ids, (list, tuple)) or ids else ()


def target_fields(thread_id: str | None, assistant_id: str | None, model: str | None) -> dict[str, str]:
    """Return ``thread_id`` and ``assistant_id``; ``model`` only without them, because both have their own model."""
    target = {}
    if thread_id is not None:
        target["thread_id"] = checked_id(thread_id)
    if assistant_id is not None:
        target["assistant_id"] = checked_text(assistant_id, "assistant_id", "id")
    if not target and model is not None:
        target["model"] = checked_text(model, "model")
    return target


def path_with_query(path: str, query: Sequence[tuple[str, str]], limit: int | None, before: int | None) -> str:
    pairs = [*query]
    for name, value in (("limit", limit), ("before", before)):
        if value is not None:
            pairs.append((name, str(_checked_number(name, value))))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _checked_number(name: str, value: Any) -> int:
    try:
        return whole_number(0)(value)
    except ConfigError as error:
        reason = error.message
    raise ConfigError(f"{name} {reason}")


def message_list(messages: Any) -> Any:
    if isinstance(messages, (str, Mapping, types.Message)):
        messages = [messages]
    if messages is None:
        messages = []
    if isinstance(messages, Iterable) and not isinstance(messages, (bytes, bytearray, memoryview)):
        messages = [types.Message(role="user", content=item) if isinstance(item, str) else item for item in messages]
    return as_messages(messages)
