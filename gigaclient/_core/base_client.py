"""What a client is, whichever service it talks to: settings that become a core, and what follows from that.

A provider gives :class:`BaseClient` its settings class, its core and two ways of asking; generating text, closing,
copying, pickling, sharing a client between one-line calls and changing defaults are the same for all and live here.
"""

from __future__ import annotations

import abc
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import msgspec.structs

from gigaclient._core import settings as options
from gigaclient._core.executor import Executor, Stats
from gigaclient._core.request_options import SECRET_HEADERS, RequestOptions
from gigaclient._core.retry import DEFAULT_STATUS_CODES, RetryPolicy
from gigaclient._core.settings import Reader
from gigaclient._primitives.deadline import CancelGroup, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport.request import Request
from gigaclient.transport.tls import Trust
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from gigaclient._core.observer import Hooks
    from gigaclient.hooks import EndEvent as EndEvent
    from gigaclient.hooks import OneOrMore as OneOrMore
    from gigaclient.hooks import RequestEvent as RequestEvent
    from gigaclient.hooks import ResponseEvent as ResponseEvent
else:
    # For whoever asks for the types of the arguments at run time: few programs watch, and the rest need not load it.
    T = TypeVar("T")
    EndEvent = RequestEvent = ResponseEvent = Any
    OneOrMore = Callable[[T], object] | Sequence[Callable[[T], object]]

__all__ = [
    "COMMON_CHANGES",
    "BaseClient",
    "CommonSettings",
    "as_secret",
    "environment_key",
    "fingerprint",
    "headers_as_secrets",
    "read_common",
]

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0


class CommonSettings(FrozenStruct, frozen=True, kw_only=True):
    """Settings that every provider has. They can be pickled unless they hold an object of the user's own."""

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

    @property
    def timeouts(self) -> Timeouts:
        return options.timeouts_from(
            Timeouts(), (self.connect_timeout, self.read_timeout), self.deadline, self.event_timeout
        )

    @property
    def retry(self) -> RetryPolicy:
        return RetryPolicy(self.max_retries, self.retry_backoff_factor, self.retry_on_status_codes)

    def hooks(self, provider: str, purpose: Literal["api", "token"]) -> Hooks | None:
        """Who is told of the calls; None when nobody is."""
        if not (self.on_request or self.on_response or self.on_end):
            return None
        from gigaclient._core.observer import Hooks  # few programs watch

        return Hooks(provider, purpose, **{name: getattr(self, name) for name in HOOKS})

    def __reduce__(self) -> tuple[Any, ...]:
        for name, value in (("session", self.session), ("ssl_context", self.trust.ssl_context)):
            if value is not None:
                raise ConfigError(f"a client with {name}= cannot be pickled or copied: the {name} cannot travel")
        return _rebuild, (type(self), {name: getattr(self, name) for name in self.__struct_fields__})


def _rebuild(cls: type[CommonSettings], values: dict[str, Any]) -> CommonSettings:
    return cls(**values)


