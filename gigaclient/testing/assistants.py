"""Assistants of the GigaChat emulator. The protocol knows them from the official SDK alone; so does this."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gigaclient.testing import chat_v1
from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer

__all__ = ["EmulatedAssistants", "Kept"]

FileShape: TypeAlias = Literal["file_ids", "files"]

_MOST_PAIRS = 16
_CHANGEABLE = ("name", "description", "instructions", "file_ids", "functions", "metadata")
_KINDS: Mapping[str, type] = {
    "name": str,
    "description": str,
    "instructions": str,
    "file_ids": list,
    "functions": list,
    "metadata": dict,
}


@dataclass
class Kept:
    """An assistant as the emulator keeps it."""

    client: str
    model: str
    created_at: int
    updated_at: int
    fields: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    threads: int = 0


class EmulatedAssistants:
    """``/assistants``: the state, and the routes.

    Attributes:
        file_shape: How an assistant tells its files: as ``file_ids``, or as ``files`` with names. May be assigned
            while the emulator runs.
    """

    def __init__(self, service: Service) -> None:
        self.file_shape: FileShape = "file_ids"
        self._service = service
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}
        self.routes: tuple[Route, ...] = (
            Route("GET", "v1", "/assistants", self._get),
            Route("POST", "v1", "/assistants", self._create),
            Route("POST", "v1", "/assistants/modify", self._modify),
            Route("POST", "v1", "/assistants/delete", self._delete),
            Route("POST", "v1", "/assistants/files/delete", self._delete_file),
        )

    def use(self, client: str, assistant_id: str) -> Kept:
        """The assistant, for a new thread of its; :class:`Refusal` when the client has no such one."""
        with self._lock:
            kept = self._found(client, assistant_id)
            kept.threads += 1
            return kept

    def find(self, client: str, assistant_id: str) -> Kept:
        """The assistant; :class:`Refusal` when the client has no such one."""
        with self._lock:
            return self._found(client, assistant_id)

    def leave(self, assistant_id: str) -> None:
        """A thread of the assistant is gone."""
        with self._lock:
            if assistant_id in self._kept:
                self._kept[assistant_id].threads -= 1

    def _found(self, client: str, assistant_id: Any) -> Kept:
        if not isinstance(assistant_id, str) or not assistant_id:
            raise Refusal(400, INVALID_JSON)
        kept = self._kept.get(assistant_id)
        if kept is None or kept.client != client:
            # Invented, as all texts of this room: none is documented.
            raise Refusal(404, "No such assistant")
        return kept

    def _get(self, call: RoutedRequest) -> AnyAnswer:
        wanted = call.request.params.get("assistant_id")
        with self._lock:
            if wanted is not None:
                found = [self._found(call.client, wanted)]
            else:
                found = [kept for kept in self._kept.values() if kept.client == call.client]
            return json_answer(200, {"data": [self._shown(kept) for kept in found]}, call.headers)

    def _create(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        if not isinstance(body.get("model"), str) or not body.get("name"):
            raise Refusal(400, INVALID_JSON)
        given = self._checked(body, body["model"])
        now = int(self._service.now_s())
        kept = Kept(call.client, body["model"], now, now, given)
        with self._lock:
            self._kept[kept.id] = kept
        return json_answer(200, {"assistant_id": kept.id, "created_at": kept.created_at}, call.headers)

    def _modify(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        if "model" in body:
            raise Refusal(400, INVALID_JSON)
        kept = self.find(call.client, body.get("assistant_id", ""))
        given = self._checked(body, kept.model)
        with self._lock:
            kept.fields = {**kept.fields, **given}
            kept.updated_at = int(self._service.now_s())
            return json_answer(200, self._shown(kept), call.headers)

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        with self._lock:
            kept = self._found(call.client, body.get("assistant_id"))
            del self._kept[kept.id]
        return json_answer(200, {"assistant_id": kept.id, "deleted": True}, call.headers)

    def _delete_file(self, call: RoutedRequest) -> AnyAnswer:
        body = _object(call)
        with self._lock:
            kept = self._found(call.client, body.get("assistant_id"))
            files = kept.fields.get("file_ids") or []
            if body.get("file_id") not in files:
                raise Refusal(404, "No such file")
            kept.fields = {**kept.fields, "file_ids": [one for one in files if one != body["file_id"]]}
        return json_answer(200, {"file_id": body["file_id"], "deleted": True}, call.headers)

    def _checked(self, body: Mapping[str, Any], model: str) -> dict[str, Any]:
        # The official SDK sends a null for each field that is not set.
        given = {name: body[name] for name in _CHANGEABLE if body.get(name) is not None}
        for name, value in given.items():
            if not isinstance(value, _KINDS[name]):
                raise Refusal(400, INVALID_JSON)
        if len(given.get("metadata", {})) > _MOST_PAIRS:
            raise Refusal(422, f"Invalid params: metadata must have at most {_MOST_PAIRS} pairs")
        if not all(isinstance(one, str) for one in given.get("file_ids", [])):
            raise Refusal(400, INVALID_JSON)
        # The model and the functions are held to the rules of chat.
        chat_v1.check(
            {
                "model": model,
                "messages": [{"role": "user", "content": ""}],
                **({"functions": given["functions"]} if "functions" in given else {}),
            },
            models=self._service.models,
            without_functions=self._service.models_without_functions,
        )
        return given

    def _shown(self, kept: Kept) -> dict[str, Any]:
        shown = {
            "assistant_id": kept.id,
            "model": kept.model,
            "created_at": kept.created_at,
            "updated_at": kept.updated_at,
            "threads_count": kept.threads,
            **kept.fields,
        }
        files = shown.pop("file_ids", [])
        if self.file_shape == "files":
            return {**shown, "files": [{"file_id": one, "name": f"{one}.txt"} for one in files]}
        return {**shown, "file_ids": files}


def _object(call: RoutedRequest) -> dict[str, Any]:
    body = call.json()
    if not isinstance(body, dict):
        raise Refusal(400, INVALID_JSON)
    return body
