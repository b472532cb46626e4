"""Middleware, for sites whose every view may call a model."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from gigaclient.contrib.django.failures import error_response
from gigaclient.errors import GigaClientError

__all__ = ["ErrorsAsJsonMiddleware"]


class ErrorsAsJsonMiddleware(MiddlewareMixin):
    """What gigaclient raises in any view becomes JSON with the status that fits, as ``errors_as_json`` has it."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        """The response for one of our errors; None leaves any other to Django."""
        return error_response(exception, request) if isinstance(exception, GigaClientError) else None
