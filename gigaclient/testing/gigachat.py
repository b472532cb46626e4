"""An emulator of GigaChat: the API on one port, OAuth on another, both over HTTPS on 127.0.0.1.

    with GigaChatEmulator() as emulator:
        client = GigaChat(**emulator.client_options)

It is written from the description of the protocol alone and shares no code with the client, so that one can be held
against the other. An endpoint is added as one function and one line in ``routes``; see ``calls.py``.
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
    Expired,
    OAuthRefusal,
    TokenIssuer,
    Unknown,
    check_oauth,
    decoded_key,
    new_key,
)
from gigaclient.testing.recordings import Recording, recording
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, json_answer
from gigaclient.testing.text_tools import TextTools
from gigaclient.testing.threads import EmulatedThreads

__all__ = ["LEFT_OUT", "GigaChatEmulator", "Scripted"]

LEFT_OUT: Final = object()
"""As ``expires_at``: the token's answer says nothing about its expiry."""

_PREFIX = re.compile(r"/(?:api/)?(v\d+)(/.*)\Z")

_UNRECORDED_MODELS = ("GigaChat-2-Reasoning", "GigaChat-3-Ultra", "GigaChat-3-Pro", "GigaChat-3-Lightning")

TokenShape: TypeAlias = Literal["access_token", "tok"]
Scripted: TypeAlias = str | bytes | Mapping[str, Any] | Callable[[RecordedRequest], Any]
"""What :meth:`GigaChatEmulator.answer` takes."""


@dataclass
class _Script:
    method: str
    places: tuple[str, ...]
    value: Scripted | Recording
    times: int


