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
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from types import TracebackType
from typing import Any, Literal, TypeAlias

from gigaclient.testing import canned_model
from gigaclient.testing.authority import Authority
from gigaclient.testing.fault_server import Answer, Pause, RawAnswer, RecordedRequest, Server, wait_for_streams
from gigaclient.testing.faults import END_MARKER, EventAnswer, Fault, FaultQueue, respond

__all__ = ["FakeGptEmulator"]

_MODEL = "text-davinci-002-render-sha"
_BOT_FILTER_PAGE = """<!DOCTYPE html>
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
    """An error response as JSON."""

    def __init__(self, status: int, payload: Any) -> None:
        super().__init__(status, payload)
        self.status, self.payload = status, payload


class FakeGptEmulator:
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

    # -- start and close

    def start(self) -> FakeGptEmulator:
        """Start to serve, and return the emulator."""
        self.server.start()
        return self

    def close(self) -> None:
        """Stop at once, stalled responses included. Safe to call twice."""
        self.server.close()
        if self._own_authority:
            self.authority.close()

    def __enter__(self) -> FakeGptEmulator:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- addresses

    @property
    def base_url(self) -> str:
        """The URL, without a slash at the end."""
        return self.server.url

    @property
    def ca_file(self) -> str:
        """The path of the PEM file with the certificate to trust."""
        return self.authority.ca_file

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for a ``FakeGpt`` client of this emulator."""
        return {"base_url": self.base_url, "ca_bundle_file": self.ca_file}

    @property
    def environment(self) -> dict[str, str]:
        """:attr:`client_options` as environment variables."""
        return {f"FAKEGPT_{name.upper()}": str(value) for name, value in self.client_options.items()}

    # -- observations

    @property
    def prompts(self) -> list[str]:
        """The prompt of each conversation request, oldest first. It contains the flattened dialogue."""
        return [_prompt_of(request) for request in self.requests if request.path == "/api/conversation"]

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests, oldest first."""
        return self.server.requests

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self.server.connections

    @property
    def aborted(self) -> int:
        """The number of responses whose client disconnected before their end."""
        return self.server.aborted

    @property
    def logins(self) -> int:
        """The number of calls of ``/auth/login``, refused ones included."""
        with self._lock:
            return self._logins

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

    def revoke_sessions(self) -> None:
        """Forget all logins: their cookies and tokens get 401 from now on."""
        with self._lock:
            self._sessions.clear()

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Apply ``fault`` to the next ``times`` requests whose path ends in ``path``, in the order of injection.

        Without a path, only conversations get the fault; ``/api/loads``, ``/auth/login`` and ``/api/auth/session``
        need an explicit path. ``times=None`` applies to every request until :meth:`clear`.
        """
        self._faults.inject(fault, times=times, path=path)

    def answer(self, value: Scripted, *, times: int = 1) -> None:
        """Script the next ``times`` conversations.

        Args:
            value: A text is the answer. An iterable of texts gives the cumulative states of the stream, one event
                each. Bytes are the raw body of the stream. A callable gets the request and returns any of these, or
                an ``Answer``, ``RawAnswer`` or ``EventAnswer``.
            times: The number of conversations.
        """
        if times < 1:
            raise ValueError("times must be at least 1")
        script = value if isinstance(value, (str, bytes)) or callable(value) else tuple(value)
        with self._lock:
            self._scripts.append((script, times))

    def clear(self) -> None:
        """Remove all pending faults and scripted answers."""
        self._faults.clear()
        with self._lock:
            self._scripts.clear()

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
            except _Refusal as refusal:
                return _json(refusal.status, refusal.payload)

        return respond(fault, regular_answer, headers={}, error_body=_error_body)

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
        """Raise :class:`_Refusal` unless the request has a valid token and the cookie of the same session."""
        authorization = request.headers.get("x-authorization")
        if authorization is None and self.plain_authorization:
            authorization = request.headers.get("authorization")
        scheme, _, token = (authorization or "").partition(" ")
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
        released = False

        def release() -> None:
            nonlocal released
            with self._lock:
                if not released:
                    released = True
                    self._open_streams -= 1

        conversation_id = str(body.get("conversation_id") or uuid.uuid4())
        events = self._events(body, conversation_id, list(states), release)
        error = {"message": None, "conversation_id": conversation_id, "error": "The server had an error."}
        content_type = "text/event-stream; charset=utf-8"
        return EventAnswer(events, {}, content_type, self.event_pause_s, error, release)

    def _events(
        self, body: Mapping[str, Any], conversation_id: str, states: list[str], release: Callable[[], None]
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
            release()
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
        release()
        if not self.no_done:
            yield END_MARKER

    def _cumulative_states(self, text: str) -> list[str]:
        """Return the cumulative states of ``text``, changed by the switches."""
        pieces = canned_model.words(text) or [""]
        states = ["".join(pieces[: count + 1]) for count in range(len(pieces))]
        if self.rewritten:
            first_half = "".join(pieces[: max(1, len(pieces) // 2)])
            # The states share the first half of the text; one state continues it differently.
            states = [*states[: max(1, len(pieces) // 2)], f"{first_half} — no, wait", *states[len(pieces) // 2 :]]
        if self.new_message_id:
            states = [*states[: max(1, len(states) // 2)], *states]
        # An error comes after two events with text, and a text of one word has too few.
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
        # Invented: clients always send it, and its absence is not documented.
        raise _Refusal(400, {"code": 400, "message": "t is missing"})
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
        raise _Refusal(429, {"detail": "Too many requests in 1 hour. Try again later."})
    body = _read_body(request)
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
        messages = [*before, *_split_dialogue("".join(body["messages"][0]["content"]["parts"]))]
        value = canned_model.answer(messages)
        if conversation_id is not None:
            with emulator._lock:
                reply = {"role": "assistant", "content": value}
                emulator._conversations[str(conversation_id)] = [*messages, reply]
    states = emulator._cumulative_states(value) if isinstance(value, str) else [str(state) for state in value]
    answer = emulator._stream(request, body, states)
    if emulator.answer_pause_s:
        answer.events = itertools.chain((Pause(emulator.answer_pause_s),), answer.events)
    return answer


def _read_body(request: RecordedRequest) -> dict[str, Any]:
    """Return the body of a conversation request; raise :class:`_Refusal` (422) for a wrong shape."""
    try:
        body = request.json()
    except ValueError:
        raise _Refusal(400, {"detail": "There was an error parsing the body"}) from None

    def refusal(*path: str | int) -> _Refusal:
        return _Refusal(422, {"detail": [{"loc": ["body", *path], "msg": "field required", "type": "value_error"}]})

    if not isinstance(body, dict):
        raise refusal()
    if body.get("action") not in ("next", "variant", "continue"):
        raise refusal("action")
    if not isinstance(body.get("model"), str):
        raise refusal("model")
    if not isinstance(body.get("parent_message_id"), str):
        raise refusal("parent_message_id")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        raise refusal("messages")
    author, content = messages[0].get("author"), messages[0].get("content")
    if not isinstance(author, dict) or author.get("role") != "user":
        raise refusal("messages", 0, "author", "role")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise refusal("messages", 0, "content", "parts")
    return body


def _split_dialogue(prompt: str) -> list[dict[str, str]]:
    """Split a prompt of lines ``Role: content`` that ends in ``Assistant:``; return any other as one message."""
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


# --- events and bodies -----------------------------------------------------------------------------------------


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
