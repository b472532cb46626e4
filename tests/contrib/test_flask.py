"""The Flask integration: clients, errors as statuses, streams as responses; with the test client and real servers."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Blueprint, Flask, current_app, g, request
from flask.testing import FlaskClient
from support.reliability_tools import run_python, together, wait_until
from support.web import Served, Visit, end, events, gunicorn, names, pumps, said

import gigaclient.contrib.flask as integration
from gigaclient import AuthenticationError, ConfigError, FakeGpt, GigaChat, GigaClientError, RateLimitError
from gigaclient.contrib.flask import GigaClient, error_response, get_client, gigachat, stream_response
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator
from gigaclient.testing.fault_server import Answer

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flask_chat"
COUNT = {"prompt": "Count from 1 to 5"}
FIVE = "1, 2, 3, 4, 5"


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    yield shared_emulator
    shared_emulator.clear()
    wait_until(lambda: shared_emulator.open_streams == 0, what="the end of all upstream calls")


def app_of(emulator: GigaChatEmulator, **config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(TESTING=True, GIGACLIENT={**emulator.client_options, "max_retries": 0}, **config)
    GigaClient(app)

    @app.post("/chat")
    def chat() -> Any:
        parameters = request.get_json()
        return stream_response(gigachat.stream(parameters["prompt"], **parameters.get("options", {})))

    return app


@pytest.fixture
def app(emulator: GigaChatEmulator) -> Iterator[Flask]:
    yield app_of(emulator)
    wait_until(lambda: not pumps(), what="the end of the threads that read")


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_becomes_an_event_stream(browser: FlaskClient) -> None:
    answer = browser.post("/chat", json={"prompt": "Скажи: Привет, мир"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Content-Encoding"] == "identity"
    assert "Content-Length" not in answer.headers
    assert "Привет".encode() in answer.data
    found = events(answer.data)
    assert said(found) == "Привет, мир"
    assert names(found)[-1] == "done"


def test_the_response_takes_a_status_and_headers(app: Flask) -> None:
    @app.post("/other")
    def other() -> Any:
        stream = gigachat.stream("Hello")
        return stream_response(stream, status=202, headers={"X-Request-Id": str(stream.request_id), "Vary": "Cookie"})

    answer = app.test_client().post("/other")
    assert answer.status_code == 202
    assert events(answer.data)[-1].json["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_the_body_is_not_read_before_the_server_asks(browser: FlaskClient, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2))
    answer = browser.post("/chat", json=COUNT, buffered=False)
    pieces = answer.iter_encoded()
    assert [next(pieces), next(pieces)] == [b'data: {"text":"1,"}\n\n', b'data: {"text":" 2,"}\n\n']
    answer.close()
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")


def test_on_end_render_and_functions_run_in_a_separate_application_context(app: Flask) -> None:
    seen: list[tuple[str, str, bool]] = []
    torn: list[bool] = []

    @app.teardown_appcontext
    def tear_down(error: BaseException | None) -> None:
        torn.append("session" in g)

    def note(where: str) -> None:
        # Like a database session: one for each context.
        seen.append((where, current_app.name, "session" in g))
        g.session = where

    def lookup(port: str) -> float:
        """The height of the tide at a port."""
        note("function")
        return 1.8

    def render(chunk: Any) -> str | None:
        current_app.logger.debug(chunk.text)
        return chunk.text or None

    @app.post("/tides")
    def tides() -> Any:
        g.session = "view"
        stream = gigachat.run_stream("How high is the tide in Murmansk?", functions=[lookup])
        return stream_response(stream, render=render, on_end=lambda answer: note("on_end"))

    answer = app.test_client().post("/tides")
    assert answer.data.endswith(b"\n\n")
    assert b"event: done" in answer.data
    assert seen == [("function", "shop", False), ("on_end", "shop", False)]
    wait_until(lambda: len(torn) == 3, what="the end of the three contexts")
    assert torn == [True] * 3


def test_on_end_gets_the_part_of_an_answer_that_the_browser_left(app: Flask, emulator: GigaChatEmulator) -> None:
    ended: list[Any] = []

    @app.post("/kept")
    def kept() -> Any:
        return stream_response(gigachat.stream("Count from 1 to 5"), on_end=ended.append)

    emulator.inject(Fault(stall_after_events=2))
    answer = app.test_client().post("/kept", buffered=False)
    next(answer.iter_encoded())
    answer.close()
    assert [(part.text.startswith("1,"), part.finish_reason) for part in ended] == [(True, None)]


def test_a_head_request_ends_the_call_that_the_view_has_made(app: Flask, emulator: GigaChatEmulator) -> None:
    @app.get("/count")
    def count() -> Any:
        return stream_response(gigachat.stream("Count from 1 to 5"))

    emulator.inject(Fault(stall_after_events=1))
    answer = app.test_client().head("/count")
    assert (answer.status_code, answer.data) == (200, b"")
    answer.close()  # like a server
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")


def test_outside_an_app_the_stream_is_closed(emulator: GigaChatEmulator) -> None:
    with GigaChat(**emulator.client_options) as giga:
        emulator.inject(Fault(stall_after_events=1))
        stream = giga.stream("Count from 1 to 5")
        with pytest.raises(RuntimeError, match="application context"):
            stream_response(stream)
        assert stream.closed


def test_a_header_that_cannot_be_one_closes_the_stream(app: Flask, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=1))
    with app.app_context():
        stream = gigachat.stream("Count from 1 to 5")
        with pytest.raises(ValueError, match="newline") as raised:
            stream_response(stream, headers={"X-Name": "a\r\nSet-Cookie: b"})
        assert stream.closed, f"{raised.tb} holds the frames, so nothing was dropped"


def test_text_in_place_of_a_stream_is_refused_with_what_to_pass(app: Flask) -> None:
    with app.app_context(), pytest.raises(ConfigError, match=r"pass giga\.stream"):
        stream_response(gigachat.generate("Hello"))  # type: ignore[arg-type]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        (Fault(status=401), 401, "AuthenticationError"),
        (Fault(status=429, retry_after=1.5), 429, "RateLimitError"),
        (Fault(status=503), 503, "ServerError"),
        (Fault(before_s=math.inf), 504, "APITimeoutError"),
        (Fault(cut_after_events=0), 502, "StreamInterruptedError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_before_the_first_chunk_is_a_status_with_json(
    fault: Fault,
    status: int,
    error_type: str,
    browser: FlaskClient,
    emulator: GigaChatEmulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulator.inject(fault, times=None)
    answer = browser.post("/chat", json={**COUNT, "options": {"timeout": [10, 1]}})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    payload = answer.get_json()
    assert (payload["status"], payload["type"]) == (status, error_type)
    assert answer.headers.get("Retry-After") == ("2" if status == 429 else None)
    assert f"POST /chat: {error_type}" in caplog.text


def test_an_error_of_a_call_that_is_not_streamed_is_a_status_too(app: Flask, emulator: GigaChatEmulator) -> None:
    @app.get("/whole")
    def whole() -> Any:
        return {"text": gigachat.chat("Hello").text}

    emulator.inject(Fault(status=402))
    answer = app.test_client().get("/whole")
    assert (answer.status_code, answer.get_json()["type"]) == (402, "PaymentRequiredError")


@pytest.mark.parametrize("before", [True, False], ids=["before init_app", "after init_app"])
def test_the_apps_own_error_handler_is_kept(before: bool, emulator: GigaChatEmulator) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = {**emulator.client_options, "max_retries": 0}
    if not before:
        GigaClient(app)

    @app.errorhandler(GigaClientError)
    def own(error: GigaClientError) -> Any:
        return error_response(error).get_data().replace(b"status", b"own"), 418

    if before:
        GigaClient(app)

    @app.get("/")
    def view() -> Any:
        return gigachat.chat("Hello").text

    emulator.inject(Fault(status=402))
    answer = app.test_client().get("/")
    assert (answer.status_code, json.loads(answer.data)["own"]) == (418, 402)


def test_a_handler_for_a_narrower_class_and_one_of_a_blueprint_come_first(
    app: Flask, emulator: GigaChatEmulator
) -> None:
    pages = Blueprint("pages", __name__)

    def view() -> Any:
        return gigachat.chat("Hello").text

    app.get("/of-the-app")(view)
    pages.get("/of-the-blueprint")(view)
    app.register_error_handler(RateLimitError, lambda error: ("busy", 503))
    pages.register_error_handler(GigaClientError, lambda error: ("sorry", 200))
    app.register_blueprint(pages)
    emulator.inject(Fault(status=429), times=2)
    assert app.test_client().get("/of-the-app").data == b"busy"
    assert app.test_client().get("/of-the-blueprint").data == b"sorry"


def test_errors_are_not_handled_with_handle_errors_false(emulator: GigaChatEmulator) -> None:
    app = Flask("shop")
    app.config.update(TESTING=True, GIGACLIENT={**emulator.client_options, "max_retries": 0})
    GigaClient(app, handle_errors=False)

    @app.get("/")
    def view() -> Any:
        return gigachat.chat("Hello").text

    emulator.inject(Fault(status=401), times=None)
    with pytest.raises(AuthenticationError):
        app.test_client().get("/")


def test_a_mistake_in_the_program_is_raised_in_tests_and_debug_mode(
    emulator: GigaChatEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    mistaken = {"prompt": "Hello", "options": {"timeout": -1}}
    with pytest.raises(ConfigError, match="timeout"):
        app_of(emulator).test_client().post("/chat", json=mistaken)
    app = app_of(emulator)
    app.testing = False
    answer = app.test_client().post("/chat", json=mistaken)
    assert (answer.status_code, answer.get_json()["type"]) == (500, "ConfigError")
    assert "timeout" not in answer.get_data(as_text=True)
    assert "Traceback" in caplog.text
    assert "timeout" in caplog.text
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(ConfigError):
        app.test_client().post("/chat", json=mistaken)


# -- clients -----------------------------------------------------------------------------------------------------------


def test_a_client_is_made_once_at_first_use(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    build = GigaChat.__init__
    monkeypatch.setattr(GigaChat, "__init__", lambda self, **options: (made.append(options), build(self, **options))[1])
    app = Flask("shop")
    app.config["GIGACLIENT"] = dict(emulator.client_options)
    extension = GigaClient()
    extension.init_app(app)
    assert made == []

    def ask(number: int) -> GigaChat:
        with app.app_context():
            return extension.client

    clients = together(ask, 8)
    assert len(made) == 1
    assert {id(client) for client in clients} == {id(clients[0])}
    with app.app_context():
        assert get_client() is extension.get_client("default") is clients[0]
        assert gigachat.model == clients[0].model
        assert isinstance(gigachat, GigaChat)


def test_each_app_has_its_own_client(emulator: GigaChatEmulator) -> None:
    extension = GigaClient()
    clients = []
    for model in ("GigaChat-2", "GigaChat-2-Max"):
        app = Flask(model)
        app.config["GIGACLIENT"] = {**emulator.client_options, "model": model}
        extension.init_app(app)
        with app.app_context():
            clients.append(extension.client)
    assert [client.model for client in clients] == ["GigaChat-2", "GigaChat-2-Max"]


def test_several_clients_go_by_alias(emulator: GigaChatEmulator, fakegpt_emulator: FakeGptEmulator) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = {
        "default": emulator.client_options,
        "cheap": {**emulator.client_options, "model": "GigaChat-2-Lite"},
        "pool": {"provider": "fakegpt", **fakegpt_emulator.client_options},
    }
    GigaClient(app)
    with app.app_context():
        assert get_client("cheap", kind=GigaChat).model == "GigaChat-2-Lite"
        pool = get_client("pool", kind=FakeGpt)
        assert pool.chat("Say fish and nothing else").text == "fish"
        assert get_client("pool") is pool is not get_client("cheap")
        with pytest.raises(ConfigError, match=r"'chaep'.*is it 'cheap'"):
            get_client("chaep")
        with pytest.raises(ConfigError, match="is a FakeGpt, and a GigaChat was requested"):
            get_client("pool", kind=GigaChat)


def test_get_client_returns_a_default_client_of_another_class(fakegpt_emulator: FakeGptEmulator) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = {"provider": "fakegpt", **fakegpt_emulator.client_options}
    extension = GigaClient(app)
    with app.app_context():
        with pytest.raises(ConfigError, match="FakeGpt"):
            _ = extension.client
        assert isinstance(extension.get_client(), FakeGpt)


def test_without_a_setting_the_client_comes_from_the_environment(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    app = Flask("shop")
    GigaClient(app)
    with app.app_context():
        assert gigachat.chat("Say fish and nothing else").text == "fish"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("key", "must be a dict"),
        ({"credential": "c2VjcmV0OnNlY3JldA=="}, "is it 'credentials'"),
        ({"default": {"provider": "gigachad"}}, "provider must be"),
        ({"cheap": {"verify": False}}, "alias 'cheap'.*no argument verify"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_when_the_app_is_made(setting: Any, message: str) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = setting
    with pytest.raises(ConfigError, match=message) as raised:
        GigaClient(app)
    assert "c2VjcmV0" not in str(raised.value)


def test_the_configuration_does_not_show_the_key(emulator: GigaChatEmulator) -> None:
    for form in (emulator.client_options, {"default": emulator.client_options}):
        app = Flask("shop")
        app.config["GIGACLIENT"] = form
        GigaClient(app)
        assert emulator.credentials not in repr(app.config)
        assert emulator.credentials in repr(form), "the caller's own dict is not changed"
        with app.app_context():
            assert gigachat.chat("Say fish and nothing else").text == "fish"


def test_a_missing_context_or_extension_is_an_error_with_advice() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        get_client()
    with Flask("shop").app_context(), pytest.raises(ConfigError, match=r"GigaClient\(app\)"):
        get_client()


def test_without_flask_the_import_says_what_to_install() -> None:
    printed = run_python(
        "sys.modules['flask'] = None\n"
        "try:\n    import gigaclient.contrib.flask\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert 'pip install "gigaclient[flask]"' in printed


def test_gunicorns_sync_worker_is_warned_of_once(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integration, "_sync_worker_warned", False)
    browser = app.test_client()
    for environment, count in (
        ({"SERVER_SOFTWARE": "Werkzeug/3.1"}, 0),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": True}, 0),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": False}, 1),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": False}, 1),
    ):
        assert browser.post("/chat", json=COUNT, environ_overrides=environment).data
        assert caplog.text.count("--worker-class gthread") == count


# -- under gunicorn ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def threads(shared_emulator: GigaChatEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start gunicorn with two threaded workers, forked from a master that has made the app."""
    options = ("--preload", "--worker-class", "gthread", "--threads", "8")
    folder = tmp_path_factory.mktemp("gthread")
    with gunicorn("support.web:flask_app()", folder, shared_emulator.environment, *options, workers=2) as served:
        yield served
    assert "Traceback" not in served.log.read_text(), served.log.read_text()[-3000:]


