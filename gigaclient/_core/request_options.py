"""The options of one call."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from gigaclient._core.settings import named_or_none, seconds, timeout, whole
from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.secret import Secret, as_secret
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
from gigaclient.transport.request import EVENT_STREAM, Request

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time


__all__ = [
    "CALL_OPTIONS",
    "RequestOptions",
    "call_options",
    "checked_headers",
    "headers_as_secrets",
    "hide_secrets",
    "new_id",
    "request_headers",
]

# RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-authorization"})


class RequestOptions(FrozenStruct, frozen=True):
    """The options of one call, besides its content.

    Attributes:
        headers: more headers; they win over the client's.
        timeouts: the timeouts of the call; None for the client's.
        max_retries: the number of retries; None for the client's.
        authorization: a whole ``Authorization`` value that replaces the client's credential.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"authorization", "headers"})

    headers: Mapping[str, str] = {}
    timeouts: Timeouts | None = None
    max_retries: int | None = None
    authorization: Secret | None = None


def checked_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers if all may be sent, with secret values hidden from tracebacks.

    Raises:
        ConfigError: a value is not a string, or has characters that a header may not have; the value is not shown.
    """
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"not a header name: {name!r}")
        if not isinstance(value, str):
            raise ConfigError(f"the header {name} must be a string, not {type(value).__name__}")
        if not value.isascii() or not all(c.isprintable() or c == "\t" for c in value):
            raise ConfigError(
                f"the header {name} may have only printable ASCII characters: no line breaks, no Cyrillic; "
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

# A wrong value of these headers would let a server read one request as two.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})

CALL_OPTIONS = frozenset(
    {*_ID_HEADERS, "authorization", "deadline", "event_timeout", "headers", "max_retries", "timeout"}
)
"""Arguments of a call that are options and are not sent in the body."""


def hide_secrets(arguments: dict[str, Any]) -> None:
    """Replace secrets in ``arguments`` itself, because a traceback may print it."""
    for name, hide in (("authorization", as_secret), ("headers", headers_as_secrets)):
        if name in arguments:
            arguments[name] = hide(arguments[name])


def headers_as_secrets(headers: Any) -> Any:
    """Return ``headers`` with the secret values hidden from tracebacks; anything but a mapping unchanged."""
    if not isinstance(headers, Mapping):
        return headers
    return {name: as_secret(value) if str(name).lower() in SECRET_HEADERS else value for name, value in headers.items()}


_VARIABLES: tuple[ContextVar[Any], ...] = (
    authorization_cvar,
    custom_headers_cvar,
    *(variable for _, variable in _ID_HEADERS.values()),
)
_NO_OPTIONS = RequestOptions()


def call_options(arguments: dict[str, Any], default: Timeouts, session_id: str | None = None) -> RequestOptions:
    """Return the options of one call: arguments win over context variables, and those over the client's settings.

    Raises:
        ConfigError: a value cannot be sent or cannot work.
    """
    if session_id is None and CALL_OPTIONS.isdisjoint(arguments):
        for variable in _VARIABLES:
            if variable.get() is not None:
                break
        else:
            return _NO_OPTIONS  # a fast path for most calls
    hide_secrets(arguments)
    headers: dict[str, Any] = {} if session_id is None else {"X-Session-ID": session_id}
    # Later sources win. No local variable may hold a header before its secret is hidden.
    for source in (
        {"Authorization": as_secret(authorization_cvar.get())},
        {header: variable.get() for header, variable in _ID_HEADERS.values()},
        headers_as_secrets(custom_headers_cvar.get()),
        {"Authorization": arguments.get("authorization")},
        {header: arguments.get(name) for name, (header, _) in _ID_HEADERS.items()},
        arguments.get("headers"),
    ):
        headers = _merged(headers, source)
    checked = checked_headers(headers)
    authorization = None
    for name in [name for name in checked if name.lower() == "authorization"]:
        authorization = Secret(checked.pop(name))
        if " " not in authorization.reveal().strip():
            raise ConfigError('authorization must be a whole header value with its scheme, such as "Bearer <token>"')
    return RequestOptions(
        headers=checked,
        timeouts=_changed_timeouts(arguments, default),
        max_retries=named_or_none("max_retries", whole(0), arguments.get("max_retries")),
        authorization=authorization,
    )


def _merged(headers: dict[str, Any], more: Any) -> dict[str, Any]:
    """Return ``headers`` with those of ``more`` that are not None; names of any case replace each other."""
    if more is None:
        return headers
    if not isinstance(more, Mapping):
        raise ConfigError("headers must be a mapping of names to values")
    for name in more:
        if more[name] is None:
            continue
        lowered = str(name).lower()
        if lowered in _FRAMING:
            raise ConfigError(f"the header {name} is written by the transport: leave it out")
        headers = {known: kept for known, kept in headers.items() if str(known).lower() != lowered}
        headers[name] = more[name]
    return headers


def _changed_timeouts(arguments: Mapping[str, Any], default: Timeouts) -> Timeouts | None:
    connect_and_read = named_or_none("timeout", timeout, arguments.get("timeout"))
    deadline = named_or_none("deadline", seconds, arguments.get("deadline"))
    event = named_or_none("event_timeout", seconds, arguments.get("event_timeout"))
    if connect_and_read is None and deadline is None and event is None:
        return None
    connect, read = connect_and_read or (default.connect, default.read)
    # An event timeout that the user did not set follows the read timeout.
    return Timeouts(
        connect,
        read,
        default.configured_event if event is None else event,
        default.deadline if deadline is None else deadline,
    )


def request_headers(defaults: Mapping[str, str], request: Request, options: RequestOptions) -> dict[str, str]:
    """Return the headers of one call, with an ``X-Request-ID``; the options override the defaults of the client."""
    headers = dict(defaults)
    headers["Accept"] = request.accept
    if request.body is not None and request.content_type:
        headers["Content-Type"] = request.content_type
    if request.accept == EVENT_STREAM:
        headers["Cache-Control"] = "no-store"
    if options.headers:
        lowered = {name.lower() for name in options.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in lowered}
        headers.update(options.headers)
    if options.authorization is not None:
        headers["Authorization"] = options.authorization
    for name in headers:
        if name.lower() == "x-request-id":
            headers["X-Request-ID"] = headers.pop(name)
            break
    else:
        headers["X-Request-ID"] = new_id()
    return headers


class _IdGenerator:
    """A private random generator, so that ids differ even when a program seeds the shared one.

    ``os.urandom`` releases the GIL on each call, and each of 64 threads then waits to get it back. Nothing secret
    depends on the ids.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """Reseed, because the parent goes on with the old state."""
        self.bits = random.Random().getrandbits


_ids = _IdGenerator()


def new_id() -> str:
    """Return a random UUID (RFC 9562, section 5.4) as text.

    The module ``uuid`` takes twice as long, and 3 ms to import.
    """
    digits = bytearray(_ids.bits(128).to_bytes(16, "big"))
    digits[6] = digits[6] & 0x0F | 0x40  # the version
    digits[8] = digits[8] & 0x3F | 0x80  # the variant
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
