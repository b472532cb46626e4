"""The FakeGpt client: builds a transport, a login, an executor and methods from settings."""

from __future__ import annotations

import contextvars
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
import msgspec.structs

from gigaclient import transport
from gigaclient._core.base_client import (
    BaseClient,
    EndEvent,
    OneOrMore,
    RequestEvent,
    ResponseEvent,
)
from gigaclient._core.call_arguments import check_constructor, check_names, prompt_of
from gigaclient._core.client_cache import ClientCache
from gigaclient._core.executor import Executor
from gigaclient._core.limiter import Limiter, limiter_for
from gigaclient._core.request_options import RequestOptions, call_options, headers_as_secrets
from gigaclient._core.responses import refuse_page
from gigaclient._primitives.secret import as_secret
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIConnectionError
from gigaclient.fakegpt.authorization import account_id, both_headers, is_login_refused, x_authorization
from gigaclient.fakegpt.conversation import BODY_FIELDS, SECRETS, SERVER_MODEL, conversation
from gigaclient.fakegpt.error_mapping import explain, page_error
from gigaclient.fakegpt.events import SnapshotAccumulator, SnapshotParser
from gigaclient.fakegpt.login import login_source
from gigaclient.fakegpt.settings import PUBLIC_URL, FakeGptSettings, read_settings
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport import origin_of
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from concurrent import futures

    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.bulk.results import MapResults
    from gigaclient.types.bulk import MapResult
    from gigaclient.types.options import ChatOptions

__all__ = ["FakeGpt"]

_log = logging.getLogger("gigaclient")


