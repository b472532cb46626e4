"""An emulator of GigaChat: the API on one port, OAuth on another, both over HTTPS on 127.0.0.1.

    with GigaChatEmulator() as emulator:
        client = GigaChat(**emulator.client_options)

It is written from the API's documentation and shares no code of the protocol with the client, so that each can be
tested against the other. To add an endpoint, write one function and one line in ``routes``; see ``routing.py``.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from gigaclient.testing.assistants import EmulatedAssistants
from gigaclient.testing.authority import Authority
from gigaclient.testing.batches import EmulatedBatches
from gigaclient.testing.chat_v1 import ChatV1, chat_body, last_prompt
from gigaclient.testing.chat_v2 import ChatV2
from gigaclient.testing.emulator import Emulator, LimitReached
from gigaclient.testing.error_bodies import api_error, oauth_error
from gigaclient.testing.fault_answers import early_answer, respond
from gigaclient.testing.fault_server import Server
from gigaclient.testing.files import EmulatedFiles
from gigaclient.testing.function_tools import FunctionTools
from gigaclient.testing.http_messages import Answer, RawAnswer, RecordedRequest
from gigaclient.testing.models import EmulatedModels, recorded_models
from gigaclient.testing.oauth import LEFT_OUT, SCOPES, Authentication, TokenShape
from gigaclient.testing.recordings import Recording, recording
from gigaclient.testing.routing import STREAM_ERROR, AnyAnswer, Refusal, Route, RoutedRequest, json_answer
from gigaclient.testing.scripts import replay_answer
from gigaclient.testing.text_tools import TextTools
from gigaclient.testing.threads import EmulatedThreads

__all__ = ["LEFT_OUT", "GigaChatEmulator", "Scripted"]

_PREFIX = re.compile(r"/(?:api/)?(v\d+)(/.*)\Z")

Scripted: TypeAlias = str | bytes | Mapping[str, Any] | Callable[[RecordedRequest], Any]
"""The values that :meth:`GigaChatEmulator.answer` accepts."""


class GigaChatEmulator(Emulator):
    """GigaChat on 127.0.0.1. A context manager; also has :meth:`start` and :meth:`close`.

    Args:
        scope: The scope of :attr:`credentials`.
        token_life_s: The life of a token in seconds.
        token_shape: The response of the OAuth endpoint, one of two known shapes: ``access_token`` with ``expires_at``
            in milliseconds, or ``tok`` with ``exp`` in seconds.
        password_token_shape: The same for ``POST {base}/token``.
        expires_at: Any value to send as the expiry, invalid ones too; ``LEFT_OUT`` omits the field.
        clock_offset_s: Seconds by which the service's clock is ahead.
        oauth_pause_s: Seconds before each token response.
        oauth_calls_per_second: The limit of OAuth calls; further ones get 429.
        accept_bearer_oauth: Accept ``Bearer <key>`` at the OAuth endpoint as well as ``Basic <key>``.
        users: Names and passwords for ``POST {base}/token``.
        max_streams: The limit of concurrent answers for one client (key); further requests get 429.
        limit_retry_after: The ``Retry-After`` of that 429, if any.
        client_ca: Require client certificates of this authority at the API. They replace the token.
        answer_pause_s: Seconds before an answer, streamed or not.
        event_pause_s: Seconds between two events of a stream.
        idle_timeout_s: Close kept-alive API connections after this many seconds without a request.
        models: Ids and types; by default those of the recorded list.
        models_without_functions: Models that refuse ``functions`` with 422.
        exhausted_models: Models that get 402.
        context_tokens: The longest prompt; a longer one gets 413.
        authority: The certificate authority to use instead of a new one. It is not closed.
        port, auth_port: The ports to use instead of free ones.

    All pauses, limits and sets may be changed while the emulator runs.

    :meth:`inject` without a path applies faults to API requests with a valid token. Faults of the OAuth endpoint need
    ``path="/oauth"``.
    """

    _ENVIRONMENT_PREFIX = "GIGACHAT_"

    def __init__(
        self,
        *,
        scope: str = "GIGACHAT_API_PERS",
        token_life_s: float = 1800.0,
        token_shape: TokenShape = "access_token",
        password_token_shape: TokenShape = "tok",
        expires_at: Any = None,
        clock_offset_s: float = 0.0,
        oauth_pause_s: float = 0.0,
        oauth_calls_per_second: int | None = None,
        accept_bearer_oauth: bool = True,
        users: Mapping[str, str] | None = None,
        max_streams: int | None = None,
        limit_retry_after: str | float | None = None,
        client_ca: Authority | str | None = None,
        answer_pause_s: float = 0.0,
        event_pause_s: float = 0.0,
        idle_timeout_s: float | None = None,
        models: Mapping[str, str] | None = None,
        models_without_functions: Iterable[str] = (),
        exhausted_models: Iterable[str] = (),
        context_tokens: int = 131_072,
        authority: Authority | None = None,
        port: int = 0,
        auth_port: int = 0,
    ) -> None:
        if scope not in SCOPES:
            raise ValueError(f"scope must be one of {', '.join(SCOPES)}")
        if token_shape not in ("access_token", "tok") or password_token_shape not in ("access_token", "tok"):
            raise ValueError('a token shape is "access_token" or "tok"')
        self.scope = scope
        self.token_life_s = token_life_s
        self.token_shape = token_shape
        self.password_token_shape = password_token_shape
        self.expires_at = expires_at
        self.clock_offset_s = clock_offset_s
        self.oauth_pause_s = oauth_pause_s
        self.oauth_calls_per_second = oauth_calls_per_second
        self.accept_bearer_oauth = accept_bearer_oauth
        self.users = dict(users or {})
        self.max_streams = max_streams
        self.limit_retry_after = limit_retry_after
        self.answer_pause_s = answer_pause_s
        self.event_pause_s = event_pause_s
        self.models = recorded_models() if models is None else dict(models)
        self.models_without_functions = set(models_without_functions)
        self.exhausted_models = set(exhausted_models)
        self.context_tokens = context_tokens

        super().__init__(authority)
        self._authentication = Authentication(self)
        self.credentials = self._authentication.add_key(scope)
        self._oauth_calls = 0
        self._password_calls = 0

        self.files = EmulatedFiles(self)
        self.v1 = ChatV1(self, self.files)
        self.v2 = ChatV2(self, self.files)
        self.batches = EmulatedBatches(self, self.files)
        self.assistants = EmulatedAssistants(self)
        self.threads = EmulatedThreads(self, self.assistants)
        self.routes: tuple[Route, ...] = (
            *EmulatedModels(self).routes,
            *self._authentication.routes,
            *self.v1.routes,
            *self.v2.routes,
            *self.files.routes,
            *self.batches.routes,
            *self.assistants.routes,
            *self.threads.routes,
            *TextTools(self).routes,
            *FunctionTools().routes,
        )

        self.api_server = Server(
            self._serve_api,
            tls=self.authority,
            port=port,
            client_ca=client_ca,
            on_head=self._answer_head,
            idle_timeout_s=idle_timeout_s,
        )
        self.oauth_server = Server(self._serve_oauth, tls=self.authority, port=auth_port)

    @property
    def _servers(self) -> tuple[Server, ...]:
        return self.api_server, self.oauth_server

    # -- addresses and credentials

    @property
    def base_url(self) -> str:
        """The API's URL, ending in ``/v1``. The older path ``/api/v1`` works too."""
        return f"{self.api_server.url}/v1"

    @property
    def auth_url(self) -> str:
        """The URL of the OAuth endpoint."""
        return f"{self.oauth_server.url}/api/v2/oauth"

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for a ``GigaChat`` client of this emulator."""
        return {
            "credentials": self.credentials,
            "scope": self.scope,
            "base_url": self.base_url,
            "auth_url": self.auth_url,
            "ca_bundle_file": self.ca_file,
        }

    def add_credentials(self, scope: str = "GIGACHAT_API_PERS") -> str:
        """Return a new valid authorization key. Its client has separate limits."""
        return self._authentication.add_key(scope)

    def issue_token(self, life_s: float | None = None) -> str:
        """Return a valid access token without an OAuth call, for clients with an ``access_token``."""
        return self._authentication.issue_token(self.credentials, self.token_life_s if life_s is None else life_s)

    def revoke_tokens(self) -> None:
        """Revoke all issued tokens: they get 401 from now on."""
        self._authentication.tokens.revoke_all()

    # -- observations

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The JSON bodies of chat requests (``/chat/completions`` of API v1 and v2), oldest first.

        Requests that got a fault are included; bodies that are not a JSON object are not.
        """
        return [body for body in map(chat_body, self.requests) if body is not None]

    @property
    def prompts(self) -> list[str]:
        """The text of the last user message of each of :attr:`chats`; empty where there is none."""
        return [last_prompt(body) for body in self.chats]

    @property
    def oauth_requests(self) -> list[RecordedRequest]:
        """All requests to the OAuth server, oldest first."""
        return self.oauth_server.requests

    @property
    def oauth_connections(self) -> int:
        """The number of TCP connections that the OAuth server has accepted."""
        return self.oauth_server.connections

    @property
    def api_aborted(self) -> int:
        """The older name of :attr:`aborted`."""
        return self.aborted

    @property
    def oauth_calls(self) -> int:
        """The number of calls of the OAuth endpoint, refused ones included."""
        with self._lock:
            return self._oauth_calls

    @property
    def password_calls(self) -> int:
        """The number of calls of ``POST {base}/token``, refused ones included."""
        with self._lock:
            return self._password_calls

    @property
    def tokens_issued(self) -> int:
        """The number of issued tokens."""
        return self._authentication.tokens.issued

    # -- scripts

    def answer(self, value: Scripted, *, times: int | None = 1, place: Literal["v1", "v2"] | None = None) -> None:
        """Script the next ``times`` answers of chat. Invalid requests are refused all the same.

        Args:
            value: A text is the content. A mapping with ``choices`` (API v2: ``messages``) is the complete response;
                any other mapping is a message, and may have a ``finish_reason``. For a stream, all of these are split
                into chunks. Bytes are the raw body. A callable gets the request and returns any of these, or an
                ``Answer``, ``RawAnswer`` or ``EventAnswer``, or None for the emulator's own answer.
            times: The number of requests. ``None`` answers each one for which no other script waits.
            place: The version of the API; by default the script applies to both.
        """
        versions = ("v1", "v2") if place is None else (place,)
        self._scripts.add(value, *(f"POST {version}/chat/completions" for version in versions), times=times)

    def replay(self, name: str, *, times: int | None = 1) -> None:
        """Answer the next ``times`` requests for a recording's endpoint with that recording, byte for byte."""
        found = recording(name)
        versioned = _PREFIX.match(urlsplit(found.uri).path)
        assert versioned is not None
        self._scripts.add(found, f"{found.method} {versioned[1]}{versioned[2]}", times=times)

    # -- the OAuth server

    def _serve_oauth(self, request: RecordedRequest) -> Answer | RawAnswer:
        headers = {
            "Server": "SynGX",
            "Cache-Control": "no-cache, no-store, max-age=0, must-revalidate",
            "Pragma": "no-cache",
            "Expires": "0",
            "Date": formatdate(self.now_s(), usegmt=True),
        }
        if request.path != "/api/v2/oauth" or request.method != "POST":
            return json_answer(404, {"status": 404, "message": "Not Found"}, headers)
        with self._lock:
            self._oauth_calls += 1
        replayed = self._scripts.next("POST v2/oauth")
        fault = self._faults.take(request.path, named_only=True)

        def regular_answer() -> AnyAnswer:
            if isinstance(replayed, Recording):
                return replay_answer(replayed, lambda: None, pause_s=self.event_pause_s, error=STREAM_ERROR)
            return self._authentication.oauth_token(request, headers)

        return respond(fault, regular_answer, headers=headers, error_body=oauth_error)

    # -- the API server

    def _answer_head(self, request: RecordedRequest) -> Answer | RawAnswer | None:
        return early_answer(self._faults.take(request.path, early=True), api_error)

    def _serve_api(self, request: RecordedRequest) -> Answer | RawAnswer:
        headers = {
            "Server": "SynGX",
            "Date": formatdate(self.now_s(), usegmt=True),
            "X-Request-Id": request.headers.get("x-request-id") or str(uuid.uuid4()),
            "X-Session-Id": request.headers.get("x-session-id") or str(uuid.uuid4()),
        }
        if request.headers.get("x-client-id"):
            headers["X-Client-Id"] = request.headers["x-client-id"]
        try:
            versioned = _PREFIX.match(request.path)
            if versioned is None:
                raise Refusal(404, "Not Found")
            if versioned[2] == "/token" and request.method == "POST":
                fault = self._faults.take(request.path, named_only=True)
                with self._lock:
                    self._password_calls += 1
                client = ""
            else:
                client = self._authentication.client_of(request)
                fault = self._faults.take(request.path)
        except Refusal as refusal:
            return json_answer(refusal.status, refusal.body, headers)
        call = RoutedRequest(request, versioned[1], versioned[2], {}, client, headers)

        def regular_answer() -> AnyAnswer:
            try:
                return self._route(call)
            except Refusal as refusal:
                answer = json_answer(refusal.status, refusal.body, headers)
                if refusal.status == 429 and self.limit_retry_after is not None:
                    answer.headers = {**dict(answer.headers), "Retry-After": str(self.limit_retry_after)}
                return answer

        return respond(fault, regular_answer, headers=headers, error_body=api_error)

    def _route(self, call: RoutedRequest) -> AnyAnswer:
        raw = self._scripts.next(call.script_key, only=(Recording, bytes))
        if raw is not None:
            return self._raw_answer(call, raw)
        allowed = []
        for route in self.routes:
            matched = route.match(call.version, call.path)
            if matched is None:
                continue
            if route.method == call.request.method:
                parts = {name: unquote(value) for name, value in matched.groupdict().items()}
                return route.endpoint(replace(call, arguments=parts))
            allowed.append(route.method)
        if allowed:
            answer = json_answer(405, {"status": 405, "message": "Method Not Allowed"}, call.headers)
            answer.headers = {**dict(answer.headers), "Allow": ", ".join(allowed)}
            return answer
        raise Refusal(404, "Not Found")

    # -- for the endpoints

    def enter(self, client: str, *, stream: bool) -> Callable[[], None]:
        """Take one of the client's slots, or refuse with 429. The returned function releases it once."""
        try:
            return self._open_answer(client, stream=stream, limit=self.max_streams)
        except LimitReached:
            raise Refusal(429, "Too many requests") from None

    def next_script(self, call: RoutedRequest) -> Any:
        """Return the scripted answer to ``call``, or None: a text, a mapping, or a complete answer."""
        value = self._scripts.next(call.script_key)
        if callable(value):
            value = value(call.request)
        return self._raw_answer(call, value) if isinstance(value, (Recording, bytes)) else value

    def _raw_answer(self, call: RoutedRequest, value: Recording | bytes) -> AnyAnswer:
        if isinstance(value, Recording):
            release = self.enter(call.client, stream=value.is_stream)
            return replay_answer(value, release, pause_s=self.event_pause_s, error=STREAM_ERROR)
        body = chat_body(call.request) or {}
        stream = bool(body.get("stream"))
        content_type = "text/event-stream" if stream else "application/json; charset=utf-8"
        headers = {**call.headers, "Content-Type": content_type}
        release = self.enter(call.client, stream=stream)
        return Answer(200, headers, [value] if stream else value, done=release)

    def now_s(self) -> float:
        """Return the service's clock: Unix time in seconds."""
        return time.time() + self.clock_offset_s

    def scope_of(self, client: str) -> str:
        """Return the scope of a client's key."""
        return self._authentication.scope_of(client) or self.scope