def read_common(read: Reader, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The common settings but the address, the model and the trust, which each provider reads in its own way.

    Args:
        read: finds a setting among the arguments and in the environment.
        arguments: the constructor's, for the settings that are objects and never come from the environment.

    Raises:
        ConfigError: a value cannot work.
    """
    statuses: tuple[int, ...] = DEFAULT_STATUS_CODES
    connect, read_timeout = read("timeout", options.timeout, (_CONNECT_SECONDS, _READ_SECONDS))
    return {
        "proxy": read("proxy", options.proxy, None),
        "connect_timeout": connect,
        "read_timeout": read_timeout,
        "event_timeout": read("event_timeout", options.seconds, None),
        "deadline": read("deadline", options.seconds, None),
        "max_retries": read("max_retries", options.whole(0), 2),
        "retry_backoff_factor": read("retry_backoff_factor", options.not_negative, 0.5),
        "retry_on_status_codes": read("retry_on_status_codes", options.status_codes, statuses),
        "max_connections": read("max_connections", options.whole(1), None),
        "session": _object("session", options.session, arguments, None),
        **{name: _object(name, options.hooks, arguments, ()) for name in HOOKS},
    }


def _object(name: str, parse: Callable[[Any], Any], arguments: Mapping[str, Any], default: Any) -> Any:
    value = arguments.get(name)
    return default if value is None else options.named(name, parse, value)


HOOKS = ("on_request", "on_response", "on_end")


COMMON_CHANGES: dict[str, Callable[[Any], Any]] = {
    "model": options.text,
    "timeout": options.timeout,
    "event_timeout": options.seconds,
    "deadline": options.seconds,
    "max_retries": options.whole(0),
    "retry_backoff_factor": options.not_negative,
    "retry_on_status_codes": options.status_codes,
    **dict.fromkeys(HOOKS, options.hooks),
}

SettingsT = TypeVar("SettingsT", bound=CommonSettings)
ClientT = TypeVar("ClientT", bound="BaseClient[Any]")


class BaseClient(abc.ABC, Generic[SettingsT]):
    """The base of the clients; not for use by itself."""

    _insecure_warning: ClassVar[str]
    _name: ClassVar[str]
    _changes: ClassVar[Mapping[str, Callable[[Any], Any]]] = COMMON_CHANGES
    _settings: SettingsT
    _core: Executor
    _owner: bool
    _closed: bool

    # -- what a provider gives ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _make_core(self, settings: SettingsT) -> Executor:
        """The core for ``settings``. Nothing is sent yet."""

    @abc.abstractmethod
    def _chat_request(
        self, messages: Messages, options: dict[str, Any], *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        """The call that asks ``messages``; raises ConfigError for what cannot be sent."""

    @abc.abstractmethod
    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        """Send ``request``; the answer as it comes."""

    @abc.abstractmethod
    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        """Send ``request``; the whole answer."""

    # -- what follows ------------------------------------------------------------------------------------------------

    def _build(self, settings: SettingsT) -> None:
        if settings.trust.kind == "insecure":
            warnings.warn(self._insecure_warning, UserWarning, stacklevel=3)
        self._settings = settings
        self._core = self._make_core(settings)
        self._owner = True
        self._closed = False

    def generate(self, messages: Messages, **options: Any) -> Iterator[str]:
        """A blocking generator of the answer's text, and nothing but text.

        Takes what ``stream`` takes. The request is checked now and sent when the first piece is asked for; leaving the
        loop early closes the connection.
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
        """Close the connections; calls and streams under way end with an error. More than once is no harm.

        A copy made by ``with_options`` closes itself alone.
        """
        self._closed = True
        if self._owner:
            self._core.transport.close()

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed or self._core.transport.closed

    def stats(self) -> Stats:
        """How things stand: calls in flight and waiting, tokens fetched, retries, connections."""
        return self._core.stats()

    def _check_open(self) -> None:
        if self.closed:
            raise ConfigError("this client is closed: make a new one")

    def _changed(self: ClientT, given: Mapping[str, Any]) -> ClientT:
        """A copy with other defaults, on the same core; None is not given."""
        self._check_open()
        changed: dict[str, Any] = {}
        for name, value in given.items():
            if value is not None:
                changed[name] = options.named(name, self._changes[name], value)
        if "timeout" in changed:
            changed["connect_timeout"], changed["read_timeout"] = changed.pop("timeout")
        settings = msgspec.structs.replace(self._settings, **changed)
        copy = self._on(self._core.with_policy(settings.retry, settings.timeouts), settings)
        if not changed.keys().isdisjoint(HOOKS):
            copy._core.hooks = settings.hooks(self._name, "api")
        return copy

    def _on(self: ClientT, core: Executor, settings: Any) -> ClientT:
        copy = object.__new__(type(self))
        copy._settings = settings
        copy._core = core
        copy._owner = False
        copy._closed = False
        return copy

    def _within(self: ClientT, scope: CancelGroup) -> ClientT:
        """A copy on the same core, whose calls ``scope`` counts and can end."""
        copy = self._on(self._core.within(scope), self._settings)
        copy._closed = self._closed
        return copy

    def __reduce__(self: ClientT) -> tuple[Callable[..., ClientT], tuple[Any, ...]]:
        watched = {name: getattr(self._settings, name) for name in HOOKS if getattr(self._settings, name)}
        if watched:
            from gigaclient._core.observer import check_picklable

            check_picklable(watched)
        return _from_settings, (type(self), self._settings)

    def __copy__(self: ClientT) -> ClientT:
        return _from_settings(type(self), self._settings)

    def __deepcopy__(self: ClientT, memo: dict[int, Any]) -> ClientT:
        return _from_settings(type(self), self._settings)


def _from_settings(cls: type[ClientT], settings: Any) -> ClientT:
    settings.__reduce__()  # refuses what cannot travel
    client = object.__new__(cls)
    client._build(settings)
    return client


def as_secret(value: Any) -> Any:
    """``value``, as a :class:`~gigaclient._primitives.secret.Secret` if it is text; ``base64.b64encode`` gives text
    as bytes."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return Secret(value) if isinstance(value, str) else value


def headers_as_secrets(headers: Any) -> Any:
    """``headers`` with secrets where secrets are: what a traceback may print."""
    if not isinstance(headers, Mapping):
        return headers
    return {name: as_secret(value) if str(name).lower() in SECRET_HEADERS else value for name, value in headers.items()}


def fingerprint(value: Any) -> Any:
    """``value`` for telling settings apart without keeping them: text and mappings as a hash, the rest as it is."""
    if isinstance(value, str):
        return hashlib.sha256(str.__str__(value).encode("utf-8", "surrogatepass")).hexdigest()
    if isinstance(value, Mapping):
        return fingerprint(repr(sorted((str(name), fingerprint(inner)) for name, inner in value.items())))
    return value


def environment_key(prefix: str) -> str:
    """Tells environments apart: a client shared by several calls was made from the one there was at the first."""
    return str(fingerprint({name: value for name, value in os.environ.items() if name.startswith(prefix)}))
