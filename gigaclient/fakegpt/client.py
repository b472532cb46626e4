"""The FakeGpt client: where settings become a transport, a login, a core and methods."""

from __future__ import annotations

import contextvars
import hashlib
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import msgspec.structs

from gigaclient import transport
from gigaclient._core.base_client import (
    BaseClient,
    EndEvent,
    OneOrMore,
    RequestEvent,
    ResponseEvent,
    as_secret,
    environment_key,
    fingerprint,
    headers_as_secrets,
)
from gigaclient._core.client_cache import ClientCache
from gigaclient._core.executor import Executor
from gigaclient._core.limiter import Limiter, limiter_for
from gigaclient._core.request_options import RequestOptions, call_options
from gigaclient._core.responses import BufferedResponse
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIConnectionError
from gigaclient.fakegpt.conversation import SECRETS, WIRE_MODEL, conversation
from gigaclient.fakegpt.error_mapping import error_in, explained, page_title
from gigaclient.fakegpt.events import SnapshotParser
from gigaclient.fakegpt.login import login_source
from gigaclient.fakegpt.settings import PUBLIC_URL, FakeGptSettings, read_settings
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport import origin_of
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from concurrent import futures

    from gigaclient.bulk.results import MapResults
    from gigaclient.types.bulk import MapResult

__all__ = ["FakeGpt"]

_MAX_PAGE_BYTES = 64 * 1024

_CLIENT_OPTIONS = frozenset(
    {
        "access_token",
        "base_url",
        "ca_bundle_file",
        "deadline",
        "event_timeout",
        "headers",
        "max_connections",
        "max_retries",
        "on_end",
        "on_request",
        "on_response",
        "plain_authorization",
        "retry_backoff_factor",
        "retry_on_status_codes",
        "session",
        "ssl_context",
        "timeout",
        "trust",
        "verify_ssl_certs",
    }
)

_log = logging.getLogger("gigaclient")


