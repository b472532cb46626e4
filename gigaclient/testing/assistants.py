"""Assistants of the GigaChat emulator. Their protocol is known from the official SDK only."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gigaclient.testing.routing import INVALID_JSON, AnyAnswer, Refusal, Route, RoutedRequest, Service
from gigaclient.testing.validation_v1 import check, is_file_id

__all__ = ["EmulatedAssistants", "StoredAssistant"]

FileShape: TypeAlias = Literal["file_ids", "files"]

_MAX_METADATA_PAIRS = 16
_CHANGEABLE = ("name", "description", "instructions", "file_ids", "functions", "metadata")
_FIELD_TYPES: Mapping[str, type] = {
    "name": str,
    "description": str,
    "instructions": str,
    "file_ids": list,
    "functions": list,
    "metadata": dict,
}


@dataclass
class StoredAssistant:
    """An assistant as the emulator stores it."""

    client: str
    model: str
    created_at: int
    updated_at: int
    fields: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    threads: int = 0


class EmulatedAssistants:
    """The state and the routes of ``/assistants``.

    Attributes:
        file_shape: How a response lists files: as ``file_ids``, or as ``files`` with names. May be changed while the
            emulator runs.
    """

    def __init__(self, service: Service) -> None:
        self.file_shape: FileShape = "file_ids"
        self._service = service
        self._lock = threading.Lock()
        self._assistants: dict[str, StoredAssistant] = {}
        self.routes: tuple[Route, ...] = (
            Route("GET", "v1", "/assistants", self._get),
            Route("POST", "v1", "/assistants", self._create),
            Route("POST", "v1", "/assistants/modify", self._modify),
            Route("POST", "v1", "/assistants/delete", self._delete),
            Route("POST", "v1", "/assistants/files/delete", self._delete_file),
        )

    def use(self, client: str, assistant_id: str) -> StoredAssistant:
        """Return the assistant and count one more thread for it.

        Raises:
            Refusal: the client has no such assistant.
        """
        with self._lock:
            assistant = self._find(client, assistant_id)
            assistant.threads += 1
            return assistant

    def find(self, client: str, assistant_id: str) -> StoredAssistant:
        """Return the assistant; raise :class:`Refusal` when the client has no such assistant."""
        with self._lock:
            return self._find(client, assistant_id)

    def release(self, assistant_id: str) -> None:
        """Count one thread less for the assistant."""
        with self._lock:
            if assistant_id in self._assistants:
                self._assistants[assistant_id].threads -= 1

    def _find(self, client: str, assistant_id: Any) -> StoredAssistant:
        if not isinstance(assistant_id, str) or not assistant_id:
            raise Refusal(400, INVALID_JSON)
        assistant = self._assistants.get(assistant_id)
        if assistant is None or assistant.client != client:
            # Invented, like all texts of this module: none is documented.
            raise Refusal(404, "No such assistant")
        return assistant

    def _get(self, call: RoutedRequest) -> AnyAnswer:
        assistant_id = call.request.params.get("assistant_id")
        with self._lock:
            if assistant_id is not None:
                found = [self._find(call.client, assistant_id)]
            else:
                found = [assistant for assistant in self._assistants.values() if assistant.client == call.client]
            return call.answer({"data": [self._to_json(assistant) for assistant in found]})

    def _create(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object()
        if not isinstance(body.get("model"), str) or not body.get("name"):
            raise Refusal(400, INVALID_JSON)
        fields = self._validated_fields(body, body["model"])
        now = int(self._service.now_s())
        assistant = StoredAssistant(call.client, body["model"], now, now, fields)
        with self._lock:
            self._assistants[assistant.id] = assistant
        return call.answer({"assistant_id": assistant.id, "created_at": assistant.created_at})

    def _modify(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object()
        if "model" in body:
            raise Refusal(400, INVALID_JSON)
        assistant = self.find(call.client, body.get("assistant_id", ""))
        fields = self._validated_fields(body, assistant.model)
        with self._lock:
            assistant.fields = {**assistant.fields, **fields}
            assistant.updated_at = int(self._service.now_s())
            return call.answer(self._to_json(assistant))

    def _delete(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object()
        with self._lock:
            assistant = self._find(call.client, body.get("assistant_id"))
            del self._assistants[assistant.id]
        return call.answer({"assistant_id": assistant.id, "deleted": True})

    def _delete_file(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object()
        with self._lock:
            assistant = self._find(call.client, body.get("assistant_id"))
            files = assistant.fields.get("file_ids") or []
            if body.get("file_id") not in files:
                raise Refusal(404, "No such file")
            assistant.fields = {
                **assistant.fields,
                "file_ids": [file_id for file_id in files if file_id != body["file_id"]],
            }
        return call.answer({"file_id": body["file_id"], "deleted": True})

    def _validated_fields(self, body: Mapping[str, Any], model: str) -> dict[str, Any]:
        # The official SDK sends a null for each field that is not set.
        fields = {name: body[name] for name in _CHANGEABLE if body.get(name) is not None}
        for name, value in fields.items():
            if not isinstance(value, _FIELD_TYPES[name]):
                raise Refusal(400, INVALID_JSON)
        if len(fields.get("metadata", {})) > _MAX_METADATA_PAIRS:
            raise Refusal(422, f"Invalid params: metadata must have at most {_MAX_METADATA_PAIRS} pairs")
        if not all(map(is_file_id, fields.get("file_ids", []))):
            raise Refusal(400, INVALID_JSON)
        # The rules of chat apply to the model and the functions.
        functions = {"functions": fields["functions"]} if "functions" in fields else {}
        check({"model": model, "messages": [{"role": "user", "content": ""}], **functions}, self._service)
        return fields

    def _to_json(self, assistant: StoredAssistant) -> dict[str, Any]:
        response = {
            "assistant_id": assistant.id,
            "model": assistant.model,
            "created_at": assistant.created_at,
            "updated_at": assistant.updated_at,
            "threads_count": assistant.threads,
            **assistant.fields,
        }
        files = response.pop("file_ids", [])
        if self.file_shape == "files":
            return {**response, "files": [{"file_id": file_id, "name": f"{file_id}.txt"} for file_id in files]}
        return {**response, "file_ids": files}
