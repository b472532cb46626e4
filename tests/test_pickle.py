"""Pickling of clients, responses and errors: settings are kept, tokens and sockets are not."""

from __future__ import annotations

import base64
import copy
import multiprocessing
import pickle
import ssl
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import requests
from support.token_tools import LONG, ask_elsewhere

import gigaclient
from gigaclient import ChatCompletion, ConfigError, GigaChat, GigaClientError, errors
from gigaclient._core.retry import RetryPolicy
from gigaclient._primitives.deadline import Timeouts
from gigaclient.testing import Authority, Fault, GigaChatEmulator
from gigaclient.types import Choice, FunctionCall, Message, Usage

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def over_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


TRAVELS: dict[str, Callable[[Any], Any]] = {"pickle": over_pickle, "copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.fixture(params=list(TRAVELS))
def travel(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return TRAVELS[request.param]


# -- clients -----


def test_settings_travel_and_tokens_and_sockets_do_not(
    gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]
) -> None:
    options: dict[str, Any] = {
        **gigachat_emulator.client_options, "model": "GigaChat-2-Max", "timeout": (3, 20), "deadline": 19,
        "event_timeout": 7, "max_retries": 4, "retry_backoff_factor": 0.1, "retry_on_status_codes": [503],
        "max_connections": 3, "profanity_check": False, "flags": ["a"], "session_id": "s-1", "access_token": "stale",
    }  # fmt: skip
    with GigaChat(**options) as giga:
        assert giga.chat("hi").text
        token = giga.get_token().access_token
        assert token.encode() not in pickle.dumps(giga)
        with travel(giga) as other:
            assert type(other) is GigaChat
            assert other._settings == giga._settings
            assert other._executor is not giga._executor
            assert other.stats().tokens_fetched == other.stats().connections == 0
            assert repr(other) == repr(giga)
            assert other.chat("hi").text
            assert gigachat_emulator.oauth_calls == 2, "it fetched a token of its own"
            assert (
                other._executor.timeouts.connect,
                other._executor.timeouts.deadline,
                other._executor.retry.max_retries,
            ) == (
                3,
                19,
                4,
            )
        assert not giga.closed, "closing one leaves the other alone"
        assert giga.chat("hi").text


def test_the_key_travels_in_the_clear_as_documented(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        assert gigachat_emulator.credentials.encode() in pickle.dumps(giga)
    assert "pickle" in (GigaChat.__doc__ or "")


def test_the_pin_travels(gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]) -> None:
    with Authority() as stranger, GigaChatEmulator(authority=stranger) as other_emulator:
        options = {**other_emulator.client_options, "ca_bundle_file": gigachat_emulator.ca_file}
        with GigaChat(**options) as giga, travel(giga) as copied, pytest.raises(gigaclient.TLSError):
            copied.chat("hi")
        assert other_emulator.oauth_calls == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_pickle_protocol_works(gigachat_emulator: GigaChatEmulator, protocol: int) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(giga, protocol)), protocol))
        with again:
            assert again.chat("hi").text


def test_a_client_travels_while_other_threads_use_it(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.event_pause_s = 0.02
    with GigaChat(**gigachat_emulator.client_options) as giga, giga.stream("Count from 1 to 5") as stream:
        next(stream)
        with giga._executor.tokens._lock, giga._executor.limiter._lock, over_pickle(giga) as other:  # type: ignore[union-attr]
            assert other._settings == giga._settings
        assert stream.result().text


def test_a_closed_client_comes_back_open(gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]) -> None:
    giga = GigaChat(**gigachat_emulator.client_options)
    giga.close()
    with travel(giga) as other:
        assert other.chat("hi").text


def test_a_copy_with_other_options_travels_with_them(
    gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]
) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        changed = giga.with_options(model="GigaChat-2-Pro", timeout=9, max_retries=0, flags=["b"])
        assert changed._executor.transport is giga._executor.transport
        assert changed._executor.tokens is giga._executor.tokens
        with travel(changed) as other:
            assert other._settings == changed._settings
            assert (other._executor.timeouts.read, other._executor.retry.max_retries) == (9, 0)
            assert other.chat("hi").model.startswith("GigaChat-2-Pro")


