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
from gigaclient.contrib.django import errors_as_json, get_client, stream_response

ROLES = ("system", "user", "assistant")

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
        messages, options = read_question(request.body)
    except ValueError as error:
        return JsonResponse({"status": 400, "type": "BadRequest", "message": str(error)}, status=400)
    except RequestDataTooBig:
        message = "the conversation is longer than this site allows"
        return JsonResponse({"status": 413, "type": "RequestDataTooBig", "message": message}, status=413)
    return stream_response(get_client().stream(messages, **options))


def read_question(body: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return the messages and the model, if any; no other data of the browser is sent to the service."""
    try:
        question: Any = json.loads(body)
        json.dumps(question, ensure_ascii=False).encode()  # half of a surrogate pair cannot be sent on
    except (ValueError, RecursionError):  # the second one is for JSON that is nested too deep
        raise ValueError("the body is not JSON that can be read") from None
    if not isinstance(question, dict) or not isinstance(question.get("messages"), list) or not question["messages"]:
        raise ValueError('the body must be {"messages": [{"role": …, "content": …}, …]}')
    messages = []
    for message in question["messages"]:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ValueError(f"a message has a role: {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise ValueError("a message has a content, which is text")
        messages.append({"role": message["role"], "content": message["content"]})
    model = question.get("model")
    if model is not None and not (model and isinstance(model, str)):
        raise ValueError("model must be a name")
    return messages, {} if model is None else {"model": model}
