"""The base of all endpoint classes: send a request with the client's options and decode the response."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient._core.base_client import BaseClient
from gigaclient._core.executor import MAX_RESPONSE_BYTES
from gigaclient._core.limiter import Limiter
from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.responses import decode, embedded_error, invalid_response
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient._primitives.decoding import decoder
from gigaclient.errors import GigaClientError, NotFoundError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.request import Request
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["APIResource", "names_a_version", "parse_response"]

ResponseT = TypeVar("ResponseT", bound=APIResponse)

_MAX_PAGE_BYTES = 64 * 1024
_LOOKUP_SECONDS = 3.0


def parse_response(response: Response, type_: type[ResponseT]) -> ResponseT:
    """Decode a response as ``type_``, and attach its raw form, request id and headers."""
    answer = decode(response, decoder(type_))
    return answer.attach(raw=response.body, request_id=response.request_id, headers=response.headers)


def names_a_version(path: str) -> bool:
    """Return whether ``path`` begins with an API version (``/v2/…``, ``/api/v1/…``), so is not below the base URL."""
    first, second = [*path.split("/"), ""][1:3]
    version = second if first == "api" else first
    return version[:1] == "v" and version[1:].isdigit()


class APIResource(BaseClient[GigaChatSettings]):
    """The base of the endpoint classes in ``resources/``."""

    def _request(self, request: Request, type_: type[ResponseT], options: Mapping[str, Any]) -> ResponseT:
        """Send ``request`` and return its response decoded as ``type_``.

        Args:
            request: the request.
            type_: the type of the response.
            options: the call options of the caller, by name.
        """
        return parse_response(self._send(request, options), type_)

    def _send(self, request: Request, options: Mapping[str, Any], *, limit: int = MAX_RESPONSE_BYTES) -> Response:
        """Send ``request`` and return its undecoded response of at most ``limit`` bytes."""
        return self._send_with_options(request, self._call_settings(options), limit=limit)

    def _send_with_options(
        self,
        request: Request,
        settings: RequestOptions,
        *,
        limit: int = MAX_RESPONSE_BYTES,
        deadline: Deadline | None = None,
    ) -> Response:
        """Send a request whose options have been read. ``deadline`` is that of a larger call that it is part of."""
        deadline = deadline or Deadline(settings.timeouts or self._executor.timeouts)
        try:
            return self._executor.fetch(request, settings, limit=limit, deadline=deadline)
        except NotFoundError as error:
            failure = error
        raise self._with_model_hint(failure, request, settings, deadline.left())

    def _send_stream(self, request: Request, settings: RequestOptions) -> Response:
        """Send a streaming request and return the unread response."""
        ends_at = time.monotonic() + (settings.timeouts or self._executor.timeouts).deadline
        failure: NotFoundError
        try:
            response = self._executor.open(request, settings)
        except NotFoundError as error:
            failure = error
        else:
            return self._event_stream(response)
        raise self._with_model_hint(failure, request, settings, ends_at - time.monotonic())

    def _event_stream(self, response: Response) -> Response:
        if response.media_type not in ("text/event-stream", ""):
            response.body = response.read_some(_MAX_PAGE_BYTES)
            failure = embedded_error(response) or invalid_response(response, "it is not an event stream")
            response.observer.end(failure)
            raise failure
        return response

    def _with_model_hint(
        self, failure: NotFoundError, request: Request, settings: RequestOptions, left: float
    ) -> NotFoundError:
        """Return ``failure``; if it is about an unknown model, add the names of similar ones.

        This sends one short request within the ``left`` seconds of the call's deadline. It does not queue for a permit,
        and its failure is ignored.
        """
        message = failure.message.partition(" - ")[0]  # without our advice
        if "model" not in message.lower():
            return failure
        from gigaclient.gigachat import suggestions
        from gigaclient.types.models import Models

        name = suggestions.requested_model(request)
        seconds = min(_LOOKUP_SECONDS, left)
        if name is None or seconds <= 0:
            return failure
        executor = self._executor.with_policy(self._executor.retry, Timeouts(seconds, seconds, deadline=seconds))
        executor.limiter, executor.cancel_group = Limiter(), None
        headers = {name: value for name, value in settings.headers.items() if name.lower() != "x-request-id"}
        options = RequestOptions(headers=headers, max_retries=0, authorization=settings.authorization)
        try:
            models = parse_response(executor.fetch(Request("GET", "/models"), options), Models)
        except GigaClientError:
            return failure
        advice = suggestions.advice_for(name, models.data, request.path)
        if advice:
            failure.message = f"{message}: {advice} - get_models() lists what this key may use"
            failure.args = (failure.message,)
        return failure

    def _call_settings(self, options: Mapping[str, Any]) -> RequestOptions:
        """Read the options of one call.

        Raises:
            TypeError: an option has an unknown name.
            ConfigError: a value cannot work, or the client is closed.
        """
        self._check_open()
        unknown = sorted(options.keys() - CALL_OPTIONS)
        if unknown:
            raise TypeError(f"no such option: {', '.join(unknown)}. A call takes {', '.join(sorted(CALL_OPTIONS))}")
        return call_options(dict(options), self._executor.timeouts, self._settings.session_id)