def workers(served: Served) -> dict[int, dict[str, Any]]:
    """Return the state of both workers."""
    found: dict[int, dict[str, Any]] = {}

    def ask() -> bool:
        with Visit(served.port, "/state") as visit:
            state = visit.json()
        found[state["worker"]] = state
        return len(found) == 2

    wait_until(ask, what="an answer of each worker")
    return found


def test_chunks_arrive_one_by_one_and_a_closed_tab_ends_the_call_while_the_model_is_silent(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=2))
    with Visit(threads.port, "/chat", {"prompt": "Посчитай от 1 до 9", "ping_s": 0.2}) as visit:
        assert (visit.status, visit.headers["Transfer-Encoding"]) == (200, "chunked")
        assert [visit.event(), visit.event()] == [("message", '{"text":"1,"}'), ("message", '{"text":" 2,"}')]
        assert visit.event() == ("ping", ""), "the answer is not over, so none of it was held back"
        assert emulator.open_streams == 1
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")
    assert emulator.api_aborted >= 1

    def settled() -> bool:
        states = workers(threads).values()
        kept = [answer for state in states for answer in state["ended"]]
        return {"text": "1, 2,", "finish_reason": None} in kept and not any(state["threads"] for state in states)

    wait_until(settled, what="the end of the thread, and on_end")


