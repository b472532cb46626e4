"""What an endpoint of the GigaChat emulator is given and what it gives back.

An endpoint is one function and one :class:`Route`. Those of a group stand in a room of their own, as methods of the
object that keeps their state; ``gigachat.py`` puts the groups together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal, compact
from gigaclient.testing.fault_server import Answer, RawAnswer, RecordedRequest
from gigaclient.testing.faults import EventAnswer

__all__ = ["AnyAnswer", "Endpoint", "Route", "RoutedRequest", "Service", "json_answer"]

AnyAnswer: TypeAlias = Answer | RawAnswer | EventAnswer


@dataclass(frozen=True)
class RoutedRequest:
    """A request that has been let in: its path below the version, the parts of it, who sent it, what to echo."""

    request: RecordedRequest
    version: str
    path: str
    arguments: Mapping[str, str]
    client: str
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The body; a :class:`Refusal` in the service's words when it is not JSON."""
        try:
            return self.request.json()
        except ValueError:
            raise Refusal(400, INVALID_JSON) from None


Endpoint: TypeAlias = Callable[[RoutedRequest], AnyAnswer]


class Service(Protocol):
    """What the rooms of the endpoints may know of the emulator that they belong to."""

    models: dict[str, str]
    models_without_functions: set[str]
    exhausted_models: set[str]
    context_tokens: int
    answer_pause_s: float
    event_pause_s: float

    def now_s(self) -> float:
        """What time the service thinks it is: Unix time in seconds."""

    def scope_of(self, client: str) -> str:
        """The scope that a client's key belongs to."""

    def enter(self, client: str, *, stream: bool) -> Callable[[], None]:
        """Take one of the client's slots, or refuse with 429; what is returned gives it back (once)."""

    def next_script(self, method: str, place: str) -> Any:
        """What :meth:`GigaChatEmulator.answer` was given for this place, if anything; ``place`` is ``v1/files``."""


@dataclass(frozen=True)
class Route:
    """Where an endpoint is: ``Route("GET", "v1", "/models/{model}", get_model)``.

    Attributes:
        method: the HTTP method.
        version: ``v1`` or ``v2``; ``/api`` before it is accepted everywhere.
        path: below the version; what matches ``{name}``, unquoted, is in :attr:`RoutedRequest.arguments`.
        endpoint: answers it, or raises :class:`Refusal`.
    """

    method: str
    version: str
    path: str
    endpoint: Endpoint = field(repr=False)

    def match(self, version: str, path: str) -> re.Match[str] | None:
        """The match, if this is the place."""
        if version != self.version:
            return None
        return re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)


def json_answer(status: int, payload: Any, headers: Mapping[str, str], before_s: float = 0.0) -> Answer:
    """``payload`` as JSON, after ``before_s`` seconds."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, {**headers, **kind}, compact(payload).encode(), before_s=before_s)
