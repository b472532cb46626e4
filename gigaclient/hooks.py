"""Hooks that observe calls, for a program's metrics, traces and logs.

    def count(event: EndEvent) -> None:
        CALLS.labels(event.endpoint, event.outcome).inc()

    giga = GigaChat(on_end=count)

There are three hooks, each a function or a list of functions. ``on_request`` is called before each attempt,
``on_response`` after it, and ``on_end`` at the end of the call, or of its stream. Fetching a token is a separate call,
with :attr:`CallEvent.purpose` ``"token"``.

An event describes the request and the response without their content: it holds no prompt, no answer, no key and no
token. A hook cannot change the call. If it raises, the error is logged once, as a warning of the logger ``gigaclient``,
and the call goes on.

A hook runs in the thread of the call, and the call waits for it. Several threads may run it at once. If a token is
refreshed ahead of its expiry, or another thread closes a stream, the hook runs in that thread.
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
"""One hook, or several."""
_FIXED_PATH_PART = re.compile(r"[a-z][a-z_-]*|v\d+")


class CallEvent(FrozenStruct, frozen=True, kw_only=True):
    """The fields that every event has.

    Attributes:
        provider: ``"GigaChat"`` or ``"FakeGpt"``.
        purpose: ``"token"`` for a call that fetches an access token or logs in, ``"api"`` for any other.
        method: the HTTP method.
        url: the URL without its query.
        request_id: the ``X-Request-ID``, the same for all attempts of a call; after a response, the one that the server
            returned.
        model: the model in the body of the request; None if it has none.
        is_stream: True if the response is streamed, which FakeGpt's always are.
        state: a dict, empty at first and the same in all events of a call, in which a hook can keep an object such as a
            span.
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
        """The path of the URL with ``{id}`` in place of ids, so that it has few values and can be a metric label."""
        parts = urlsplit(self.url).path.split("/")
        return "/".join(part if not part or _FIXED_PATH_PART.fullmatch(part) else "{id}" for part in parts)


class RequestEvent(CallEvent, frozen=True, kw_only=True):
    """An attempt is about to be sent.

    Attributes:
        attempt: its number within the call, from 1.
        headers: the request headers, without credentials, cookies and every header that may hold a key.
        waited: seconds since the call began: for a token, a permit and earlier attempts.
    """

    attempt: int
    headers: Mapping[str, str]
    waited: float


class ResponseEvent(CallEvent, frozen=True, kw_only=True):
    """An attempt has ended: with the head of a stream, with any other response as a whole, or with an error.

    Attributes:
        attempt: its number within the call, from 1.
        seconds: since it was sent.
        status: the HTTP status; None without a response.
        headers: the response headers, with names in any case, without cookies; empty without a response.
        error: the error; None after success, and when the thread was interrupted. The error of a token call has the
            status and the code, but not the message of the server.
        retry_in: seconds until the next attempt; 0 when a refused token is replaced at once; None if there is no next
            attempt.
    """

    attempt: int
    seconds: float
    status: int | None
    headers: Mapping[str, str]
    error: GigaClientError | None
    retry_in: float | None

    @property
    def will_retry(self) -> bool:
        """True if another attempt follows."""
        return self.retry_in is not None

    @property
    def outcome(self) -> str:
        """The status as text, or the name of the error's class; ``"interrupted"`` after a Ctrl-C."""
        if self.error is not None and not isinstance(self.error, APIStatusError):
            return type(self.error).__name__
        return "interrupted" if self.status is None else str(self.status)


class EndEvent(CallEvent, frozen=True, kw_only=True):
    """A call has ended: with its response, with the end or the closing of its stream, or with an error.

    Attributes:
        attempts: attempts that were sent; 0 if the call failed while it waited for a token or a permit.
        seconds: since the call began: token, queue, attempts, waits and the whole body.
        outcome: ``"ok"``; ``"closed"`` for a stream that was closed before its end; ``"interrupted"`` if an exception
            other than a ``GigaClientError`` ended it, such as a Ctrl-C; otherwise the name of the error's class.
        status: the HTTP status of the last attempt; None without a response.
        error: the error raised to the caller; for a token call as in :class:`ResponseEvent`.
        chunks: the number of chunks of a stream that were read.
        time_to_first_token_s: seconds from the beginning of the call to the first chunk of a stream with text.
        usage: the tokens used, if the server returned them; those of API v2 under the names of v1.
        model_version: the model and build that answered, such as ``GigaChat-2:2.0.31.04``.
        finish_reason: why the model stopped.

    A response that is JSON but not of the documented type has outcome ``"ok"``, and raises ``InvalidResponseError``
    afterwards. A stream that is neither read to its end nor closed causes no event.
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
