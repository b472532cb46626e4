"""The GigaChat client: where settings become a transport, a credential, a core and methods."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from gigaclient import transport
from gigaclient._core import settings as setting
from gigaclient._core.base_client import (
    COMMON_CHANGES,
    EndEvent,
    OneOrMore,
    RequestEvent,
    ResponseEvent,
    as_secret,
    environment_key,
    fingerprint,
)
from gigaclient._core.client_cache import ClientCache
from gigaclient._core.executor import Executor
from gigaclient._core.limiter import Limiter, limiter_for
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.bulk_methods import ManyEndpoints
from gigaclient.gigachat.oauth import key_source, password_source
from gigaclient.gigachat.resources.account import AccountEndpoints
from gigaclient.gigachat.resources.batches import BatchesEndpoints
from gigaclient.gigachat.resources.embeddings import EmbeddingsEndpoints
from gigaclient.gigachat.resources.files import FilesEndpoints
from gigaclient.gigachat.resources.functions import FunctionsEndpoints
from gigaclient.gigachat.resources.models import ModelsEndpoints
from gigaclient.gigachat.resources.moderation import ChecksEndpoints
from gigaclient.gigachat.resources.raw import RawEndpoints
from gigaclient.gigachat.resources.stored import StoredEndpoints
from gigaclient.gigachat.resources.structured import StructuredEndpoints
from gigaclient.gigachat.resources.tokens import TokensEndpoints
from gigaclient.gigachat.resources.tool_calls import DialogueEndpoints
from gigaclient.gigachat.settings import GigaChatSettings, read_settings
from gigaclient.protocols import Messages
from gigaclient.transport import origin_of
from gigaclient.types import AccessToken
from gigaclient.version import __version__

__all__ = ["GigaChat"]


_CLIENT_OPTIONS = frozenset(
    {
        "access_token",
        "auth_url",
        "base_url",
        "ca_bundle_file",
        "cert_file",
        "credentials",
        "deadline",
        "event_timeout",
        "key_file",
        "key_file_password",
        "max_connections",
        "max_retries",
        "on_end",
        "on_request",
        "on_response",
        "password",
        "retry_backoff_factor",
        "retry_on_status_codes",
        "scope",
        "session",
        "session_id",
        "ssl_context",
        "timeout",
        "token_cache",
        "trust",
        "user",
        "v2_url",
        "verify_ssl_certs",
    }
)


# Arguments of the official SDK's earlier versions, and of others.
_ELSEWHERE = {
    "api_key": "pass credentials=, the authorization key",
    "token_expiry_buffer_ms": "leave it out; tokens are renewed a minute before they expire, and again when refused",
    "use_auth": "leave it out; authorization= of a call replaces the client's token, and cert_file= needs none",
    "verbose": 'leave it out; logging.getLogger("gigaclient").setLevel(logging.DEBUG) shows every call',
    "verify": "leave it out; the certificate that GigaChat's servers need ships with gigaclient",
    "verify_ssl": "leave it out; the certificate that GigaChat's servers need ships with gigaclient",
}

_SECRET_OPTIONS = ("access_token", "credentials", "key_file_password", "password")

_CHANGES: Mapping[str, Callable[[Any], Any]] = {
    **COMMON_CHANGES,
    "profanity_check": setting.flag,
    "flags": lambda value: tuple(setting.words(value)),
    "session_id": setting.text,
}


class GigaChat(
    StructuredEndpoints,
    DialogueEndpoints,
    ManyEndpoints,
    ModelsEndpoints,
    EmbeddingsEndpoints,
    TokensEndpoints,
    FilesEndpoints,
    AccountEndpoints,
    ChecksEndpoints,
    FunctionsEndpoints,
    RawEndpoints,
    BatchesEndpoints,
    StoredEndpoints,
):
    """A client of GigaChat, Sber's language models; shared freely between threads.

    Every argument may also come from the environment as ``GIGACHAT_<NAME>``; one given here wins. The environment is
    read once, now; ``HTTPS_PROXY`` and ``NO_PROXY`` too. Nothing is sent until the first call.

    Args:
        credentials: the authorization key, base64 of ``client_id:client_secret``, as Studio shows it.
        scope: ``GIGACHAT_API_PERS`` (persons), ``GIGACHAT_API_B2B`` (prepaid) or ``GIGACHAT_API_CORP`` (postpaid).
        access_token: a ready token. With ``credentials``, or user and password, beside it, those replace it once it
            is refused.
        user, password: for stands that have ``{base_url}/token``.
        model: the model of calls that name none.
        base_url: the API; ``https://gigachat.devices.sberbank.ru/api/v1`` works as well.
        auth_url: the OAuth host.
        v2_url: chat of API v2, with or without ``/chat/completions``, where it is not beside ``base_url`` (its ``/v1``
            replaced by ``/v2``).
        trust: whom to believe: ``"pinned"`` (exactly the Russian Trusted Root CA that ships with this package),
            ``"system"`` (public authorities), or the path of a bundle, which then is the only thing believed.
        ca_bundle_file: the path of a bundle; the same as ``trust`` with a path.
        verify_ssl_certs: False believes anybody, and warns. Not needed: the root certificate ships with this package.
        ssl_context: a TLS context of your own, which says everything about trust.
        cert_file, key_file, key_file_password: a client certificate (mTLS); enough by itself where the server knows it.
        proxy: ``http://user:password@host:port`` for all requests; None for what the environment says.
        timeout: seconds, or a pair (connect, read). See ``docs/reliability.md`` for what each bounds.
        event_timeout: seconds that a stream may keep itself alive without an event; four read timeouts by default.
        deadline: seconds for a whole call: token, queue, tries, waits and body.
        max_retries: further tries after the first one, where a repeat is safe.
        retry_backoff_factor: seconds before the first of them; doubled each time.
        retry_on_status_codes: statuses worth another try.
        max_connections: calls under way at once; the rest queue. 1 for a personal key, whose plan has one stream.
        profanity_check, flags: body fields of calls that do not set them.
        session_id: ``X-Session-ID`` of calls that do not set it; the same one lets the server use its prompt cache.
        session: a ``requests.Session`` of your own to send through.
        token_cache: where processes find each other's token: the path of a file, or an object with ``get`` and ``set``
            as Django's cache has. Off by default; what is kept there is a secret. A path needs ``gigaclient[cache]``.
        on_request, on_response, on_end: functions that are told of each attempt before it is sent, of each attempt's
            outcome, and of the end of each call; one or a list. See :mod:`gigaclient.hooks`.

    Raises:
        ConfigError: a value cannot work, or two contradict each other; the message says what to do.

    A pickled client holds its settings, the key among them: such a pickle is a secret. Tokens and connections stay.
    """

    _name = "GigaChat"
    _insecure_warning = (
        "verify_ssl_certs=False: anybody on the line can read the key, the prompts and the answers. Delete it: "
        "gigaclient ships the certificate that GigaChat's servers need"
    )
    _changes = _CHANGES

    def __new__(cls, *args: Any, **named: Any) -> GigaChat:
        # What other SDKs have for it gets a better answer than that there is no such argument. Subclasses may have it.
        wrong = next((name for name in named if name in _ELSEWHERE), None)
        if wrong is not None and cls.__init__ is GigaChat.__init__:
            named.clear()  # a traceback may show this frame
            raise TypeError(f"GigaChat has no argument {wrong}: {_ELSEWHERE[wrong]}")
        return super().__new__(cls)

    def __init__(
        self,
        *,
        credentials: str | None = None,
        scope: str | None = None,
        access_token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        model: str | None = None,
        base_url: str | None = None,
        auth_url: str | None = None,
        v2_url: str | None = None,
        trust: str | None = None,
        ca_bundle_file: str | None = None,
        verify_ssl_certs: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        key_file_password: str | None = None,
        proxy: str | None = None,
        timeout: float | tuple[float, float] | None = None,
        event_timeout: float | None = None,
        deadline: float | None = None,
        max_retries: int | None = None,
        retry_backoff_factor: float | None = None,
        retry_on_status_codes: Sequence[int] | None = None,
        max_connections: int | None = None,
        profanity_check: bool | None = None,
        flags: Sequence[str] | None = None,
        session_id: str | None = None,
        session: transport.Session | None = None,
        token_cache: Any = None,
        on_request: OneOrMore[RequestEvent] | None = None,
        on_response: OneOrMore[ResponseEvent] | None = None,
        on_end: OneOrMore[EndEvent] | None = None,
    ) -> None:
        # From here on no local variable shows a secret, should a traceback print them.
        credentials, access_token, password = as_secret(credentials), as_secret(access_token), as_secret(password)
        key_file_password, proxy = as_secret(key_file_password), as_secret(proxy)
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._build(read_settings(arguments))

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() and signature() show these arguments

    def _make_core(self, settings: GigaChatSettings) -> Executor:
        origins = dict.fromkeys(map(origin_of, (settings.base_url, settings.auth_url, settings.chat_v2_url)))
        wire = transport.Transport(settings.trust, tuple(origins), proxy=settings.proxy, session=settings.session)

        def core(
            base_url: str, tokens: TokenManager | None, limiter: Limiter, purpose: Literal["api", "token"] = "api"
        ) -> Executor:
            return Executor(
                transport=wire,
                base_url=base_url,
                tokens=tokens,
                authorize=_bearer,
                limiter=limiter,
                retry=settings.retry,
                timeouts=settings.timeouts,
                headers={"User-Agent": f"gigaclient/{__version__}"},
                hooks=settings.hooks(self._name, purpose),
            )

        tokens = _tokens(settings, core(origin_of(settings.auth_url), None, Limiter(), "token"))
        return core(settings.base_url, tokens, limiter_for(_account(settings), settings.max_connections))

    # -- without a client of one's own -------------------------------------------------------------------------------

    @classmethod
    def create_generator(
        cls,
        model: str | None = None,
        messages: Messages = "",
        stream: bool = True,
        proxy: str | None = None,
        *,
        api_key: str | None = None,
        scope: str = "GIGACHAT_API_PERS",
        update_interval: float = 0,
        **kwargs: Any,
    ) -> Iterator[str]:
        """The one-call form for scripts: a blocking generator of the answer's text.

        Args:
            model: the model; the default one when None.
            messages: as for ``giga.chat``.
            stream: False to get the whole text as one piece.
            proxy: as for the constructor.
            api_key: the authorization key; ``GIGACHAT_CREDENTIALS`` when None.
            scope: the scope that belongs to the key.
            update_interval: seconds between chunks at the most frequent; 0 for as they are made.
            kwargs: the constructor's other arguments, and call options and body fields as for ``giga.chat``.

        Calls with the same key, scope and addresses share one client: one token, one pool of connections.

        Raises:
            ConfigError: (a ``ValueError``) there is no key, or something else cannot work. Raised by this call; what
                the server says comes with the first piece.
        """
        settings = {name: kwargs.pop(name) for name in list(kwargs) if name in _CLIENT_OPTIONS}
        settings.update({name: as_secret(settings[name]) for name in _SECRET_OPTIONS if name in settings})
        if api_key is not None:
            settings["credentials"] = as_secret(api_key)
        settings.update(scope=scope, proxy=as_secret(proxy))
        api_key = proxy = None
        apart = {name: fingerprint(value) for name, value in settings.items() if value is not None}
        apart[""] = f"{cls.__module__}.{cls.__qualname__} {environment_key('GIGACHAT_')}"
        client = _shared.get(apart, lambda: cls(**settings))
        if client._settings.auth_method == "none":
            raise ConfigError('no key: pass api_key="<authorization key>" or set GIGACHAT_CREDENTIALS')
        if model is not None:
            kwargs["model"] = model
        if stream:
            return client.generate(messages, update_interval=update_interval, **kwargs)
        call, call_settings = client._chat_request(messages, kwargs, stream=False)
        return client._text(call, call_settings)

    # -- the client itself -------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The address of the API that calls go to."""
        return self._settings.base_url

    @property
    def model(self) -> str:
        """The model of calls that name none."""
        return self._settings.model

    def get_token(self) -> AccessToken:
        """The access token in use, fetched now if there is none yet.

        Raises:
            ConfigError: this client has no token: it has no credentials, or proves itself by certificate.
            AuthenticationError: the credentials were refused.
        """
        self._check_open()
        deadline = Deadline(self._core.timeouts)
        tokens = self._core.tokens
        failure: GigaClientError | None = None
        credential = None
        try:
            with self._core.transport.waiting(deadline):
                credential = tokens.get(deadline) if tokens is not None else None
        except DeadlineExceeded as error:
            host = urlsplit(self._settings.auth_url).hostname or ""
            failure = transport.timed_out(error.kind, host, deadline, sent=False)
        except Cancelled:
            failure = ConfigError("this client is closed: make a new one")
        if failure is not None:
            raise failure
        if credential is None:
            raise ConfigError("there is no token: this client has no credentials, or proves itself by certificate")
        return AccessToken(access_token=credential.value.reveal(), expires_at=credential.expires_at_ms)

    def with_options(
        self,
        *,
        model: str | None = None,
        timeout: float | tuple[float, float] | None = None,
        event_timeout: float | None = None,
        deadline: float | None = None,
        max_retries: int | None = None,
        retry_backoff_factor: float | None = None,
        retry_on_status_codes: Sequence[int] | None = None,
        profanity_check: bool | None = None,
        flags: Sequence[str] | None = None,
        session_id: str | None = None,
        on_request: OneOrMore[RequestEvent] | None = None,
        on_response: OneOrMore[ResponseEvent] | None = None,
        on_end: OneOrMore[EndEvent] | None = None,
    ) -> GigaChat:
        """A copy with other defaults that shares this client's token, connections and queue.

        What decides those (the key, addresses, trust, proxy) needs a client of its own. Hooks given here take the place
        of this client's, and an empty list takes them away; tokens are fetched by this client, so its hooks tell of
        that.

        Raises:
            ConfigError: a value cannot work.
        """
        return self._changed({name: value for name, value in locals().items() if name != "self"})

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        if settings is None:  # a traceback may show one whose settings cannot work
            return "<GigaChat without settings>"
        return (
            f"<GigaChat model={settings.model!r} base_url={settings.base_url!r} scope={settings.scope!r} "
            f"auth={settings.auth_method}>"
        )


