"""GigaChat and FakeGpt in Django: clients from settings, streams as responses, errors as statuses, system checks.

::

    # settings.py
    INSTALLED_APPS = [..., "gigaclient.contrib.django"]
    GIGACLIENT = {"credentials": os.environ["GIGACHAT_CREDENTIALS"]}

    # views.py
    from gigaclient.contrib.django import errors_as_json, get_client, messages_from_json, stream_response

    @errors_as_json
    def chat(request):
        try:
            messages = messages_from_json(request.body)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return stream_response(get_client().stream(messages))

Needs the extra ``gigaclient[django]``, and Django 4.2 or newer.
"""

from __future__ import annotations

from gigaclient._primitives.extras import extra_is_missing

try:
    import django as _django  # noqa: F401
except ImportError as error:
    raise ImportError(
        extra_is_missing("gigaclient.contrib.django", "Django", "django"),
        name=error.name,
    ) from None

from gigaclient.contrib.django.clients import get_client
from gigaclient.contrib.django.failures import error_response, errors_as_json
from gigaclient.contrib.django.responses import EventStreamResponse, astream_response, stream_response
from gigaclient.contrib.request_messages import messages_from_json

__all__ = [
    "EventStreamResponse",
    "astream_response",
    "error_response",
    "errors_as_json",
    "get_client",
    "messages_from_json",
    "stream_response",
]
