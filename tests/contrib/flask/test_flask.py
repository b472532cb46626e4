"""Streams as responses of Flask, and errors as statuses, with the test client."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from flask import Blueprint, Flask, current_app, g
from flask.testing import FlaskClient
from support.flask_tools import COUNT, app_of
from support.reliability_tools import wait_until
from support.web import events, names, text_of

from gigaclient import AuthenticationError, ConfigError, GigaChat, GigaClientError, RateLimitError
from gigaclient.contrib.flask import GigaClient, error_response, gigachat, stream_response
from gigaclient.testing import Fault, GigaChatEmulator

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
    assert text_of(found) == "Привет, мир"
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
