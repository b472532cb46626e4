"""How the endpoints of a GigaChat client send what they describe: the one road, with this client's options on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient._core.base_client import Provider
from gigaclient._core.executor import MAX_ANSWER_BYTES
from gigaclient._core.limiter import Limiter
from gigaclient._core.request_options import CALL_OPTIONS, CallOptions, call_options
from gigaclient._core.responses import Answered
from gigaclient._primitives.deadline import Patience, Timeouts
from gigaclient._primitives.decoding import decoder
from gigaclient.errors import GigaClientError, NotFoundError
from gigaclient.gigachat.settings import Settings
from gigaclient.transport.request import Call
from gigaclient.types import Answer

if TYPE_CHECKING:
    from gigaclient.transport import Reply

__all__ = ["Road", "answer_of", "names_a_version"]

AnswerT = TypeVar("AnswerT", bound=Answer)

_MAX_PAGE_BYTES = 64 * 1024
_LOOK_UP_SECONDS = 3.0


def answer_of(answered: Answered, kind: type[AnswerT]) -> AnswerT:
    """A whole answer as ``kind``, with its raw form, request id and headers."""
    answer = answered.decode(decoder(kind))
    return answer.attach(raw=answered.body, request_id=answered.request_id, headers=answered.headers)


def names_a_version(path: str) -> bool:
    """Whether ``path`` begins with a version of the API (``/v2/…``, ``/api/v1/…``), and so not below the base URL."""
    first, second = [*path.split("/"), ""][1:3]
    version = second if first == "api" else first
    return version[:1] == "v" and version[1:].isdigit()


class Road(Provider[Settings]):
    """The base of the rooms that hold the endpoints. An endpoint makes a :class:`Call` and hands it to one of these."""

    def _fetch(self, call: Call, kind: type[AnswerT], given: Mapping[str, Any]) -> AnswerT:
        """Send ``call``; its whole answer as ``kind``.

        Args:
            call: what to send.
            kind: what the API promises to answer.
            given: the call options that the caller passed, by name.
        """
        return answer_of(self._answered(call, given), kind)

    def _answered(self, call: Call, given: Mapping[str, Any], *, limit: int = MAX_ANSWER_BYTES) -> Answered:
        """Send ``call``; its whole answer, undecoded, of ``limit`` bytes at the most."""
        return self._whole(call, self._call_settings(given), limit=limit)

    def _whole(
        self, call: Call, settings: CallOptions, *, limit: int = MAX_ANSWER_BYTES, patience: Patience | None = None
    ) -> Answered:
        """The same for a call whose options have been read, or one that is part of another (``patience``)."""
        patience = patience or Patience(settings.timeouts or self._core.timeouts)
        try:
            return self._core.fetch(call, settings, limit=limit, patience=patience)
        except NotFoundError as error:
            failure = error
        raise self._explained(failure, call, settings, patience.left())

    def _opened(self, call: Call, settings: CallOptions) -> tuple[Reply, str]:
        """Send ``call``, which asks for a stream: the unread reply, and the request's id."""
        ends_at = time.monotonic() + (settings.timeouts or self._core.timeouts).deadline
        failure: NotFoundError
        try:
            reply, request_id = self._core.open(call, settings)
        except NotFoundError as error:
            failure = error
        else:
            return self._event_stream(reply, request_id), request_id
        raise self._explained(failure, call, settings, ends_at - time.monotonic())

    def _event_stream(self, reply: Reply, request_id: str) -> Reply:
        if reply.media_type not in ("text/event-stream", ""):
            page = Answered(reply.read_some(_MAX_PAGE_BYTES), reply.status, reply.headers, request_id)
            failure = page.refusal() or page.invalid("it is not an event stream")
            self._core.tell_failure(reply, failure)
            raise failure
        return reply

    def _explained(self, failure: NotFoundError, call: Call, settings: CallOptions, left: float) -> NotFoundError:
        """``failure``; where it is about a model, with the names that may have been meant.

        One more request, if ``left`` (seconds, of the call's deadline) has room for it: short, outside the queue, and
        whatever becomes of it is no error of its own.
        """
        said = failure.message.partition(" - ")[0]  # without our advice
        if "model" not in said.lower():
            return failure
        from gigaclient.gigachat import suggestions
        from gigaclient.types.models import Models

        asked = suggestions.asked_for(call)
        seconds = min(_LOOK_UP_SECONDS, left)
        if asked is None or seconds <= 0:
            return failure
        core = self._core.with_policy(self._core.retry, Timeouts(seconds, seconds, deadline=seconds))
        core.limiter, core.scope = Limiter(), None
        own_id = {name: value for name, value in settings.headers.items() if name.lower() != "x-request-id"}
        options = CallOptions(headers=own_id, max_retries=0, authorization=settings.authorization)
        try:
            models = answer_of(core.fetch(Call("GET", "/models"), options), Models)
        except GigaClientError:
            return failure
        meant = suggestions.meant(asked, models.data, call.path)
        if meant:
            failure.message = f"{said}: {meant} - get_models() lists what this key may use"
            failure.args = (failure.message,)
        return failure

    def _call_settings(self, given: Mapping[str, Any]) -> CallOptions:
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
