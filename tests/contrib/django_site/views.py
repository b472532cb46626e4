"""Views of the site for tests. They pass the prompt of the request to the model unchanged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, JsonResponse

from gigaclient.contrib.django import astream_response, errors_as_json, get_client, stream_response


def _parameters(request: HttpRequest) -> dict[str, Any]:
    defaults: dict[str, Any] = {"alias": "default", "prompt": "Count from 1 to 5", "ping_s": 2.0}
    return defaults | (json.loads(request.body) if request.body else {})


_used: list[Any] = []


def query_database() -> None:
    """Query the database: Django forbids it in an event loop, and opens one connection for each thread."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    _used.append(connections["default"])


def render(chunk: Any) -> dict[str, str] | None:
    query_database()
    return {"text": chunk.text} if chunk.text else None


def remember(answer: Any) -> None:
    """Append the text and the finish reason of an answer to a file."""
    query_database()
    line = json.dumps({"text": answer.text, "finish_reason": answer.finish_reason})
    with Path(settings.FOLDER, "ended").open("a") as ended:
        ended.write(line + "\n")


@errors_as_json
def chat(request: HttpRequest) -> Any:
    parameters = _parameters(request)
    stream = get_client(parameters["alias"]).stream(parameters["prompt"])
    return stream_response(stream, ping_s=parameters["ping_s"], **_extras(parameters))


@errors_as_json
async def achat(request: HttpRequest) -> Any:
    parameters = _parameters(request)
    return await astream_response(
        lambda: get_client(parameters["alias"]).stream(parameters["prompt"]),
        ping_s=parameters["ping_s"],
        **_extras(parameters),
    )


def _extras(parameters: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"on_end": remember} if settings.FOLDER else {}
    return found | ({"render": render} if "database" in parameters else {})


@errors_as_json
def whole(request: HttpRequest) -> JsonResponse:
    parameters = _parameters(request)
    answer = get_client(parameters["alias"]).chat(parameters["prompt"])
    return JsonResponse({"text": answer.text, "worker": os.getpid()})


async def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"well": True})


async def state(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"used": len(_used), "open": sum(used.connection is not None for used in _used)})
