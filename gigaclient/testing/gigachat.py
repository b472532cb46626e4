"""An emulator of GigaChat: the API on one port, OAuth on another, both over HTTPS on 127.0.0.1.

    with GigaChatEmulator() as emulator:
        client = GigaChat(**emulator.client_options)

It is written from the API's documentation and shares no code with the client, so that each can be tested against the
other. To add an endpoint, write one function and one line in ``routes``; see ``routing.py``.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from gigaclient.testing import chat_v1
from gigaclient.testing.assistants import EmulatedAssistants
from gigaclient.testing.authority import Authority
from gigaclient.testing.batches import EmulatedBatches
from gigaclient.testing.chat_v1 import Refusal, compact
from gigaclient.testing.chat_v2 import ChatV2
from gigaclient.testing.fault_server import Answer, Pause, RawAnswer, RecordedRequest, Server, wait_for_streams
from gigaclient.testing.faults import END_MARKER, EventAnswer, Fault, FaultQueue, event, respond
from gigaclient.testing.files import EmulatedFiles
from gigaclient.testing.function_tools import FunctionTools
from gigaclient.testing.oauth import (
    SCOPES,
    Account,
    ExpiredToken,
    OAuthRefusal,
    TokenIssuer,
    UnknownToken,
    check_oauth,
    decode_key,
    new_key,
)
from gigaclient.testing.recordings import Recording, recording
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, json_answer
from gigaclient.testing.text_tools import TextTools
from gigaclient.testing.threads import EmulatedThreads

__all__ = ["LEFT_OUT", "GigaChatEmulator", "Scripted"]

LEFT_OUT: Final = object()
"""As ``expires_at``: token responses have no expiry."""

_PREFIX = re.compile(r"/(?:api/)?(v\d+)(/.*)\Z")

_UNRECORDED_MODELS = ("GigaChat-2-Reasoning", "GigaChat-3-Ultra", "GigaChat-3-Pro", "GigaChat-3-Lightning")

TokenShape: TypeAlias = Literal["access_token", "tok"]
Scripted: TypeAlias = str | bytes | Mapping[str, Any] | Callable[[RecordedRequest], Any]
"""The values that :meth:`GigaChatEmulator.answer` accepts."""


@dataclass
class _Script:
    method: str
    paths: tuple[str, ...]
    value: Scripted | Recording
    times: int


class GigaChatEmulator:
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
        recorded = json.loads(recording("v1-models.json").body)["data"]
        self.models = (
            dict(models)
            if models is not None
            else {
                **{entry["id"]: entry["type"] for entry in recorded},
                **dict.fromkeys(_UNRECORDED_MODELS, "chat"),
            }
        )
        self.models_without_functions = set(models_without_functions)
        self.exhausted_models = set(exhausted_models)
        self.context_tokens = context_tokens

        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self.credentials = self.add_credentials(scope)
        self._tokens = TokenIssuer()
        self._faults = FaultQueue()
        self._scripts: list[_Script] = []
        self._running: dict[str, int] = {}
        self._open_streams = 0
        self._oauth_calls = 0
        self._password_calls = 0
        self._recent_oauth: deque[float] = deque()
        self._sessions: dict[str, list[str]] = {}
        self._threads: dict[str, list[dict[str, Any]]] = {}

        self.files = EmulatedFiles(self)
        self.v2 = ChatV2(self, self.files)
        self.batches = EmulatedBatches(self, self.files)
        self.assistants = EmulatedAssistants(self)
        self.threads = EmulatedThreads(self, self.assistants)
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/chat/completions", self._chat_completions),
            Route("GET", "v1", "/models", self._list_models),
            Route("GET", "v1", "/models/{model}", self._get_model),
            Route("POST", "v1", "/token", self._password_token),
            *self.v2.routes,
            *self.files.routes,
            *self.batches.routes,
            *self.assistants.routes,
            *self.threads.routes,
            *TextTools(self).routes,
            *FunctionTools().routes,
        )

        self._own_authority = authority is None
        self.authority = authority if authority is not None else Authority()
        self.api_server = Server(
            self._serve_api, tls=self.authority, port=port, client_ca=client_ca, idle_timeout_s=idle_timeout_s
        )
        self.oauth_server = Server(self._serve_oauth, tls=self.authority, port=auth_port)

    # -- start and close

    def start(self) -> GigaChatEmulator:
        """Start to serve, and return the emulator."""
        self.api_server.start()
        try:
            self.oauth_server.start()
        except BaseException:
            self.api_server.close()
            raise
        return self

    def close(self) -> None:
        """Stop at once, stalled responses included. Safe to call twice."""
        self.api_server.close()
        self.oauth_server.close()
        if self._own_authority:
            self.authority.close()

    def __enter__(self) -> GigaChatEmulator:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
    def ca_file(self) -> str:
        """The path of the PEM file with the certificate to trust."""
        return self.authority.ca_file

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

    @property
    def environment(self) -> dict[str, str]:
        """:attr:`client_options` as environment variables."""
        return {f"GIGACHAT_{name.upper()}": str(value) for name, value in self.client_options.items()}

    def add_credentials(self, scope: str = "GIGACHAT_API_PERS") -> str:
        """Return a new valid authorization key. Its client has separate limits."""
        key, client_id = new_key()
        with self._lock:
            self._accounts[key] = Account(client_id, scope)
        return key

    def issue_token(self, life_s: float | None = None) -> str:
        """Return a valid access token without an OAuth call, for clients with an ``access_token``."""
        account = self._accounts[self.credentials]
        return self._tokens.issue(account, self.token_life_s if life_s is None else life_s)

    def revoke_tokens(self) -> None:
        """Revoke all issued tokens: they get 401 from now on."""
        self._tokens.revoke_all()

    # -- observations

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests to the API, oldest first."""
        return self.api_server.requests

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The JSON bodies of chat requests (``/chat/completions`` of API v1 and v2), oldest first.

        Requests that got a fault are included; bodies that are not a JSON object are not.
        """
        return [body for body in map(_body_of_chat, self.requests) if body is not None]

    @property
    def prompts(self) -> list[str]:
        """The text of the last user message of each of :attr:`chats`; empty where there is none."""
        return [_prompt_of(body) for body in self.chats]

    @property
    def oauth_requests(self) -> list[RecordedRequest]:
        """All requests to the OAuth server, oldest first."""
        return self.oauth_server.requests

    @property
    def connections(self) -> int:
        """The number of TCP connections that the API has accepted."""
        return self.api_server.connections

    @property
    def oauth_connections(self) -> int:
        """The number of TCP connections that the OAuth server has accepted."""
        return self.oauth_server.connections

    @property
    def api_aborted(self) -> int:
        """The number of API responses whose client disconnected before their end."""
        return self.api_server.aborted

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
        return self._tokens.issued

    @property
    def open_streams(self) -> int:
        """The number of streams that are being sent now."""
        with self._lock:
            return self._open_streams

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Wait until all streams have ended, for example after a client closed one early.

        Raises:
            TimeoutError: a stream was still open after ``seconds``.
        """
        wait_for_streams(lambda: self.open_streams, seconds)

    # -- faults and scripts

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Apply ``fault`` to the next ``times`` requests whose path ends in ``path``, in the order of injection.

        Without a path, only API requests with a valid token get the fault; use ``path="/oauth"`` and
        ``path="/token"`` for the token endpoints. ``times=None`` applies to every request until :meth:`clear`.
        """
        self._faults.inject(fault, times=times, path=path)

    def answer(self, value: Scripted, *, times: int = 1, place: Literal["v1", "v2"] | None = None) -> None:
        """Script the next ``times`` answers of chat.

        Args:
            value: A text is the content. A mapping with ``choices`` (API v2: ``messages``) is the complete response;
                any other mapping is a message, and may have a ``finish_reason``. For a stream, all of these are split
                into chunks. Bytes are the raw body. A callable gets the request and returns any of these, or an
                ``Answer``, ``RawAnswer`` or ``EventAnswer``.
            times: The number of requests.
            place: The version of the API; by default the script applies to both.
        """
        versions = ("v1", "v2") if place is None else (place,)
        self._script(_Script("POST", tuple(f"{version}/chat/completions" for version in versions), value, times))

    def replay(self, name: str, *, times: int = 1) -> None:
        """Answer the next ``times`` requests for a recording's endpoint with that recording, byte for byte."""
        found = recording(name)
        versioned = _PREFIX.match(urlsplit(found.uri).path)
        assert versioned is not None
        self._script(_Script(found.method, (versioned[1] + versioned[2],), found, times))

    def clear(self) -> None:
        """Remove all pending faults and scripted answers."""
        self._faults.clear()
        with self._lock:
            self._scripts.clear()

    def _script(self, script: _Script) -> None:
        if script.times < 1:
            raise ValueError("times must be at least 1")
        with self._lock:
            self._scripts.append(script)

    def next_script(
        self, method: str, path: str, *, only: tuple[type, ...] | None = None
    ) -> Scripted | Recording | None:
        """Return the next script for ``path`` (such as ``v1/files``), or None.

        ``only`` limits the search to values of these types and callables.
        """
        with self._lock:
            for index, script in enumerate(self._scripts):
                if script.method == method and path in script.paths:
                    if only is not None and not isinstance(script.value, only) and not callable(script.value):
                        return None
                    script.times -= 1
                    if not script.times:
                        del self._scripts[index]
                    return script.value
        return None

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
        replayed = self.next_script("POST", "v2/oauth")
        fault = self._faults.take(request.path, named_only=True)

        def regular_answer() -> AnyAnswer:
            if isinstance(replayed, Recording):
                return self._replay_answer(replayed, lambda: None)
            try:
                self._count_oauth_rate()
                account = check_oauth(request, self._accounts, accept_bearer=self.accept_bearer_oauth)
            except OAuthRefusal as refusal:
                body = {"code": refusal.code, "message": refusal.message}
                return json_answer(refusal.status, body, headers, self.oauth_pause_s)
            return json_answer(200, self._token_response(account, self.token_shape), headers, self.oauth_pause_s)

        return respond(fault, regular_answer, headers=headers, error_body=_oauth_error)

    def _count_oauth_rate(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._recent_oauth.append(now)
            while self._recent_oauth[0] < now - 1.0:
                self._recent_oauth.popleft()
            if self.oauth_calls_per_second is not None and len(self._recent_oauth) > self.oauth_calls_per_second:
                # Invented: the documentation has the limit, but no error body.
                raise OAuthRefusal(429, 429, "Too many requests")

    def _token_response(self, account: Account, shape: TokenShape) -> dict[str, Any]:
        token = self._tokens.issue(account, self.token_life_s)
        expires_at_s = self.now_s() + self.token_life_s
        token_field, expiry_field, expiry = "access_token", "expires_at", int(expires_at_s * 1000)
        if shape == "tok":
            token_field, expiry_field, expiry = "tok", "exp", int(expires_at_s)
        response: dict[str, Any] = {token_field: token}
        if self.expires_at is not LEFT_OUT:
            response[expiry_field] = expiry if self.expires_at is None else self.expires_at
        return response

    # -- the API server

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
                client = self._authenticate(request)
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
                    answer.headers = {
                        **headers,
                        "Content-Type": "application/json; charset=utf-8",
                        "Retry-After": str(self.limit_retry_after),
                    }
                return answer

        return respond(fault, regular_answer, headers=headers, error_body=_api_error)

    def _authenticate(self, request: RecordedRequest) -> str:
        """Return the client of the request; raise :class:`Refusal` when it is not authenticated."""
        if not request.headers.get("user-agent", "").strip():
            raise Refusal(403, "", body={"message": "Unauthorized"})
        authorization = request.headers.get("authorization")
        if authorization is None and request.client_certificate is not None:
            return f"certificate {request.client_certificate}"
        scheme, _, token = (authorization or "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise UnknownToken
            return self._tokens.owner(token).client_id
        except UnknownToken:
            raise Refusal(401, "Unauthorized") from None
        except ExpiredToken:
            raise Refusal(401, "Token has expired") from None

    def _route(self, call: RoutedRequest) -> AnyAnswer:
        replayed = self.next_script(call.request.method, call.version + call.path, only=(Recording, bytes))
        if replayed is not None:
            return self._scripted_answer(call, replayed)
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

    # -- chat

    def enter(self, client: str, *, stream: bool) -> Callable[[], None]:
        """Take one of the client's slots, or refuse with 429. The returned function releases it once."""
        with self._lock:
            if self.max_streams is not None and self._running.get(client, 0) >= self.max_streams:
                raise Refusal(429, "Too many requests")
            self._running[client] = self._running.get(client, 0) + 1
            self._open_streams += stream
        released = False

        def release() -> None:
            nonlocal released
            with self._lock:
                if released:
                    return
                released = True
                self._running[client] -= 1
                self._open_streams -= stream

        return release

    def _scripted_answer(self, call: RoutedRequest, value: Any, body: Mapping[str, Any] | None = None) -> AnyAnswer:
        """Return the answer of a script. ``body`` is the validated request, if it was validated."""
        if callable(value):
            value = value(call.request)
        if isinstance(value, (Answer, RawAnswer, EventAnswer)):
            return value
        if body is None:
            parsed = call.json() if call.request.body else {}
            body = parsed if isinstance(parsed, dict) else {}
        stream = value.is_stream if isinstance(value, Recording) else bool(body.get("stream"))
        release = self.enter(call.client, stream=stream)
        if isinstance(value, Recording):
            return self._replay_answer(value, release)
        if isinstance(value, bytes):
            content_type = "text/event-stream" if stream else "application/json; charset=utf-8"
            headers = {**call.headers, "Content-Type": content_type}
            return Answer(200, headers, [value] if stream else value, done=release)
        if call.version == "v2":
            return self.v2.scripted(call, value, body, release)
        response: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"content": str(value)}
        if "choices" not in response:
            return self._chat_answer(call, body, [chat_v1.reply_from(response)], release)
        if not stream:
            return self._json_answer(call, response, release)
        replies = [
            chat_v1.reply_from({**choice.get("message", {}), "finish_reason": choice.get("finish_reason", "stop")})
            for choice in response["choices"]
        ]
        return self._chat_answer(call, body, replies, release, response)

    def _replay_answer(self, found: Recording, release: Callable[[], None]) -> AnyAnswer:
        headers = {
            name: value
            for name, value in found.headers.items()
            if name.lower() not in ("content-length", "content-type", "transfer-encoding")
        }
        content_type = found.headers["Content-Type"]
        if found.is_stream:
            events = _with_release(found.events, release)
            return EventAnswer(events, headers, content_type, self.event_pause_s, _STREAM_ERROR, release)
        return Answer(found.status, {**headers, "Content-Type": content_type}, found.body, done=release)

    def _json_answer(self, call: RoutedRequest, payload: Any, release: Callable[[], None] | None = None) -> Answer:
        answer = json_answer(200, payload, call.headers, self.answer_pause_s)
        answer.done = release
        return answer

    def _chat_answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        replies: list[chat_v1.ModelReply],
        release: Callable[[], None],
        scripted: Mapping[str, Any] | None = None,
    ) -> AnyAnswer:
        scripted = scripted or {}
        model = scripted.get("model") or chat_v1.with_build(body.get("model"))
        created = scripted.get("created") or int(self.now_s())
        usage = scripted.get("usage") or self._usage(call, body, replies)
        thread = self._remember(body, replies)
        self.files.create_missing_images(call, [reply.content for reply in replies])
        if not body.get("stream"):
            response = chat_v1.completion(replies, model=model, created=created, usage=usage)
            return self._json_answer(call, {**response, **thread}, release)
        interval_s = float(body.get("update_interval") or 0)
        words, pause_s = chat_v1.words_per_chunk(interval_s, self.event_pause_s)
        chunks = chat_v1.chunks(replies, model=model, created=created, usage=usage, words=words)

        def events() -> Iterator[bytes | Pause]:
            if self.answer_pause_s:
                yield Pause(self.answer_pause_s)
            for chunk in chunks:
                yield event({**chunk, **thread})
            release()
            yield END_MARKER

        return EventAnswer(events(), call.headers, pause_s=pause_s, error=_STREAM_ERROR, done=release)

    def _usage(self, call: RoutedRequest, body: Mapping[str, Any], replies: list[chat_v1.ModelReply]) -> dict[str, int]:
        prompt = chat_v1.prompt_tokens(body)
        limit = body.get("max_tokens")
        spent = sum(
            limit if reply.finish_reason == "length" and limit is not None else reply.tokens() for reply in replies
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": spent,
            "total_tokens": prompt + spent,
            "precached_prompt_tokens": self._cached(call, body, prompt),
        }

    def _cached(self, call: RoutedRequest, body: Mapping[str, Any], prompt: int) -> int:
        """Count the tokens of the prefix that this session has sent before; 2 without a session, as recorded."""
        session = call.request.headers.get("x-session-id")
        if session is None:
            return min(2, prompt)
        now = [compact(message) for message in body["messages"]]
        with self._lock:
            before = self._sessions.get(session, [])
            self._sessions[session] = now
        shared = chat_v1.common_prefix_length(before, now)
        if not shared:
            return min(2, prompt)
        return chat_v1.prompt_tokens({"messages": body["messages"][:shared]})

    def _remember(self, body: Mapping[str, Any], replies: list[chat_v1.ModelReply]) -> dict[str, Any]:
        """Store the dialogue of a request with ``storage``, and return its ids for the response."""
        storage = body.get("storage") or {}
        if not (storage.get("is_stateful") or storage.get("thread_id")):
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        with self._lock:
            self._threads[thread_id] = [*body["messages"], replies[0].message()]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    def _with_history(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request with the stored messages of its thread before the new ones."""
        thread_id = (body.get("storage") or {}).get("thread_id")
        if thread_id is None:
            return body
        with self._lock:
            if thread_id not in self._threads:
                # Invented: the public documentation does not have stateful chat.
                raise Refusal(404, "No such thread")
            return {**body, "messages": [*self._threads[thread_id], *body["messages"]]}

    # -- for the endpoints

    def now_s(self) -> float:
        """Return the service's clock: Unix time in seconds."""
        return time.time() + self.clock_offset_s

    def scope_of(self, client: str) -> str:
        """Return the scope of a client's key."""
        with self._lock:
            scopes = {account.client_id: account.scope for account in self._accounts.values()}
        return scopes.get(client, self.scope)

    # -- endpoints

    def _chat_completions(self, call: RoutedRequest) -> AnyAnswer:
        body = chat_v1.check(
            call.json(),
            models=self.models,
            without_functions=self.models_without_functions,
            exhausted=self.exhausted_models,
            context_tokens=self.context_tokens,
        )
        scripted = self.next_script("POST", "v1/chat/completions")
        if scripted is not None:
            return self._scripted_answer(call, scripted, body)
        body = self._with_history(body)
        release = self.enter(call.client, stream=bool(body.get("stream")))
        try:
            return self._chat_answer(call, body, chat_v1.replies(body), release)
        except BaseException:
            release()
            raise

    def _list_models(self, call: RoutedRequest) -> AnyAnswer:
        entries = [_model(name, type_) for name, type_ in self.models.items()]
        return json_answer(200, {"object": "list", "data": entries}, call.headers)

    def _get_model(self, call: RoutedRequest) -> AnyAnswer:
        name, _, version = call.arguments["model"].partition(":")
        if name not in self.models:
            raise Refusal(404, "No such model")
        if version and version != chat_v1.build_of(name):
            raise Refusal(400, "Invalid model version")
        return json_answer(200, _model(name, self.models[name]), call.headers)

    def _password_token(self, call: RoutedRequest) -> AnyAnswer:
        if not self.users:
            # Most servers do not have the route.
            raise Refusal(404, "Not Found")
        scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
        user_and_password = decode_key(value) if scheme.lower() == "basic" else None
        if user_and_password is None or self.users.get(user_and_password[0]) != user_and_password[1]:
            raise Refusal(401, "Unauthorized")
        account = Account(f"user {user_and_password[0]}", self.scope)
        return json_answer(
            200, self._token_response(account, self.password_token_shape), call.headers, self.oauth_pause_s
        )

    def __repr__(self) -> str:
        return "GigaChatEmulator()"


# --- helpers ---------------------------------------------------------------------------------------------------


def _body_of_chat(request: RecordedRequest) -> dict[str, Any] | None:
    if request.method != "POST" or not request.path.endswith("/chat/completions"):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _prompt_of(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):  # the parts of a message of API v2
                return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
            return str(content or "")
    return ""


def _model(name: str, type_: str) -> dict[str, str]:
    return {"id": name, "object": "model", "owned_by": "salutedevices", "type": type_}


_STREAM_ERROR = {"status": 500, "message": "Internal Server Error"}
_MESSAGES = {
    400: chat_v1.INVALID_JSON,
    401: "Unauthorized",
    402: "Payment Required",
    403: "Permission denied",
    404: "No such model",
    413: "Payload too large",
    422: "Invalid params: repetition_penalty must be in range (0, +inf)",
    429: "Too many requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def _api_error(status: int) -> dict[str, Any]:
    return {"status": status, "message": _MESSAGES.get(status, "Error")}


def _oauth_error(status: int) -> dict[str, Any]:
    if status == 401:
        return {"code": 6, "message": "credentials doesn't match db data"}
    if status == 400:
        return {"code": 4, "message": "Can't decode 'Authorization' header"}
    return {"code": status, "message": _MESSAGES.get(status, "Error")}


def _with_release(events: Iterable[bytes], release: Callable[[], None]) -> Iterator[bytes | Pause]:
    """Yield the events, and call ``release`` before the end marker."""
    for block in events:
        if block == END_MARKER:
            release()
        yield block