class GigaChatEmulator:
    """GigaChat on 127.0.0.1. A context manager; :meth:`start` and :meth:`close` by hand.

    Args:
        scope: The scope that belongs to :attr:`credentials`.
        token_life_s: How long a token is good.
        token_shape: Which of the two known answers the OAuth endpoint gives: ``access_token`` with ``expires_at`` in
            milliseconds, or ``tok`` with ``exp`` in seconds.
        password_token_shape: The same for ``POST {base}/token``.
        expires_at: Sent as the expiry whatever it is (junk too); ``LEFT_OUT`` leaves the field out.
        clock_offset_s: The service's clock is ahead of ours by this.
        oauth_pause_s: How long every token takes.
        oauth_calls_per_second: More are refused with 429.
        accept_bearer_oauth: Take ``Bearer <key>`` at the OAuth endpoint as well as ``Basic <key>``.
        users: Names and passwords for ``POST {base}/token``.
        max_streams: Answers under way at the same time for one client (key); one more is a 429.
        limit_retry_after: The ``Retry-After`` of that 429, if any.
        client_ca: Demand client certificates of this authority at the API; with one, no token is needed.
        answer_pause_s: How long the model thinks before an answer, streamed or not.
        event_pause_s: Between two events of a stream.
        idle_timeout_s: Close kept-alive API connections after this long.
        models: Ids and types; by default those of the recorded list.
        models_without_functions: These refuse ``functions`` with 422.
        exhausted_models: These answer 402.
        context_tokens: A longer prompt is a 413.
        authority: Sign with this one (it is not closed then) instead of a new one.
        port, auth_port: Fixed ports instead of free ones.

    All of the pauses, limits and sets may also be assigned while the emulator runs.

    Faults named in :meth:`inject` without a path meet API requests that carry a good token; the OAuth endpoint has
    to be named (``path="/oauth"``).
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
        self._desk = TokenIssuer()
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

    # -- life

    def start(self) -> GigaChatEmulator:
        """Begin to serve. Returns itself."""
        self.api_server.start()
        try:
            self.oauth_server.start()
        except BaseException:
            self.api_server.close()
            raise
        return self

    def close(self) -> None:
        """End everything at once, stalled answers included. Safe to call twice."""
        self.api_server.close()
        self.oauth_server.close()
        if self._own_authority:
            self.authority.close()

    def __enter__(self) -> GigaChatEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- where it is, and how to get in

    @property
    def base_url(self) -> str:
        """The API's address, ending in ``/v1``; the older layout, ``/api/v1``, is served too."""
        return f"{self.api_server.url}/v1"

    @property
    def auth_url(self) -> str:
        """The address of the OAuth endpoint."""
        return f"{self.oauth_server.url}/api/v2/oauth"

    @property
    def ca_file(self) -> str:
        """The path of the PEM to trust."""
        return self.authority.ca_file

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that point a ``GigaChat`` client here."""
        return {
            "credentials": self.credentials,
            "scope": self.scope,
            "base_url": self.base_url,
            "auth_url": self.auth_url,
            "ca_bundle_file": self.ca_file,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {f"GIGACHAT_{name.upper()}": str(value) for name, value in self.client_options.items()}

    def add_credentials(self, scope: str = "GIGACHAT_API_PERS") -> str:
        """One more authorization key that is known here; its client has its own limits."""
        key, client_id = new_key()
        with self._lock:
            self._accounts[key] = Account(client_id, scope)
        return key

    def issue_token(self, life_s: float | None = None) -> str:
        """A good access token without an OAuth call, for clients that are given one."""
        account = self._accounts[self.credentials]
        return self._desk.issue(account, self.token_life_s if life_s is None else life_s)

    def revoke_tokens(self) -> None:
        """Every token issued so far is answered with 401 from now on."""
        self._desk.revoke_all()

    # -- what happened

    @property
    def requests(self) -> list[RecordedRequest]:
        """Requests to the API, oldest first."""
        return self.api_server.requests

    @property
    def chats(self) -> list[dict[str, Any]]:
        """What chat was asked (``/chat/completions`` of API v1 and v2): the bodies as JSON, oldest first.

        Every request that arrived counts, those that met a fault too; bodies that are no JSON object are left out.
        """
        return [body for body in map(_body_of_chat, self.requests) if body is not None]

    @property
    def prompts(self) -> list[str]:
        """The text of the last user message of each of :attr:`chats`; empty where there was none."""
        return [_prompt_of(body) for body in self.chats]

    @property
    def oauth_requests(self) -> list[RecordedRequest]:
        """Requests to the OAuth server, oldest first."""
        return self.oauth_server.requests

    @property
    def connections(self) -> int:
        """TCP connections that the API has accepted."""
        return self.api_server.connections

    @property
    def oauth_connections(self) -> int:
        """TCP connections that the OAuth server has accepted."""
        return self.oauth_server.connections

    @property
    def api_aborted(self) -> int:
        """How often a client left the API while its answer was under way."""
        return self.api_server.aborted

    @property
    def oauth_calls(self) -> int:
        """Calls of the OAuth endpoint, refused ones included."""
        with self._lock:
            return self._oauth_calls

    @property
    def password_calls(self) -> int:
        """Calls of ``POST {base}/token``, refused ones included."""
        with self._lock:
            return self._password_calls

    @property
    def tokens_issued(self) -> int:
        """Tokens lent out, whichever way."""
        return self._desk.issued

    @property
    def open_streams(self) -> int:
        """Streams under way now."""
        with self._lock:
            return self._open_streams

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Wait until no stream is under way any more, as after a client has left one.

        Raises:
            TimeoutError: one still was after ``seconds``.
        """
        wait_for_streams(lambda: self.open_streams, seconds)

    # -- what shall happen

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Let the next ``times`` requests whose path ends in ``path`` meet ``fault``, first come, first served.

        Without a path these are API requests with a good token; ``path="/oauth"`` and ``path="/token"`` name the
        token endpoints. ``times=None`` is every request from now on, until :meth:`clear`.
        """
        self._faults.inject(fault, times=times, path=path)

    def answer(self, value: Scripted, *, times: int = 1, place: Literal["v1", "v2"] | None = None) -> None:
        """Script the next ``times`` answers of chat.

        Args:
            value: Text is the content. A mapping with ``choices`` (of API v2: ``messages``) is the whole answer, any
                other a message (``finish_reason`` may stand in it); both are cut into chunks when a stream is asked
                for. Bytes are the body as it is. A callable gets the request and returns any of these, or an
                ``Answer``, ``RawAnswer`` or ``EventAnswer``.
            times: For how many requests.
            place: Of which API; by default of the one that is asked next.
        """
        versions = ("v1", "v2") if place is None else (place,)
        self._script(_Script("POST", tuple(f"{version}/chat/completions" for version in versions), value, times))

    def replay(self, name: str, *, times: int = 1) -> None:
        """Answer the next ``times`` requests for a recording's endpoint with that recording, byte for byte."""
        found = recording(name)
        prefixed = _PREFIX.match(urlsplit(found.uri).path)
        assert prefixed is not None
        self._script(_Script(found.method, (prefixed[1] + prefixed[2],), found, times))

    def clear(self) -> None:
        """Forget faults and scripted answers that have not been used."""
        self._faults.clear()
        with self._lock:
            self._scripts.clear()

    def _script(self, script: _Script) -> None:
        if script.times < 1:
            raise ValueError("times must be at least 1")
        with self._lock:
            self._scripts.append(script)

    def next_script(
        self, method: str, place: str, *, only: tuple[type, ...] | None = None
    ) -> Scripted | Recording | None:
        with self._lock:
            for index, script in enumerate(self._scripts):
                if script.method == method and place in script.places:
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

        def real() -> AnyAnswer:
            if isinstance(replayed, Recording):
                return self._replayed(replayed, lambda: None)
            try:
                self._count_oauth_rate()
                account = check_oauth(request, self._accounts, accept_bearer=self.accept_bearer_oauth)
            except OAuthRefusal as refusal:
                body = {"code": refusal.code, "message": refusal.message}
                return json_answer(refusal.status, body, headers, self.oauth_pause_s)
            return json_answer(200, self._token(account, self.token_shape), headers, self.oauth_pause_s)

        return respond(fault, real, headers=headers, error_body=_oauth_error)

    def _count_oauth_rate(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._recent_oauth.append(now)
            while self._recent_oauth[0] < now - 1.0:
                self._recent_oauth.popleft()
            if self.oauth_calls_per_second is not None and len(self._recent_oauth) > self.oauth_calls_per_second:
                # Invented: the limit is documented, the body of its refusal is not.
                raise OAuthRefusal(429, 429, "Too many requests")

    def _token(self, account: Account, shape: TokenShape) -> dict[str, Any]:
        token = self._desk.issue(account, self.token_life_s)
        until_s = self.now_s() + self.token_life_s
        name, field, until = ("access_token", "expires_at", int(until_s * 1000))
        if shape == "tok":
            name, field, until = ("tok", "exp", int(until_s))
        answer: dict[str, Any] = {name: token}
        if self.expires_at is not LEFT_OUT:
            answer[field] = until if self.expires_at is None else self.expires_at
        return answer

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
            prefixed = _PREFIX.match(request.path)
            if prefixed is None:
                raise Refusal(404, "Not Found")
            if prefixed[2] == "/token" and request.method == "POST":
                fault = self._faults.take(request.path, named_only=True)
                with self._lock:
                    self._password_calls += 1
                client = ""
            else:
                client = self._client_of(request)
                fault = self._faults.take(request.path)
        except Refusal as refusal:
            return json_answer(refusal.status, refusal.body, headers)
        call = RoutedRequest(request, prefixed[1], prefixed[2], {}, client, headers)

        def real() -> AnyAnswer:
            try:
                return self._routed(call)
            except Refusal as refusal:
                answer = json_answer(refusal.status, refusal.body, headers)
                if refusal.status == 429 and self.limit_retry_after is not None:
                    answer.headers = {
                        **headers,
                        "Content-Type": "application/json; charset=utf-8",
                        "Retry-After": str(self.limit_retry_after),
                    }
                return answer

        return respond(fault, real, headers=headers, error_body=_api_error)

    def _client_of(self, request: RecordedRequest) -> str:
        """Whose request this is; a :class:`Refusal` when nobody's."""
        if not request.headers.get("user-agent", "").strip():
            raise Refusal(403, "", body={"message": "Unauthorized"})
        authorization = request.headers.get("authorization")
        if authorization is None and request.client_certificate is not None:
            return f"certificate {request.client_certificate}"
        scheme, _, token = (authorization or "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Unknown
            return self._desk.owner(token).client_id
        except Unknown:
            raise Refusal(401, "Unauthorized") from None
        except Expired:
            raise Refusal(401, "Token has expired") from None

    def _routed(self, call: RoutedRequest) -> AnyAnswer:
        replayed = self.next_script(call.request.method, call.version + call.path, only=(Recording, bytes))
        if replayed is not None:
            return self._scripted(call, replayed)
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
        """Take one of the client's slots, or refuse with 429; what is returned gives it back (once)."""
        with self._lock:
            if self.max_streams is not None and self._running.get(client, 0) >= self.max_streams:
                raise Refusal(429, "Too many requests")
            self._running[client] = self._running.get(client, 0) + 1
            self._open_streams += stream
        left = False

        def leave() -> None:
            nonlocal left
            with self._lock:
                if left:
                    return
                left = True
                self._running[client] -= 1
                self._open_streams -= stream

        return leave

    def _scripted(self, call: RoutedRequest, value: Any, body: Mapping[str, Any] | None = None) -> AnyAnswer:
        """The answer that a script asks for. ``body`` is the checked request, where the script needs one."""
        if callable(value):
            value = value(call.request)
        if isinstance(value, (Answer, RawAnswer, EventAnswer)):
            return value
        if body is None:
            sent = call.json() if call.request.body else {}
            body = sent if isinstance(sent, dict) else {}
        stream = value.is_stream if isinstance(value, Recording) else bool(body.get("stream"))
        leave = self.enter(call.client, stream=stream)
        if isinstance(value, Recording):
            return self._replayed(value, leave)
        if isinstance(value, bytes):
            kind = "text/event-stream" if stream else "application/json; charset=utf-8"
            return Answer(200, {**call.headers, "Content-Type": kind}, [value] if stream else value, done=leave)
        if call.version == "v2":
            return self.v2.scripted(call, value, body, leave)
        whole: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"content": str(value)}
        if "choices" not in whole:
            return self._chat_answer(call, body, [chat_v1.reply_from(whole)], leave)
        if not stream:
            return self._json_answer(call, whole, leave)
        replies = [
            chat_v1.reply_from({**choice.get("message", {}), "finish_reason": choice.get("finish_reason", "stop")})
            for choice in whole["choices"]
        ]
        return self._chat_answer(call, body, replies, leave, whole)

    def _replayed(self, found: Recording, leave: Callable[[], None]) -> AnyAnswer:
        kept = {
            name: value
            for name, value in found.headers.items()
            if name.lower() not in ("content-length", "content-type", "transfer-encoding")
        }
        kind = found.headers["Content-Type"]
        if found.is_stream:
            return EventAnswer(_until_end(found.events, leave), kept, kind, self.event_pause_s, _STREAM_ERROR, leave)
        return Answer(found.status, {**kept, "Content-Type": kind}, found.body, done=leave)

    def _json_answer(self, call: RoutedRequest, payload: Any, leave: Callable[[], None] | None = None) -> Answer:
        answer = json_answer(200, payload, call.headers, self.answer_pause_s)
        answer.done = leave
        return answer

    def _chat_answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        replies: list[chat_v1.ModelReply],
        leave: Callable[[], None],
        scripted: Mapping[str, Any] | None = None,
    ) -> AnyAnswer:
        asked = str(body.get("model") or "GigaChat-2")
        scripted = scripted or {}
        model = scripted.get("model") or (asked if ":" in asked else f"{asked}:{chat_v1.build_of(asked)}")
        created = scripted.get("created") or int(self.now_s())
        usage = scripted.get("usage") or self._usage(call, body, replies)
        thread = self._remember(body, replies)
        self.files.draw_named(call, [reply.content for reply in replies])
        if not body.get("stream"):
            whole = chat_v1.completion(replies, model=model, created=created, usage=usage)
            return self._json_answer(call, {**whole, **thread}, leave)
        interval_s = float(body.get("update_interval") or 0)
        per_chunk, pace_s = chat_v1.pace(interval_s, self.event_pause_s)
        made = chat_v1.chunks(replies, model=model, created=created, usage=usage, words_per_chunk=per_chunk)

        def events() -> Iterator[bytes | Pause]:
            if self.answer_pause_s:
                yield Pause(self.answer_pause_s)
            for chunk in made:
                yield event({**chunk, **thread})
            leave()
            yield END_MARKER

        return EventAnswer(events(), call.headers, pause_s=pace_s, error=_STREAM_ERROR, done=leave)

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
        """Tokens of the beginning that this session has sent before; 2 without a session, as recorded."""
        session = call.request.headers.get("x-session-id")
        if session is None:
            return min(2, prompt)
        sent = [compact(message) for message in body["messages"]]
        with self._lock:
            before = self._sessions.get(session, [])
            self._sessions[session] = sent
        shared = chat_v1.shared_messages(before, sent)
        if not shared:
            return min(2, prompt)
        return chat_v1.prompt_tokens({"messages": body["messages"][:shared]})

    def _remember(self, body: Mapping[str, Any], replies: list[chat_v1.ModelReply]) -> dict[str, Any]:
        """With ``storage``, keep the dialogue and say under which ids."""
        storage = body.get("storage") or {}
        if not (storage.get("is_stateful") or storage.get("thread_id")):
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        with self._lock:
            self._threads[thread_id] = [*body["messages"], replies[0].message()]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    def _with_history(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with the messages that its thread already holds in front of its own."""
        thread_id = (body.get("storage") or {}).get("thread_id")
        if thread_id is None:
            return body
        with self._lock:
            if thread_id not in self._threads:
                # Invented: stateful chat is not in the public description.
                raise Refusal(404, "No such thread")
            return {**body, "messages": [*self._threads[thread_id], *body["messages"]]}

    # -- for the rooms of the endpoints

    def now_s(self) -> float:
        """What time the service thinks it is: Unix time in seconds."""
        return time.time() + self.clock_offset_s

    def scope_of(self, client: str) -> str:
        """The scope that a client's key belongs to."""
        with self._lock:
            scopes = {account.client_id: account.scope for account in self._accounts.values()}
        return scopes.get(client, self.scope)

    # -- endpoints

    def _chat_completions(self, call: RoutedRequest) -> AnyAnswer:
        body = chat_v1.check(
            call.json(),
            models=self.models,
            without_functions=self.models_without_functions,
            exceeded=self.exhausted_models,
            context_tokens=self.context_tokens,
        )
        scripted = self.next_script("POST", "v1/chat/completions")
        if scripted is not None:
            return self._scripted(call, scripted, body)
        body = self._with_history(body)
        leave = self.enter(call.client, stream=bool(body.get("stream")))
        try:
            return self._chat_answer(call, body, chat_v1.replies(body), leave)
        except BaseException:
            leave()
            raise

    def _list_models(self, call: RoutedRequest) -> AnyAnswer:
        entries = [_model(name, kind) for name, kind in self.models.items()]
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
            # Most stands do not have the route at all.
            raise Refusal(404, "Not Found")
        scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
        given = decoded_key(value) if scheme.lower() == "basic" else None
        if given is None or self.users.get(given[0]) != given[1]:
            raise Refusal(401, "Unauthorized")
        account = Account(f"user {given[0]}", self.scope)
        return json_answer(200, self._token(account, self.password_token_shape), call.headers, self.oauth_pause_s)

    def __repr__(self) -> str:
        return "GigaChatEmulator()"


# --- small parts -----------------------------------------------------------------------------------------------


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
            if isinstance(content, list):  # the parts that a message of API v2 has
                return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
            return str(content or "")
    return ""


def _model(name: str, kind: str) -> dict[str, str]:
    return {"id": name, "object": "model", "owned_by": "salutedevices", "type": kind}


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


def _until_end(events: Iterable[bytes], leave: Callable[[], None]) -> Iterator[bytes | Pause]:
    for block in events:
        if block == END_MARKER:
            leave()
        yield block
