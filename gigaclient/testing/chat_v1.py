"""The endpoint ``/v1/chat/completions`` of the GigaChat emulator: threads, usage, and chunks."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gigaclient.testing import replies_v1
from gigaclient.testing.faults import END_MARKER, event
from gigaclient.testing.files import EmulatedFiles
from gigaclient.testing.http_messages import RecordedRequest
from gigaclient.testing.routing import (
    AnyAnswer,
    Refusal,
    Route,
    RoutedRequest,
    Service,
    compact,
    json_answer,
    stream_answer,
)
from gigaclient.testing.validation_v1 import check

__all__ = ["ChatV1", "PrefixCache", "chat_body", "last_prompt"]


class PrefixCache:
    """The messages that each session sent last, to count those that are cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, list[str]] = {}

    def common_messages(self, session: str | None, messages: Sequence[Any]) -> int:
        """Return the number of messages at the beginning that equal the previous ones of this session."""
        if session is None:
            return 0
        now = [compact(message) for message in messages]
        with self._lock:
            before = self._sessions.get(session, [])
            self._sessions[session] = now
        return next(
            (i for i, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now))
        )


class ChatV1:
    """The endpoint ``/v1/chat/completions``.

    Args:
        service: The emulator that it belongs to.
        files: The store for pictures that the model creates.
    """

    def __init__(self, service: Service, files: EmulatedFiles) -> None:
        self._service = service
        self._files = files
        self._prefixes = PrefixCache()
        self._lock = threading.Lock()
        self._threads: dict[str, list[dict[str, Any]]] = {}
        self.routes: tuple[Route, ...] = (Route("POST", "v1", "/chat/completions", self._chat),)

    def _chat(self, call: RoutedRequest) -> AnyAnswer:
        service = self._service
        body = check(call.json(), service)
        scripted = service.next_script(call)
        if isinstance(scripted, AnyAnswer):
            return scripted
        release = service.enter(call.client, stream=bool(body.get("stream")))
        try:
            if scripted is not None:
                return self._scripted(call, scripted, body, release)
            body = self._with_history(body)
            return self._answer(call, body, replies_v1.replies(body), release)
        except BaseException:
            release()
            raise

    def _scripted(
        self, call: RoutedRequest, value: Any, body: Mapping[str, Any], release: Callable[[], None]
    ) -> AnyAnswer:
        """Return the answer for a scripted text, message or complete response."""
        response: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"content": str(value)}
        if "choices" not in response:
            return self._answer(call, body, [replies_v1.reply_from(response)], release)
        if not body.get("stream"):
            return json_answer(200, response, call.headers, self._service.answer_pause_s, release=release)
        replies = [
            replies_v1.reply_from({**choice.get("message", {}), "finish_reason": choice.get("finish_reason", "stop")})
            for choice in response["choices"]
        ]
        return self._answer(call, body, replies, release, response)

    def _answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        replies: list[replies_v1.ModelReply],
        release: Callable[[], None],
        scripted: Mapping[str, Any] | None = None,
    ) -> AnyAnswer:
        scripted = scripted or {}
        model = scripted.get("model") or replies_v1.with_build(body.get("model"))
        created = scripted.get("created") or int(self._service.now_s())
        usage = scripted.get("usage") or self._usage(call, body, replies)
        thread = self._remember(body, replies)
        self._files.create_missing_images(call, [reply.content for reply in replies])
        if not body.get("stream"):
            response = replies_v1.completion(replies, model=model, created=created, usage=usage)
            payload = {**response, **thread}
            return json_answer(200, payload, call.headers, self._service.answer_pause_s, release=release)
        interval_s = float(body.get("update_interval") or 0)
        words, pause_s = replies_v1.words_per_chunk(interval_s, self._service.event_pause_s)
        chunks = replies_v1.chunks(replies, model=model, created=created, usage=usage, words=words)
        events = (event({**chunk, **thread}) for chunk in chunks)
        return stream_answer(self._service, call, events, (END_MARKER,), pause_s=pause_s, release=release)

    def _usage(
        self, call: RoutedRequest, body: Mapping[str, Any], replies: list[replies_v1.ModelReply]
    ) -> dict[str, int]:
        prompt = replies_v1.prompt_tokens(body)
        limit = body.get("max_tokens")
        spent = sum(
            limit if reply.finish_reason == "length" and limit is not None else reply.tokens() for reply in replies
        )
        return {**replies_v1.usage(prompt, spent), "precached_prompt_tokens": self._cached(call, body, prompt)}

    def _cached(self, call: RoutedRequest, body: Mapping[str, Any], prompt: int) -> int:
        """Count the tokens of the prefix that this session has sent before; 2 without a prefix, as recorded."""
        cached = self._prefixes.common_messages(call.request.headers.get("x-session-id"), body["messages"])
        return replies_v1.prompt_tokens({"messages": body["messages"][:cached]}) if cached else min(2, prompt)

    def _remember(self, body: Mapping[str, Any], replies: list[replies_v1.ModelReply]) -> dict[str, Any]:
        """Store the dialogue of a request with ``storage``, and return its ids for the response."""
        storage = body.get("storage") or {}
        if not (storage.get("is_stateful") or storage.get("thread_id")):
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        with self._lock:
            self._threads[thread_id] = [*body["messages"], replies[0].message()]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    def _with_history(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request with the stored messages of its thread before the new ones."""
        thread_id = (body.get("storage") or {}).get("thread_id")
        if thread_id is None:
            return body
        with self._lock:
            if thread_id not in self._threads:
                # Invented: the public documentation does not have stateful chat.
                raise Refusal(404, "No such thread")
            return {**body, "messages": [*self._threads[thread_id], *body["messages"]]}


def chat_body(request: RecordedRequest) -> dict[str, Any] | None:
    """Return the body of a chat request of either API, or None for any other request."""
    if request.method != "POST" or not request.path.endswith("/chat/completions"):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def last_prompt(body: Mapping[str, Any]) -> str:
    """Return the text of the last user message of a chat request of either API."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):  # the parts of a message of API v2
                return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
            return str(content or "")
    return ""
