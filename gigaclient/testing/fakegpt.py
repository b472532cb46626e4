"""An emulator of a Pandora-style ChatGPT proxy over HTTPS on 127.0.0.1: pool of accounts, login, session, stream.

    with FakeGptEmulator() as emulator:
        client = FakeGpt(**emulator.client_options)

Everything that went wrong with such servers has a switch; switches are constructor arguments and may also be
assigned while the emulator runs.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from types import TracebackType
from typing import Any, Literal, TypeAlias

from gigaclient.testing import canned_model as answers
from gigaclient.testing.authority import Authority
from gigaclient.testing.fault_server import Answer, Pause, RawAnswer, RecordedRequest, Server, wait_for_streams
from gigaclient.testing.faults import END_MARKER, EventAnswer, Fault, FaultQueue, respond

__all__ = ["FakeGptEmulator"]

_MODEL = "text-davinci-002-render-sha"
_WALL = """<!DOCTYPE html>
<html lang="en-US"><head><title>Just a moment...</title></head>
<body><h1>Checking if the site connection is secure</h1></body></html>
"""
AnyAnswer: TypeAlias = Answer | RawAnswer | EventAnswer
Scripted: TypeAlias = str | bytes | Iterable[str] | Callable[[RecordedRequest], Any]


@dataclass
class _Session:
    credential: str
    access_token: str
    expires_at: float


class _Refusal(Exception):
    """An error answer, as JSON."""

    def __init__(self, status: int, payload: Any) -> None:
        super().__init__(status, payload)
        self.status, self.payload = status, payload


class FakeGptEmulator:
    """The proxy on 127.0.0.1. A context manager; :meth:`start` and :meth:`close` by hand.

    Args:
        accounts: How many accounts are in the pool.
        token_life_s: How long an access token is good; afterwards it is answered with 401.
        event_pause_s: Between two events of a stream.
        answer_pause_s: Before the head of an answer.
        login: How a login succeeds: ``"json"`` with status 200, or ``"redirect"`` with the cookie on the 302.
        login_refused: Every login is answered with status 200 and a ``code`` of 400 in the body.
        login_without_cookie: A login looks well but sets no cookie.
        empty_loads: The pool has no account.
        session_status: What ``/api/auth/session`` says to somebody without the cookie: 200 with ``{}``, or 401.
        session_without_token: The session has no ``accessToken``.
        html_wall: Answer with the page of a bot filter (403): ``True`` everywhere, or the end of a path.
        bot_filter: Show that page to whoever has no browser's ``User-Agent`` or no ``Referer`` ending in ``/?v=2``.
        plain_authorization: Take the access token from ``Authorization`` as well as from ``X-Authorization``.
        no_done: Streams end without ``[DONE]``.
        never_finished: No message says that it is finished.
        error_event: This text comes as an ``error`` within the stream, after two events with text.
        detail_event: The same with a ``detail`` object (text, or a mapping with ``message`` and ``code``).
        only_keep_alives: The stream has timestamps in it and no answer.
        rewritten: Half-way the server changes its mind and begins the answer differently, under the same id.
        new_message_id: Half-way a second message with an id of its own begins; it is the whole answer.
        busy: Every conversation is a 429.
        keep_alive: Put timestamps and pings between the events, as real servers do.
        authority: Sign with this one (it is not closed then) instead of a new one.
        port: A fixed port instead of a free one.
    """

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
        """A token that is good without any login or cookie, for clients that are given one."""

        self._lock = threading.Lock()
        self._loads = {secrets.token_hex(16): number for number in range(accounts)}
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._conversations: dict[str, list[dict[str, str]]] = {}
        self._scripts: list[tuple[Scripted, int]] = []
        self._faults = FaultQueue()
        self._logins = 0
        self._open_streams = 0
        self._own_authority = authority is None
        self.authority = authority if authority is not None else Authority()
        self.server = Server(self._serve, tls=self.authority, port=port)

    # -- life

    def start(self) -> FakeGptEmulator:
        """Begin to serve. Returns itself."""
        self.server.start()
        return self

    def close(self) -> None:
        """End everything at once, stalled answers included. Safe to call twice."""
        self.server.close()
        if self._own_authority:
            self.authority.close()

    def __enter__(self) -> FakeGptEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- where it is

    @property
    def base_url(self) -> str:
        """The address, without a slash at the end."""
        return self.server.url

    @property
    def ca_file(self) -> str:
        """The path of the PEM to trust."""
        return self.authority.ca_file

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that point a ``FakeGpt`` client here."""
        return {"base_url": self.base_url, "ca_bundle_file": self.ca_file}

    # -- what happened

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {f"FAKEGPT_{name.upper()}": str(value) for name, value in self.client_options.items()}

    @property
    def prompts(self) -> list[str]:
        """The prompt of each request for an answer that arrived, oldest first, with the dialogue flattened into it."""
        return [_prompt_of(request) for request in self.requests if request.path == "/api/conversation"]

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request, oldest first."""
        return self.server.requests

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self.server.connections

    @property
    def aborted(self) -> int:
        """How often a client left while its answer was under way."""
        return self.server.aborted

    @property
    def logins(self) -> int:
        """Calls of ``/auth/login``, refused ones included."""
        with self._lock:
            return self._logins

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

    def revoke_sessions(self) -> None:
        """Every login so far is forgotten: its cookie and its token are answered with 401."""
        with self._lock:
            self._sessions.clear()

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Let the next ``times`` requests whose path ends in ``path`` meet ``fault``, first come, first served.

        Without a path these are conversations; ``/api/loads``, ``/auth/login`` and ``/api/auth/session`` have to be
        named. ``times=None`` is every request from now on, until :meth:`clear`.
        """
        self._faults.inject(fault, times=times, path=path)

    def answer(self, value: Scripted, *, times: int = 1) -> None:
        """Script the next ``times`` conversations.

        Args:
            value: Text is the answer. An iterable of texts are the cumulative states that the stream goes through,
                one event each. Bytes are the stream as it is. A callable gets the request and returns any of
                these, or an ``Answer``, ``RawAnswer`` or ``EventAnswer``.
            times: For how many conversations.
        """
        if times < 1:
            raise ValueError("times must be at least 1")
        kept = value if isinstance(value, (str, bytes)) or callable(value) else tuple(value)
        with self._lock:
            self._scripts.append((kept, times))

    def clear(self) -> None:
        """Forget faults and scripted answers that have not been used."""
        self._faults.clear()
        with self._lock:
            self._scripts.clear()

    # -- the server

    def _serve(self, request: RecordedRequest) -> Answer | RawAnswer:
        endpoint = _ROUTES.get((request.method, request.path))
        named_only = endpoint is not _conversation
        fault = self._faults.take(request.path, named_only=named_only)
        if endpoint is _login:
            with self._lock:
                self._logins += 1

        def real() -> AnyAnswer:
            if self._walled(request):
                return Answer(403, {"Content-Type": "text/html; charset=UTF-8", "Server": "cloudflare"}, _WALL)
            if endpoint is None:
                return _json(404, {"detail": "Not Found"})
            try:
                return endpoint(self, request)
            except _Refusal as refusal:
                return _json(refusal.status, refusal.payload)

        return respond(fault, real, headers={}, error_body=_error_body)

    def _walled(self, request: RecordedRequest) -> bool:
        if self.html_wall is True or (isinstance(self.html_wall, str) and request.path.endswith(self.html_wall)):
            return True
        looks_human = "Mozilla/" in request.headers.get("user-agent", "") and request.headers.get(
            "referer", ""
        ).endswith("/?v=2")
        return self.bot_filter and not looks_human

    def _session_of(self, request: RecordedRequest) -> _Session | None:
        try:
            morsel = SimpleCookie("; ".join(request.headers.get_all("cookie"))).get("credential")
        except CookieError:
            return None
        with self._lock:
            return next((s for s in self._sessions.values() if morsel and s.credential == morsel.value), None)

    def _let_in(self, request: RecordedRequest) -> None:
        """Raise unless the request carries a good token, and the cookie that belongs to it."""
        given = request.headers.get("x-authorization")
        if given is None and self.plain_authorization:
            given = request.headers.get("authorization")
        scheme, _, token = (given or "").partition(" ")
        if scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), self.access_token.encode()):
            return
        session = self._session_of(request)
        if scheme.lower() != "bearer" or session is None or session.access_token != token:
            raise _Refusal(401, {"detail": "Could not parse your authentication token. Please try signing in again."})
        if time.monotonic() >= session.expires_at:
            message = "Your authentication token has expired. Please try signing in again."
            raise _Refusal(401, {"detail": {"message": message, "code": "token_expired"}})

    def _next_script(self) -> Scripted | None:
        with self._lock:
            if not self._scripts:
                return None
            value, times = self._scripts.pop(0)
            if times > 1:
                self._scripts.insert(0, (value, times - 1))
            return value

    def _stream(self, request: RecordedRequest, body: Mapping[str, Any], states: Iterable[str]) -> EventAnswer:
        with self._lock:
            self._open_streams += 1
        left = False

        def leave() -> None:
            nonlocal left
            with self._lock:
                if not left:
                    left = True
                    self._open_streams -= 1

        conversation_id = str(body.get("conversation_id") or uuid.uuid4())
        events = self._events(body, conversation_id, list(states), leave)
        error = {"message": None, "conversation_id": conversation_id, "error": "The server had an error."}
        kind = "text/event-stream; charset=utf-8"
        return EventAnswer(events, {}, kind, self.event_pause_s, error, leave)

    def _events(
        self, body: Mapping[str, Any], conversation_id: str, states: list[str], leave: Callable[[], None]
    ) -> Iterator[bytes | Pause]:
        prompt = body["messages"][0]
        yield _event(
            {
                "message": {
                    "id": prompt.get("id"),
                    "author": {"role": "user", "name": None, "metadata": {}},
                    "create_time": time.time(),
                    "content": prompt["content"],
                    "status": "finished_successfully",
                    "weight": 1.0,
                    "metadata": {"timestamp_": "absolute", "message_type": None},
                    "recipient": "all",
                },
                "conversation_id": conversation_id,
                "error": None,
            }
        )
        if self.keep_alive:
            yield _timestamp()
        if self.only_keep_alives:
            for _ in range(3):
                yield _timestamp()
            leave()
            yield END_MARKER
            return
        message_id = str(uuid.uuid4())
        middle = len(states) // 2
        for number, state in enumerate(states):
            if number == 2 and self.error_event is not None:
                yield _event({"message": None, "conversation_id": conversation_id, "error": self.error_event})
                return
            if number == 2 and self.detail_event is not None:
                yield _event({"detail": self.detail_event})
                return
            if number == middle and self.new_message_id:
                message_id = str(uuid.uuid4())
            if number and number % 5 == 0 and self.keep_alive:
                yield b"event: ping\n" + _timestamp()
            finished = number == len(states) - 1 and not self.never_finished
            yield _event(_message(message_id, conversation_id, state, finished))
        yield _event(
            {
                "conversation_id": conversation_id,
                "message_id": message_id,
                "is_completion": True,
                "moderation_response": {
                    "flagged": False,
                    "blocked": False,
                    "moderation_id": f"modr-{message_id.replace('-', '')[:20]}",
                },
            }
        )
        leave()
        if not self.no_done:
            yield END_MARKER

    def _states(self, text: str) -> list[str]:
        """The cumulative states of ``text``, and of what the switches make of it."""
        pieces = answers.words(text) or [""]
        states = ["".join(pieces[: count + 1]) for count in range(len(pieces))]
        if self.rewritten:
            wrong = "".join(pieces[: max(1, len(pieces) // 2)])
            # The common beginning is kept to the middle of the text, what follows it was said differently at first.
            states = [*states[: max(1, len(pieces) // 2)], f"{wrong} — no, wait", *states[len(pieces) // 2 :]]
        if self.new_message_id:
            states = [*states[: max(1, len(states) // 2)], *states]
        # Errors come after two events with text; a text of one word has none to spare.
        while len(states) < 3 and (self.error_event is not None or self.detail_event is not None):
            states.append(states[-1] + ".")
        return states

    def __repr__(self) -> str:
        return "FakeGptEmulator()"


def _prompt_of(request: RecordedRequest) -> str:
    try:
        return "".join(request.json()["messages"][0]["content"]["parts"])
    except (ValueError, LookupError, TypeError):
        return ""


# --- endpoints -------------------------------------------------------------------------------------------------


def _list_loads(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    if not re.fullmatch(r"\d{1,12}", request.params.get("t", "")):
        # Invented: clients always send it, nobody wrote down what happens without.
        raise _Refusal(400, {"code": 400, "message": "t is missing"})
    shown = {} if emulator.empty_loads else emulator._loads
    return _json(200, {"loads": [{"token_id": token_id, "count": count} for token_id, count in shown.items()]})


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
    until = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + left_s))
    user = {"id": "user-emulator", "name": "emulator", "email": "emulator@example.com", "groups": []}
    shown = {} if emulator.session_without_token else {"accessToken": session.access_token}
    return _json(200, {"user": user, "expires": until, **shown, "authProvider": "auth0"})


def _conversation(emulator: FakeGptEmulator, request: RecordedRequest) -> AnyAnswer:
    emulator._let_in(request)
    if emulator.busy:
        raise _Refusal(429, {"detail": "Too many requests in 1 hour. Try again later."})
    body = _checked(request)
    value: Any = emulator._next_script()
    if callable(value):
        value = value(request)
    if isinstance(value, (Answer, RawAnswer, EventAnswer)):
        return value
    if isinstance(value, bytes):
        return Answer(200, {"Content-Type": "text/event-stream; charset=utf-8"}, [value])
    conversation_id = body.get("conversation_id")
    if value is None:
        with emulator._lock:
            before = emulator._conversations.get(str(conversation_id), [])
        messages = [*before, *_unflattened("".join(body["messages"][0]["content"]["parts"]))]
        value = answers.answer(messages, name="FakeGpt")
        if conversation_id is not None:
            with emulator._lock:
                said = {"role": "assistant", "content": value}
                emulator._conversations[str(conversation_id)] = [*messages, said]
    states = emulator._states(value) if isinstance(value, str) else [str(state) for state in value]
    answer = emulator._stream(request, body, states)
    if emulator.answer_pause_s:
        answer.events = _after(Pause(emulator.answer_pause_s), answer.events)
    return answer


def _checked(request: RecordedRequest) -> dict[str, Any]:
    """The conversation's body, or a 422 in the words that such backends use for a wrong shape."""
    try:
        body = request.json()
    except ValueError:
        raise _Refusal(400, {"detail": "There was an error parsing the body"}) from None

    def wrong(*place: str | int) -> _Refusal:
        return _Refusal(422, {"detail": [{"loc": ["body", *place], "msg": "field required", "type": "value_error"}]})

    if not isinstance(body, dict):
        raise wrong()
    if body.get("action") not in ("next", "variant", "continue"):
        raise wrong("action")
    if not isinstance(body.get("model"), str):
        raise wrong("model")
    if not isinstance(body.get("parent_message_id"), str):
        raise wrong("parent_message_id")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        raise wrong("messages")
    author, content = messages[0].get("author"), messages[0].get("content")
    if not isinstance(author, dict) or author.get("role") != "user":
        raise wrong("messages", 0, "author", "role")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise wrong("messages", 0, "content", "parts")
    return body


def _unflattened(prompt: str) -> list[dict[str, str]]:
    """The messages in a prompt of lines ``Role: content`` that ends in ``Assistant:``; else it is one message."""
    if not re.search(r"\nAssistant:\s*\Z", f"\n{prompt}"):
        return [{"role": "user", "content": prompt}]
    parts = re.split(r"(?m)^(System|User|Assistant): ?", prompt)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    messages = [{"role": role.lower(), "content": content.rstrip("\n")} for role, content in pairs]
    return messages[:-1] or [{"role": "user", "content": prompt}]


_ROUTES: dict[tuple[str, str], Callable[[FakeGptEmulator, RecordedRequest], AnyAnswer]] = {
    ("GET", "/"): _front_page,
    ("GET", "/api/loads"): _list_loads,
    ("POST", "/auth/login"): _login,
    ("GET", "/api/auth/session"): _auth_session,
    ("POST", "/api/conversation"): _conversation,
}


# --- small parts -----------------------------------------------------------------------------------------------


def _message(message_id: str, conversation_id: str, text: str, finished: bool) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": message_id,
        "author": {"role": "assistant", "name": None, "metadata": {}},
        "create_time": time.time(),
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully" if finished else "in_progress",
        "weight": 1.0,
        "metadata": {"message_type": "next", "model_slug": _MODEL},
        "recipient": "all",
    }
    if finished:
        message["end_turn"] = True
        message["metadata"]["finish_details"] = {"type": "stop", "stop_tokens": [100260]}
    return {"message": message, "conversation_id": conversation_id, "error": None}


def _event(payload: Any) -> bytes:
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()


def _timestamp() -> bytes:
    return time.strftime("data: %Y-%m-%d %H:%M:%S.000000\n\n", time.gmtime()).encode()


def _after(pause: Pause, events: Iterable[bytes | Pause]) -> Iterator[bytes | Pause]:
    yield pause
    yield from events


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
