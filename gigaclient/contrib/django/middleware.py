"""Middleware for sites on which any view may call a model."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from gigaclient.contrib.django.failures import error_response
from gigaclient.errors import GigaClientError

__all__ = ["ErrorsAsJsonMiddleware"]


class ErrorsAsJsonMiddleware(MiddlewareMixin):
    """Turn errors of gigaclient in any view into JSON with their status, like ``errors_as_json``."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        """Return the response for an error of gigaclient; None leaves any other error to Django."""
        return error_response(exception, request) if isinstance(exception, GigaClientError) else None
