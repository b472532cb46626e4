"""Views as people write them. What they are asked goes to the model as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, JsonResponse

from gigaclient.contrib.django import astream_response, errors_as_json, get_client, stream_response


def _asked(request: HttpRequest) -> dict[str, Any]:
    asked: dict[str, Any] = {"alias": "default", "prompt": "Count from 1 to 5", "ping_s": 2.0}
    return asked | (json.loads(request.body) if request.body else {})


_used: list[Any] = []


def look_into_database() -> None:
    """Which Django lets no event loop do, and for which each thread has a connection of its own."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    _used.append(connections["default"])


def render(chunk: Any) -> dict[str, str] | None:
    look_into_database()
    return {"text": chunk.text} if chunk.text else None


def remember(answer: Any) -> None:
    """Write down how an answer ended."""
    look_into_database()
    line = json.dumps({"text": answer.text, "finish_reason": answer.finish_reason})
    with Path(settings.FOLDER, "ended").open("a") as ended:
        ended.write(line + "\n")


@errors_as_json
def chat(request: HttpRequest) -> Any:
    asked = _asked(request)
    stream = get_client(asked["alias"]).stream(asked["prompt"])
    return stream_response(stream, ping_s=asked["ping_s"], **_extras(asked))


@errors_as_json
async def achat(request: HttpRequest) -> Any:
    asked = _asked(request)
    return await astream_response(
        lambda: get_client(asked["alias"]).stream(asked["prompt"]),
        ping_s=asked["ping_s"],
        **_extras(asked),
    )


def _extras(asked: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"on_end": remember} if settings.FOLDER else {}
    return found | ({"render": render} if "database" in asked else {})


@errors_as_json
def whole(request: HttpRequest) -> JsonResponse:
    asked = _asked(request)
    answer = get_client(asked["alias"]).chat(asked["prompt"])
    return JsonResponse({"text": answer.text, "worker": os.getpid()})


async def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"well": True})


async def state(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"used": len(_used), "open": sum(used.connection is not None for used in _used)})
