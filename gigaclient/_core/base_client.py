"""The base of both clients, and the settings that both have.

A provider gives :class:`BaseClient` its settings class, its executor, and the two methods that send a chat request.
Generating text, closing, copying, pickling and changing defaults are the same for both providers and are here.
"""

from __future__ import annotations

import abc
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import msgspec.structs

from gigaclient._core import settings
from gigaclient._core.call_arguments import CHAT_FIELDS
from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.retry import DEFAULT_STATUS_CODES, RetryPolicy
from gigaclient._core.settings import Reader
from gigaclient._core.stats import Stats
from gigaclient._primitives.deadline import CancelGroup, Timeouts
from gigaclient._primitives.lazy import no_async
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport.request import Request
from gigaclient.transport.tls import Trust
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient._core.hook_set import Hooks, Instrumentation
    from gigaclient.hooks import EndEvent as EndEvent
    from gigaclient.hooks import OneOrMore as OneOrMore
    from gigaclient.hooks import RequestEvent as RequestEvent
    from gigaclient.hooks import ResponseEvent as ResponseEvent
    from gigaclient.types.options import ChatOptions as ChatOptions
else:
    # For programs that read the type hints at run time. Clients without hooks do not load the real types.
    T = TypeVar("T")
    EndEvent = RequestEvent = ResponseEvent = Any
    OneOrMore = Callable[[T], object] | Sequence[Callable[[T], object]]

__all__ = [
    "COMMON_CHANGES",
    "INSTRUMENTATIONS",
    "BaseClient",
    "CommonSettings",
    "environment_key",
    "fingerprint",
    "read_common",
]

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0

INSTRUMENTATIONS: list[Instrumentation] = []
"""Instrumentations of every client that is made from now on; see :mod:`gigaclient._core.hook_set`."""


_CONTEXT_WARNING = (
    "your ssl_context checks no certificate: anybody on the network path can read the key, the prompts and the "
    "answers. Leave its verify_mode at ssl.CERT_REQUIRED, and load the server's authority into it"
)


class CommonSettings(FrozenStruct, frozen=True, kw_only=True):
    """Settings that every provider has. They can be pickled unless they hold a session or an SSL context."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"proxy", "session"})

    base_url: str
    model: str
    trust: Trust = msgspec.field(default_factory=Trust)
    proxy: Secret | None = None
    connect_timeout: float = _CONNECT_SECONDS
    read_timeout: float = _READ_SECONDS
    event_timeout: float | None = None
    deadline: float | None = None
    max_retries: int = 2
    retry_backoff_factor: float = 0.5
    retry_on_status_codes: tuple[int, ...] = DEFAULT_STATUS_CODES
    max_connections: int | None = None
    session: Any = None
    on_request: tuple[Callable[[Any], object], ...] = ()
    on_response: tuple[Callable[[Any], object], ...] = ()
    on_end: tuple[Callable[[Any], object], ...] = ()
    instrumentations: tuple[Any, ...] = ()

    @property
    def timeouts(self) -> Timeouts:
        """The timeouts of a call that sets none."""
        deadline = math.inf if self.deadline is None else self.deadline
        return Timeouts(self.connect_timeout, self.read_timeout, self.event_timeout, deadline)

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy."""
        return RetryPolicy(self.max_retries, self.retry_backoff_factor, self.retry_on_status_codes)

    def hooks(self, provider: str, purpose: Literal["api", "token"]) -> Hooks | None:
        """Return the hooks of the client, or None if it has none."""
        # Requests for tokens hold secrets.
        instrumentations = (*self.instrumentations, *INSTRUMENTATIONS) if purpose == "api" else ()
        if not (self.on_request or self.on_response or self.on_end or instrumentations):
            return None
        from gigaclient._core.hook_set import Hooks  # loaded only by clients with hooks

        own = {name: getattr(self, name) for name in HOOKS}
        return Hooks(provider, purpose, **own, instrumentations=instrumentations)

    def __reduce__(self) -> tuple[Any, ...]:
        for name, value in (("session", self.session), ("ssl_context", self.trust.ssl_context)):
            if value is not None:
                raise ConfigError(
                    f"a client with {name}= cannot be pickled or copied: create another client with {name}="
                )
        return _rebuild, (type(self), {name: getattr(self, name) for name in self.__struct_fields__})