def test_a_whole_answer_comes_through_and_both_workers_give_it(threads: Served, emulator: GigaChatEmulator) -> None:
    def chat(number: int) -> str:
        with Visit(threads.port, "/chat", {"prompt": f"Say fish{number} and nothing else"}) as visit:
            found = list(visit.events())
        assert names(found)[-1] == "done"
        return said(found)

    assert together(chat, 12) == [f"fish{number}" for number in range(12)]
    served_by = set()

    def both() -> bool:
        with Visit(threads.port, "/whole", {"prompt": "Hello"}) as visit:
            served_by.add(visit.json()["worker"])
        return len(served_by) == 2

    wait_until(both, what="an answer of each worker")


def test_refusals_are_statuses(threads: Served, emulator: GigaChatEmulator) -> None:
    for fault, status in (
        (Fault(status=401), 401),
        (Fault(status=429, retry_after=7), 429),
        (Fault(stall_after_events=0), 504),
    ):
        emulator.inject(fault, times=None)
        options = {"timeout": [10, 1], "max_retries": 0}
        with Visit(threads.port, "/chat", {**COUNT, "options": options}) as visit:
            assert visit.status == status
            assert visit.headers["Content-Type"] == "application/json"
            assert visit.headers["Retry-After"] == ("7" if status == 429 else None)
            assert visit.json()["status"] == status
        emulator.clear()


