"""Threads of the GigaChat emulator, and runs. The protocol knows them from the official SDK alone; so does this."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

from gigaclient.testing import canned_model as answers
from gigaclient.testing import chat_v1
from gigaclient.testing.assistants import EmulatedAssistants, Kept
from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal
from gigaclient.testing.fault_server import Answer, Pause
from gigaclient.testing.faults import END_MARKER, EventAnswer, event
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer

__all__ = ["EmulatedThreads"]

IdName: TypeAlias = Literal["id", "thread_id"]

_KIND = "threads.messages.run"
_STREAM_ERROR = {"status": 500, "message": "Internal Server Error"}
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
class _Run:
    """A run that is not waited for: its end is prepared when it begins, and comes out later."""

    began_at: float
    ends_as: Literal["ready", "failed"]
    message: dict[str, Any]
    looks: int = 0


@dataclass
class _Thread:
    client: str
    model: str
    created_at: int
    updated_at: int
    assistant: Kept | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "ready"
    messages: list[dict[str, Any]] = field(default_factory=list)
    run: _Run | None = None
    said: list[dict[str, Any]] = field(default_factory=list)


class EmulatedThreads:
    """``/threads``: the state, and the routes.

    The attributes may be assigned while the emulator runs.

    Attributes:
        looks: A run is over at this look (``GET /threads/run``), and ``in_progress`` at those before it.
        seconds: In place of ``looks``: over so long after its beginning.
        failing: Whether runs that are not waited for end as ``failed``, without a message.
        id_name: What a thread calls its id: ``id``, or ``thread_id`` as newer servers do.
    """

    def __init__(self, service: Service, assistants: EmulatedAssistants) -> None:
        self.looks = 2
        self.seconds: float | None = None
        self.failing = False
        self.id_name: IdName = "id"
        self._service = service
        self._assistants = assistants
        self._lock = threading.Lock()
        self._threads: dict[str, _Thread] = {}
        self.routes: tuple[Route, ...] = (
            Route("GET", "v1", "/threads", self._list),
            Route("POST", "v1", "/threads", self._create),
            Route("POST", "v1", "/threads/retrieve", self._retrieve),
            Route("POST", "v1", "/threads/delete", self._delete),
            Route("GET", "v1", "/threads/messages", self._list_messages),
            Route("POST", "v1", "/threads/messages", self._add_messages),
            Route("GET", "v1", "/threads/run", self._get_run),
            Route("POST", "v1", "/threads/run", self._begin_run),
            Route("POST", "v1", "/threads/messages/run", self._run_messages),
            Route("POST", "v1", "/threads/messages/rerun", self._rerun_messages),
        )

    # -- threads

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        query = parse_qs(call.request.query)
        wanted = query.get("assistants_ids")
        limit, before = _bounds(call)
        with self._lock:
            found = [
                thread
                for thread in self._threads.values()
                if thread.client == call.client
                and (wanted is None or (thread.assistant is not None and thread.assistant.id in wanted))
                and (before is None or thread.created_at < before)
            ]
            shown = [self._shown(thread) for thread in found]
        return json_answer(200, {"threads": shown if limit is None else shown[:limit]}, call.headers)

    def _create(self, call: RoutedRequest) -> AnyAnswer:
        if call.json() != {}:
            raise Refusal(400, INVALID_JSON)
        thread = self._made(call, None, None)
        with self._lock:
            self._threads[thread.id] = thread
            return json_answer(200, self._shown(thread), call.headers)

    def _retrieve(self, call: RoutedRequest) -> AnyAnswer:
        wanted = _object(call).get("threads_ids")
        if not isinstance(wanted, list) or not wanted:
            raise Refusal(400, INVALID_JSON)
        with self._lock:
            # Invented: that those who are not there are passed over.
            found = [self._threads[one] for one in wanted if one in self._threads]
            shown = [self._shown(thread) for thread in found if thread.client == call.client]
        return json_answer(200, {"threads": shown}, call.headers)

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        wanted = _object(call).get("thread_id")
        with self._lock:
            thread = self._found(call, wanted)
            del self._threads[thread.id]
        if thread.assistant is not None:
            self._assistants.leave(thread.assistant.id)
        return Answer(200, dict(call.headers), b"")

    # -- messages

    def _list_messages(self, call: RoutedRequest) -> AnyAnswer:
        wanted = call.request.params.get("thread_id")
        limit, before = _bounds(call)
        with self._lock:
            thread = self._found(call, wanted)
            shown = [one for one in thread.messages if before is None or one["created_at"] < before]
        if limit is not None:
            shown = shown[-limit:] if limit else []
        return json_answer(
            200, {"thread_id": thread.id, "messages": [_message_shown(one) for one in shown]}, call.headers
        )

    def _add_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        thread, is_new = self._thread_for(call, body)
        added = self._checked_messages(body, thread)
        self._append(thread, added, is_new)
        told = [{"message_id": one["message_id"], "created_at": one["created_at"]} for one in added]
        return json_answer(200, {"thread_id": thread.id, "messages": told}, call.headers)

    # -- runs

    def _begin_run(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        thread = self._existing(call, body)
        self._engage(call, thread, body)
        if body.get("stream"):
            return self._answer(call, thread, body)
        request = self._request(thread, body)
        message = self._reply(request, thread)[1]
        now = int(self._service.now_s())
        with self._lock:
            self._check_unlocked(thread)
            thread.run = _Run(time.monotonic(), "failed" if self.failing else "ready", message)
            thread.status, thread.updated_at, thread.said = "in_progress", now, []
        return json_answer(200, {"status": "in_progress", "thread_id": thread.id, "created_at": now}, call.headers)

    def _get_run(self, call: RoutedRequest) -> AnyAnswer:
        wanted = call.request.params.get("thread_id")
        with self._lock:
            thread = self._found(call, wanted)
            run = thread.run
            if run is not None:
                run.looks += 1
                over = run.looks >= self.looks
                if self.seconds is not None:
                    over = time.monotonic() - run.began_at >= self.seconds
                if over:
                    thread.run, thread.status = None, run.ends_as
                    thread.updated_at = int(self._service.now_s())
                    if run.ends_as == "ready":
                        thread.messages.append(run.message)
                        thread.said = [run.message]
            told: dict[str, Any] = {
                "status": thread.status,
                "thread_id": thread.id,
                "updated_at": thread.updated_at,
                "model": thread.model,
            }
            if thread.said and thread.run is None:
                told["messages"] = [_message_shown(one) for one in thread.said]
        return json_answer(200, told, call.headers)

    def _run_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        thread, is_new = self._thread_for(call, body)
        added = self._checked_messages(body, thread)
        return self._answer(call, thread, body, adding=added, is_new=is_new)

    def _rerun_messages(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        thread = self._existing(call, body)
        with self._lock:
            self._check_unlocked(thread)
            dropped = []
            while thread.messages and thread.messages[-1]["role"] == "assistant":
                dropped.append(thread.messages.pop())
        try:
            return self._answer(call, thread, body)
        except Refusal:
            with self._lock:
                thread.messages += reversed(dropped)
            raise

    def _answer(
        self,
        call: RoutedRequest,
        thread: _Thread,
        body: Mapping[str, Any],
        *,
        adding: list[dict[str, Any]] | None = None,
        is_new: bool = False,
    ) -> AnyAnswer:
        request = self._request(thread, body, adding or [])
        reply, message = self._reply(request, thread)
        stream = bool(body.get("stream"))
        leave = self._service.enter(call.client, stream=stream)
        try:
            self._append(thread, [*(adding or []), message], is_new)
        except BaseException:
            leave()
            raise
        head = {
            "model": message["model"],
            "thread_id": thread.id,
            "message_id": message["message_id"],
            "created": message["created_at"],
            "object": _KIND,
        }
        prompt = chat_v1.prompt_tokens(request)
        if not stream:
            spent = reply.tokens()
            usage = {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent}
            whole = {**head, "usage": usage, "message": reply.message(), "finish_reason": reply.finish_reason}
            answer = json_answer(200, whole, call.headers, self._service.answer_pause_s)
            answer.done = leave
            return answer
        return self._streamed(call, head, reply, prompt, float(body.get("update_interval") or 0), leave)

    def _streamed(
        self,
        call: RoutedRequest,
        head: Mapping[str, Any],
        reply: chat_v1.ModelReply,
        prompt: int,
        interval_s: float,
        leave: Callable[[], None],
    ) -> EventAnswer:
        pause_s, before_s = self._service.event_pause_s, self._service.answer_pause_s

        def events() -> Iterator[bytes | Pause]:
            if before_s:
                yield Pause(before_s)
            for chunk in _chunks(reply, prompt):
                yield event({**head, **chunk})
            leave()
            yield END_MARKER

        return EventAnswer(events(), call.headers, pause_s=max(pause_s, interval_s), error=_STREAM_ERROR, done=leave)

    # -- parts

    def _made(self, call: RoutedRequest, assistant: Kept | None, model: str | None) -> _Thread:
        if assistant is not None:
            model = assistant.model
        if model is None:
            model = next((name for name, kind in self._service.models.items() if kind == "chat"), "GigaChat")
        now = int(self._service.now_s())
        return _Thread(call.client, model, now, now, assistant)

    def _thread_for(self, call: RoutedRequest, body: Mapping[str, Any]) -> tuple[_Thread, bool]:
        """The thread that a request with messages is for, and whether it is to be made now."""
        if any(body.get(name, "") is None for name in ("thread_id", "assistant_id", "model")):
            raise Refusal(400, INVALID_JSON)
        if "thread_id" in body:
            thread = self._existing(call, body)
            self._engage(call, thread, body)
            return thread, False
        assistant = None
        if "assistant_id" in body:
            if "model" in body:
                # Invented: that the two exclude each other is documented, what is said is not.
                raise Refusal(422, "Invalid params: model and assistant_id exclude each other")
            assistant = self._assistants.find(call.client, body["assistant_id"])
        elif not isinstance(body.get("model", ""), str):
            raise Refusal(400, INVALID_JSON)
        return self._made(call, assistant, body.get("model")), True

    def _existing(self, call: RoutedRequest, body: Mapping[str, Any]) -> _Thread:
        if "model" in body:
            raise Refusal(422, "Invalid params: model and thread_id exclude each other")
        with self._lock:
            thread = self._found(call, body.get("thread_id"))
            self._check_unlocked(thread)
            return thread

    def _engage(self, call: RoutedRequest, thread: _Thread, body: Mapping[str, Any]) -> None:
        """Have the assistant that a request names answer in the thread from now on."""
        if "assistant_id" not in body or (thread.assistant is not None and thread.assistant.id == body["assistant_id"]):
            return
        assistant = self._assistants.use(call.client, body["assistant_id"])
        with self._lock:
            before, thread.assistant, thread.model = thread.assistant, assistant, assistant.model
        if before is not None:
            self._assistants.leave(before.id)

    def _found(self, call: RoutedRequest, thread_id: Any) -> _Thread:
        if not isinstance(thread_id, str) or not thread_id:
            raise Refusal(400, INVALID_JSON)
        thread = self._threads.get(thread_id)
        if thread is None or thread.client != call.client:
            # Invented, as all texts of this room: none is documented.
            raise Refusal(404, "No such thread")
        return thread

    def _check_unlocked(self, thread: _Thread) -> None:
        if thread.run is not None:
            raise Refusal(422, "Invalid params: the thread is locked by a run")

    def _checked_messages(self, body: Mapping[str, Any], thread: _Thread) -> list[dict[str, Any]]:
        sent = body.get("messages")
        if not isinstance(sent, list) or not sent:
            raise Refusal(400, INVALID_JSON)
        # Held to the rules of chat, one by one: their order is looked at when the thread is answered.
        for message in sent:
            role = message.get("role") if isinstance(message, dict) else None
            shape = {**message, "role": "user"} if role in ("system", "assistant", "function") else message
            chat_v1.check({"model": thread.model, "messages": [shape]}, models=self._service.models)
        now = int(self._service.now_s())
        return [{**message, "message_id": str(uuid.uuid4()), "created_at": now} for message in sent]

    def _append(self, thread: _Thread, messages: list[dict[str, Any]], is_new: bool) -> None:
        if is_new and thread.assistant is not None:
            self._assistants.use(thread.client, thread.assistant.id)
        with self._lock:
            self._check_unlocked(thread)
            self._threads[thread.id] = thread
            thread.messages += messages
            thread.updated_at = int(self._service.now_s())
            thread.status = "ready"

    def _request(
        self, thread: _Thread, body: Mapping[str, Any], adding: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What chat would be asked; a :class:`Refusal` when it would refuse."""
        limit = body.get("limit")
        with self._lock:
            messages = [*thread.messages, *(adding or [])]
        if isinstance(limit, int) and limit > 0:
            messages = messages[-limit:]
        known = ("role", "content", "name", "function_call", "functions_state_id", "attachments")
        asked: list[dict[str, Any]] = [{name: one[name] for name in known if name in one} for one in messages]
        fields: dict[str, Any] = thread.assistant.fields if thread.assistant is not None else {}
        if fields.get("instructions") and not any(one["role"] == "system" for one in asked):
            asked.insert(0, {"role": "system", "content": fields["instructions"]})
        request = {name: body[name] for name in _RUN_OPTIONS if body.get(name) is not None}
        if "functions" not in request and fields.get("functions"):
            request["functions"] = fields["functions"]
        service = self._service
        return chat_v1.check(
            {**request, "model": thread.model, "messages": asked},
            models=service.models,
            without_functions=service.models_without_functions,
            exceeded=service.exhausted_models,
            context_tokens=service.context_tokens,
        )

    def _reply(self, request: Mapping[str, Any], thread: _Thread) -> tuple[chat_v1.ModelReply, dict[str, Any]]:
        reply = chat_v1.replies(request)[0]
        message = {
            **reply.message(),
            "message_id": str(uuid.uuid4()),
            "created_at": int(self._service.now_s()),
            "finish_reason": reply.finish_reason,
            "model": thread.model if ":" in thread.model else f"{thread.model}:{chat_v1.build_of(thread.model)}",
        }
        return reply, message

    def _shown(self, thread: _Thread) -> dict[str, Any]:
        shown: dict[str, Any] = {
            self.id_name: thread.id,
            "model": thread.model,
            "created_at": thread.created_at,
            "updated_at": thread.updated_at,
            "run_lock": thread.run is not None,
            "status": thread.status,
        }
        if thread.assistant is not None:
            shown["assistant_id"] = thread.assistant.id
        return shown


