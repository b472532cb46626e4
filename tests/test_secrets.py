"""No key, token or password is shown anywhere, by any public call that succeeds or fails."""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import logging
import os
import pickle
import re
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gigaclient import BadRequestError, ConfigError, FakeGpt, GigaChat, GigaClientError, context
from gigaclient.contrib.error_payloads import error_payload
from gigaclient.testing import Authority, FakeGptEmulator, Fault, GigaChatEmulator, RecordedRequest, Server
from gigaclient.testing.fault_server import Answer

USER, PASSWORD = "the-user", "the-Password-of-the-user"
PROXY_PASSWORD = "the-Password-of-the-proxy"
STALE = "eyJ.the-stale-token-that-was-passed-in"


class LeakDetector:
    """Collects all texts that a user may see, and finds secrets in them."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.shown: list[tuple[str, str]] = []
        self.secrets: dict[str, str] = {}
        self.errors: list[BaseException] = []

    def hide(self, name: str, secret: str) -> None:
        self.secrets[name] = secret

    def show(self, where: str, *values: object) -> None:
        for value in values:
            views = [str(value), repr(value), f"{value}"]
            try:
                views.append(repr(vars(value)))
            except TypeError:
                views.append(repr({name: getattr(value, name, None) for name in getattr(value, "__slots__", ())}))
            self.shown.append((where, "\n".join(views)))

    def fails(
        self, where: str, expected: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], Any]
    ) -> Any:
        """Run ``call``, which must fail, and collect all texts of its error."""
        try:
            result = call()
        except expected as error:
            self._keep(where, error)
            return error
        raise AssertionError(f"{where} did not fail, but gave {result!r}")

    def _keep(self, where: str, error: BaseException) -> None:
        assert isinstance(error, GigaClientError), error
        self.errors.append(error)
        self.show(where, error)
        self.shown.append((f"{where}, traceback", "".join(_frames_below(error))))
        pickled = pickle.dumps(error)
        self.shown.append((f"{where}, pickle", pickled.decode("latin-1") + repr(pickle.loads(pickled))))
        assert error.__cause__ is None
        assert error.__context__ is None or isinstance(error.__context__, GigaClientError)

    def found(self) -> list[str]:
        """Return the secrets that were shown, each with the place."""
        self.shown.append(("the log", self.log.getvalue()))
        leaks = []
        for name, secret in self.secrets.items():
            for form in _forms(secret):
                leaks += [f"{name} in {where}" for where, text in self.shown if form in text]
        return sorted(set(leaks))


def _forms(secret: str) -> set[str]:
    """Return the secret, its beginning and its end, and its usual encodings."""
    forms = {secret, secret[:24], secret[-24:], urllib.parse.quote(secret), repr(secret)[1:-1]}
    for raw in (secret.encode(), f"{USER}:{secret}".encode()):
        encoded = base64.b64encode(raw).decode()
        forms |= {encoded, encoded.rstrip("="), encoded[:20]}
    return {form for form in forms if len(form) > 7}


def _frames_below(error: BaseException) -> Iterator[str]:
    # The frames of the test hold the secrets. Those of gigaclient, requests and urllib3 may not.
    steps = list(traceback.walk_tb(error.__traceback__))
    while steps and os.path.basename(steps[0][0].f_code.co_filename) == os.path.basename(__file__):
        del steps[0]
    rest = error.__traceback__
    while rest is not None and steps and rest.tb_frame is not steps[0][0]:
        rest = rest.tb_next
    shown = traceback.TracebackException(type(error), error, rest, capture_locals=True)
    yield from shown.format()
    for frame in shown.stack:
        yield f"{frame.filename}:{frame.lineno} {frame.name} {frame.locals}\n"


@pytest.fixture
def detector() -> Iterator[LeakDetector]:
    detector = LeakDetector()
    handler = logging.StreamHandler(detector.log)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)r"))
    root = logging.getLogger()
    named = [logging.getLogger(name) for name in ("gigaclient", "urllib3", "requests", "charset_normalizer", "ssl")]
    levels = [(logger, logger.level) for logger in (root, *named)]
    root.addHandler(handler)
    for logger, _ in levels:
        logger.setLevel(logging.DEBUG)
    try:
        yield detector
    finally:
        root.removeHandler(handler)
        for logger, level in levels:
            logger.setLevel(level)


@pytest.fixture
def emulator(gigachat_emulator: GigaChatEmulator, detector: LeakDetector) -> GigaChatEmulator:
    detector.hide("the key", gigachat_emulator.credentials)
    detector.hide("the decoded key", base64.b64decode(gigachat_emulator.credentials).decode())
    detector.hide("the password", PASSWORD)
    detector.hide("the password of the proxy", PROXY_PASSWORD)
    detector.hide("the stale token", STALE)
    gigachat_emulator.users = {USER: PASSWORD}
    return gigachat_emulator


def client(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    defaults: dict[str, Any] = {"retry_backoff_factor": 0.01, "timeout": (2, 2), "deadline": 20}
    return GigaChat(**{**emulator.client_options, **defaults, **options})


def note_tokens(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    """Mark every token that was sent as a secret."""
    for number, request in enumerate([*emulator.requests, *emulator.oauth_requests]):
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if value:
            detector.hide(f"{scheme} value {number}", value)


def inside(giga: Any) -> list[Any]:
    """Return a client and its parts."""
    core = giga._executor
    tokens = core.tokens
    return [
        giga, giga._settings, giga._settings.trust, core, core.transport, core.limiter, tokens, giga.stats(),
        getattr(tokens, "_credential", None), core.transport._session, core.transport._adapter, core.retry,
        core.timeouts,
    ]  # fmt: skip


def test_the_detector_finds_what_is_shown(detector: LeakDetector) -> None:
    detector.hide("the key", "a-secret-that-is-long")
    for leaky in (
        "a-secret-that-is-long",
        base64.b64encode(b"a-secret-that-is-long").decode(),
        "a-secret-that-is-long"[:24],
    ):
        detector.shown.clear()
        detector.show("here", {"header": leaky})
        assert detector.found() == ["the key in here"]
    detector.shown.clear()
    logging.getLogger("urllib3.connectionpool").debug("sent %s", "a-secret-that-is-long")
    assert detector.found() == ["the key in the log"]


def test_the_detector_finds_a_secret_in_a_local_variable_of_a_frame(detector: LeakDetector) -> None:
    namespace: dict[str, Any] = {"ConfigError": ConfigError}
    exec(compile("def f(key):\n kept = [key]\n raise ConfigError('no')", "elsewhere.py", "exec"), namespace)
    detector.hide("the key", "a-secret-that-is-long")
    detector.fails("here", ConfigError, lambda: namespace["f"]("a-secret-that-is-long"))
    assert detector.found() == ["the key in here, traceback"]


def test_calls_that_go_well_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    for options in ({}, {"credentials": None, "user": USER, "password": PASSWORD}, {"access_token": STALE}):
        with client(emulator, **options) as giga:
            answer = giga.chat("hi")
            with giga.stream("Count from 1 to 3") as stream:
                detector.show("an open stream", stream, stream._response)
                chunks = list(stream)
            texts = list(giga.generate("hi"))
            token = giga.get_token()
            detector.hide("a token", token.access_token)
            changed = giga.with_options(model="GigaChat-2-Pro")
            copied = copy.copy(giga)
            detector.show("a client", *inside(giga), *inside(changed), *inside(copied))
            detector.show("an answer", answer, answer.raw, answer.headers, answer.request_id, *chunks, *texts)
            detector.show("the token itself", str(token), repr(token), f"{token}")
            detector.show("a stream", stream, stream.completion, stream.result())
            copied.close()
        detector.show("a closed client", *inside(giga))
    options = emulator.client_options
    key = options.pop("credentials")
    for mode in (True, False):
        generator = GigaChat.create_generator("GigaChat-2", "hi", mode, api_key=key, **options)
        detector.show("a generator", generator, *generator)
    note_tokens(detector, emulator)
    assert len(detector.secrets) > 8
    assert "POST /chat/completions" in detector.log.getvalue(), "logging was on"
    assert "urllib3" in detector.log.getvalue()
    assert detector.found() == []


FAULTS: dict[str, tuple[str, Fault]] = {
    "401": ("/chat/completions", Fault(unauthorized=True)),
    "500": ("/chat/completions", Fault(status=500)),
    "429": ("/chat/completions", Fault(status=429, retry_after=0)),
    "a page of HTML": ("/chat/completions", Fault(html=True)),
    "403 of a gateway": ("/chat/completions", Fault(status=403, html=True)),
    "a redirect": ("/chat/completions", Fault(status=307, headers={"Location": "https://elsewhere.invalid/?a=b"})),
    "not JSON": ("/chat/completions", Fault(status=200, body=b"{")),
    "a reset": ("/chat/completions", Fault(reset=True)),
    "closed without an answer": ("/chat/completions", Fault(hang_up=True)),
    "a cut answer": ("/chat/completions", Fault(cut_after_bytes=30)),
    "silence": ("/chat/completions", Fault(before_s=float("inf"))),
    "cookies": ("/chat/completions", Fault(status=500, headers={"Set-Cookie": f"session={STALE}; Secure"})),
    "OAuth 400": ("/oauth", Fault(status=400)),
    "OAuth 401": ("/oauth", Fault(status=401)),
    "OAuth 429": ("/oauth", Fault(status=429)),
    "OAuth 503": ("/oauth", Fault(status=503)),
    "OAuth reset": ("/oauth", Fault(reset=True)),
    "OAuth silence": ("/oauth", Fault(before_s=float("inf"))),
    "OAuth HTML": ("/oauth", Fault(html=True)),
    "OAuth with a cut token": ("/oauth", Fault(cut_after_bytes=300)),
    "OAuth with a token under another name": ("/oauth", Fault(body={"token": STALE})),
    "OAuth with line breaks in the token": ("/oauth", Fault(body={"access_token": f"{STALE}\r\n{STALE}"})),
    "OAuth with a token of 10 MB": ("/oauth", Fault(body={"access_token": STALE * 250_000})),
    "OAuth with a token alone": ("/oauth", Fault(body=STALE)),
    "OAuth with broken JSON": ("/oauth", Fault(body=b'{"access_token":"%s"' % STALE.encode())),
    "OAuth in broken gzip": ("/oauth", Fault(gzip=True, cut_after_bytes=200)),
}


@pytest.mark.parametrize("method", ["chat", "stream", "generate"])
def test_calls_that_fail_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator, method: str) -> None:
    for name, (path, fault) in FAULTS.items():
        emulator.inject(fault, times=None, path=path)
        with client(emulator, timeout=0.3, max_retries=1) as giga:
            calls: dict[str, Callable[[], Any]] = {
                "chat": lambda giga=giga: giga.chat("hi"),
                "stream": lambda giga=giga: giga.stream("hi").result(),
                "generate": lambda giga=giga: list(giga.generate("hi")),
            }
            detector.fails(f"{method}: {name}", GigaClientError, calls[method])
            detector.show(f"the client after {name}", *inside(giga))
        emulator.clear()
    note_tokens(detector, emulator)
    assert len(detector.errors) == len(FAULTS)
    assert detector.found() == []


def test_streams_that_break_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    for fault in (
        Fault(cut_after_events=2), Fault(reset_after_events=2), Fault(end_after_events=2), Fault(stall_after_events=1),
        Fault(error_after_events=1), Fault(malformed_after_events=1),
    ):  # fmt: skip
        emulator.inject(fault)
        with client(emulator, timeout=0.3) as giga, giga.stream("Count from 1 to 9") as stream:
            detector.fails(str(fault), GigaClientError, stream.result)
            detector.show("a broken stream", stream, stream._response, stream.completion, *inside(giga))
    note_tokens(detector, emulator)
    assert detector.found() == []


def test_a_client_that_could_not_be_made_has_a_repr() -> None:
    # Debuggers and error reporters show the local variables of the frames, and the client is one of them.
    for class_ in (GigaChat, FakeGpt):
        with pytest.raises(ConfigError) as caught:
            class_(timeout=-1)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "timeout" in "".join(shown.format())


def test_settings_that_cannot_work_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    first, _, second = base64.b64decode(emulator.credentials).decode().partition(":")
    detector.hide("the client id", first)
    detector.hide("the client secret", second)
    known = emulator.client_options
    for options in (
        {"credentials": f"{second} ключ"}, {"access_token": f"{STALE} токен"},
        {"password": PASSWORD}, {"user": USER, "password": PASSWORD, "timeout": -1}, {"deadline": "soon"},
        {"access_token": STALE, "base_url": "nowhere"}, {"user": USER, "password": PASSWORD, "key_file": "x"},
        {"cert_file": "no/such/file", "key_file_password": PASSWORD}, {"ca_bundle_file": "no/such/file"},
        {"credentials": first, "auth": None},
    ):  # fmt: skip
        detector.fails(
            f"settings {sorted(options)}", ConfigError, lambda options=options: GigaChat(**{**known, **options})
        )
        key = {"api_key": options["credentials"]} if "credentials" in options else {"api_key": known["credentials"]}
        rest = {name: value for name, value in {**known, **options}.items() if name != "credentials"}
        detector.fails(
            f"one line {sorted(options)}",
            ConfigError,
            lambda key=key, rest=rest: GigaChat.create_generator("GigaChat-2", "hi", **key, **rest),
        )
    assert detector.found() == []


def test_call_options_that_cannot_work_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    with client(emulator) as giga:
        for name, options in {
            "a bare token": {"authorization": STALE},
            "a token with a line break": {"authorization": f"Bearer {STALE}\r\n"},
            "a token with Cyrillic": {"headers": {"Authorization": f"Bearer {STALE} токен"}},
            "another header": {"authorization": f"Bearer {STALE}", "session_id": "сессия"},
            "a cookie": {"headers": {"Cookie": f"a={STALE}", "X Y": "1"}},
            "a bad option": {"authorization": f"Bearer {STALE}", "timeout": -1},
            "a bad body": {"authorization": f"Bearer {STALE}", "temperature": float("nan")},
        }.items():
            detector.fails(name, ConfigError, lambda options=options: giga.chat("hi", **options))
            detector.fails(name, ConfigError, lambda options=options: giga.stream("hi", **options))
        for name, value in {"bare": STALE, "Cyrillic": f"Bearer {STALE} токен", "CR": f"Bearer {STALE}\r"}.items():
            reset = context.authorization_cvar.set(value)
            try:
                detector.fails(f"context, {name}", ConfigError, lambda: giga.chat("hi"))
            finally:
                context.authorization_cvar.reset(reset)
        refused = detector.fails(
            "a refused token", GigaClientError, lambda: giga.chat("hi", authorization=f"Bearer {STALE}")
        )
        assert refused.status_code == 401
    assert detector.found() == []


def test_refused_certificates_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    with Authority() as stranger:
        with client(emulator, ca_bundle_file=stranger.ca_file) as giga:
            detector.fails("TLS at the OAuth host", GigaClientError, lambda: giga.chat("hi"))
            detector.fails("TLS for a token", GigaClientError, giga.get_token)
        with client(emulator, ca_bundle_file=stranger.ca_file, credentials=None, access_token=STALE) as giga:
            detector.fails("TLS at the API", GigaClientError, lambda: giga.chat("hi"))
            detector.fails("TLS at the API, stream", GigaClientError, lambda: giga.stream("hi"))
            detector.show("the client", *inside(giga))
    assert detector.found() == []


@pytest.mark.parametrize("status", [407, 502, 200])
def test_a_proxy_with_a_password_is_not_shown(detector: LeakDetector, emulator: GigaChatEmulator, status: int) -> None:
    with Server(lambda request: Answer(status, {"Content-Type": "text/html"}, b"<title>proxy</title>")) as proxy:
        address = re.sub("//", f"//{USER}:{PROXY_PASSWORD}@", proxy.url)
        with client(emulator, proxy=address, max_retries=0, timeout=1) as giga:
            detector.fails("through a proxy", GigaClientError, lambda: giga.chat("hi"))
            detector.show("the client", giga, giga._settings, giga._executor, giga._executor.transport)
    for scheme in ("http", "socks4", "socks5", "socks5h"):
        with client(emulator, proxy=f"{scheme}://{USER}:{PROXY_PASSWORD}@127.0.0.1:1", max_retries=0) as giga:
            detector.fails(f"no {scheme} proxy there", GigaClientError, lambda giga=giga: giga.chat("hi"))
    for wrong in (
        "'socks5://{}@host'",
        "http://{}@:80",
        "http://{}@host:port",
        "ftp://{}@host",
        "http://{}@host\r",
        "http://{}",
    ):
        address = wrong.format(f"{USER}:{PROXY_PASSWORD}")
        detector.fails(f"proxy {wrong}", ConfigError, lambda address=address: client(emulator, proxy=address))
    assert detector.found() == []


def test_a_proxy_of_the_environment_is_not_shown(
    detector: LeakDetector, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ('"socks5://{}@127.0.0.1:1"', "http://{}@host:port", "http://{}@host\r"):
        monkeypatch.setenv("HTTPS_PROXY", wrong.format(f"{USER}:{PROXY_PASSWORD}"))
        detector.fails(f"HTTPS_PROXY {wrong}", ConfigError, lambda: client(emulator))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{USER}:{PROXY_PASSWORD}@127.0.0.1:1")
    with client(emulator, max_retries=0) as giga:
        detector.fails("no proxy there", GigaClientError, lambda: giga.chat("hi"))
        detector.show("the client", giga, giga._settings, giga._executor, giga._executor.transport)
    assert detector.found() == []


def test_a_background_token_refresh_that_fails_shows_nothing(
    detector: LeakDetector, emulator: GigaChatEmulator
) -> None:
    emulator.token_life_s = 60.1
    with client(emulator, max_retries=0) as giga:
        giga.chat("hi")
        emulator.inject(Fault(body={"token": STALE}), times=None, path="/oauth")
        tokens = giga._executor.tokens
        assert tokens is not None
        ends_at = 400
        while "failed" not in detector.log.getvalue() and ends_at:
            ends_at -= 1
            giga.chat("hi")
        assert "refreshing the access token before its expiry failed" in detector.log.getvalue()
    note_tokens(detector, emulator)
    assert detector.found() == []


def test_closing_and_dropping_show_nothing(detector: LeakDetector, emulator: GigaChatEmulator) -> None:
    giga = client(emulator)
    stream = giga.stream("Count from 1 to 9")
    next(stream)
    giga.close()
    detector.fails("after close", ConfigError, lambda: giga.chat("hi"))
    detector.fails("a stream of a closed client", GigaClientError, stream.result)
    detector.show("a closed client", *inside(giga), stream)
    del stream
    gc.collect()
    note_tokens(detector, emulator)
    assert detector.found() == []


def test_fakegpt_shows_nothing(detector: LeakDetector) -> None:
    with FakeGptEmulator() as emulator:
        detector.hide("the stale token", STALE)
        options: dict[str, Any] = {
            **emulator.client_options,
            "retry_backoff_factor": 0.01,
            "timeout": 2,
            "deadline": 20,
        }
        for more in ({}, {"access_token": STALE}):
            giga = FakeGpt(**{**options, **more})
            with giga:
                for name, ask in {
                    "chat": lambda giga=giga: giga.chat("hi"),
                    "stream": lambda giga=giga: giga.stream("hi").result(),
                    "generate": lambda giga=giga: list(giga.generate("hi")),
                }.items():
                    if more:
                        detector.fails(f"{name} with a stale token", GigaClientError, ask)
                    else:
                        detector.show(name, ask())
                detector.show("the client", *inside(giga))
        for fault in (Fault(status=500), Fault(html=True), Fault(reset=True), Fault(status=429)):
            emulator.inject(fault, times=None)
            with FakeGpt(**options, max_retries=0) as giga:
                detector.fails(str(fault), GigaClientError, lambda giga=giga: giga.chat("hi"))
                detector.show("the client", *inside(giga))
            emulator.clear()
        for number, request in enumerate(emulator.requests):
            for header in ("authorization", "x-authorization", "cookie"):
                for part in re.split(r"[ ;=]+", request.headers.get(header, "")):
                    if len(part) > 20:
                        detector.hide(f"{header} {number}", part)
    assert len(detector.secrets) > 2
    assert detector.found() == []


# -- what the server repeats -----------------------------------------------------------------------

ECHOED = "the/echoed+token=="


def _echo(form: str) -> Callable[[RecordedRequest], Answer]:
    def answer(request: RecordedRequest) -> Answer:
        sent = request.headers["authorization"]
        scheme, _, value = sent.partition(" ")
        if scheme == "Basic":
            sent += " " + base64.b64decode(value).decode()
        problem = {"status": 400, "message": f"refused: {sent}", "detail": {sent: [sent]}}
        headers = {"Content-Type": "application/json", "X-Echo": sent, "X-Request-ID": value}
        if form == "status":
            return Answer(400, headers, json.dumps(problem))
        if form == "escaped":
            return Answer(400, headers, json.dumps(problem).replace("/", "\\/"))
        if form == "in a URL":
            return Answer(302, {"Location": f"https://login.example/{urllib.parse.quote(value, safe='')}"})
        if form == "object":
            return Answer(200, headers, json.dumps(problem))
        if form == "page":
            return Answer(200, {**headers, "Content-Type": "text/html"}, f"<html><title>{sent}</title>{sent}</html>")
        headers["Content-Type"] = "text/event-stream"
        return Answer(200, headers, f"data: {json.dumps(problem)}\n\n", "chunked")

    return answer


@pytest.mark.parametrize("form", ["status", "escaped", "in a URL", "object", "page", "event"])
@pytest.mark.parametrize("method", ["chat", "stream", "token"])
def test_a_secret_that_the_server_repeats_is_masked(form: str, method: str, detector: LeakDetector) -> None:
    key = base64.b64encode(b"the-client-id:the/client+secret").decode()
    for name, secret in {"token": ECHOED, "key": key, "id and secret": "the-client-id:the/client+secret"}.items():
        detector.secrets[name] = secret
    events: list[Any] = []
    with Server(_echo(form)) as server:
        login: dict[str, Any] = {"auth_url": server.url + "/oauth", "credentials": key}
        options = login if method == "token" else {"access_token": ECHOED}
        hooks = {"on_response": events.append, "on_end": events.append}
        with GigaChat(base_url=server.url + "/v1", max_retries=0, **hooks, **options) as giga:
            call = (lambda: giga.stream("hi").result()) if method == "stream" else (lambda: giga.chat("hi"))
            error = detector.fails(form, GigaClientError, call)
    detector.show("the error", error.message, getattr(error, "content", b""), error_payload(error), *events)
    shown = "\n".join(text for _, text in detector.shown) + detector.log.getvalue()
    for secret in [*detector.secrets.values(), "the/client+secret"]:
        for text in (secret, secret.replace("/", "\\/"), urllib.parse.quote(secret, safe="")):
            assert text not in shown


def test_line_breaks_and_control_characters_of_a_server_are_never_shown_raw() -> None:
    text = "refused\r\n2026-01-01 forged line\x1b[31m\u2028next\x85\u202etxt"
    with (
        Server(lambda request: Answer(400, body=json.dumps({"message": text}))) as server,
        GigaChat(base_url=server.url + "/v1", access_token="token", max_retries=0) as giga,
        pytest.raises(BadRequestError) as caught,
    ):
        giga.chat("hi")
    assert str(caught.value).isprintable()
    assert "forged line" in str(caught.value)