def test_with_options_shares_token_and_connections_and_closes_itself_alone(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        assert giga.chat("hi").text
        with giga.with_options(model="GigaChat-2-Pro") as changed:
            assert changed.chat("hi").text
        assert changed.closed
        with pytest.raises(ConfigError, match="closed"):
            changed.chat("hi")
        assert giga.chat("hi").text
    assert (gigachat_emulator.oauth_calls, gigachat_emulator.connections) == (1, 1)
    assert [request.json()["model"] for request in gigachat_emulator.requests] == [
        "GigaChat-2", "GigaChat-2-Pro", "GigaChat-2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["session", "ssl_context"])
def test_a_client_with_an_object_of_the_users_own_says_that_it_cannot_travel(
    gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any], name: str
) -> None:
    options = gigachat_emulator.client_options
    own: Any = requests.Session()
    if name == "ssl_context":
        own = ssl.create_default_context(cafile=options.pop("ca_bundle_file"))
    with GigaChat(**options, **{name: own}) as giga:
        assert giga.chat("hi").text
        with pytest.raises(ConfigError, match=rf"{name}=.*cannot be pickled or copied"):
            travel(giga)
        assert giga.with_options(model="x")._settings.model == "x", "it shares the object, so it needs no copy"
        assert giga.chat("hi").text
    if isinstance(own, requests.Session):
        own.close()


def test_a_client_works_in_a_spawned_process_and_its_answers_and_errors_come_back(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    spawn = multiprocessing.get_context("spawn")
    gigachat_emulator.answer({"content": "from afar"})
    with GigaChat(**gigachat_emulator.client_options, deadline=LONG) as giga:
        answers = spawn.Queue()
        process = spawn.Process(target=ask_elsewhere, args=(giga, "hi", answers))
        process.start()
        try:
            answer = answers.get(timeout=LONG)
            assert isinstance(answer, ChatCompletion), answer
            assert (answer.text, answer.raw["object"]) == ("from afar", "chat.completion")
            assert answer.request_id
            error = answers.get(timeout=LONG)
        finally:
            process.join(LONG)
            process.close()
            answers.close()
            answers.join_thread()
    assert isinstance(error, gigaclient.APIStatusError), error
    assert error.request_id
    assert gigachat_emulator.oauth_calls == 1, "the parent never requested a token"


def test_what_configures_a_client_travels(travel: Callable[[Any], Any]) -> None:
    timeouts = travel(Timeouts(1, 2, 3, 4))
    assert (timeouts.connect, timeouts.read, timeouts.event, timeouts.deadline) == (1, 2, 3, 4)
    assert travel(RetryPolicy(5)) == RetryPolicy(5)


# -- errors -----


def every_error() -> list[type[GigaClientError]]:
    found: list[type[GigaClientError]] = [GigaClientError]
    for error_type in found:
        found += [sub for sub in error_type.__subclasses__() if sub.__module__ == errors.__name__ and sub not in found]
    return found


def test_every_error_of_the_package_is_among_those_tested() -> None:
    assert {error_type.__name__ for error_type in every_error()} == {
        name for name in errors.__all__ if name.endswith("Error")
    }


@pytest.mark.parametrize("error_type", every_error())
def test_every_error_travels_with_all_it_knows(error_type: type[GigaClientError]) -> None:
    error = error_type("words")
    known = {
        "request_id": "r-1", "attempts": ("503 after 0.01 s", "reset after 0.02 s"), "text": "so far",
        "completion": ChatCompletion(choices=[Choice(message=Message(role="assistant", content="so far"))]),
        "status_code": 503, "code": 6, "body": [1, "б"], "headers": {"x": "y"}, "retry_after": 1.5, "sent": False,
        "host": "h", "issuer": "CN=i", "timeout_kind": "event", "of_the_users_own": [1],
    }  # fmt: skip
    for name, value in known.items():
        setattr(error, name, value)
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in PROTOCOLS]
    for again in (*copies, copy.copy(error), copy.deepcopy(error)):
        assert type(again) is error_type
        assert (again.args, str(again), repr(again)) == (error.args, str(error), repr(error))
        assert "words" in str(again)
        assert again.message == "words"
        assert vars(again) == vars(error)
        for name, value in known.items():
            assert getattr(again, name) == value
        assert again.completion.text == "so far"


@pytest.mark.parametrize("error_type", every_error())
def test_an_error_with_nothing_on_it_travels_too(error_type: type[GigaClientError]) -> None:
    for error in (error_type(), error_type("слова")):
        again = over_pickle(error)
        assert (type(again), str(again), vars(again)) == (error_type, str(error), vars(error))


def test_an_error_from_a_server_travels_without_the_request(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(cut_after_events=2))
    with GigaChat(**gigachat_emulator.client_options) as giga:
        stream = giga.stream("Count from 1 to 5")
        with pytest.raises(gigaclient.StreamInterruptedError) as caught:
            stream.result()
        token = giga.get_token().access_token
    pickled = pickle.dumps(caught.value)
    again = pickle.loads(pickled)
    assert again.text == stream.text != ""
    assert again.completion.text == stream.text
    assert again.request_id == stream.request_id
    for secret in (token, gigachat_emulator.credentials):
        assert secret.encode() not in pickled
    assert not {module for module in (b"requests", b"urllib3", b"http.client") if module in pickled}


# -- answers -----


def test_an_answer_travels_with_what_the_server_sent(
    gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]
) -> None:
    gigachat_emulator.answer(
        {"choices": [{"message": {"role": "assistant", "content": "да"}, "index": 0, "finish_reason": "stop"}],
         "created": 1, "model": "m", "object": "o", "usage": {"prompt_tokens": 1}, "of_tomorrow": {"a": [1]}}
    )  # fmt: skip
    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = giga.chat("hi", request_id="r-1")
    for again in (travel(answer), travel(travel(answer))):
        assert type(again) is ChatCompletion
        assert again == answer
        assert again.raw == answer.raw
        assert again.raw["of_tomorrow"] == {"a": [1]}
        assert again.request_id == answer.request_id == "r-1"
        assert again.headers == answer.headers
        assert again.text == "да"


