"""The GigaChat client: build the transport, the token manager, the executor and the limiter from the settings."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from gigaclient import transport
from gigaclient._core.base_client import (
    COMMON_CHANGES,
    EndEvent,
    OneOrMore,
    RequestEvent,
    ResponseEvent,
)
from gigaclient._core.call_arguments import check_constructor
from gigaclient._core.client_cache import ClientCache
from gigaclient._core.executor import Call, Executor
from gigaclient._core.limiter import Limiter, limiter_for
from gigaclient._core.settings import flag, text, words
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.secret import as_secret
from gigaclient.auth.token_manager import TokenManager
from gigaclient.errors import ConfigError, GigaClientError, NotFoundError
from gigaclient.gigachat.bulk_methods import BulkEndpoints
from gigaclient.gigachat.chat import ResourceAttribute
from gigaclient.gigachat.resources.account import AccountEndpoints
from gigaclient.gigachat.resources.batches import BatchesEndpoints
from gigaclient.gigachat.resources.embeddings import EmbeddingsEndpoints
from gigaclient.gigachat.resources.files import FilesEndpoints
from gigaclient.gigachat.resources.functions import FunctionsEndpoints
from gigaclient.gigachat.resources.models import ModelsEndpoints
from gigaclient.gigachat.resources.moderation import ModerationEndpoints
from gigaclient.gigachat.resources.raw import RawEndpoints
from gigaclient.gigachat.resources.tokens import TokensEndpoints
from gigaclient.gigachat.resources.tool_calls import ToolCallEndpoints
from gigaclient.gigachat.settings import GigaChatSettings, read_settings
from gigaclient.protocols import Messages
from gigaclient.transport import origin_of
from gigaclient.types import AccessToken
from gigaclient.version import __version__

if TYPE_CHECKING:
    from gigaclient.gigachat.resources.assistants import AssistantsResource
    from gigaclient.gigachat.resources.threads import ThreadsResource

__all__ = ["GigaChat"]


# Arguments of other SDKs, and of earlier versions of the official one.
_FOREIGN_ARGUMENTS = {
    "api_key": "pass credentials=, the authorization key",
    "token_expiry_buffer_ms": "leave it out; tokens are renewed a minute before they expire, and again when refused",
    "use_auth": "leave it out; authorization= of a call replaces the client's token, and cert_file= needs none",
    "verbose": 'leave it out; logging.getLogger("gigaclient").setLevel(logging.DEBUG) shows every call',
    "verify": "leave it out; the certificate that GigaChat's servers need ships with gigaclient",
    "verify_ssl": "leave it out; the certificate that GigaChat's servers need ships with gigaclient",
}

_CHANGES: Mapping[str, Callable[[Any], Any]] = {
    **COMMON_CHANGES,
    "profanity_check": flag,
    "flags": lambda value: tuple(words(value)),
    "session_id": text,
}


def _assistants() -> type[AssistantsResource]:
    from gigaclient.gigachat.resources.assistants import AssistantsResource

    return AssistantsResource


def _threads() -> type[ThreadsResource]:
    from gigaclient.gigachat.resources.threads import ThreadsResource

    return ThreadsResource


class GigaChat(
    ToolCallEndpoints,
    BulkEndpoints,
    ModelsEndpoints,
    EmbeddingsEndpoints,
    TokensEndpoints,
    FilesEndpoints,
    AccountEndpoints,
    ModerationEndpoints,
    FunctionsEndpoints,
    RawEndpoints,
    BatchesEndpoints,
):
    """A client of GigaChat, Sber's language models. Threads may share it.

    Every argument may also come from the environment as ``GIGACHAT_<NAME>``; the argument wins. The environment, with
    ``HTTPS_PROXY`` and ``NO_PROXY``, is read once, by the constructor. Nothing is sent before the first call.

    Args:
        credentials: the authorization key, base64 of ``client_id:client_secret``, as Studio shows it.
        scope: ``GIGACHAT_API_PERS`` (persons), ``GIGACHAT_API_B2B`` (prepaid) or ``GIGACHAT_API_CORP`` (postpaid).
        access_token: a ready token. If it is refused, ``credentials`` or user and password, if set, replace it.
        auth: None for a client that sends no credentials, behind a gateway or sidecar that adds its own.
        user, password: for stands that have ``{base_url}/token``.
        model: the default model.
        base_url: the API; ``https://gigachat.devices.sberbank.ru/api/v1`` works as well.
        auth_url: the OAuth host.
        allow_http: True permits plain ``http://`` addresses of other machines, which send secrets in the clear.
        v2_url: chat of API v2, with or without ``/chat/completions``; by default ``base_url`` with ``/v2`` for ``/v1``.
        trust: the trusted certificates: ``"pinned"`` (only the Russian Trusted Root CA that ships with this package),
            ``"system"`` (public authorities), or the path of a bundle, which then replaces all others.
        ca_bundle_file: the path of a bundle; the same as ``trust`` with a path.
        verify_ssl_certs: False disables certificate checks and warns. Not needed: this package ships the root
            certificate.
        ssl_context: a ready TLS context, which decides everything about trust.
        cert_file, key_file, key_file_password: a client certificate (mTLS); sufficient if the server knows it.
        proxy: ``http://user:password@host:port`` for all requests, or a ``socks5://``, ``socks5h://`` or ``socks4://``
            address with the extra ``socks``; False for no proxy; None for the environment's proxy.
        timeout: seconds, or a pair (connect, read). See ``docs/reliability.md`` for what each bounds.
        event_timeout: seconds that a stream may last without an event, whatever keep-alive bytes arrive; four read
            timeouts by default.
        deadline: seconds for a whole call: token, queue, attempts, pauses and body.
        max_retries: retries after the first attempt, where a repeat is safe.
        retry_backoff_factor: seconds before the first retry; doubled each time.
        retry_on_status_codes: statuses that are retried.
        max_connections: the concurrency limit; further calls queue. 1 for personal keys, whose plan has one stream.
        profanity_check, flags: body fields of calls that do not set them.
        session_id: ``X-Session-ID`` of calls that do not set it; calls that share one use the server's prompt cache.
        session: a ``requests.Session`` to send through.
        token_cache: shares the token between processes: the path of a file, or an object with ``get`` and ``set`` like
            Django's cache. Off by default; the stored token is a secret. A path needs ``gigaclient[cache]``.
        on_request, on_response, on_end: functions called before each attempt, after each attempt, and at the end of
            each call; one or a list. See :mod:`gigaclient.hooks`.

    Raises:
        ConfigError: a value cannot work, or two contradict each other; the message says what to do.

    A pickled client contains its settings with the key, so the pickle is a secret. Tokens and connections are left out.
    """

    _name = "GigaChat"
    _insecure_warning = (
        "verify_ssl_certs=False: anybody on the network path can read the key, the prompts and the answers. Delete it: "
        "gigaclient ships the certificate that GigaChat's servers need"
    )
    _changes = _CHANGES

    def __new__(cls, *args: Any, **named: Any) -> GigaChat:
        """Explain an argument name that is misspelt, or another SDK's."""
        check_constructor(cls, cls._constructor, named, _FOREIGN_ARGUMENTS)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        credentials: str | None = None,
        scope: str | None = None,
        access_token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        auth: Literal["auto"] | None = "auto",
        model: str | None = None,
        base_url: str | None = None,
        auth_url: str | None = None,
        allow_http: bool | None = None,
        v2_url: str | None = None,
        trust: str | None = None,
        ca_bundle_file: str | None = None,
        verify_ssl_certs: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        key_file_password: str | None = None,
        proxy: str | Literal[False] | None = None,
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
        # A traceback may show local variables, so secrets are wrapped first.
        credentials, access_token, password = as_secret(credentials), as_secret(access_token), as_secret(password)
        key_file_password, proxy = as_secret(key_file_password), as_secret(proxy)
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._build(read_settings(arguments))

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() and signature() show these arguments
    _constructor = __init__

    def _make_executor(self, settings: GigaChatSettings) -> Executor:
        # Loaded with the first client: a program that imports the package may never make one.
        from gigaclient.gigachat.authentication import account_id, bearer, token_manager

        origins = dict.fromkeys(map(origin_of, (settings.base_url, settings.auth_url, settings.chat_v2_url)))
        shared_transport = transport.Transport(
            settings.trust, tuple(origins), proxy=settings.proxy, session=settings.session
        )

        def executor(
            base_url: str, tokens: TokenManager | None, limiter: Limiter, purpose: Literal["api", "token"] = "api"
        ) -> Executor:
            return Executor(
                transport=shared_transport,
                base_url=base_url,
                tokens=tokens,
                authorize=bearer,
                limiter=limiter,
                retry=settings.retry,
                timeouts=settings.timeouts,
                headers={"User-Agent": f"gigaclient/{__version__}"},
                explain_not_found=_add_suggestions,
                hooks=settings.hooks(self._name, purpose),
            )

        tokens = token_manager(settings, executor(origin_of(settings.auth_url), None, Limiter(), "token"))
        return executor(settings.base_url, tokens, limiter_for(account_id(settings), settings.max_connections))

    # -- one-call form -----------------------------------------------------------------------------------------------

    @classmethod
    def create_generator(
        cls,
        model: str | None = None,
        messages: Messages = "",
        stream: bool = True,
        proxy: str | Literal[False] | None = None,
        *,
        api_key: str | None = None,
        scope: str = "GIGACHAT_API_PERS",
        update_interval: float = 0,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Ask in one call, for scripts: return a blocking generator of the response's text.

        Args:
            model: the model; the default one when None.
            messages: as for ``giga.chat``.
            stream: False to get the whole text as one piece.
            proxy: as for the constructor.
            api_key: the authorization key; ``GIGACHAT_CREDENTIALS`` when None.
            scope: the scope that belongs to the key.
            update_interval: the minimum seconds between chunks; 0 for no delay.
            kwargs: the constructor's other arguments, and call options and body fields as for ``giga.chat``.

        Calls with the same key, scope and addresses share one client: one token, one connection pool.

        Raises:
            ConfigError: (a ``ValueError``) the key is missing, or another value cannot work. This call raises it;
                errors of the server are raised with the first piece.
        """
        if api_key is not None:
            kwargs["credentials"] = as_secret(api_key)
        kwargs.update(scope=scope, proxy=as_secret(proxy))
        api_key = proxy = None
        from gigaclient._core.one_call import shared_client, text_pieces  # scripts alone use this form

        client = shared_client(_shared, cls, GigaChat.__init__, kwargs, "GIGACHAT_")
        if client._settings.auth_method == "none" and client._settings.sends_credentials:
            raise ConfigError('no key: pass api_key="<authorization key>" or set GIGACHAT_CREDENTIALS')
        if stream:
            kwargs["update_interval"] = update_interval
        return text_pieces(client, messages, model, kwargs, stream=stream)

    # -- the client --------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The address of the API that calls go to."""
        return self._settings.base_url

    @property
    def model(self) -> str:
        """The default model."""
        return self._settings.model

    @property
    def token(self) -> str | None:
        """The access token in use; None before the first call. :meth:`get_token` fetches one."""
        tokens = self._executor.tokens
        credential = None if tokens is None else tokens.current
        return None if credential is None else credential.value.reveal()

    assistants = ResourceAttribute(_assistants)
    """The assistants, which are models with instructions, functions and files: ``giga.assistants.create(…)``.

    Stand-dependent, not in the public OpenAPI: many servers answer 404.
    """

    threads = ResourceAttribute(_threads)
    """The dialogues stored by the server, and the runs that answer them: ``giga.threads.run_messages(…)``.

    Stand-dependent, not in the public OpenAPI: many servers answer 404.
    """

    def get_token(self) -> AccessToken:
        """Return the access token in use; fetch one if there is none.

        Raises:
            ConfigError: this client has no token: it has no credentials, or authenticates by certificate.
            AuthenticationError: the credentials were refused.
        """
        self._check_open()
        deadline = Deadline(self._executor.timeouts)
        tokens = self._executor.tokens
        failure: GigaClientError | None = None
        credential = None
        try:
            with self._executor.transport.waiting(deadline):
                credential = tokens.get(deadline) if tokens is not None else None
        except DeadlineExceeded as error:
            host = urlsplit(self._settings.auth_url).hostname or ""
            failure = transport.wait_failure(error, host, deadline, sent=False)
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
        """Return a copy with other defaults that shares this client's token, connection pool and queue.

        A different key, address, trust or proxy needs a new client. Hooks passed here replace this client's hooks; an
        empty list removes them. Token requests are reported to this client's hooks.

        Raises:
            ConfigError: a value cannot work.
        """
        return self._changed({name: value for name, value in locals().items() if name != "self"})

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        if settings is None:  # the constructor failed, and a traceback shows the object
            return "<GigaChat without settings>"
        return (
            f"<GigaChat model={settings.model!r} base_url={settings.base_url!r} scope={settings.scope!r} "
            f"auth={settings.auth_method}>"
        )


def _add_suggestions(executor: Executor, call: Call, failure: NotFoundError) -> None:
    from gigaclient.gigachat.suggestions import add_suggestions  # loaded at the first such error

    add_suggestions(executor, call, failure)


_shared: ClientCache[GigaChat] = ClientCache()