def _rebuild(cls: type[CommonSettings], values: dict[str, Any]) -> CommonSettings:
    return cls(**values)


def read_common(read: Reader, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the common settings, except base URL, model and trust, which each provider reads itself.

    Args:
        read: finds a setting in the arguments or the environment.
        arguments: the constructor's arguments, for the settings that are objects and never come from the environment.

    Raises:
        ConfigError: a value cannot work.
    """
    statuses: tuple[int, ...] = DEFAULT_STATUS_CODES
    connect, read_timeout = read("timeout", settings.timeout, (_CONNECT_SECONDS, _READ_SECONDS))
    return {
        "proxy": read("proxy", settings.proxy, None),
        "connect_timeout": connect,
        "read_timeout": read_timeout,
        "event_timeout": read("event_timeout", settings.seconds, None),
        "deadline": read("deadline", settings.seconds, None),
        "max_retries": read("max_retries", settings.whole(0), 2),
        "retry_backoff_factor": read("retry_backoff_factor", settings.not_negative, 0.5),
        "retry_on_status_codes": read("retry_on_status_codes", settings.status_codes, statuses),
        "max_connections": read("max_connections", settings.whole(1), None),
        "session": _object("session", settings.session, arguments, None),
        **{name: _object(name, settings.hooks, arguments, ()) for name in HOOKS},
    }


def _object(name: str, parse: Callable[[Any], Any], arguments: Mapping[str, Any], default: Any) -> Any:
    value = arguments.get(name)
    return default if value is None else settings.named(name, parse, value)


HOOKS = ("on_request", "on_response", "on_end")


COMMON_CHANGES: dict[str, Callable[[Any], Any]] = {
    "model": settings.text,
    "timeout": settings.timeout,
    "event_timeout": settings.seconds,
    "deadline": settings.seconds,
    "max_retries": settings.whole(0),
    "retry_backoff_factor": settings.not_negative,
    "retry_on_status_codes": settings.status_codes,
    **dict.fromkeys(HOOKS, settings.hooks),
}

SettingsT = TypeVar("SettingsT", bound=CommonSettings)
ClientT = TypeVar("ClientT", bound="BaseClient[Any]")


class BaseClient(abc.ABC, Generic[SettingsT]):
    """The base of the clients; not for use by itself."""

    _insecure_warning: ClassVar[str]
    _name: ClassVar[str]
    _changes: ClassVar[Mapping[str, Callable[[Any], Any]]] = COMMON_CHANGES
    _settings: SettingsT
    _executor: Executor
    _owner: bool
    _closed: bool

    # -- for each provider to implement ------------------------------------------------------------------------------

    _body_fields: ClassVar[frozenset[str]] = CHAT_FIELDS
    """The names of keyword arguments of calls that are body fields."""

    @abc.abstractmethod
    def _make_executor(self, settings: SettingsT) -> Executor:
        """Return the executor for ``settings``; nothing is sent yet."""

    @abc.abstractmethod
    def _chat_request(self, messages: Messages | None, options: Any, *, stream: bool) -> tuple[Request, RequestOptions]:
        """Return the request for ``messages``, or raise ConfigError if they cannot be sent.

        ``options`` is the dict of the call's keyword arguments, not a copy: its secrets are hidden in place.
        """

    @abc.abstractmethod
    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        """Send ``request`` and return the response as a stream."""

    @abc.abstractmethod
    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        """Send ``request`` and return the whole response."""

    # -- the same for all providers ----------------------------------------------------------------------------------

    def _build(self, settings: SettingsT) -> None:
        if settings.trust.checks_nothing:
            message = self._insecure_warning if settings.trust.ssl_context is None else _CONTEXT_WARNING
            warnings.warn(message, UserWarning, stacklevel=3)
        self._settings = settings
        self._executor = self._make_executor(settings)
        self._owner = True
        self._closed = False

    def generate(self, messages: Messages | None = None, **options: Unpack[ChatOptions]) -> Iterator[str]:
        """Yield the text of the answer as it arrives, and nothing but text.

        The arguments are those of ``stream``. The request is checked now and sent when the first piece is read. Leaving
        the loop early closes the connection.
        """
        return self._texts(*self._chat_request(messages, options, stream=True))

    def _texts(self, request: Request, request_options: RequestOptions) -> Iterator[str]:
        with self._open_stream(request, request_options) as chunks:
            for chunk in chunks:
                text = chunk.text
                if text:
                    yield text

    def _text(self, request: Request, request_options: RequestOptions) -> Iterator[str]:
        text = self._completion(request, request_options).text
        if text:
            yield text

    def close(self) -> None:
        """Close the connections; running calls and streams end with an error. Closing twice is allowed.

        A copy made by ``with_options`` closes only itself.
        """
        self._closed = True
        if self._owner:
            self._executor.transport.close()

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:  # type checkers would accept every misspelt name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("a") and hasattr(type(self), name[1:].lstrip("_")):
                raise AttributeError(no_async(name))
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def __aenter__(self) -> Any:
            """Explain what to use instead of ``async with``."""
            raise TypeError(no_async("async with"))

        __aexit__ = __aenter__

    @property
    def closed(self) -> bool:
        """True after ``close``."""
        return self._closed or self._executor.transport.closed

    def stats(self) -> Stats:
        """Return the current figures: calls in flight and waiting, tokens fetched, retries, connections."""
        return self._executor.stats()

    def _check_open(self) -> None:
        if self.closed:
            raise ConfigError("this client is closed: make a new one")

    def _changed(self: ClientT, arguments: Mapping[str, Any]) -> ClientT:
        """Return a copy with other defaults that shares the connections; arguments that are None change nothing."""
        self._check_open()
        changed: dict[str, Any] = {}
        for name, value in arguments.items():
            if value is not None:
                changed[name] = settings.named(name, self._changes[name], value)
        if "timeout" in changed:
            changed["connect_timeout"], changed["read_timeout"] = changed.pop("timeout")
        replaced = msgspec.structs.replace(self._settings, **changed)
        copy = self._copy_with(self._executor.with_policy(replaced.retry, replaced.timeouts), replaced)
        if not changed.keys().isdisjoint(HOOKS):
            copy._executor.hooks = replaced.hooks(self._name, "api")
        return copy

    def _instrument(self, *instrumentations: Instrumentation) -> None:
        """Replace the instrumentations of this client and of the copies made from it after this."""
        self._check_open()
        self._settings = msgspec.structs.replace(self._settings, instrumentations=instrumentations)
        self._executor.hooks = self._settings.hooks(self._name, "api")

    def _copy_with(self: ClientT, executor: Executor, settings: Any) -> ClientT:
        copy = object.__new__(type(self))
        copy._settings = settings
        copy._executor = executor
        copy._owner = False
        copy._closed = False
        return copy

    def _within(self: ClientT, cancel_group: CancelGroup) -> ClientT:
        """Return a copy that shares the connections and whose calls belong to the cancel group ``cancel_group``."""
        copy = self._copy_with(self._executor.within(cancel_group), self._settings)
        copy._closed = self._closed
        return copy

    def __reduce__(self: ClientT) -> tuple[Callable[..., ClientT], tuple[Any, ...]]:
        hooks = {name: getattr(self._settings, name) for name in HOOKS if getattr(self._settings, name)}
        if hooks:
            from gigaclient._core.hook_set import check_picklable

            check_picklable(hooks)
        return _from_settings, (type(self), self._settings)

    def __copy__(self: ClientT) -> ClientT:
        return _from_settings(type(self), self._settings)

    def __deepcopy__(self: ClientT, memo: dict[int, Any]) -> ClientT:
        return _from_settings(type(self), self._settings)


def _from_settings(cls: type[ClientT], settings: Any) -> ClientT:
    settings.__reduce__()  # raises if a setting cannot be pickled
    client = object.__new__(cls)
    client._build(settings)
    return client


def fingerprint(value: Any) -> Any:
    """Return a hash of text or of a mapping, to compare settings without storing them; other values unchanged."""
    if isinstance(value, str):
        return hashlib.sha256(str.__str__(value).encode("utf-8", "surrogatepass")).hexdigest()
    if isinstance(value, Mapping):
        return fingerprint(repr(sorted((str(name), fingerprint(inner)) for name, inner in value.items())))
    return value


def environment_key(prefix: str) -> str:
    """Return a hash of the environment variables with ``prefix``, so that a change of them makes a new client."""
    return str(fingerprint({name: value for name, value in os.environ.items() if name.upper().startswith(prefix)}))
