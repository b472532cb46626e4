"""Models of the GigaChat emulator."""

from __future__ import annotations

import json

from gigaclient.testing.recordings import recording
from gigaclient.testing.replies_v1 import build_of
from gigaclient.testing.routing import AnyAnswer, Refusal, Route, RoutedRequest, Service

__all__ = ["EmulatedModels", "recorded_models"]

_UNRECORDED_MODELS = ("GigaChat-2-Reasoning", "GigaChat-3-Ultra", "GigaChat-3-Pro", "GigaChat-3-Lightning")


class EmulatedModels:
    """The routes of ``/models``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes: tuple[Route, ...] = (
            Route("GET", "v1", "/models", self._list),
            Route("GET", "v1", "/models/{model}", self._get),
        )

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        entries = [_model(name, type_) for name, type_ in self._service.models.items()]
        return call.answer({"object": "list", "data": entries})

    def _get(self, call: RoutedRequest) -> AnyAnswer:
        name, _, version = call.arguments["model"].partition(":")
        if name not in self._service.models:
            raise Refusal(404, "No such model")
        if version and version != build_of(name):
            raise Refusal(400, "Invalid model version")
        return call.answer(_model(name, self._service.models[name]))


def recorded_models() -> dict[str, str]:
    """Return the ids and types of the recorded list, and of newer models."""
    recorded = json.loads(recording("v1-models.json").body)["data"]
    return {**{entry["id"]: entry["type"] for entry in recorded}, **dict.fromkeys(_UNRECORDED_MODELS, "chat")}


def _model(name: str, type_: str) -> dict[str, str]:
    return {"id": name, "object": "model", "owned_by": "salutedevices", "type": type_}
