"""The views: the page, and the streamed answers."""

from __future__ import annotations

import json
import mimetypes
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from gigaclient import GigaChat
from gigaclient.contrib.django import errors_as_json, get_client, messages_from_json, stream_response
from gigaclient.types import Message

mimetypes.add_type("text/javascript", ".js")  # browsers need this type, and some systems have another one
mimetypes.add_type("font/woff2", ".woff2")


@require_GET
@ensure_csrf_cookie  # the page's script sends it back as X-CSRFToken
def page(request: HttpRequest, path: str) -> HttpResponse:
    """Serve a file of the page."""
    if "\0" in path:  # no file has such a name, and pathlib raises for it
        raise Http404
    file = (settings.PAGE / path).resolve()
    if not file.is_relative_to(settings.PAGE) or not file.is_file():
        raise Http404
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    return HttpResponse(file.read_bytes(), content_type=content_type)


@require_GET
@errors_as_json
def models(request: HttpRequest) -> JsonResponse:
    """List the models to choose from."""
    client = get_client(kind=GigaChat)
    chat_models = [model.id for model in client.get_models(deadline=10).data if model.type == "chat"]
    return JsonResponse({"models": chat_models, "default": client.model})


@require_POST
@errors_as_json
def chat(request: HttpRequest) -> HttpResponseBase:
    """Stream the answer to a question."""
    try:
        messages, model = read_question(request.body)
    except (ValueError, RecursionError) as error:  # the second one is for JSON that is nested too deep
        return JsonResponse({"status": 400, "type": "BadRequest", "message": str(error)}, status=400)
    except RequestDataTooBig:
        message = "the conversation is longer than this site allows"
        return JsonResponse({"status": 413, "type": "RequestDataTooBig", "message": message}, status=413)
    return stream_response(get_client(kind=GigaChat).stream(messages, model=model))


def read_question(body: bytes) -> tuple[list[Message], str | None]:
    """Return the messages and the model, if any; no other data of the browser is sent to the service."""
    question: Any = json.loads(body)
    messages = messages_from_json(question)
    model = question.get("model")
    if model is not None and not (isinstance(model, str) and model and model.isprintable()):
        raise ValueError("model must be the name of a model, or left out")
    return messages, model
