"""Token requests: both recorded responses, invalid ones, wrong clocks, refusals, a hanging server, request counts."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.thread_tools import WAIT_SECONDS
from support.token_tools import LONG, ThreadGroup, shown_by, together, until

from gigaclient import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ConfigError,
    GigaChat,
    InvalidResponseError,
    RateLimitError,
    ServerError,
)
from gigaclient.auth.token_manager import Credential
from gigaclient.gigachat.oauth import read_token
from gigaclient.testing import LEFT_OUT, Fault, GigaChatEmulator, recording

NOW = 1_790_000_000.0
TOKEN = "eyJ-a-token-that-nobody-may-see"


# -- parsing a response -----


def read(answer: Any, *, date: str | float | None = None, wall: float = NOW) -> Credential | InvalidResponseError:
    headers = {}
    if date is not None:
        headers["date"] = date if isinstance(date, str) else formatdate(date, usegmt=True)
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_token(body, headers, wall=wall, monotonic=50.0)


def lifetime_of(answer: Any, **options: Any) -> float:
    found = read(answer, **options)
    assert isinstance(found, Credential), found
    assert found.value.reveal() == TOKEN
    return found.expires_at - 50.0


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": TOKEN, "expires_at": (NOW + 1800) * 1000},
        {"access_token": TOKEN, "expires_at": int((NOW + 1800) * 1000)},
        {"access_token": TOKEN, "expires_at": NOW + 1800},
        {"access_token": TOKEN, "expires_at": str(int(NOW + 1800))},
        {"access_token": TOKEN, "expires_at": f" {int((NOW + 1800) * 1000)} "},
        {"access_token": TOKEN, "exp": NOW + 1800},
        {"access_token": TOKEN, "expires_at": None, "exp": NOW + 1800},
        {"access_token": TOKEN, "expires_at": "soon", "exp": NOW + 1800},
        {"access_token": "", "tok": TOKEN, "exp": NOW + 1800},
        {"access_token": 5, "tok": TOKEN, "exp": NOW + 1800},
        {"tok": TOKEN, "exp": int(NOW + 1800)},
        {"tok": TOKEN, "exp": (NOW + 1800) * 1000},
        {"tok": f"\n{TOKEN}\r\n", "exp": NOW + 1800},
        {"tok": TOKEN, "exp": NOW + 1800, "token_type": "Bearer", "more": {"deep": [1, 2]}},
    ],
)
def test_both_recorded_answers_in_either_unit_give_the_token_and_its_lifetime(answer: Any) -> None:
    assert lifetime_of(answer) == pytest.approx(1800)


@pytest.mark.parametrize(
    "expiry",
    [
        None, 0, -1, -1800.5, -(10**15), NOW - 1, (NOW - 1) * 1000, 1, 1000, True, False, "", "soon", "NaN", "inf",
        "-5", [], {}, [NOW + 1800], {"at": NOW + 1800}, 10**30, 10**400, -(10**400), 1e300,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["expires_at", "exp"])
def test_an_expiry_that_makes_no_sense_means_use_it_until_it_is_refused(name: str, expiry: Any) -> None:
    found = read({"access_token": TOKEN, name: expiry})
    assert isinstance(found, Credential)
    assert (found.expires_at, found.expires_at_ms) == (math.inf, 0)


def test_a_missing_expiry_means_use_it_until_it_is_refused() -> None:
    assert lifetime_of({"access_token": TOKEN}) == math.inf


@pytest.mark.parametrize("expiry", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e-999"])
def test_numbers_that_are_none_are_no_reason_to_fail_in_another_way(expiry: bytes) -> None:
    found = read(b'{"access_token":"%s","expires_at":%s}' % (TOKEN.encode(), expiry))
    assert isinstance(found, InvalidResponseError) or found.expires_at == math.inf


@pytest.mark.parametrize(
    ("date", "wall", "life"),
    [
        (NOW, NOW, 1800),
        (NOW, NOW + 7200, 1800),  # the local clock is two hours ahead
        (NOW, NOW - 7200, 1800),  # or behind
        (NOW, 0.0, 1800),  # or lost its battery
        (NOW + 2, NOW, 1800),  # both clocks are right: the local one is finer
        (None, NOW, 1800),
        ("not a date", NOW, 1800),
        ("", NOW, 1800),
        ("Mon, 99 Foo 2026 99:99:99 GMT", NOW, 1800),
        (
            NOW - 86400,
            NOW,
            1800,
        ),  # a gateway's invented Date, by which the token would live for more than a day
        (NOW - 80000, NOW, 81800),  # a lifetime below a day is accepted
        (NOW + 7200, NOW, math.inf),  # already expired by both clocks: the expiry is unknown
    ],
)
def test_the_lifetime_is_measured_on_the_servers_clock(date: Any, wall: float, life: float) -> None:
    answer = {"access_token": TOKEN, "expires_at": (NOW + 1800) * 1000}
    assert lifetime_of(answer, date=date, wall=wall) == pytest.approx(life)


def test_the_expiry_is_kept_in_milliseconds_as_the_server_sent_it() -> None:
    for answer in ({"access_token": TOKEN, "expires_at": (NOW + 60) * 1000}, {"tok": TOKEN, "exp": NOW + 60}):
        found = read(answer)
        assert isinstance(found, Credential)
        assert found.expires_at_ms == (NOW + 60) * 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"null", b"[]", b"5", b'"eyJ-a-token-that-nobody-may-see"', b"not json", b"<html>eyJ-a-token-that-</html>",
        b'{"access_token":"eyJ-a-token-that-nobody-may-see"', b"\xff\xfe{}", b"[" * 100_000,
        [TOKEN], {}, {"error": TOKEN}, {"access_token": ""}, {"access_token": " \r\n"}, {"access_token": None},
        {"access_token": [TOKEN]}, {"access_token": {"value": TOKEN}}, {"tok": 5}, {"Access_Token": TOKEN},
        {"access_token": f"{TOKEN}\r\nX-Injected: 1"}, {"access_token": f"{TOKEN}\n{TOKEN}"},
        {"access_token": f"{TOKEN} {TOKEN}"}, {"access_token": f"{TOKEN}\x00"}, {"access_token": f"токен{TOKEN}"},
        {"access_token": TOKEN + "A" * 100_000}, {"code": 6, "message": TOKEN},
    ],
)  # fmt: skip
def test_an_answer_without_a_usable_token_is_a_typed_error_that_shows_no_value(answer: Any) -> None:
    found = read(answer)
    assert isinstance(found, InvalidResponseError)
    assert "a-token-that" not in shown_by(found)
    assert len(str(found)) < 300


def test_the_error_names_the_fields_that_came() -> None:
    found = read({"status": 1, "acces_token": TOKEN, "x" * 99: 1, **{f"f{n}": n for n in range(50)}})
    assert "acces_token" in str(found)
    assert "status" in str(found)
    assert len(str(found)) < 300


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_credential_or_our_error(body: bytes) -> None:
    found = read_token(body, {"date": body.decode("latin-1")}, wall=NOW, monotonic=0.0)
    assert isinstance(found, (Credential, InvalidResponseError))


@given(
    st.dictionaries(
        st.sampled_from(["access_token", "tok", "expires_at", "exp"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
    )
)
def test_arbitrary_fields_give_a_credential_that_can_be_sent_or_our_error(fields: dict[str, Any]) -> None:
    found = read(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))
    if isinstance(found, Credential):
        assert found.value.isascii()
        assert found.value.isprintable()
        assert found.expires_at > 50.0
        assert 0 < found.margin <= 60
    else:
        assert isinstance(found, InvalidResponseError)


# -- against the emulator -----


def client(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    defaults = {"deadline": LONG, "retry_backoff_factor": 0.01}
    return GigaChat(**{**emulator.client_options, **defaults, **options})


def test_the_request_is_what_the_service_wants_and_nothing_else(emulator: GigaChatEmulator) -> None:
    with client(emulator) as giga:
        giga.chat("hi")
    (request,) = emulator.oauth_requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v2/oauth", b"scope=GIGACHAT_API_PERS")
    assert request.headers["authorization"] == f"Basic {emulator.credentials}"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"].startswith("gigaclient/")
    assert str(uuid.UUID(request.headers["rquid"], version=4)) == request.headers["rquid"]
    assert "cookie" not in request.headers


@pytest.mark.parametrize("shape", ["access_token", "tok"])
def test_either_shape_from_the_oauth_endpoint_is_used_for_all_calls(emulator: GigaChatEmulator, shape: Any) -> None:
    emulator.token_shape = shape
    with client(emulator) as giga:
        assert all(giga.chat("hi").text for _ in range(4))
        assert giga.get_token().expires_at == pytest.approx((time.time() + 1800) * 1000, abs=60_000)
    assert emulator.oauth_calls == 1


def test_the_recorded_answer_is_understood(emulator: GigaChatEmulator) -> None:
    emulator.replay("oauth.json")
    recorded = json.loads(recording("oauth.json").body)
    with client(emulator) as giga:
        token = giga.get_token()
    value = recorded.get("access_token") or recorded.get("tok")
    assert token.access_token == value
    assert str(token.expires_at).startswith(str(recorded.get("expires_at") or recorded.get("exp"))[:10])


@pytest.mark.parametrize("offset", [-86_400.0, -3_600.0, 3_600.0, 86_400.0])
def test_a_wrong_clock_here_costs_no_further_token(emulator: GigaChatEmulator, offset: float) -> None:
    emulator.clock_offset_s = offset
    with client(emulator) as giga:
        assert all(giga.chat("hi").text for _ in range(4))
        assert giga._executor.tokens is not None
        held = giga._executor.tokens._credential
        assert held is not None
        assert held.expires_at - time.monotonic() == pytest.approx(1800, abs=30)
    assert emulator.oauth_calls == 1


@pytest.mark.parametrize("expiry", [LEFT_OUT, 0, -1, 1, "soon", "", True, [], 10**30, 1_500_000_000, 1_500_000_000_000])
def test_an_absurd_expiry_causes_no_loop_of_refreshes_and_a_refusal_still_renews(
    emulator: GigaChatEmulator, expiry: Any
) -> None:
    emulator.expires_at = expiry
    with client(emulator) as giga:
        assert all(giga.chat("hi").text for _ in range(5))
        assert emulator.oauth_calls == 1
        emulator.revoke_tokens()
        assert giga.chat("hi").text
    assert emulator.oauth_calls == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "JSON object"),
        (b"", "JSON object"),
        (b"null", "JSON object"),
        (b"[]", "JSON object"),
        (b"<html><title>Welcome</title></html>", "JSON object"),
        ({"status": "ok", "secret": TOKEN}, "its fields: secret, status"),
        ({"access_token": f"{TOKEN}\r\n{TOKEN}"}, "no header can carry"),
        ({"access_token": TOKEN * 6000}, "no header can carry"),
        ({"access_token": TOKEN * 330_000}, "larger than"),
    ],
)
def test_an_unusable_answer_is_a_typed_error_after_one_call_and_shows_no_value(
    emulator: GigaChatEmulator, body: Any, words: str
) -> None:
    emulator.inject(Fault(status=200, body=body), times=None, path="/oauth")
    with client(emulator) as giga:
        with pytest.raises(InvalidResponseError, match=words) as caught:
            giga.chat("hi")
        assert emulator.oauth_calls == 1, "nothing better would come"
        assert TOKEN[:20] not in shown_by(caught.value)
        assert caught.value.request_id
        emulator.clear()
        assert giga.chat("hi").text, "and the next call asks again"


@pytest.mark.parametrize("cut", [10, 30, 60, 400])
def test_a_token_cut_in_the_middle_is_requested_again_and_never_shown(emulator: GigaChatEmulator, cut: int) -> None:
    emulator.inject(Fault(cut_after_bytes=cut), times=None, path="/oauth")
    with client(emulator, max_retries=1) as giga, pytest.raises(APIConnectionError) as caught:
        giga.chat("hi")
    assert emulator.oauth_calls == 2
    assert "eyJlbXVs" not in shown_by(caught.value)


# -- refusals -----


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        (1, "scope data format invalid", "GIGACHAT_API_B2B"),
        (4, "Can't decode 'Authorization' header", "copy it again"),
        (5, "scope is empty", "a proxy may have changed the request"),
        (6, "credentials doesn't match db data", "revoked"),
        (7, "scope from db not fully includes consumed scope", "GIGACHAT_API_CORP (postpaid)"),
        (99, "something new", ""),
    ],
)
def test_a_refusal_is_recognised_by_its_code_whatever_its_status_with_advice_and_after_one_call(
    emulator: GigaChatEmulator, status: int, code: int, message: str, advice: str
) -> None:
    body = {"code": code, "message": message}
    emulator.inject(Fault(status=status, body=body), times=None, path="/oauth")
    with client(emulator) as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    error = caught.value
    assert (error.code, error.status_code, error.body) == (code, status, body)
    assert message in str(error)
    assert advice in str(error)
    assert error.headers
    assert (emulator.oauth_calls, emulator.connections) == (1, 0)


def test_refusals_of_the_service_arrive_unchanged(emulator: GigaChatEmulator) -> None:
    with client(emulator, scope="GIGACHAT_API_B2B") as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    assert caught.value.code == 7
    with client(emulator, scope="PERS") as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    assert caught.value.code == 1
    with client(emulator, credentials="aWQ6c2VjcmV0") as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    assert (caught.value.code, caught.value.status_code) == (6, 401)


@pytest.mark.parametrize("status", [404, 405, 422])
def test_a_wrong_auth_url_is_explained(emulator: GigaChatEmulator, status: int) -> None:
    emulator.inject(Fault(status=status, html=True), times=None, path="/oauth")
    with client(emulator) as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    assert status == 422 or "auth_url" in str(caught.value)
    assert "get_models" not in str(caught.value)
    assert emulator.oauth_calls == 1


def test_a_refusal_is_not_remembered(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=401), path="/oauth")
    with client(emulator) as giga:
        with pytest.raises(AuthenticationError):
            giga.chat("hi")
        assert giga.chat("hi").text
    assert emulator.oauth_calls == 2


def test_a_gateway_that_quotes_the_key_does_not_make_it_known(emulator: GigaChatEmulator) -> None:
    quoted = f"bad header: Basic {emulator.credentials}"
    for body in ({"code": 4, "message": quoted, "seen": [{"a": quoted}]}, f"<title>{quoted}</title>", quoted):
        for status in (400, 502):
            emulator.inject(Fault(status=status, body=body), path="/oauth")
            with client(emulator, max_retries=0) as giga, pytest.raises(Exception, match="bad header") as caught:
                giga.chat("hi")
            assert emulator.credentials not in shown_by(caught.value)


# -- retries -----


@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500), Fault(status=503), Fault(reset=True)])
def test_a_temporary_failure_is_retried_with_a_new_rquid_each_time(emulator: GigaChatEmulator, fault: Fault) -> None:
    emulator.inject(fault, times=2, path="/oauth")
    with client(emulator) as giga:
        assert giga.chat("hi").text
    ids = [request.headers["rquid"] for request in emulator.oauth_requests]
    assert len(ids) == len(set(ids)) == 3
    for value in ids:
        assert str(uuid.UUID(value, version=4)) == value


@pytest.mark.parametrize(("status", "error_type"), [(429, RateLimitError), (503, ServerError)])
def test_a_lasting_failure_is_retried_as_often_as_allowed_and_no_more(
    emulator: GigaChatEmulator, status: int, error_type: type[Exception]
) -> None:
    emulator.inject(Fault(status=status), times=None, path="/oauth")
    with client(emulator, max_retries=2) as giga:
        with pytest.raises(error_type) as caught:
            giga.chat("hi")
        assert emulator.oauth_calls == 3
        with pytest.raises(error_type):
            giga.get_token()
        assert emulator.oauth_calls == 6
    assert len(caught.value.attempts) == 3  # type: ignore[attr-defined]
    with client(emulator, max_retries=0) as giga, pytest.raises(error_type):
        giga.chat("hi")
    assert emulator.oauth_calls == 7


def test_more_than_ten_calls_a_second_are_never_needed_by_many_threads(emulator: GigaChatEmulator) -> None:
    emulator.oauth_calls_per_second = 1
    with client(emulator) as giga:
        texts = together(32, lambda n: giga.chat(f"Repeat: word{n}").text)
    assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
    assert emulator.oauth_calls == 1


# -- many threads -----


def test_a_cold_client_makes_one_oauth_call_for_32_threads(emulator: GigaChatEmulator) -> None:
    emulator.oauth_pause_s = 0.1
    with client(emulator) as giga:
        texts = together(32, lambda n: giga.chat(f"Repeat: word{n}").text)
        assert giga.stats().tokens_fetched == 1
    assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
    assert emulator.oauth_calls == 1


def test_32_threads_that_meet_the_same_revoked_token_cause_one_more_oauth_call(emulator: GigaChatEmulator) -> None:
    emulator.oauth_pause_s = 0.05
    with client(emulator) as giga:
        together(32, lambda n: giga.chat("hi"))
        for turn in range(3):
            emulator.revoke_tokens()
            texts = together(32, lambda n: giga.chat(f"Repeat: word{n}").text)
            assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
            assert emulator.oauth_calls == 2 + turn


def test_get_token_waits_for_the_fetch_of_another_thread_only_until_its_own_deadline(
    emulator: GigaChatEmulator,
) -> None:
    emulator.inject(Fault(before_s=600), path="/oauth")
    with client(emulator) as giga:
        fetching = ThreadGroup(1, lambda n: giga.get_token())
        until(lambda: giga.stats().in_flight == 1)
        with pytest.raises(APITimeoutError) as caught:
            giga.with_options(deadline=0.1).get_token()
        assert (caught.value.timeout_kind, caught.value.sent) == ("deadline", False)
        giga.close()
        assert isinstance(fetching.results()[0], APIConnectionError)


def test_a_late_401_does_not_drop_the_newer_token(emulator: GigaChatEmulator) -> None:
    with client(emulator) as giga:
        giga.chat("hi")
        emulator.inject(Fault(unauthorized=True, before_s=0.5))
        late = ThreadGroup(1, lambda n: giga.chat("Repeat: late").text)
        until(lambda: len(emulator.requests) == 2)
        emulator.revoke_tokens()
        assert giga.chat("hi").text
        assert emulator.oauth_calls == 2
        assert "late" in late.results()[0]
        assert giga.chat("hi").text
    assert emulator.oauth_calls == 2


@pytest.mark.parametrize("how", ["chat", "stream", "generate"])
def test_the_call_is_repeated_once_and_a_second_401_is_raised_with_advice(emulator: GigaChatEmulator, how: str) -> None:
    with client(emulator) as giga:
        ask: Any = {
            "chat": lambda: giga.chat("hi").text,
            "stream": lambda: giga.stream("hi").result().text,
            "generate": lambda: "".join(giga.generate("hi")),
        }[how]
        emulator.inject(Fault(unauthorized=True))
        assert ask()
        assert (emulator.oauth_calls, len(emulator.requests)) == (2, 2)
        emulator.inject(Fault(unauthorized=True), times=2)
        with pytest.raises(AuthenticationError, match="check credentials and scope") as caught:
            ask()
        assert (emulator.oauth_calls, len(emulator.requests)) == (3, 4)
        assert len(caught.value.attempts) == 2


def test_an_expired_token_is_replaced_before_it_is_sent_or_after_its_401(emulator: GigaChatEmulator) -> None:
    emulator.token_life_s = 0.3
    with client(emulator) as giga:
        for _ in range(3):
            assert giga.chat("hi").text
            time.sleep(0.35)
        assert {request.headers.get("authorization") is not None for request in emulator.requests} == {True}
    assert emulator.oauth_calls == 3
    emulator.expires_at = (time.time() + 1800) * 1000  # a wrong expiry
    with client(emulator) as giga:
        giga.chat("hi")
        time.sleep(0.35)
        assert giga.chat("hi").text
    assert emulator.oauth_calls == 5


def test_a_401_within_a_stream_is_final_and_keeps_the_text(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(error_after_events=2, error={"status": 401, "message": "Token has expired"}))
    with client(emulator) as giga, giga.stream("Count from 1 to 5") as stream:
        with pytest.raises(AuthenticationError) as caught:
            stream.result()
        assert caught.value.text == stream.text != ""
    assert (emulator.oauth_calls, len(emulator.requests)) == (1, 1)


# -- a token endpoint that hangs -----


def test_no_call_waits_for_a_token_refresh_even_while_the_oauth_server_hangs(emulator: GigaChatEmulator) -> None:
    emulator.token_life_s = 60.5
    with client(emulator) as giga:
        giga.chat("hi")
        time.sleep(0.6)
        emulator.oauth_pause_s = 60.0
        crowd = ThreadGroup(8, lambda n: [bool(giga.chat("hi").text) for _ in range(5)])
        assert crowd.results() == [[True] * 5] * 8
        assert max(crowd.seconds) < WAIT_SECONDS
        assert emulator.oauth_calls == 2, "one refresh, in the background"


def test_a_background_refresh_brings_the_token_that_later_calls_use(emulator: GigaChatEmulator) -> None:
    emulator.token_life_s = 61.5
    with client(emulator) as giga:
        giga.chat("hi")
        time.sleep(1.6)
        emulator.token_life_s = 1800.0
        emulator.oauth_pause_s = 0.5
        giga.chat("hi")
        until(lambda: giga.stats().tokens_fetched == 2)
        giga.chat("hi")
        last = giga.get_token().access_token
    used = [request.headers["authorization"] for request in emulator.requests]
    assert [used[0] == used[1], used[1] == used[2]] == [True, False]
    assert used[2] == f"Bearer {last}"
    assert emulator.oauth_calls == 2


def test_a_hung_token_call_gives_every_thread_its_error_within_its_own_timeout(emulator: GigaChatEmulator) -> None:
    emulator.oauth_pause_s = 60.0
    with client(emulator) as giga:
        timeouts = [0.5, 2.0] * 6
        crowd = ThreadGroup(12, lambda n: giga.chat("hi", timeout=timeouts[n]))
        errors = crowd.results()
    assert [type(error) for error in errors] == [APITimeoutError] * 12
    assert len({id(error) for error in errors}) == 12
    for timeout, seconds in zip(timeouts, crowd.seconds, strict=True):
        # Connect and read timeout for waiting, and the same again for the thread that fetches next.
        assert timeout - 0.05 <= seconds < 2 * timeout + WAIT_SECONDS, crowd.seconds
    assert emulator.oauth_calls <= 4


def test_a_short_deadline_does_not_end_the_wait_of_other_callers(emulator: GigaChatEmulator) -> None:
    emulator.oauth_pause_s = 1.0
    with client(emulator) as giga:
        hasty = ThreadGroup(1, lambda n: giga.chat("hi", deadline=0.3))
        until(lambda: emulator.oauth_calls == 1)
        others = ThreadGroup(6, lambda n: giga.chat(f"Repeat: word{n}").text)
        error = hasty.results()[0]
        assert isinstance(error, APITimeoutError)
        assert error.timeout_kind == "deadline"
        assert hasty.seconds[0] >= 0.25
        texts = others.results()
        assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
    assert emulator.oauth_calls == 2, "one of the others took over, for all of them"


def test_a_failed_token_call_fails_all_who_wait_with_one_call(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=401, before_s=0.3), times=None, path="/oauth")
    with client(emulator) as giga:
        errors = together(16, lambda n: giga.chat("hi"))
    assert [type(error) for error in errors] == [AuthenticationError] * 16
    assert len({id(error) for error in errors}) == 16
    assert emulator.oauth_calls == 1


def test_close_ends_the_wait_for_a_token_at_once(emulator: GigaChatEmulator) -> None:
    emulator.oauth_pause_s = 60.0
    giga = client(emulator)
    crowd = ThreadGroup(4, lambda n: giga.chat("hi"))
    until(lambda: emulator.oauth_calls == 1)
    giga.close()
    errors = crowd.results(WAIT_SECONDS)
    assert {type(error) for error in errors} <= {APIConnectionError, ConfigError}, errors


def test_no_thread_is_left_behind(emulator: GigaChatEmulator) -> None:
    emulator.token_life_s = 60.2
    before = threading.active_count()
    with client(emulator) as giga:
        giga.chat("hi")
        time.sleep(0.3)
        giga.chat("hi")
        until(lambda: emulator.oauth_calls == 2)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "gigaclient-token"])
    assert threading.active_count() <= before + 4  # the emulator's threads, for its connections
