"""How the endpoints of a GigaChat client send what they describe: the one road, with this client's options on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient._core.base_client import BaseClient
from gigaclient._core.executor import MAX_ANSWER_BYTES
from gigaclient._core.limiter import Limiter
from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.responses import BufferedResponse
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient._primitives.decoding import decoder
from gigaclient.errors import GigaClientError, NotFoundError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.request import Request
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["APIResource", "names_a_version", "parse_response"]

AnswerT = TypeVar("AnswerT", bound=APIResponse)

_MAX_PAGE_BYTES = 64 * 1024
_LOOK_UP_SECONDS = 3.0


def parse_response(answered: BufferedResponse, kind: type[AnswerT]) -> AnswerT:
    """A whole answer as ``kind``, with its raw form, request id and headers."""
    answer = answered.decode(decoder(kind))
    return answer.attach(raw=answered.body, request_id=answered.request_id, headers=answered.headers)


def names_a_version(path: str) -> bool:
    """Whether ``path`` begins with a version of the API (``/v2/…``, ``/api/v1/…``), and so not below the base URL."""
    first, second = [*path.split("/"), ""][1:3]
    version = second if first == "api" else first
    return version[:1] == "v" and version[1:].isdigit()


class APIResource(BaseClient[GigaChatSettings]):
    """Send the requests that the classes in ``resources/`` describe."""

    def _request(self, request: Request, kind: type[AnswerT], given: Mapping[str, Any]) -> AnswerT:
        """Send ``request``; its whole answer as ``kind``.

        Args:
            call: what to send.
            kind: what the API promises to answer.
            given: the call options that the caller passed, by name.
        """
        return parse_response(self._send(request, given), kind)

    def _send(self, request: Request, given: Mapping[str, Any], *, limit: int = MAX_ANSWER_BYTES) -> BufferedResponse:
        """Send ``request``; its whole answer, undecoded, of ``limit`` bytes at the most."""
        return self._send_with_options(request, self._call_settings(given), limit=limit)

    def _send_with_options(
        self,
        request: Request,
        settings: RequestOptions,
        *,
        limit: int = MAX_ANSWER_BYTES,
        deadline: Deadline | None = None,
    ) -> BufferedResponse:
        """The same for a call whose options have been read, or one that is part of another (``deadline``)."""
        deadline = deadline or Deadline(settings.timeouts or self._core.timeouts)
        try:
            return self._core.fetch(request, settings, limit=limit, deadline=deadline)
        except NotFoundError as error:
            failure = error
        raise self._with_model_hint(failure, request, settings, deadline.left())

    def _send_stream(self, request: Request, settings: RequestOptions) -> tuple[Response, str]:
        """Send ``request``, which asks for a stream: the unread reply, and the request's id."""
        ends_at = time.monotonic() + (settings.timeouts or self._core.timeouts).deadline
        failure: NotFoundError
        try:
            response, request_id = self._core.open(request, settings)
        except NotFoundError as error:
            failure = error
        else:
            return self._event_stream(response, request_id), request_id
        raise self._with_model_hint(failure, request, settings, ends_at - time.monotonic())

    def _event_stream(self, response: Response, request_id: str) -> Response:
        if response.media_type not in ("text/event-stream", ""):
            page = BufferedResponse(response.read_some(_MAX_PAGE_BYTES), response.status, response.headers, request_id)
            failure = page.refusal() or page.invalid("it is not an event stream")
            self._core.tell_failure(response, failure)
            raise failure
        return response

    def _with_model_hint(
        self, failure: NotFoundError, request: Request, settings: RequestOptions, left: float
    ) -> NotFoundError:
        """``failure``; where it is about a model, with the names that may have been meant.

        One more request, if ``left`` (seconds, of the call's deadline) has room for it: short, outside the queue, and
        whatever becomes of it is no error of its own.
        """
        said = failure.message.partition(" - ")[0]  # without our advice
        if "model" not in said.lower():
            return failure
        from gigaclient.gigachat import suggestions
        from gigaclient.types.models import Models

        asked = suggestions.asked_for(request)
        seconds = min(_LOOK_UP_SECONDS, left)
        if asked is None or seconds <= 0:
            return failure
        core = self._core.with_policy(self._core.retry, Timeouts(seconds, seconds, deadline=seconds))
        core.limiter, core.scope = Limiter(), None
        own_id = {name: value for name, value in settings.headers.items() if name.lower() != "x-request-id"}
        options = RequestOptions(headers=own_id, max_retries=0, authorization=settings.authorization)
        try:
            models = parse_response(core.fetch(Request("GET", "/models"), options), Models)
        except GigaClientError:
            return failure
        meant = suggestions.meant(asked, models.data, request.path)
        if meant:
            failure.message = f"{said}: {meant} - get_models() lists what this key may use"
            failure.args = (failure.message,)
        return failure

    def _call_settings(self, given: Mapping[str, Any]) -> RequestOptions:
        """The options of one call.

        Raises:
            TypeError: there is no option of such a name.
            ConfigError: a value cannot work, or the client is closed.
        """
        self._check_open()
        unknown = sorted(given.keys() - CALL_OPTIONS)
        if unknown:
            raise TypeError(f"no such option: {', '.join(unknown)}. A call takes {', '.join(sorted(CALL_OPTIONS))}")
        return call_options(dict(given), self._core.timeouts, self._settings.session_id)
