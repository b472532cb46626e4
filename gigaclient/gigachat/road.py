"""How the endpoints of a GigaChat client send what they describe: the one road, with this client's options on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gigaclient.core import MAX_ANSWER_BYTES, Answered, Call, CallOptions
from gigaclient.gigachat.settings import Settings
from gigaclient.options import CALL_OPTIONS, call_options
from gigaclient.provider import Provider
from gigaclient.transport import Reply
from gigaclient.types import Answer

__all__ = ["Road", "answer_of", "decoder"]

AnswerT = TypeVar("AnswerT", bound=Answer)

_MAX_PAGE_BYTES = 64 * 1024


_decoders: dict[Any, Any] = {}


def decoder(kind: type[AnswerT]) -> msgspec.json.Decoder[AnswerT]:
    """The decoder of a type; made once, when the first answer of that type comes."""
    found: msgspec.json.Decoder[AnswerT] | None = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found


def answer_of(answered: Answered, kind: type[AnswerT]) -> AnswerT:
    """A whole answer as ``kind``, with its raw form, request id and headers."""
    answer = answered.decode(decoder(kind))
    return answer.attach(raw=answered.body, request_id=answered.request_id, headers=answered.headers)


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
        return self._core.fetch(call, self._call_settings(given), limit=limit)

    def _opened(self, call: Call, settings: CallOptions) -> tuple[Reply, str]:
        """Send ``call``, which asks for a stream: the unread reply, and the request's id."""
        reply, request_id = self._core.open(call, settings)
        if reply.media_type not in ("text/event-stream", ""):
            page = Answered(reply.read_some(_MAX_PAGE_BYTES), reply.status, reply.headers, request_id)
            raise page.refusal() or page.invalid("it is not an event stream")
        return reply, request_id

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
