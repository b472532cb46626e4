"""An app with the Flask integration."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from gigaclient.contrib.flask import GigaClient, gigachat, stream_response
from gigaclient.testing import GigaChatEmulator

COUNT = {"prompt": "Count from 1 to 5"}


def app_of(emulator: GigaChatEmulator, **config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(TESTING=True, GIGACLIENT={**emulator.client_options, "max_retries": 0}, **config)
    GigaClient(app)

    @app.post("/chat")
    def chat() -> Any:
        parameters = request.get_json()
        return stream_response(gigachat.stream(parameters["prompt"], **parameters.get("options", {})))

    return app
