"""The options of one call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.context import (
    agent_id_cvar,
    authorization_cvar,
    client_id_cvar,
    custom_headers_cvar,
    operation_id_cvar,
    request_id_cvar,
    service_id_cvar,
    session_id_cvar,
    trace_id_cvar,
)
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers bring it; nothing needs it at run time


from gigaclient._core.settings import if_given, seconds, timeout, timeouts_from, whole

__all__ = ["CALL_OPTIONS", "RequestOptions", "call_options", "checked_headers"]

# RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-authorization"})


class RequestOptions(FrozenStruct, frozen=True):
    """What the caller may say about one call, beside what is sent.

    Attributes:
        headers: further headers, over the client's.
        timeouts: the call's patience, where it differs from the client's.
        max_retries: where it differs from the client's.
        authorization: a whole ``Authorization`` value that replaces the client's credential.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"authorization", "headers"})

    headers: Mapping[str, str] = {}
    timeouts: Timeouts | None = None
    max_retries: int | None = None
    authorization: Secret | None = None


def checked_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Header values as they may be sent.

    Raises:
        ConfigError: a value is not a string, or has characters that no header may have; it is not shown.
    """
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"not a header name: {name!r}")
        if not isinstance(value, str):
            raise ConfigError(f"the header {name} must be a string, not {type(value).__name__}")
        if not value.isascii() or not all(c.isprintable() or c == "\t" for c in value):
            raise ConfigError(
                f"the header {name} may hold visible ASCII characters alone: no line breaks, no Cyrillic; "
                "a UUID is a good id"
            )
        checked[name] = Secret(value) if name.lower() in SECRET_HEADERS else value
    return checked


_ID_HEADERS = {
    "request_id": ("X-Request-ID", request_id_cvar),
    "session_id": ("X-Session-ID", session_id_cvar),
    "client_id": ("X-Client-ID", client_id_cvar),
    "service_id": ("X-Service-ID", service_id_cvar),
    "operation_id": ("X-Operation-ID", operation_id_cvar),
    "trace_id": ("X-Trace-ID", trace_id_cvar),
    "agent_id": ("X-Agent-ID", agent_id_cvar),
}

# What a wrong value of would let one request pass for two.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})

CALL_OPTIONS = frozenset(
    {*_ID_HEADERS, "authorization", "deadline", "event_timeout", "headers", "max_retries", "timeout"}
)
"""Names that a call understands as options of its own and does not send in the body."""


def _hide_secrets(given: dict[str, Any]) -> None:
    """Have the arguments themselves show no secret, should a traceback print them."""
    if isinstance(given.get("authorization"), str):
        given["authorization"] = Secret(given["authorization"])
    if isinstance(given.get("headers"), Mapping):
        given["headers"] = _as_secrets(given["headers"])


def _as_secrets(headers: Any) -> dict[Any, Any]:
    """A copy without the headers that are None, and with secrets where secrets are."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigError("headers must be a mapping of names to values")
    return {
        name: Secret(value) if isinstance(value, str) and str(name).lower() in SECRET_HEADERS else value
        for name, value in headers.items()
        if value is not None
    }


_VARIABLES: tuple[ContextVar[Any], ...] = (
    authorization_cvar,
    custom_headers_cvar,
    *(variable for _, variable in _ID_HEADERS.values()),
)
_NO_OPTIONS = RequestOptions()


def call_options(given: dict[str, Any], default: Timeouts, session_id: str | None = None) -> RequestOptions:
    """The options of one call: its own arguments over the context variables over the client's settings.

    Raises:
        ConfigError: a value cannot be sent or cannot work.
    """
    if session_id is None and CALL_OPTIONS.isdisjoint(given) and all(variable.get() is None for variable in _VARIABLES):
        return _NO_OPTIONS  # as most calls are
    _hide_secrets(given)
    headers: dict[str, Any] = {} if session_id is None else {"X-Session-ID": session_id}
    # Later ones win. No variable holds them before they are sealed.
    for source in map(
        _as_secrets,
        (
            {"Authorization": authorization_cvar.get()},
            {header: variable.get() for header, variable in _ID_HEADERS.values()},
            custom_headers_cvar.get(),
            {"Authorization": given.get("authorization")},
            {header: given.get(name) for name, (header, _) in _ID_HEADERS.items()},
            given.get("headers"),
        ),
    ):
        for name in source:
            lowered = str(name).lower()
            if lowered in _FRAMING:
                raise ConfigError(f"the header {name} is written by the transport: leave it out")
            headers = {known: kept for known, kept in headers.items() if str(known).lower() != lowered}
            headers[name] = source[name]
    checked = checked_headers(headers)
    authorization = None
    for name in [name for name in checked if name.lower() == "authorization"]:
        authorization = Secret(checked.pop(name))
        if " " not in authorization.reveal().strip():
            raise ConfigError('authorization must be a whole header value with its scheme, such as "Bearer <token>"')
    changed = any(given.get(name) is not None for name in ("timeout", "deadline", "event_timeout"))
    return RequestOptions(
        headers=checked,
        timeouts=_changed_timeouts(given, default) if changed else None,
        max_retries=if_given("max_retries", whole(0), given.get("max_retries")),
        authorization=authorization,
    )


def _changed_timeouts(given: Mapping[str, Any], default: Timeouts) -> Timeouts:
    return timeouts_from(
        default,
        if_given("timeout", timeout, given.get("timeout")),
        if_given("deadline", seconds, given.get("deadline")),
        if_given("event_timeout", seconds, given.get("event_timeout")),
    )