class FakeGpt(BaseClient[FakeGptSettings]):
    """A client of FakeGpt, a Pandora-style proxy of ChatGPT; shared freely between threads.

    **The public host is gone** (``working`` is False, and ``url`` says where it was): pass the address of a compatible
    server of your own as ``base_url``. ``gigaclient.testing.FakeGptEmulator`` is one to try it with.

    Every argument but ``headers``, ``session``, ``ssl_context`` and the hooks may also come from the environment as
    ``FAKEGPT_<NAME>``; one given here wins. The environment is read once, now; ``HTTPS_PROXY`` and ``NO_PROXY`` too.
    Nothing is sent until the first call, which logs in: one login however many threads ask, used until it is refused.

    The service has one model and no settings for it. ``model``, ``temperature``, ``max_tokens`` and the like are taken,
    so that code written for another provider runs, and are not sent; the log says so at DEBUG. A dialogue is flattened
    into one prompt, see :func:`gigaclient.fakegpt.prompt.format_prompt`. The variables of :mod:`gigaclient.context` are
    headers of another service, a token among them, and are not sent to this one.

    Args:
        base_url: the server. ``http://`` is for this machine and for addresses of private networks.
        access_token: a ready token; then there is no login, and nothing to fall back on when it is refused.
        ca_bundle_file: the path of a bundle; the same as ``trust`` with a path.
        trust: whom to believe: ``"system"`` (public authorities; the default), or the path of a bundle, which then is
            the only thing believed.
        verify_ssl_certs: False believes anybody, and warns.
        ssl_context: a TLS context of your own, which says everything about trust.
        proxy: ``http://user:password@host:port`` for all requests; None for what the environment says.
        timeout: seconds, or a pair (connect, read).
        event_timeout: seconds that a stream may keep itself alive without an event; four read timeouts by default.
        deadline: seconds for a whole call: login, queue, tries, waits and body.
        max_retries: further tries after the first one, where a repeat is safe.
        retry_backoff_factor: seconds before the first of them; doubled each time.
        retry_on_status_codes: statuses worth another try.
        max_connections: calls under way at once; the rest queue.
        session: a ``requests.Session`` of your own to send through.
        headers: over the browser-like headers of every request, which are there for bot filters; None as a value leaves
            that header out. A ``Cookie`` here is sent beside the login's own.
        plain_authorization: send the access token as ``Authorization`` beside ``X-Authorization``, for servers without
            a front that keeps the former for itself.
        model: taken for the sake of the common interface.
        on_request, on_response, on_end: functions that are told of each attempt before it is sent, of each attempt's
            outcome, and of the end of each call; one or a list. See :mod:`gigaclient.hooks`.

    Raises:
        ConfigError: a value cannot work, or two contradict each other; the message says what to do.

    A pickled client holds its settings, the access token among them: such a pickle is a secret. Logins and connections
    stay.
    """

    url: ClassVar[str] = PUBLIC_URL
    working: ClassVar[bool] = False
    supports_gpt_35_turbo: ClassVar[bool] = True
    default_model: ClassVar[str] = WIRE_MODEL

    _name = "FakeGpt"
    _insecure_warning = (
        "verify_ssl_certs=False: anybody on the line can read the login, the prompts and the answers. Delete it, or "
        "pass the server's certificate as ca_bundle_file="
    )

    def __init__(
        self,
        base_url: str | None = None,
        *,
        access_token: str | None = None,
        ca_bundle_file: str | None = None,
        trust: str | None = None,
        verify_ssl_certs: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
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
        # From here on no local variable shows a secret, should a traceback print them.
        access_token, proxy, headers = as_secret(access_token), as_secret(proxy), headers_as_secrets(headers)
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._build(read_settings(arguments))

    def _make_core(self, settings: FakeGptSettings) -> Executor:
        origins = (origin_of(settings.base_url),)
        wire = transport.Transport(settings.trust, origins, proxy=settings.proxy, session=settings.session)
        login = Executor(
            transport=wire,
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
            given = Credential(settings.access_token, cookies=settings.cookies)
            tokens = TokenManager(None, timeouts=settings.timeouts, initial=given)
        else:
            tokens = TokenManager(login_source(login, settings.cookies), timeouts=settings.timeouts)
        return Executor(
            transport=wire,
            base_url=settings.base_url,
            tokens=tokens,
            authorize=_both_headers if settings.plain_authorization else _x_authorization,
            limiter=limiter_for(_account(settings), settings.max_connections),
            retry=settings.retry,
            timeouts=settings.timeouts,
            headers=settings.headers,
            refuses=_is_refused,
            explain=explained,
            hooks=settings.hooks(self._name, "api"),
        )

    # -- one interface -----------------------------------------------------------------------------------------------

    def chat(self, messages: Messages, **options: Any) -> ChatCompletion:
        """Ask, and wait for the whole answer: ``POST /api/conversation``.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.Message`, or a whole
                request: a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``. Several messages are
                flattened into one prompt.
            options: of the call: ``timeout``, ``event_timeout``, ``deadline``, ``max_retries``, ``headers``,
                ``request_id``, ``authorization`` (a whole ``"Bearer …"`` in place of the client's login); and fields of
                the body that the service knows, such as ``conversation_id`` with ``parent_message_id``. The settings
                of other services (``model``, ``temperature`` …) are not sent.

        Returns:
            The answer; ``.text`` is what the model said: its last message, as it read at the end.

        Raises:
            ConfigError: the request cannot be sent as it is.
            AuthenticationError: no login, or it was refused twice.
            APIStatusError: the server refused the call, with a status or within the stream; the class tells how.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            StreamInterruptedError: the answer broke off; ``.text`` is what had come.
            InvalidResponseError: an answer came that is not one.

        Repeated after 429 and 5xx and when surely not sent, ``max_retries`` times, and never after the first text.
        """
        return self._completion(*self._chat_request(messages, options, stream=False))

    def stream(self, messages: Messages, **options: Any) -> ChatStream:
        """Ask, and get the answer as it comes: ``POST /api/conversation``.

        Takes what :meth:`chat` takes. When it returns, the request has been sent and its status checked; what can go
        wrong later is told by :class:`~gigaclient.streaming.stream.ChatStream`. The server repeats the answer so far
        in each
        event, and a chunk is what an event adds. A server that changes its mind cannot make us take back a chunk: see
        :class:`~gigaclient.fakegpt.events.SnapshotParser` for how it is flagged.
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
        **options: Any,
    ) -> MapResults[MapResult]:
        """Ask many prompts, as many at a time as the service allows, and give their results one by one.

        Args:
            prompts, template, ordered, raise_errors, progress, checkpoint: as for :meth:`gigaclient.GigaChat.map`.
            max_workers, max_seconds, max_errors_in_row, executor: as there.
            max_tokens_total: of no effect unless the server tells what answers cost, and this service does not.
            options: as for :meth:`chat`, for each of the prompts.

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.MapResult`. Nothing is sent before the
            first result is asked for.

        Raises:
            ConfigError: an argument cannot work, or the checkpoint is no checkpoint. Nothing was sent.
        """
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.fakegpt.job import FakeGptJob

        wishes = MapOptions.of(locals())
        self._check_open()
        return MapResults(self, FakeGptJob(options), prompts, wishes, template=template)

    @classmethod
    def create_generator(
        cls,
        model: str | None = None,
        messages: Messages = "",
        stream: bool = True,
        proxy: str | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """The one-call form for scripts: a blocking generator of the answer's text.

        Args:
            model: taken for the sake of the common interface.
            messages: as for :meth:`chat`.
            stream: False to get the whole text as one piece.
            proxy: as for the constructor.
            kwargs: the constructor's other arguments (``base_url`` above all), and what :meth:`chat` takes.

        Calls with the same settings share one client: one login, one pool of connections.

        Raises:
            ConfigError: (a ``ValueError``) something cannot work. Raised by this call; what the server says comes with
                the first piece.
        """
        settings = {name: kwargs.pop(name) for name in list(kwargs) if name in _CLIENT_OPTIONS}
        settings.update(proxy=as_secret(proxy), access_token=as_secret(settings.get("access_token")))
        settings["headers"] = headers_as_secrets(settings.get("headers"))
        proxy = None
        apart = {name: fingerprint(value) for name, value in settings.items() if value is not None}
        apart[""] = f"{cls.__module__}.{cls.__qualname__} {environment_key('FAKEGPT_')}"
        client = _shared.get(apart, lambda: cls(**settings))
        if model is not None:
            kwargs["model"] = model
        request, request_options = client._chat_request(messages, kwargs, stream=stream)
        return client._texts(request, request_options) if stream else client._text(request, request_options)

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
        """A copy with other defaults that shares this client's login, connections and queue.

        What decides those (the address, trust, proxy, headers) needs a client of its own. Hooks given here take the
        place of this client's, and an empty list takes them away; this client logs in, so its hooks tell of that.

        Raises:
            ConfigError: a value cannot work.
        """
        return self._changed({name: value for name, value in locals().items() if name != "self"})

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        if settings is None:  # a traceback may show one whose settings cannot work
            return "<FakeGpt without settings>"
        return f"<FakeGpt base_url={settings.base_url!r} auth={settings.auth_method}>"

    # -- how calls are made ------------------------------------------------------------------------------------------

    def _chat_request(
        self, messages: Messages, options: dict[str, Any], *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        self._check_open()
        options.update({name: as_secret(options[name]) for name in SECRETS & options.keys()})
        # Not in the caller's context: its variables are headers of another service, a token among them.
        request_options = contextvars.Context().run(call_options, options, self._core.timeouts)
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

    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        return self._begin(request, request_options)[0]

    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        stream, events, headers = self._begin(request, request_options)
        with stream:
            completion = stream.result()
        # Chunks cannot be taken back; an answer that is given in one piece is what the server said last.
        completion.choices[0].message.content = events.text
        raw = {**completion.raw, "choices": msgspec.to_builtins(completion.choices)}
        return completion.attach(raw=raw, request_id=stream.request_id, headers=headers)

    def _begin(
        self, request: Request, request_options: RequestOptions
    ) -> tuple[ChatStream, SnapshotParser, Mapping[str, str]]:
        failure: APIConnectionError
        try:
            response, request_id = self._core.open(request, request_options)
        except APIConnectionError as error:
            if self._settings.base_url == PUBLIC_URL:
                error.message += " - the public host is gone: pass the address of a compatible server as base_url="
            failure = error
        else:
            if response.media_type in ("text/html", "application/json"):
                self._raise_instead(response, request_id)
            events = SnapshotParser(request_id)
            return ChatStream(response, events, request_id=request_id), events, response.headers
        raise failure

    def _raise_instead(self, response: transport.Response, request_id: str) -> None:
        """Under a good status there is a page or an error: say which."""
        page = BufferedResponse(response.read_some(_MAX_PAGE_BYTES), response.status, response.headers, request_id)
        try:
            data = msgspec.json.decode(page.body)
        except JSON_ERRORS:
            data = None
        refusal = error_in(data, request_id=request_id, headers=page.headers)
        title = page_title(page.body.decode("utf-8", "replace"))
        if title is not None:
            refusal = None
            reason = f"a page of HTML titled {title!r}, from a gateway or a bot filter"
        else:
            reason = "it is not an event stream"
        failure = refusal or page.invalid(reason)
        self._core.tell_failure(response, failure)
        raise failure


_shared: ClientCache[FakeGpt] = ClientCache()


def _x_authorization(credential: Credential) -> dict[str, str]:
    headers: dict[str, str] = {"X-Authorization": Secret("Bearer " + credential.value.reveal())}
    if credential.cookies is not None:
        headers["Cookie"] = credential.cookies
    return headers


def _both_headers(credential: Credential) -> dict[str, str]:
    headers = _x_authorization(credential)
    return {"Authorization": headers["X-Authorization"], **headers}


def _is_refused(response: transport.Response) -> bool:
    # A bot filter's page is not about the login, and another one would not get past it either.
    return (
        response.status in (401, 403) and response.media_type != "text/html" and "cf-mitigated" not in response.headers
    )


def _account(settings: FakeGptSettings) -> str:
    """Tells accounts apart without keeping their tokens."""
    token = settings.access_token.reveal() if settings.access_token is not None else ""
    return hashlib.sha256(f"{settings.base_url}\0{token}".encode()).hexdigest()