def _object(call: RoutedRequest) -> dict[str, Any]:
    body = call.json()
    if not isinstance(body, dict):
        raise Refusal(400, INVALID_JSON)
    # The official SDK sends a null for each field that is not set.
    return {name: value for name, value in body.items() if value is not None}


def _bounds(call: RoutedRequest) -> tuple[int | None, int | None]:
    """``limit`` and ``before`` of the query."""
    found = []
    for name in ("limit", "before"):
        value = call.request.params.get(name)
        if value is not None and not value.isdecimal():
            raise Refusal(400, INVALID_JSON)
        found.append(None if value is None else int(value))
    return found[0], found[1]


def _message_shown(message: Mapping[str, Any]) -> dict[str, Any]:
    known = ("message_id", "role", "content", "created_at", "function_call", "finish_reason", "model")
    shown = {name: message[name] for name in known if name in message}
    attached = message.get("attachments") or []
    return {**shown, "attachments": [{"file_id": one, "name": f"{one}.txt"} for one in attached]}


def _chunks(reply: chat_v1.ModelReply, prompt: int) -> Iterator[dict[str, Any]]:
    """The answer in chunks: the usage of each is what it adds, and the last text brings the finish reason."""
    pieces = answers.words(reply.content) or [""]
    whole, counted, said = reply.tokens(), 0, ""
    for place, piece in enumerate(pieces):
        is_last = place == len(pieces) - 1
        said += piece
        so_far = whole if is_last else answers.tokens(said)
        asked = prompt if place == 0 else 0
        delta: dict[str, Any] = {"content": piece, **({"role": "assistant"} if place == 0 else {})}
        choice: dict[str, Any] = {"delta": delta, "index": 0}
        if is_last:
            choice["finish_reason"] = reply.finish_reason
            delta.update({name: value for name, value in reply.message().items() if name not in ("role", "content")})
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": so_far - counted,
            "total_tokens": asked + so_far - counted,
        }
        counted = so_far
        yield {"choices": [choice], "usage": usage}