class FakeGpt(BaseClient[FakeGptSettings]):
    """A client of FakeGpt, a Pandora-style proxy of ChatGPT. Threads may share it.

    **The public host is gone** (``working`` is False, and ``url`` is its former address): pass the address of a
    compatible server as ``base_url``. Try it with ``gigaclient.testing.FakeGptEmulator``.

    Every argument except ``headers``, ``session``, ``ssl_context`` and the hooks may also come from the environment as
    ``FAKEGPT_<NAME>``; an argument wins. The environment, with ``HTTPS_PROXY`` and ``NO_PROXY``, is read once, now.
    Nothing is sent until the first call, which logs in. All threads share one login, which is used until it is refused.

    The service has one model and no settings for it. ``model``, ``temperature``, ``max_tokens`` and the like are
    accepted, so that code for another provider runs, and are not sent; the log says so at DEBUG. A dialogue is
    flattened into one prompt, see :func:`gigaclient.fakegpt.prompt.format_prompt`. The variables of
    :mod:`gigaclient.context` are headers of GigaChat, a token among them, and are not sent to this service.

    Args:
        base_url: the server. ``http://`` is allowed for this machine and for addresses of private networks.
        access_token: a ready token; then there is no login, and no other token when it is refused.
        ca_bundle_file: the path of a bundle; the same as ``trust`` with a path.
        trust: the trusted certificates: ``"system"`` (public authorities; the default), or the path of a bundle, which
            then is the only one trusted.
        verify_ssl_certs: False disables certificate checks, and warns.
        ssl_context: your TLS context, which replaces all trust settings.
        proxy: ``http://user:password@host:port`` for all requests, or a ``socks5://``, ``socks5h://`` or ``socks4://``
            address with the extra ``socks``; False for no proxy; None for the environment's setting.
        timeout: seconds, or a pair (connect, read).
        event_timeout: seconds that a stream may stay alive without an event; four read timeouts by default.
        deadline: seconds for a whole call: login, queue, attempts, waits and body.
        max_retries: retries after the first attempt, where a retry is safe.
        retry_backoff_factor: seconds before the first retry; doubled each time.
        retry_on_status_codes: statuses that are retried.
        max_connections: concurrent calls; the rest queue.
        session: your ``requests.Session`` to send through.
        headers: replace the browser-like headers of every request, which are there for bot filters; None as a value
            removes that header. A ``Cookie`` here is sent together with the login's own.
        plain_authorization: send the access token as ``Authorization`` in addition to ``X-Authorization``, for servers
            whose front end does not use the ``Authorization`` header itself.
        model: accepted for the common interface.
        on_request, on_response, on_end: functions that are called before each attempt, after each attempt, and at the
            end of each call; one or a list. See :mod:`gigaclient.hooks`.

    Raises:
        ConfigError: a value is invalid, or two contradict each other; the message says what to do.

    A pickled client holds its settings, including the access token: such a pickle is a secret. Logins and connections
    are not pickled.
    """

    url: ClassVar[str] = PUBLIC_URL
    working: ClassVar[bool] = False
    supports_gpt_35_turbo: ClassVar[bool] = True
    default_model: ClassVar[str] = SERVER_MODEL

    _name = "FakeGpt"
    _body_fields = BODY_FIELDS | SECRETS  # conversation() refuses the names of secrets, with what to do
    _insecure_warning = (
        "verify_ssl_certs=False: anybody on the network path can read the login, prompts and answers. Delete it, "
        "or pass the server's certificate as ca_bundle_file="
    )

    def __new__(cls, *args: Any, **named: Any) -> FakeGpt:
        """Explain an argument name that is misspelt."""
        check_constructor(cls, cls._constructor, named, {})
        return super().__new__(cls)

    def __init__(
        self,
        base_url: str | None = None,
        *,
        access_token: str | None = None,
        allow_http: bool | None = None,
        ca_bundle_file: str | None = None,
        trust: str | None = None,
        verify_ssl_certs: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        timeout: float | tuple[float, float] | None = None,
        event_timeout: float | None = None,
        deadline: float | None = None,
        max_retries: int | None = None,
        retry_backoff_factor: float | None = None,
        retry_on_status_codes: Sequence[int] | None = None,
        max_connections: int | None = None,
        session: transport.Session | None = None,
        headers: Mapping[str, str | None] | None = None,
        plain_authorization: bool | None = None,
        model: str | None = None,
        on_request: OneOrMore[RequestEvent] | None = None,
        on_response: OneOrMore[ResponseEvent] | None = None,
        on_end: OneOrMore[EndEvent] | None = None,
    ) -> None:
        # From here on no local variable shows a secret, in case a traceback prints them.
        access_token, proxy, headers = as_secret(access_token), as_secret(proxy), headers_as_secrets(headers)
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._build(read_settings(arguments))

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() and signature() show these arguments
    _constructor = __init__

    def _make_executor(self, settings: FakeGptSettings) -> Executor:
        origins = (origin_of(settings.base_url),)
        http_transport = transport.Transport(settings.trust, origins, proxy=settings.proxy, session=settings.session)
        login = Executor(
            transport=http_transport,
            base_url=settings.base_url,
            tokens=None,
            authorize=lambda credential: {},
            limiter=Limiter(),
            retry=settings.retry,
            timeouts=settings.timeouts,
            headers=settings.headers,
            hooks=settings.hooks(self._name, "token"),
        )
        if settings.access_token is not None:
            credential = Credential(settings.access_token, cookies=settings.cookies)
            tokens = TokenManager(None, timeouts=settings.timeouts, initial=credential)
        else:
            tokens = TokenManager(login_source(login, settings.cookies), timeouts=settings.timeouts)
        return Executor(
            transport=http_transport,
            base_url=settings.base_url,
            tokens=tokens,
            authorize=both_headers if settings.plain_authorization else x_authorization,
            limiter=limiter_for(account_id(settings), settings.max_connections),
            retry=settings.retry,
            timeouts=settings.timeouts,
            headers=settings.headers,
            is_auth_error=is_login_refused,
            reword_error=explain,
            hooks=settings.hooks(self._name, "api"),
        )

    # -- one interface -----------------------------------------------------------------------------------------------

    def chat(self, messages: Messages | None = None, **options: Unpack[ChatOptions]) -> ChatCompletion:
        """Send messages and wait for the whole answer: ``POST /api/conversation``.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.Message`, or a whole
                request: a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``. Several messages are
                flattened into one prompt.
            options: of the call: ``timeout``, ``event_timeout``, ``deadline``, ``max_retries``, ``headers``,
                ``request_id``, ``authorization`` (a whole ``"Bearer …"`` in place of the client's login); and fields of
                the body that the service knows, such as ``conversation_id`` with ``parent_message_id`` (for type
                checkers, in ``additional_fields``). The settings of other services (``model``, ``temperature`` …) are
                not sent.

        Returns:
            The answer; ``.text`` is the final text of the model's last message.

        Raises:
            ConfigError: the request cannot be sent.
            AuthenticationError: the login failed, or was refused twice.
            APIStatusError: the server refused the call, with a status or within the stream; the class depends on the
                reason.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            StreamInterruptedError: the answer broke off; ``.text`` is the partial text.
            InvalidResponseError: the response is not an answer.

        Retried after 429 and 5xx, and if it was certainly not sent, up to ``max_retries`` times; never after the first
        text.
        """
        return self._completion(*self._chat_request(messages, options, stream=False))

    def stream(self, messages: Messages | None = None, **options: Unpack[ChatOptions]) -> ChatStream:
        """Send messages and stream the answer: ``POST /api/conversation``.

        Takes the arguments of :meth:`chat`. When it returns, the request has been sent and its status checked. Later
        errors are raised by :class:`~gigaclient.streaming.stream.ChatStream`. Each event of the server repeats the
        answer so far, and a chunk is what an event adds. A chunk cannot be taken back if the server rewrites its
        answer: :class:`~gigaclient.fakegpt.events.SnapshotParser` says how that is marked. The stream's ``text``,
        ``completion`` and ``result()`` are the server's last version.
        """
        return self._open_stream(*self._chat_request(messages, options, stream=True))

    def map(
        self,
        prompts: Iterable[Any] | os.PathLike[str],
        *,
        template: str | Callable[[Any], Any] | None = None,
        ordered: bool = True,
        raise_errors: bool = False,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        max_tokens_total: int | None = None,
        max_seconds: float | None = None,
        max_errors_in_row: int | None = None,
        executor: futures.Executor | None = None,
        keep_blocked: bool = False,
        **options: Unpack[ChatOptions],
    ) -> MapResults[MapResult]:
        """Send many prompts, as many at a time as the service allows, and yield their results one by one.

        The arguments are those of :meth:`gigaclient.GigaChat.map`. ``max_tokens_total`` has no effect, because this
        service does not report tokens. ``options`` are those of :meth:`chat`, for each of the prompts.

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.MapResult`. Nothing is sent before the
            first result is requested.

        Raises:
            ConfigError: an argument is invalid, or the checkpoint is not one. Nothing was sent.
        """
        arguments = locals()
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.fakegpt.job import FakeGptJob

        map_options = MapOptions.of(arguments)
        self._check_open()
        job = FakeGptJob(dict(options), keep_blocked=keep_blocked)
        check_names(options, self._body_fields, arguments)
        return MapResults(self, job, prompts, map_options, template=template)

    @classmethod
    def create_generator(
        cls,
        model: str | None = None,
        messages: Messages = "",
        stream: bool = True,
        proxy: str | Literal[False] | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Return the answer's text as a blocking generator: a chat in one call, for scripts.

        Args:
            model: accepted for the common interface.
            messages: as for :meth:`chat`.
            stream: False to get the whole text as one piece.
            proxy: as for the constructor.
            kwargs: the constructor's other arguments (``base_url`` above all), and the options of :meth:`chat`.

        Calls with the same settings share one client: one login, one connection pool.

        Raises:
            ConfigError: (a ``ValueError``) an argument is invalid. Raised by this call; errors of the server come with
                the first piece.
        """
        kwargs["proxy"] = as_secret(proxy)
        proxy = None
        from gigaclient._core.one_call import shared_client, text_pieces  # scripts alone use this form

        client = shared_client(_shared, cls, FakeGpt.__init__, kwargs, "FAKEGPT_")
        return text_pieces(client, messages, model, kwargs, stream=stream)

    # -- the client itself -------------------------------------------------------------------------------------------

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
        on_request: OneOrMore[RequestEvent] | None = None,
        on_response: OneOrMore[ResponseEvent] | None = None,
        on_end: OneOrMore[EndEvent] | None = None,
    ) -> FakeGpt:
        """Return a copy with other defaults that shares this client's login, connections and queue.

        Settings that decide those (the address, trust, proxy, headers) need a new client. Hooks passed here replace
        this client's, and an empty list removes them. This client logs in, so its hooks report the login.

        Raises:
            ConfigError: a value is invalid.
        """
        return self._changed({name: value for name, value in locals().items() if name != "self"})

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        if settings is None:  # a traceback may show a client whose settings are invalid
            return "<FakeGpt without settings>"
        return f"<FakeGpt base_url={settings.base_url!r} auth={settings.auth_method}>"

    # -- requests ----------------------------------------------------------------------------------------------------

    def _chat_request(self, messages: Messages | None, options: Any, *, stream: bool) -> tuple[Request, RequestOptions]:
        self._check_open()
        options.update({name: as_secret(options[name]) for name in SECRETS & options.keys()})
        # Not in the caller's context: its variables are headers of another service, a token among them.
        request_options = contextvars.Context().run(call_options, options, self._executor.timeouts)
        messages = prompt_of(messages, options, self._body_fields)
        if request_options.authorization is not None:
            token = request_options.authorization
            headers = {"X-Authorization": token, **request_options.headers}
            if self._settings.cookies is not None:
                headers.setdefault("Cookie", self._settings.cookies)
            request_options = msgspec.structs.replace(request_options, headers=headers)
        conversation_request = conversation(messages, options, model=self._settings.model)
        if conversation_request.ignored:
            _log.debug("FakeGpt has no such setting, not sent: %s", ", ".join(conversation_request.ignored))
        request = Request(
            "POST",
            "/api/conversation",
            body=conversation_request.body,
            accept="text/event-stream",
            retry_safety=RetrySafety.BILLABLE,
        )
        return request, request_options

    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        with self._open_stream(request, request_options) as stream:
            return stream.result()

    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        failure: APIConnectionError
        try:
            response = self._executor.open(request, request_options)
        except APIConnectionError as error:
            if self._settings.base_url == PUBLIC_URL:
                error.message += " - the public host is gone: pass the address of a compatible server as base_url="
            failure = error
        else:
            if response.media_type in ("text/html", "application/json"):
                refuse_page(response, page_error)
            parser = SnapshotParser(response.request_id)
            return ChatStream(response, parser, SnapshotAccumulator(parser), request_id=response.request_id)
        raise failure


_shared: ClientCache[FakeGpt] = ClientCache()
