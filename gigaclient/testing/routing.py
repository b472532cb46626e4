"""Requests, responses and routes of the GigaChat emulator's endpoints.

An endpoint is one function and one :class:`Route`. The endpoints of a group are methods of the object that holds their
state. ``gigachat.py`` collects the groups.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from gigaclient.testing.faults import EventAnswer
from gigaclient.testing.http_messages import Answer, Pause, RawAnswer, RecordedRequest

__all__ = [
    "INVALID_JSON",
    "STREAM_ERROR",
    "AnyAnswer",
    "Endpoint",
    "Refusal",
    "Route",
    "RoutedRequest",
    "Service",
    "compact",
    "json_answer",
    "stream_answer",
]

INVALID_JSON = "Your request contains invalid JSON syntax."
STREAM_ERROR = {"status": 500, "message": "Internal Server Error"}

AnyAnswer: TypeAlias = Answer | RawAnswer | EventAnswer


class Refusal(Exception):
    """An error response of the API. ``body`` overrides the usual ``{"status", "message"}``."""

    def __init__(self, status: int, message: str, *, body: Any = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.body = {"status": status, "message": message} if body is None else body


@dataclass(frozen=True)
class RoutedRequest:
    """An authenticated request on its way to an endpoint.

    Attributes:
        request: The request as it was read.
        version: ``v1`` or ``v2``.
        path: The path below the version.
        arguments: The parts of the path that matched ``{name}`` of the route.
        client: The client that sent it.
        headers: The response headers that echo the request's.
    """

    request: RecordedRequest
    version: str
    path: str
    arguments: Mapping[str, str]
    client: str
    headers: Mapping[str, str]

    @property
    def script_key(self) -> str:
        """The name of the request's endpoint in the queue of scripted answers."""
        return f"{self.request.method} {self.version}{self.path}"

    def json(self) -> Any:
        """Parse the body; raise :class:`Refusal` with the service's text when it is not JSON."""
        try:
            return self.request.json()
        except ValueError:
            raise Refusal(400, INVALID_JSON) from None

    def json_object(self, **required: type) -> dict[str, Any]:
        """Parse the body; raise :class:`Refusal` unless it is a JSON object with the ``required`` fields."""
        body = self.json()
        if not isinstance(body, dict) or not all(isinstance(body.get(name), type_) for name, type_ in required.items()):
            raise Refusal(400, INVALID_JSON)
        return body

    @property
    def end_user(self) -> str | None:
        """The ``X-Client-ID`` of the request."""
        return self.request.headers.get("x-client-id")

    def answer(self, payload: Any) -> Answer:
        """Return ``payload`` as the JSON of a response with status 200."""
        return json_answer(200, payload, self.headers)


Endpoint: TypeAlias = Callable[[RoutedRequest], AnyAnswer]


class Service(Protocol):
    """The part of the emulator that the endpoints use."""

    models: dict[str, str]
    models_without_functions: set[str]
    exhausted_models: set[str]
    context_tokens: int
    answer_pause_s: float
    event_pause_s: float

    def now_s(self) -> float:
        """Return the service's clock: Unix time in seconds."""

    def scope_of(self, client: str) -> str:
        """Return the scope of a client's key."""

    def enter(self, client: str, *, stream: bool) -> Callable[[], None]:
        """Take one of the client's slots, or refuse with 429. The returned function releases it once."""

    def next_script(self, call: RoutedRequest) -> Any:
        """Return the scripted answer to ``call``, or None: a text, a mapping, or a complete answer."""


@dataclass(frozen=True)
class Route:
    """The address of an endpoint: ``Route("GET", "v1", "/models/{model}", get_model)``.

    Attributes:
        method: the HTTP method.
        version: ``v1`` or ``v2``; ``/api`` before it is accepted everywhere.
        path: the path below the version; :attr:`RoutedRequest.arguments` gets the unquoted matches of ``{name}``.
        endpoint: the function that answers, or raises :class:`Refusal`.
    """

    method: str
    version: str
    path: str
    endpoint: Endpoint = field(repr=False)

    def match(self, version: str, path: str) -> re.Match[str] | None:
        """Return the match of ``path``, or None."""
        if version != self.version:
            return None
        return re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)


def json_answer(
    status: int,
    payload: Any,
    headers: Mapping[str, str],
    before_s: float = 0.0,
    *,
    release: Callable[[], None] | None = None,
) -> Answer:
    """Return a JSON response that is sent after ``before_s`` seconds; ``release`` is called at its end."""
    content_type = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, {**headers, **content_type}, compact(payload).encode(), before_s=before_s, done=release)


def stream_answer(
    service: Service,
    call: RoutedRequest,
    events: Iterable[bytes],
    last_events: Iterable[bytes],
    *,
    pause_s: float,
    release: Callable[[], None],
) -> EventAnswer:
    """Return a stream of ``events`` and ``last_events`` that begins after the service's ``answer_pause_s``.

    ``release`` is called before the last events: a client that has read them must find its slot free.
    """

    def steps() -> Iterator[bytes | Pause]:
        if service.answer_pause_s:
            yield Pause(service.answer_pause_s)
        yield from events
        release()
        yield from last_events

    return EventAnswer(steps(), call.headers, pause_s=pause_s, error=STREAM_ERROR, done=release)


def compact(value: Any) -> str:
    """Return ``value`` as JSON on one line, with Cyrillic letters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
