"""What a program may watch of its calls: for metrics, traces and logs of its own.

    def count(event: EndEvent) -> None:
        CALLS.labels(event.endpoint, event.outcome).inc()

    giga = GigaChat(on_end=count)

Three hooks, each a function or a list of functions. ``on_request`` is told of each attempt before it is sent,
``on_response`` of the same attempt once it has come to something, and ``on_end`` of the call as a whole, a stream
included. Fetching a token is a call of its own, with :attr:`CallEvent.purpose` ``"token"``.

An event says what was sent where, never what was said: it holds no prompt, no answer, no key and no token. A hook
watches; it cannot change the call. What it raises is logged once, as a warning of the logger ``gigaclient``, and the
call goes on.

A hook runs in the thread of the call: several threads may be in it at once, and the call waits for it. A token that is
renewed ahead of its expiry, and a stream that another thread closes, are told of in those threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import APIStatusError, GigaClientError
from gigaclient.types import Usage

__all__ = ["CallEvent", "EndEvent", "OneOrMore", "RequestEvent", "ResponseEvent"]

T = TypeVar("T")

OneOrMore: TypeAlias = Callable[[T], object] | Sequence[Callable[[T], object]]
"""A hook, or several."""
_WORD_OF_A_PATH = re.compile(r"[a-z][a-z_-]*|v\d+")


class CallEvent(FrozenStruct, frozen=True, kw_only=True):
    """What every event tells of its call.

    Attributes:
        provider: ``"GigaChat"`` or ``"FakeGpt"``.
        purpose: ``"token"`` for a call that fetches an access token or logs in, ``"api"`` for any other.
        method: the HTTP method.
        url: the address, without its query.
        request_id: the ``X-Request-ID``, the same for all attempts of a call; once an answer has come, the one that the
            server names.
        model: the model that the body of the request names; None where it names none.
        is_stream: whether the answer is read as it comes. FakeGpt answers in no other way.
        state: an empty dict at first, and the same one in all events of a call: a place for what a hook wants to find
            again, such as a span.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"headers", "state"})

    provider: str
    purpose: Literal["api", "token"]
    method: str
    url: str
    request_id: str
    model: str | None
    is_stream: bool
    state: dict[str, Any]

    @property
    def endpoint(self) -> str:
        """The path of the address with ``{id}`` for what differs from call to call: few values, fit for a label."""
        parts = urlsplit(self.url).path.split("/")
        return "/".join(part if not part or _WORD_OF_A_PATH.fullmatch(part) else "{id}" for part in parts)


class RequestEvent(CallEvent, frozen=True, kw_only=True):
    """An attempt is about to be sent.

    Attributes:
        attempt: its number within the call, from 1.
        headers: what is sent, without credentials, cookies and whatever looks like a key.
        waited: seconds since the call began: for a token, a place in the queue and the attempts before this one.
    """

    attempt: int
    headers: Mapping[str, str]
    waited: float


class ResponseEvent(CallEvent, frozen=True, kw_only=True):
    """An attempt has come to something: the head of a stream, the whole of any other answer, or a failure.

    Attributes:
        attempt: its number within the call, from 1.
        seconds: since it was sent.
        status: the HTTP status; None when no answer came.
        headers: the answer's headers, under any spelling of their names, without cookies; empty when none came.
        error: what went wrong; None when nothing did, and when the thread was interrupted. That of a token call tells
            its status and its code, and nothing of what was said.
        retry_in: seconds until the next attempt; 0 when a refused token is replaced at once; None when there will be
            none.
    """

    attempt: int
    seconds: float
    status: int | None
    headers: Mapping[str, str]
    error: GigaClientError | None
    retry_in: float | None

    @property
    def will_retry(self) -> bool:
        """Whether another attempt follows."""
        return self.retry_in is not None

    @property
    def outcome(self) -> str:
        """The status as text, or the name of the error's class; ``"interrupted"`` after a Ctrl-C."""
        if self.error is not None and not isinstance(self.error, APIStatusError):
            return type(self.error).__name__
        return "interrupted" if self.status is None else str(self.status)


class EndEvent(CallEvent, frozen=True, kw_only=True):
    """A call is over: its answer is here, its stream has ended, it failed for good, or it was left.

    Attributes:
        attempts: how many were sent; 0 when it failed before the first, for want of a token or of a place in the queue.
        seconds: since the call began: token, queue, attempts, waits, and all of the body.
        outcome: ``"ok"``; ``"closed"`` for a stream that was closed before its end; ``"interrupted"`` when something
            else than an error of ours ended it, such as a Ctrl-C; otherwise the name of the error's class.
        status: the HTTP status of the last attempt; None when it got no answer.
        error: what the caller gets raised; as for :class:`ResponseEvent`.
        chunks: chunks of a stream that were read.
        first_text_after: seconds from the beginning of the call to the first chunk of a stream with text.
        usage: the tokens used, as far as the server said so; those of API v2 under the names of v1.
        answered_by: the model and build that answered, such as ``GigaChat-2:2.0.31.04``.
        finish_reason: why the model stopped.

    An answer that is valid JSON of a kind that the API does not promise ends here as ``"ok"``, and raises an
    ``InvalidResponseError`` afterwards. A stream that is neither read to its end nor closed ends in silence.
    """

    attempts: int
    seconds: float
    outcome: str
    status: int | None
    error: GigaClientError | None
    chunks: int
    time_to_first_token_s: float | None
    usage: Usage | None
    model_version: str | None
    finish_reason: str | None
