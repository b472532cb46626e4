"""Errors of gigaclient as JSON responses, and a decorator of views that returns them."""

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
    """Return the JSON response that reports ``error``, with its status: 401, 429 with ``Retry-After``, 504 and so on.

    :func:`gigaclient.contrib.event_stream.error_payload` describes the JSON. With ``request``, the error is logged to
    ``django.request``, for a mistake in the settings with its traceback.
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
    """Decorate a sync or async view: errors of gigaclient become :func:`error_response`.

    For classes: ``@method_decorator(errors_as_json, name="dispatch")``. For a whole site:
    :class:`gigaclient.contrib.django.middleware.ErrorsAsJsonMiddleware`.
    """
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def wrapped_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return await _await_response(request, view(request, *args, **kwargs))

        return cast(ViewT, wrapped_async)

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            response = view(request, *args, **kwargs)
        except GigaClientError as error:
            return error_response(error, request)
        # dispatch of a class-based view with async handlers is a plain function that returns an awaitable.
        return _await_response(request, response) if isinstance(response, Awaitable) else response

    return cast(ViewT, wrapped)


async def _await_response(request: HttpRequest, response: Awaitable[HttpResponseBase]) -> HttpResponseBase:
    try:
        return await response
    except GigaClientError as error:
        return error_response(error, request)