_shared: ClientCache[GigaChat] = ClientCache()


def _bearer(credential: Credential) -> dict[str, str]:
    return {"Authorization": Secret("Bearer " + credential.value.reveal())}


def _share(source: Callable[[Deadline], Credential], cache: Any, secret: Secret, *parts: str) -> Any:
    if cache is None:
        return source
    from gigaclient.auth.token_store import share  # few programs share tokens

    return share(source, cache, secret, *parts)


def _tokens(settings: GigaChatSettings, auth_core: Executor) -> TokenManager | None:
    source = None
    if settings.credentials is not None:
        key, scope = settings.credentials, settings.scope
        source = key_source(auth_core, settings.auth_url, key, scope)
        source = _share(source, settings.token_cache, key, scope, settings.auth_url)
    elif settings.user is not None and settings.password is not None:
        user, password = settings.user, settings.password
        source = password_source(auth_core, settings.base_url, user, password)
        source = _share(source, settings.token_cache, password, user, settings.base_url)
    initial = Credential(settings.access_token) if settings.access_token is not None else None
    if source is None and initial is None and (settings.trust.cert_file or settings.trust.ssl_context):
        return None  # the certificate says who we are
    return TokenManager(source, timeouts=settings.timeouts, initial=initial)


def _account(settings: GigaChatSettings) -> str:
    """Tells accounts apart without keeping their keys: what the server limits is the client id behind the key."""
    parts = [settings.base_url, settings.scope, settings.trust.cert_file or ""]
    for secret in (settings.credentials, settings.access_token):
        parts.append(secret.reveal() if secret is not None else "")
    parts.append(settings.user or "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