def nested(levels: int) -> Any:
    value: Any = {"end": 1}
    for _ in range(levels):
        value = {"more": value}
    return value


@pytest.mark.parametrize("place", ["of_tomorrow", "arguments"])
def test_an_answer_that_is_nested_deep_travels(
    place: str, gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]
) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    if place == "arguments":
        message["function_call"] = {"name": "f", "arguments": nested(900)}
    else:
        message[place] = nested(900)
    choice = {"message": message, "index": 0, "finish_reason": "stop"}
    gigachat_emulator.answer({"choices": [choice], "created": 1, "model": "m", "object": "o"})
    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = giga.chat("hi")
    assert answer.raw
    again = travel(answer)
    assert msgspec.json.encode(again.raw) == msgspec.json.encode(answer.raw)
    if place == "arguments":
        assert again.choices[0].message.function_call.arguments["more"]


def test_an_error_with_a_body_that_is_nested_deep_travels(travel: Callable[[Any], Any]) -> None:
    error = errors.APIStatusError("no", status_code=400, body=nested(900))
    assert msgspec.json.encode(travel(error).body) == msgspec.json.encode(error.body)


def test_a_value_of_the_users_own_on_an_error_travels_though_it_is_no_json(travel: Callable[[Any], Any]) -> None:
    error = GigaClientError("no")
    error.held = held = [{1, 2}]  # type: ignore[attr-defined]
    held.append(held)  # type: ignore[arg-type]
    again = travel(error)
    assert again.held[0] == {1, 2} and again.held[1] is again.held


def test_a_deep_copy_shares_nothing_with_the_answer(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = giga.chat("hi")
    again = copy.deepcopy(answer)
    again.choices[0].message.content = "changed"
    again.raw["model"] = "changed"
    assert answer.text != "changed"
    assert answer.raw["model"] != "changed"


def test_the_answer_of_a_stream_and_its_chunks_travel(
    gigachat_emulator: GigaChatEmulator, travel: Callable[[Any], Any]
) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga, giga.stream("Count from 1 to 5") as stream:
        chunks = list(stream)
        completion = stream.completion
    for chunk in chunks:
        again = travel(chunk)
        assert (again, again.raw, again.request_id) == (chunk, chunk.raw, stream.request_id)
    again = travel(completion)
    assert (again, again.raw, again.request_id) == (completion, completion.raw, stream.request_id)
    assert again.text == stream.text


@pytest.mark.parametrize(
    "value",
    [
        Message(role="assistant", content=None, function_call=FunctionCall(name="f", arguments={"a": 1})),
        Usage(1, 2, 3),
        Choice(message=Message(content="x"), index=1, finish_reason="stop"),
        ChatCompletion(),
    ],
)
def test_a_value_made_by_hand_travels(value: Any, travel: Callable[[Any], Any]) -> None:
    assert travel(value) == value


def test_a_stream_does_not_travel(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga, giga.stream("hi") as stream:
        with pytest.raises((TypeError, ConfigError, pickle.PicklingError)):
            pickle.dumps(stream)
        assert stream.result().text


def test_nothing_that_is_pickled_brings_a_thread_or_a_lock(gigachat_emulator: GigaChatEmulator) -> None:
    before = threading.active_count()
    with GigaChat(**gigachat_emulator.client_options) as giga:
        copies = [over_pickle(giga) for _ in range(20)]
        assert threading.active_count() == before
        for other in copies:
            other.close()


def test_a_token_hides_its_secret_in_repr(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        token = giga.get_token()
    assert token.access_token not in repr(token) + str(token)
    assert over_pickle(token).access_token == token.access_token
    assert base64.b64encode(token.access_token.encode()).decode() not in repr(token)
