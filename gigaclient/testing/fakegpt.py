"""An emulator of a Pandora-style ChatGPT proxy over HTTPS on 127.0.0.1: account pool, login, session, stream.

    with FakeGptEmulator() as emulator:
        client = FakeGpt(**emulator.client_options)

Each known failure of such servers has a switch. Switches are constructor arguments and may also be changed while the
emulator runs.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, TypeAlias

from gigaclient.testing import canned_model
from gigaclient.testing.authority import Authority
from gigaclient.testing.emulator import Emulator
from gigaclient.testing.fakegpt_events import cumulative_states, stream_events
from gigaclient.testing.fakegpt_requests import ProxyRefusal, last_question, prompt_of, read_body
from gigaclient.testing.fault_answers import early_answer, respond
from gigaclient.testing.fault_server import Server
from gigaclient.testing.faults import EventAnswer
from gigaclient.testing.http_messages import Answer, Pause, RawAnswer, RecordedRequest
from gigaclient.testing.routing import AnyAnswer

__all__ = ["FakeGptEmulator"]

_CONVERSATION = "/api/conversation"
_BOT_FILTER_PAGE = """<!DOCTYPE html>
<html lang="en-US"><head><title>Just a moment...</title></head>
<body><h1>Checking if the site connection is secure</h1></body></html>
"""
Scripted: TypeAlias = str | bytes | Iterable[str] | Callable[[RecordedRequest], Any]


@dataclass
class _Session:
    credential: str
    access_token: str
    expires_at: float


class FakeGptEmulator(Emulator):
    """The proxy on 127.0.0.1. A context manager; also has :meth:`start` and :meth:`close`.

    Args:
        accounts: The number of accounts in the pool.
        token_life_s: The life of an access token in seconds; an expired one gets 401.
        event_pause_s: Seconds between two events of a stream.
        answer_pause_s: Seconds before the head of a response.
        login: The response to a successful login: ``"json"`` with status 200, or ``"redirect"`` with the cookie on
            the 302.
        login_refused: Respond to each login with status 200 and a ``code`` of 400 in the body.
        login_without_cookie: Respond to a login with success, but without a cookie.
        empty_loads: Return an empty pool.
        session_status: The response of ``/api/auth/session`` without the cookie: 200 with ``{}``, or 401.
        session_without_token: Return a session without ``accessToken``.
        html_wall: Respond with the page of a bot filter (403): ``True`` everywhere, or the end of a path.
        bot_filter: Send that page to clients without a browser's ``User-Agent`` or a ``Referer`` ending in ``/?v=2``.
        plain_authorization: Accept the access token in ``Authorization`` as well as in ``X-Authorization``.
        no_done: End streams without ``[DONE]``.
        never_finished: Mark no message as finished.
        error_event: Send this text as an ``error`` within the stream, after two events with text.
        detail_event: The same with a ``detail`` object (text, or a mapping with ``message`` and ``code``).
        only_keep_alives: Send a stream with timestamps, but without an answer.
        rewritten: Change the beginning of the answer in the middle of the stream, under the same id.
        new_message_id: Start a second message with a new id in the middle of the stream; it has the complete answer.
        busy: Respond to every conversation with 429.
        keep_alive: Send timestamps and pings between the events, as real servers do.
        authority: The certificate authority to use instead of a new one. It is not closed.
        port: The port to use instead of a free one.
    """

    _ENVIRONMENT_PREFIX = "FAKEGPT_"

    def __init__(
        self,
        *,
        accounts: int = 3,
        token_life_s: float = 14 * 86_400.0,
        event_pause_s: float = 0.0,
        answer_pause_s: float = 0.0,
        login: Literal["json", "redirect"] = "json",
        login_refused: bool = False,
        login_without_cookie: bool = False,
        empty_loads: bool = False,
        session_status: Literal[200, 401] = 200,
        session_without_token: bool = False,
        html_wall: bool | str = False,
        bot_filter: bool = False,
        plain_authorization: bool = True,
        no_done: bool = False,
        never_finished: bool = False,
        error_event: str | None = None,
        detail_event: str | Mapping[str, Any] | None = None,
        only_keep_alives: bool = False,
        rewritten: bool = False,
        new_message_id: bool = False,
        busy: bool = False,
        keep_alive: bool = True,
        authority: Authority | None = None,
        port: int = 0,
    ) -> None:
        self.token_life_s = token_life_s
        self.event_pause_s = event_pause_s
        self.answer_pause_s = answer_pause_s
        self.login = login
        self.login_refused = login_refused
        self.login_without_cookie = login_without_cookie
        self.empty_loads = empty_loads
        self.session_status = session_status
        self.session_without_token = session_without_token
        self.html_wall = html_wall
        self.bot_filter = bot_filter
        self.plain_authorization = plain_authorization
        self.no_done = no_done
        self.never_finished = never_finished
        self.error_event = error_event
        self.detail_event = detail_event
        self.only_keep_alives = only_keep_alives
        self.rewritten = rewritten
        self.new_message_id = new_message_id
        self.busy = busy
        self.keep_alive = keep_alive

        self.access_token = secrets.token_urlsafe(32)
        """A token that is valid without a login or cookie, for clients with an ``access_token``."""

        super().__init__(authority)
        self._loads = {secrets.token_hex(16): number for number in range(accounts)}
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._logins = 0
        self.server = Server(self._serve, tls=self.authority, port=port, on_head=self._answer_head)

    @property
    def _servers(self) -> tuple[Server, ...]:
        return (self.server,)

    # -- addresses

    @property
    def base_url(self) -> str:
        """The URL, without a slash at the end."""
        return self.server.url

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for a ``FakeGpt`` client of this emulator."""
        return {"base_url": self.base_url, "ca_bundle_file": self.ca_file}

    # -- observations

    @property
    def prompts(self) -> list[str]:
        """The prompt of each conversation request, oldest first. It contains the flattened dialogue."""
        return [prompt_of(request) for request in self.requests if request.path == _CONVERSATION]

    @property
    def logins(self) -> int:
        """The number of calls of ``/auth/login``, refused ones included."""
        with self._lock:
            return self._logins

    # -- faults and scripts

    def revoke_sessions(self) -> None:
        """Forget all logins: their cookies and tokens get 401 from now on."""
        with self._lock:
            self._sessions.clear()

    def answer(self, value: Scripted, *, times: int | None = 1) -> None:
        """Script the next ``times`` conversations.

        Args:
            value: A text is the answer. An iterable of texts is the cumulative states of the stream, one event
                each. A state may take text back, or end in half a surrogate pair. Bytes are the raw body of the stream.
                A callable gets the request and returns any of these, or an ``Answer``, ``RawAnswer`` or
                ``EventAnswer``, or None for the emulator's own answer.
            times: The number of conversations. ``None`` answers each one for which no other script waits.
        """
        script = value if isinstance(value, (str, bytes)) or callable(value) else tuple(value)
        self._scripts.add(script, _CONVERSATION, times=times)

    # -- the server

    def _serve(self, request: RecordedRequest) -> Answer | RawAnswer:
        endpoint = _ROUTES.get((request.method, request.path))
        fault = self._faults.take(request.path, named_only=endpoint is not _conversation)
        if endpoint is _login:
            with self._lock:
                self._logins += 1

        def regular_answer() -> AnyAnswer:
            if self._is_blocked(request):
                return Answer(
                    403, {"Content-Type": "text/html; charset=UTF-8", "Server": "cloudflare"}, _BOT_FILTER_PAGE
                )
            if endpoint is None:
                return _json(404, {"detail": "Not Found"})
            try:
                return endpoint(self, request)
            except ProxyRefusal as refusal:
                return _json(refusal.status, refusal.payload)

        return respond(fault, regular_answer, headers={}, error_body=_error_body)

    def _answer_head(self, request: RecordedRequest) -> Answer | RawAnswer | None:
        fault = self._faults.take(request.path, named_only=request.path != _CONVERSATION, early=True)
        return early_answer(fault, _error_body)

    def _is_blocked(self, request: RecordedRequest) -> bool:
        if self.html_wall is True or (isinstance(self.html_wall, str) and request.path.endswith(self.html_wall)):
            return True
        is_browser = "Mozilla/" in request.headers.get("user-agent", "")
        return self.bot_filter and not (is_browser and request.headers.get("referer", "").endswith("/?v=2"))

    def _session_of(self, request: RecordedRequest) -> _Session | None:
        try:
            morsel = SimpleCookie("; ".join(request.headers.get_all("cookie"))).get("credential")
        except CookieError:
            return None
        with self._lock:
            return next((s for s in self._sessions.values() if morsel and s.credential == morsel.value), None)

    def _authorize(self, request: RecordedRequest) -> None:
        """Raise :class:`ProxyRefusal` unless the request has a valid token and the cookie of the same session."""
        authorization = request.headers.get("x-authorization")
        if authorization is None and self.plain_authorization:
            authorization = request.headers.get("authorization")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), self.access_token.encode()):
            return
        session = self._session_of(request)
        if scheme.lower() != "bearer" or session is None or session.access_token != token:
            raise ProxyRefusal(
                401, {"detail": "Could not parse your authentication token. Please try signing in again."}
            )
        if time.monotonic() >= session.expires_at:
            message = "Your authentication token has expired. Please try signing in again."
            raise ProxyRefusal(401, {"detail": {"message": message, "code": "token_expired"}})

    def _stream(self, body: Mapping[str, Any], states: Iterable[str]) -> EventAnswer:
        release = self._open_answer("", stream=True)
        conversation_id = str(body.get("conversation_id") or uuid.uuid4())
        events: Iterable[bytes | Pause] = stream_events(self, body, conversation_id, list(states), release)
        if self.answer_pause_s:
            events = itertools.chain((Pause(self.answer_pause_s),), events)
        error = {"message": None, "conversation_id": conversation_id, "error": "The server had an error."}
        return EventAnswer(events, {}, "text/event-stream; charset=utf-8", self.event_pause_s, error, release)