def test_an_error_in_the_middle_is_an_event_and_the_response_ends_normally(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(cut_after_events=3))
    with Visit(threads.port, "/chat", COUNT) as visit:
        found = list(visit.events())
    assert said(found) == "1, 2, 3,"
    assert names(found)[-1] == "error"
    assert found[-1].json["type"] == "StreamInterruptedError"


def test_a_browser_that_does_not_read_holds_the_model_back_and_costs_no_memory(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    size = 64 * 1024
    sent = 0

    def flood() -> Iterator[bytes]:
        nonlocal sent
        chunk = {"choices": [{"delta": {"content": "x" * size}, "index": 0}], "model": "GigaChat-2"}
        event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        while True:
            sent += 1
            yield event

    before = max(state["peak_kib"] for state in workers(threads).values())
    emulator.answer(lambda asked: Answer(200, {"Content-Type": "text/event-stream"}, flood()))
    with Visit(threads.port, "/chat", COUNT) as visit:
        assert visit.event() is not None
        seen, since = -1, time.monotonic()

        def at_rest() -> bool:
            nonlocal seen, since
            if sent != seen:
                seen, since = sent, time.monotonic()
            return time.monotonic() - since > 1.5

        # The buffers of two connections may be full on both sides: some megabytes each.
        wait_until(at_rest, seconds=30, what="the upstream's being held back")
        assert sent * size < 64 * 2**20
    after = max(state["peak_kib"] for state in workers(threads).values())
    assert after - before < 160 * 1024, "kibibytes"

    def none_reads() -> bool:
        return not any(state["threads"] for state in workers(threads).values())

    wait_until(none_reads, what="the end of the call after the browser left")


# -- the example -------------------------------------------------------------------------------------------------------


def ask_of(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def check_page(port: int) -> None:
    with Visit(port, "/") as visit:
        assert visit.status == 200
        assert visit.headers["Content-Type"].startswith("text/html")
    with Visit(port, "/app.js") as visit:
        assert visit.status == 200
        assert "javascript" in visit.headers["Content-Type"]


def test_the_example_under_gunicorns_sync_worker(
    shared_emulator: GigaChatEmulator, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    with gunicorn("app:create_app()", tmp_path, shared_emulator.environment, directory=EXAMPLE) as served:
        check_page(served.port)
        with Visit(served.port, "/chat", ask_of("Скажи: Привет")) as visit:
            found = list(visit.events())
        assert (said(found), names(found)[-1]) == ("Привет", "done")
        emulator.inject(Fault(stall_after_events=2))
        with Visit(served.port, "/chat", ask_of("Count from 1 to 5")) as visit:
            assert [visit.event(), visit.event()] == [("message", '{"text":"1,"}'), ("message", '{"text":" 2,"}')]
        wait_until(lambda: emulator.open_streams == 0, seconds=20, what="the end of the upstream call")


@pytest.fixture
def development() -> Iterator[int]:
    """Start the example in the way that its README describes; yield its port."""
    command = [sys.executable, str(EXAMPLE / "app.py"), "--emulator", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            yield int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        finally:
            end(server, lambda: "")
        said_last = server.stderr.read()
        assert "Traceback" not in said_last, said_last[-3000:]
        assert server.returncode == 0


def test_the_example_with_its_emulator(development: int) -> None:
    check_page(development)
    with Visit(development, "/chat", ask_of("Посчитай от 1 до 5")) as visit:
        found = list(visit.events())
    assert (said(found), names(found)[-1]) == (FIVE, "done")
    wrong: list[tuple[Any, int]] = [
        ({"messages": []}, 400),
        ({"messages": ["Hello"]}, 400),
        ({"messages": [{"role": "user", "content": 7}]}, 400),
        ({"messages": [{"role": "function", "content": "{}"}]}, 400),
        ([], 400),
        ({**ask_of("Hello"), "model": ["GigaChat-2"]}, 400),
        ({**ask_of("Hello"), "model": "NoSuchModel"}, 404),
        (ask_of("x" * 600_000), 413),
    ]
    for body, status in wrong:
        with Visit(development, "/chat", body) as visit:
            told = visit.json()
            assert (visit.status, told["status"]) == (status, status)
            assert told["message"]
    with Visit(development, "/nowhere") as visit:
        assert visit.status == 404
        assert visit.json()["message"]


def test_the_example_without_a_key_says_what_to_do(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    example = loaded_example()
    with caplog.at_level(logging.ERROR):
        assert example.main([]) == 2
    assert "GIGACHAT_CREDENTIALS" in capsys.readouterr().err


def loaded_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flask_chat_app", EXAMPLE / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
