"""Threads and runs of the GigaChat emulator. Their protocol is known from the official SDK only."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

from gigaclient.testing import replies_v1
from gigaclient.testing.assistants import EmulatedAssistants, StoredAssistant
from gigaclient.testing.faults import END_MARKER, event
from gigaclient.testing.http_messages import Answer
from gigaclient.testing.routing import (
    INVALID_JSON,
    AnyAnswer,
    Refusal,
    Route,
    RoutedRequest,
    Service,
    json_answer,
    stream_answer,
)
from gigaclient.testing.thread_data import EmulatedRun, EmulatedThread, chat_request, chunks, message_to_json, reply_to
from gigaclient.testing.validation_v1 import check

__all__ = ["EmulatedThreads"]

IdName: TypeAlias = Literal["id", "thread_id"]

_OBJECT = "threads.messages.run"


class EmulatedThreads:
    """The state and the routes of ``/threads``.

    The attributes may be changed while the emulator runs.

    Attributes:
        looks: The number of the status request (``GET /threads/run``) that finds a run finished. Earlier ones find it
            ``in_progress``.
        seconds: Used instead of ``looks``: the seconds that a run takes.
        failing: True makes runs in the background end as ``failed``, without a message.
        id_name: The name of a thread's id: ``id``, or ``thread_id`` as in newer servers.
    """

    def __init__(self, service: Service, assistants: EmulatedAssistants) -> None:
        self.looks = 2
        self.seconds: float | None = None
        self.failing = False
        self.id_name: IdName = "id"
        self._service = service
        self._assistants = assistants
        self._lock = threading.Lock()
        self._threads: dict[str, EmulatedThread] = {}
        self.routes: tuple[Route, ...] = (
            Route("GET", "v1", "/threads", self._list),
            Route("POST", "v1", "/threads", self._create),
            Route("POST", "v1", "/threads/retrieve", self._retrieve),
            Route("POST", "v1", "/threads/delete", self._delete),
            Route("GET", "v1", "/threads/messages", self._list_messages),
            Route("POST", "v1", "/threads/messages", self._add_messages),
            Route("GET", "v1", "/threads/run", self._get_run),
            Route("POST", "v1", "/threads/run", self._start_run),
            Route("POST", "v1", "/threads/messages/run", self._run_messages),
            Route("POST", "v1", "/threads/messages/rerun", self._rerun_messages),
        )

    # -- threads

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        query = parse_qs(call.request.query)
        assistant_ids = query.get("assistants_ids")
        limit, before = _bounds(call)
        with self._lock:
            found = [
                thread
                for thread in self._threads.values()
                if thread.client == call.client
                and (assistant_ids is None or (thread.assistant is not None and thread.assistant.id in assistant_ids))
                and (before is None or thread.created_at < before)
            ]
            threads = [self._to_json(thread) for thread in found]
        return call.answer({"threads": threads if limit is None else threads[:limit]})

    def _create(self, call: RoutedRequest) -> AnyAnswer:
        if call.json() != {}:
            raise Refusal(400, INVALID_JSON)
        thread = self._new_thread(call, None, None)
        with self._lock:
            self._threads[thread.id] = thread
            return call.answer(self._to_json(thread))

    def _retrieve(self, call: RoutedRequest) -> AnyAnswer:
        thread_ids = _read_object(call).get("threads_ids")
        if not isinstance(thread_ids, list) or not thread_ids:
            raise Refusal(400, INVALID_JSON)
        with self._lock:
            # Invented: unknown ids are skipped.
            found = [self._threads[thread_id] for thread_id in thread_ids if thread_id in self._threads]
            threads = [self._to_json(thread) for thread in found if thread.client == call.client]
        return call.answer({"threads": threads})

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        thread_id = _read_object(call).get("thread_id")
        with self._lock:
            thread = self._find(call, thread_id)
            del self._threads[thread.id]
        if thread.assistant is not None:
            self._assistants.release(thread.assistant.id)
        return Answer(200, dict(call.headers), b"")

    # -- messages

    def _list_messages(self, call: RoutedRequest) -> AnyAnswer:
        thread_id = call.request.params.get("thread_id")
        limit, before = _bounds(call)
        with self._lock:
            thread = self._find(call, thread_id)
            messages = [message for message in thread.messages if before is None or message["created_at"] < before]
        if limit is not None:
            messages = messages[-limit:] if limit else []
        return call.answer({"thread_id": thread.id, "messages": [message_to_json(message) for message in messages]})

    def _add_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _read_object(call)
        thread, is_new = self._thread_for(call, body)
        added = self._validated_messages(body, thread)
        self._append(thread, added, is_new)
        messages = [{"message_id": message["message_id"], "created_at": message["created_at"]} for message in added]
        return call.answer({"thread_id": thread.id, "messages": messages})

    # -- runs

    def _start_run(self, call: RoutedRequest) -> AnyAnswer:
        body = _read_object(call)
        thread = self._existing(call, body)
        self._set_assistant(call, thread, body)
        if body.get("stream"):
            return self._answer(call, thread, body)
        request = self._chat_request(thread, body)
        message = reply_to(request, thread, self._service)[1]
        now = int(self._service.now_s())
        with self._lock:
            self._check_unlocked(thread)
            thread.run = EmulatedRun(time.monotonic(), "failed" if self.failing else "ready", message)
            thread.status, thread.updated_at, thread.run_messages = "in_progress", now, []
        return call.answer({"status": "in_progress", "thread_id": thread.id, "created_at": now})

    def _get_run(self, call: RoutedRequest) -> AnyAnswer:
        thread_id = call.request.params.get("thread_id")
        with self._lock:
            thread = self._find(call, thread_id)
            run = thread.run
            if run is not None:
                run.polls += 1
                is_finished = run.polls >= self.looks
                if self.seconds is not None:
                    is_finished = time.monotonic() - run.started_at >= self.seconds
                if is_finished:
                    thread.run, thread.status = None, run.final_status
                    thread.updated_at = int(self._service.now_s())
                    if run.final_status == "ready":
                        thread.messages.append(run.message)
                        thread.run_messages = [run.message]
            response: dict[str, Any] = {
                "status": thread.status,
                "thread_id": thread.id,
                "updated_at": thread.updated_at,
                "model": thread.model,
            }
            if thread.run_messages and thread.run is None:
                response["messages"] = [message_to_json(message) for message in thread.run_messages]
        return call.answer(response)

    def _run_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _read_object(call)
        thread, is_new = self._thread_for(call, body)
        added = self._validated_messages(body, thread)
        return self._answer(call, thread, body, added=added, is_new=is_new)

    def _rerun_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _read_object(call)
        thread = self._existing(call, body)
        with self._lock:
            self._check_unlocked(thread)
            removed = []
            while thread.messages and thread.messages[-1]["role"] == "assistant":
                removed.append(thread.messages.pop())
        try:
            return self._answer(call, thread, body)
        except Refusal:
            with self._lock:
                thread.messages += reversed(removed)
            raise

    def _answer(
        self,
        call: RoutedRequest,
        thread: EmulatedThread,
        body: Mapping[str, Any],
        *,
        added: list[dict[str, Any]] | None = None,
        is_new: bool = False,
    ) -> AnyAnswer:
        request = self._chat_request(thread, body, added or [])
        reply, message = reply_to(request, thread, self._service)
        stream = bool(body.get("stream"))
        release = self._service.enter(call.client, stream=stream)
        try:
            self._append(thread, [*(added or []), message], is_new)
        except BaseException:
            release()
            raise
        head = {
            "model": message["model"],
            "thread_id": thread.id,
            "message_id": message["message_id"],
            "created": message["created_at"],
            "object": _OBJECT,
        }
        prompt = replies_v1.prompt_tokens(request)
        if not stream:
            usage = replies_v1.usage(prompt, reply.tokens())
            response = {**head, "usage": usage, "message": reply.message(), "finish_reason": reply.finish_reason}
            return json_answer(200, response, call.headers, self._service.answer_pause_s, release=release)
        pause_s = max(self._service.event_pause_s, float(body.get("update_interval") or 0))
        events = (event({**head, **chunk}) for chunk in chunks(reply, prompt))
        return stream_answer(self._service, call, events, (END_MARKER,), pause_s=pause_s, release=release)

    # -- helpers

    def _new_thread(self, call: RoutedRequest, assistant: StoredAssistant | None, model: str | None) -> EmulatedThread:
        if assistant is not None:
            model = assistant.model
        if model is None:
            model = next((name for name, type_ in self._service.models.items() if type_ == "chat"), "GigaChat")
        now = int(self._service.now_s())
        return EmulatedThread(call.client, model, now, now, assistant)

    def _thread_for(self, call: RoutedRequest, body: Mapping[str, Any]) -> tuple[EmulatedThread, bool]:
        """Return the thread of a request with messages, and True when it is a new one."""
        if any(body.get(name, "") is None for name in ("thread_id", "assistant_id", "model")):
            raise Refusal(400, INVALID_JSON)
        if "thread_id" in body:
            thread = self._existing(call, body)
            self._set_assistant(call, thread, body)
            return thread, False
        assistant = None
        if "assistant_id" in body:
            if "model" in body:
                # Invented: the documentation says that the two exclude each other, without an error.
                raise Refusal(422, "Invalid params: model and assistant_id exclude each other")
            assistant = self._assistants.find(call.client, body["assistant_id"])
        elif not isinstance(body.get("model", ""), str):
            raise Refusal(400, INVALID_JSON)
        return self._new_thread(call, assistant, body.get("model")), True

    def _existing(self, call: RoutedRequest, body: Mapping[str, Any]) -> EmulatedThread:
        if "model" in body:
            raise Refusal(422, "Invalid params: model and thread_id exclude each other")
        with self._lock:
            thread = self._find(call, body.get("thread_id"))
            self._check_unlocked(thread)
            return thread

    def _set_assistant(self, call: RoutedRequest, thread: EmulatedThread, body: Mapping[str, Any]) -> None:
        """Make the request's assistant, if any, the assistant of the thread."""
        if "assistant_id" not in body or (thread.assistant is not None and thread.assistant.id == body["assistant_id"]):
            return
        assistant = self._assistants.use(call.client, body["assistant_id"])
        with self._lock:
            before, thread.assistant, thread.model = thread.assistant, assistant, assistant.model
        if before is not None:
            self._assistants.release(before.id)

    def _find(self, call: RoutedRequest, thread_id: Any) -> EmulatedThread:
        if not isinstance(thread_id, str) or not thread_id:
            raise Refusal(400, INVALID_JSON)
        thread = self._threads.get(thread_id)
        if thread is None or thread.client != call.client:
            # Invented, like all texts of this module: none is documented.
            raise Refusal(404, "No such thread")
        return thread

    def _check_unlocked(self, thread: EmulatedThread) -> None:
        if thread.run is not None:
            raise Refusal(422, "Invalid params: the thread is locked by a run")

    def _validated_messages(self, body: Mapping[str, Any], thread: EmulatedThread) -> list[dict[str, Any]]:
        sent = body.get("messages")
        if not isinstance(sent, list) or not sent:
            raise Refusal(400, INVALID_JSON)
        # Each message alone has to follow the rules of chat; their order is validated when the thread is answered.
        for message in sent:
            role = message.get("role") if isinstance(message, dict) else None
            checked = {**message, "role": "user"} if role in ("system", "assistant", "function") else message
            check({"model": thread.model, "messages": [checked]}, self._service)
        now = int(self._service.now_s())
        return [{**message, "message_id": str(uuid.uuid4()), "created_at": now} for message in sent]

    def _append(self, thread: EmulatedThread, messages: list[dict[str, Any]], is_new: bool) -> None:
        if is_new and thread.assistant is not None:
            self._assistants.use(thread.client, thread.assistant.id)
        with self._lock:
            self._check_unlocked(thread)
            self._threads[thread.id] = thread
            thread.messages += messages
            thread.updated_at = int(self._service.now_s())
            thread.status = "ready"

    def _chat_request(
        self, thread: EmulatedThread, body: Mapping[str, Any], added: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        with self._lock:
            messages = [*thread.messages, *(added or [])]
        return chat_request(thread, messages, body, self._service)

    def _to_json(self, thread: EmulatedThread) -> dict[str, Any]:
        response: dict[str, Any] = {
            self.id_name: thread.id,
            "model": thread.model,
            "created_at": thread.created_at,
            "updated_at": thread.updated_at,
            "run_lock": thread.run is not None,
            "status": thread.status,
        }
        if thread.assistant is not None:
            response["assistant_id"] = thread.assistant.id
        return response


def _read_object(call: RoutedRequest) -> dict[str, Any]:
    # The official SDK sends a null for each field that is not set.
    return {name: value for name, value in call.json_object().items() if value is not None}


def _bounds(call: RoutedRequest) -> tuple[int | None, int | None]:
    """Return ``limit`` and ``before`` of the query."""
    bounds = []
    for name in ("limit", "before"):
        value = call.request.params.get(name)
        if value is not None and not value.isdecimal():
            raise Refusal(400, INVALID_JSON)
        bounds.append(None if value is None else int(value))
    return bounds[0], bounds[1]
