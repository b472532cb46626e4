"""The endpoint ``/v2/chat/completions`` of the GigaChat emulator: threads, usage, and events."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from gigaclient.testing import canned_model, replies_v1
from gigaclient.testing.chat_v1 import PrefixCache
from gigaclient.testing.faults import END_MARKER, EventAnswer, event
from gigaclient.testing.files import PICTURE, EmulatedFiles
from gigaclient.testing.replies_v2 import Responder, output_tokens, response_from
from gigaclient.testing.routing import (
    AnyAnswer,
    Refusal,
    Route,
    RoutedRequest,
    Service,
    json_answer,
    stream_answer,
)
from gigaclient.testing.validation_v2 import RESULT_ROLES, STATE_IDS, check, prompt_tokens

__all__ = ["ChatV2"]

Encoding = Literal["object", "text"]
Role = Literal["tool", "function"]


class ChatV2:
    """The endpoint ``/v2/chat/completions``.

    The attributes may be changed while the emulator runs. With the defaults it accepts what either of the two known
    kinds of servers accepts.

    Args:
        service: The emulator that it belongs to.
        files: The store for files that the model creates.

    Attributes:
        strict_roles: The only accepted role of a function's result: ``"tool"`` or ``"function"``.
        strict_results: The only accepted form of a function's result: ``"object"``, or ``"text"`` for a string of
            JSON.
        unavailable_tools: Tools that are refused with 422.
        call_ids: True for function calls with an ``id``; those of older servers have none.
        add_done_marker: End streams with ``data: [DONE]``.
        unnamed_events: Send events without names.
        state_id_only_in_done: In a stream, send the state id with the last event only.
        function_call_only_in_done: In a stream, send function calls and their state id with the last event only, as the
            service does. ``False`` sends them in an event before it.
        text_in_done: Repeat the complete text in the last event of a stream.
        string_content: Send texts as strings instead of lists of parts.
    """

    def __init__(self, service: Service, files: EmulatedFiles) -> None:
        self.strict_roles: Role | None = None
        self.strict_results: Encoding | None = None
        self.unavailable_tools: set[str] = set()
        self.call_ids = True
        self.add_done_marker = False
        self.unnamed_events = False
        self.state_id_only_in_done = False
        self.function_call_only_in_done = True
        self.text_in_done = False
        self.string_content = False
        self._service = service
        self._files = files
        self._lock = threading.Lock()
        self._threads: dict[str, list[dict[str, Any]]] = {}
        self._prefixes = PrefixCache()
        self.routes: tuple[Route, ...] = (Route("POST", "v2", "/chat/completions", self._chat),)

    def _chat(self, call: RoutedRequest) -> AnyAnswer:
        service = self._service
        request = call.json()
        history = self._history(request)
        body = check(
            request,
            service,
            unavailable_tools=self.unavailable_tools,
            history=history,
            roles=RESULT_ROLES if self.strict_roles is None else (self.strict_roles,),
            results=("object", "text") if self.strict_results is None else (self.strict_results,),
        )
        scripted = service.next_script(call)
        if isinstance(scripted, AnyAnswer):
            return scripted
        release = service.enter(call.client, stream=bool(body.get("stream")))
        try:
            if scripted is not None:
                response = self._from_script(scripted)
            else:
                responder = Responder(body, history, service.now_s())
                messages, reason = responder.messages()
                self._store_files(call, responder.created_files)
                response = {"messages": messages, "finish_reason": reason}
            return self._answer(call, body, history, response, release)
        except BaseException:
            release()
            raise

    def _from_script(self, value: Any) -> dict[str, Any]:
        """Build a complete response from a text, a message, or a complete response of either API."""
        if not isinstance(value, Mapping):
            return response_from({"content": str(value)})
        if isinstance(value.get("messages"), list):
            return dict(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            rest = {name: value[name] for name in ("model",) if name in value}
            message = dict(choices[0].get("message") or {})
            message.setdefault("finish_reason", choices[0].get("finish_reason"))
            return {**response_from(message), **rest}
        return response_from(dict(value))

    def _store_files(self, call: RoutedRequest, created_files: Sequence[tuple[str, str, str]]) -> None:
        for identifier, name, mime in created_files:
            content = PICTURE if mime == "image/jpeg" else _EMPTY_GLB
            self._files.add(call.client, content, name, mime=mime, end_user=call.end_user, identifier=identifier)

    # -- threads

    def _history(self, body: Any) -> list[dict[str, Any]]:
        storage = body.get("storage") if isinstance(body, dict) else None
        thread_id = storage.get("thread_id") if isinstance(storage, dict) else None
        if storage is None or thread_id is None:
            return []
        with self._lock:
            if thread_id not in self._threads:
                # Invented: the public documentation does not have stateful chat.
                raise Refusal(404, "No such thread")
            messages = list(self._threads[thread_id])
        limit = storage.get("limit")
        return messages[-limit:] if isinstance(limit, int) and limit > 0 else messages

    def _remember(self, body: Mapping[str, Any], messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        storage = body.get("storage")
        if storage is None:
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        added = [message for message in messages if message.get("role") == "assistant"]
        added = [message for message in added if isinstance(message.get("content"), list)]
        with self._lock:
            self._threads[thread_id] = [*self._threads.get(thread_id, []), *body["messages"], *added]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    # -- bodies and events

    def _answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        scripted: Mapping[str, Any],
        release: Callable[[], None],
    ) -> AnyAnswer:
        response: dict[str, Any] = {
            "model": replies_v1.with_build(body.get("model")),
            "created_at": int(self._service.now_s()),
            "messages": [],
            "finish_reason": "stop",
            **scripted,
        }
        messages = [self._with_call_ids(message) for message in response["messages"]]
        response["messages"] = messages
        if "usage" not in response:
            response["usage"] = self._usage(call, {**body, "messages": [*history, *body["messages"]]}, messages)
        response.update(self._remember(body, messages))
        if not body.get("stream"):
            response["messages"] = [self._with_string_content(message) for message in messages]
            return json_answer(200, response, call.headers, self._service.answer_pause_s, release=release)
        return self._stream(call, body, response, release)

    def _with_call_ids(self, original: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = dict(original)
        if not self.call_ids and isinstance(message.get("content"), list):
            message["content"] = [
                {**part, "function_call": {k: v for k, v in part["function_call"].items() if k != "id"}}
                if isinstance(part, dict) and isinstance(part.get("function_call"), dict)
                else part
                for part in message["content"]
            ]
        return message

    def _with_string_content(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if self.string_content and isinstance(content, list) and all(_is_text(part) for part in content):
            return {**message, "content": "".join([part["text"] for part in content])}
        return message

    def _usage(
        self, call: RoutedRequest, body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        prompt = prompt_tokens(body)
        limit = (body.get("model_options") or {}).get("max_tokens")
        spent = output_tokens(messages)
        if limit is not None:
            spent = min(spent, max(limit, output_tokens([m for m in messages if m.get("role") == "reasoning"]) + limit))
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"prompt_tokens": prompt, "cached_tokens": self._cached(call, body)},
            "output_tokens": spent,
            "total_tokens": prompt + spent,
        }

    def _cached(self, call: RoutedRequest, body: Mapping[str, Any]) -> int:
        """Count the tokens of the prefix that this session has sent before."""
        cached = self._prefixes.common_messages(call.request.headers.get("x-session-id"), body["messages"])
        return prompt_tokens({"messages": body["messages"][:cached]}) if cached else 0

    def _stream(
        self, call: RoutedRequest, body: Mapping[str, Any], response: Mapping[str, Any], release: Callable[[], None]
    ) -> EventAnswer:
        service = self._service
        interval_s = float((body.get("model_options") or {}).get("update_interval") or 0)
        words, pause_s = replies_v1.words_per_chunk(interval_s, service.event_pause_s)
        head = {"model": response["model"], "created_at": response["created_at"]}
        deltas = [
            (name, {**head, "messages": [message]})
            for message in response["messages"]
            for name, message in self._deltas(message, words)
        ]
        rest = {name: value for name, value in response.items() if name != "messages"}
        last = self._messages_of_last_event(response["messages"])
        done = {**rest, "messages": last} if last else rest

        def named(name: str, payload: Mapping[str, Any]) -> bytes:
            return event(payload, name=None if self.unnamed_events else name)

        last_events = [named("response.message.done", done), *((END_MARKER,) if self.add_done_marker else ())]
        events = (named(name, payload) for name, payload in deltas)
        return stream_answer(service, call, events, last_events, pause_s=pause_s, release=release)

    def _deltas(self, message: Mapping[str, Any], words_per_event: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Split a message into deltas, each with the name of its event."""
        delta = "response.message.delta"
        role = {"role": message.get("role", "assistant")}
        state = {name: message[name] for name in STATE_IDS if name in message and not self.state_id_only_in_done}
        content = message.get("content") or []
        as_string = isinstance(content, str) or self.string_content
        for part in [{"text": content}] if isinstance(content, str) else content:
            if not isinstance(part, dict):
                yield delta, {**role, "content": [part]}
                continue
            others = {name: value for name, value in part.items() if name != "text"}
            execution: Any = others.pop("tool_execution", None)
            if execution is not None:
                yield from _tool_events(role, execution)
            if "function_call" in others and self.function_call_only_in_done:
                del others["function_call"]
            if others:
                yield delta, {**role, **(state if "function_call" in others else {}), "content": [others]}
            words = canned_model.words(part["text"]) if isinstance(part.get("text"), str) else []
            for start in range(0, len(words), words_per_event):
                text = "".join(words[start : start + words_per_event])
                yield delta, {**role, "content": text if as_string else [{"text": text}]}

    def _messages_of_last_event(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for message in messages:
            content = message.get("content")
            parts: list[Any] = []
            for part in content if isinstance(content, list) else ():
                if self.function_call_only_in_done and isinstance(part, dict) and "function_call" in part:
                    parts.append({"function_call": part["function_call"]})
                elif self.text_in_done and isinstance(part, dict) and part.get("text"):
                    parts.append({"text": part["text"]})
            has_calls = any(isinstance(part, dict) and "function_call" in part for part in content or ())
            state = {name: message[name] for name in STATE_IDS if name in message}
            if not parts and (not state or (has_calls and not self.state_id_only_in_done)):
                continue  # the event with the calls had it
            found.append({"role": message.get("role", "assistant"), **state, **({"content": parts} if parts else {})})
        return found


def _tool_events(role: Mapping[str, Any], execution: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    started = {name: execution[name] for name in ("id", "name") if name in execution}
    yield "response.tool.in_progress", {**role, "content": [{"tool_execution": {**started, "seconds_left": 2}}]}
    yield "response.tool.completed", {**role, "content": [{"tool_execution": dict(execution)}]}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"text"}


# An empty glTF binary of version 2.
_JSON_CHUNK = b'{"asset":{"version":"2.0"}} '
_EMPTY_GLB = (
    b"glTF"
    + (2).to_bytes(4, "little")
    + (20 + len(_JSON_CHUNK)).to_bytes(4, "little")
    + len(_JSON_CHUNK).to_bytes(4, "little")
    + b"JSON"
    + _JSON_CHUNK
)