# --- endpoints -------------------------------------------------------------------------------------------------


def _list_loads(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    if not re.fullmatch(r"\d{1,12}", request.params.get("t", "")):
        # Invented: clients always send it, and its absence is not documented.
        raise ProxyRefusal(400, {"code": 400, "message": "t is missing"})
    loads = {} if emulator.empty_loads else emulator._loads
    return _json(200, {"loads": [{"token_id": token_id, "count": count} for token_id, count in loads.items()]})


def _login(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    form = request.form
    key, password = form.get("token_key", ""), form.get("session_password", "")
    if emulator.login_refused or key not in emulator._loads:
        return _json(200, {"code": 400, "message": "token_key is not valid"})
    if not password:
        return _json(200, {"code": 400, "message": "session_password is empty"})
    with emulator._lock:
        session = emulator._sessions.get((key, password))
        if session is None or time.monotonic() >= session.expires_at:
            session = _Session(
                secrets.token_urlsafe(24), secrets.token_urlsafe(48), time.monotonic() + emulator.token_life_s
            )
            emulator._sessions[key, password] = session
    headers = []
    if not emulator.login_without_cookie:
        headers = [
            ("Set-Cookie", f"credential={session.credential}; Path=/; Secure; HttpOnly; SameSite=Lax"),
            ("Set-Cookie", "session_password=kept; Path=/; Secure; HttpOnly"),
        ]
    if emulator.login == "redirect":
        return Answer(302, [*headers, ("Location", "/"), ("Content-Type", "text/html; charset=utf-8")], "")
    answer = _json(200, {"code": 0, "url": "/"})
    answer.headers = [*headers, ("Content-Type", "application/json; charset=utf-8")]
    return answer


def _front_page(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    page = "<!DOCTYPE html><html><head><title>ChatGPT</title></head><body></body></html>"
    return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page)


def _auth_session(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    session = emulator._session_of(request)
    if session is None:
        return _json(emulator.session_status, {} if emulator.session_status == 200 else {"detail": "Unauthorized"})
    left_s = session.expires_at - time.monotonic()
    expires = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + left_s))
    user = {"id": "user-emulator", "name": "emulator", "email": "emulator@example.com", "groups": []}
    token = {} if emulator.session_without_token else {"accessToken": session.access_token}
    return _json(200, {"user": user, "expires": expires, **token, "authProvider": "auth0"})


def _conversation(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    emulator._authorize(request)
    if emulator.busy:
        raise ProxyRefusal(429, {"detail": "Too many requests in 1 hour. Try again later."})
    body = read_body(request)
    value: Any = emulator._scripts.next(_CONVERSATION)
    if callable(value):
        value = value(request)
    if isinstance(value, AnyAnswer):
        return value
    if isinstance(value, bytes):
        return Answer(200, {"Content-Type": "text/event-stream; charset=utf-8"}, [value])
    if value is None:
        value = canned_model.answer(last_question("".join(body["messages"][0]["content"]["parts"])))
    states = cumulative_states(emulator, value) if isinstance(value, str) else [str(state) for state in value]
    return emulator._stream(body, states)


_ROUTES: dict[tuple[str, str], Callable[[FakeGptEmulator, RecordedRequest], AnyAnswer]] = {
    ("GET", "/"): _front_page,
    ("GET", "/api/loads"): _list_loads,
    ("POST", "/auth/login"): _login,
    ("GET", "/api/auth/session"): _auth_session,
    ("POST", _CONVERSATION): _conversation,
}


# --- bodies ----------------------------------------------------------------------------------------------------


def _json(status: int, payload: Any) -> Answer:
    text = json.dumps(payload, ensure_ascii=False)
    return Answer(status, {"Content-Type": "application/json; charset=utf-8"}, text)


def _error_body(status: int) -> dict[str, Any]:
    if status >= 500:
        return {"code": status, "message": "The server had an error."}
    if status == 429:
        return {"detail": "Too many requests in 1 hour. Try again later."}
    if status == 413:
        message = "The message you submitted was too long, please reload the conversation and submit something shorter."
        return {"detail": {"message": message, "code": "message_length_exceeds_limit"}}
    return {"detail": "Unauthorized" if status in (401, 403) else "Not Found"}
