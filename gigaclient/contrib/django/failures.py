"""Our errors as responses: what a browser is told of them, and how a view says that it should be."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.log import log_response

from gigaclient.contrib.event_stream import error_headers, error_payload, status_of
from gigaclient.errors import ConfigError, GigaClientError

__all__ = ["error_response", "errors_as_json"]

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


def error_response(error: GigaClientError, request: HttpRequest | None = None) -> JsonResponse:
    """The JSON that a browser is told of ``error``, with the status that fits: 401, 429 with ``Retry-After``, 504 …

    With ``request`` the log ``django.request`` gets a line with the error itself, and for a mistake in the settings its
    traceback; see :func:`gigaclient.contrib.event_stream.error_payload` for what the browser gets.
    """
    response = JsonResponse(
        error_payload(error),
        status=status_of(error),
        headers={**error_headers(error), "Cache-Control": "no-store"},
        json_dumps_params={"ensure_ascii": False},
    )
    if request is not None:
        log_response(
            "%s: %s (%s: %s)",
            response.reason_phrase,
            request.path,
            type(error).__name__,
            error,
            response=response,
            request=request,
            exception=error if isinstance(error, ConfigError) else None,
        )
    return response


def errors_as_json(view: ViewT) -> ViewT:
    """A decorator of views, sync and async ones: what gigaclient raises becomes :func:`error_response`.

    For classes: ``@method_decorator(errors_as_json, name="dispatch")``. For a whole site there is
    :class:`gigaclient.contrib.django.middleware.ErrorsAsJsonMiddleware`.
    """
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def wrapped_async(request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
            return await _answered(request, view(request, *args, **named))

        return cast(ViewT, wrapped_async)

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **named: Any) -> Any:
        try:
            response = view(request, *args, **named)
        except GigaClientError as error:
            return error_response(error, request)
        # Of a class-based view with async handlers, whose dispatch is an ordinary function.
        return _answered(request, response) if isinstance(response, Awaitable) else response

    return cast(ViewT, wrapped)


async def _answered(request: HttpRequest, response: Awaitable[HttpResponseBase]) -> HttpResponseBase:
    try:
        return await response
    except GigaClientError as error:
        return error_response(error, request)
