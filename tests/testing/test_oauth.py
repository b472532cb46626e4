"""Tests of the emulator's tokens: authorization, response shapes, and expiry."""

from __future__ import annotations

import base64
import email.utils
import json
import threading
import time
import uuid
from typing import Any

import pytest
from testing.plain_client import Giga, Http, basic, oauth, trusting

from gigaclient.testing import LEFT_OUT, Fault, GigaChatEmulator

KEY = "00000000-0000-4000-8000-000000000001:00000000-0000-4000-8000-000000000002"


def test_the_expiry_of_a_token_is_in_milliseconds(gigachat: GigaChatEmulator) -> None:
    reply = oauth(gigachat)
    answer = reply.json()
    assert reply.status == 200
    assert sorted(answer) == ["access_token", "expires_at"]
    assert len(answer["access_token"]) > 1000
    assert abs(answer["expires_at"] / 1000 - time.time() - 1800) < 10
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert abs(email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()) < 10
    assert (gigachat.oauth_calls, gigachat.tokens_issued) == (1, 1)


def test_the_other_known_shape_is_in_seconds() -> None:
    with GigaChatEmulator(token_shape="tok", token_life_s=60) as emulator:
        answer = oauth(emulator).json()
    assert sorted(answer) == ["exp", "tok"]
    assert abs(answer["exp"] - time.time() - 60) < 10


@pytest.mark.parametrize("expires_at", ["junk", "1893456000", 0, -5, 1.5, True, [1]])
def test_the_expiry_can_be_any_value(expires_at: Any) -> None:
    with GigaChatEmulator(expires_at=expires_at) as emulator:
        assert oauth(emulator).json()["expires_at"] == expires_at


def test_the_expiry_can_be_left_out_or_null() -> None:
    with GigaChatEmulator(expires_at=LEFT_OUT) as emulator:
        assert sorted(oauth(emulator).json()) == ["access_token"]


def test_the_services_clock_can_be_wrong() -> None:
    with GigaChatEmulator(clock_offset_s=-86_400) as emulator:
        reply = oauth(emulator)
    assert reply.json()["expires_at"] / 1000 < time.time() - 80_000
    assert email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp() < time.time() - 80_000


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"authorization": ""}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": "Digest abc"}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": f"Basic {KEY}"}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": "Basic %%%"}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": basic("no colon in it")}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": basic(":secret")}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": basic("id:")}, 400, 4, "Can't decode 'Authorization' header"),
        (
            {"authorization": basic(base64.b64encode(KEY.encode()).decode())},
            400,
            4,
            "Can't decode 'Authorization' header",
        ),
        ({"authorization": "Basic " + basic(KEY)}, 400, 4, "Can't decode 'Authorization' header"),
        ({"authorization": basic(KEY)}, 401, 6, "credentials doesn't match db data"),
        ({"rquid": ""}, 400, 2, "RqUID is invalid"),
        ({"rquid": "7"}, 400, 2, "RqUID is invalid"),
        ({"rquid": uuid.uuid4().hex}, 400, 2, "RqUID is invalid"),
        ({"body": ""}, 400, 5, "scope is empty"),
        ({"body": "scope="}, 400, 5, "scope is empty"),
        (
            {"body": json.dumps({"scope": "GIGACHAT_API_PERS"}), "content_type": "application/json"},
            400,
            5,
            "scope is empty",
        ),
        ({"body": "scope=GIGACHAT_API_PERSONAL"}, 400, 1, "scope data format invalid"),
        ({"body": "scope=GIGACHAT_API_CORP"}, 400, 7, "scope from db not fully includes consumed scope"),
    ],
)
def test_an_invalid_oauth_request_is_refused(
    gigachat: GigaChatEmulator, change: dict[str, str], status: int, code: int, message: str
) -> None:
    reply = oauth(gigachat, **change)
    assert (reply.status, reply.json()) == (status, {"code": code, "message": message})
    assert (gigachat.oauth_calls, gigachat.tokens_issued) == (1, 0)


def test_bearer_is_a_scheme_too_unless_switched_off(gigachat: GigaChatEmulator) -> None:
    bearer = f"Bearer {gigachat.credentials}"
    assert oauth(gigachat, authorization=bearer).status == 200
    gigachat.accept_bearer_oauth = False
    assert oauth(gigachat, authorization=bearer).json()["code"] == 4


def test_the_rqu_id_and_the_key_are_recorded(gigachat: GigaChatEmulator) -> None:
    rquid = str(uuid.uuid4())
    oauth(gigachat, rquid=rquid)
    (request,) = gigachat.oauth_requests
    assert request.headers["RqUID"] == rquid
    assert request.form == {"scope": "GIGACHAT_API_PERS"}
    assert gigachat.requests == []


def test_the_oauth_server_has_no_other_path(gigachat: GigaChatEmulator) -> None:
    with Http(gigachat.oauth_server.port, trusting(gigachat.ca_file)) as http_:
        assert http_.send("GET", "/api/v2/oauth").status == 404
        assert http_.send("POST", "/api/v1/chat/completions").status == 404
    assert gigachat.oauth_calls == 0


def test_tokens_can_be_slow_and_limited(gigachat: GigaChatEmulator) -> None:
    gigachat.oauth_pause_s = 0.2
    started_at = time.monotonic()
    assert oauth(gigachat).status == 200
    assert time.monotonic() - started_at > 0.18
    gigachat.oauth_pause_s = 0.0
    gigachat.oauth_calls_per_second = 2
    statuses = [oauth(gigachat).status for _ in range(4)]
    assert 429 in statuses


def test_a_hanging_oauth_server_does_not_affect_the_api(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(before_s=float("inf")), path="/oauth")
    errors: list[BaseException] = []

    def fetch_token() -> None:
        try:
            oauth(gigachat)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=fetch_token, daemon=True)
    thread.start()
    with Giga(gigachat) as giga:
        assert giga.chat("hello").status == 200
    assert thread.is_alive()
    gigachat.close()
    thread.join(20)
    assert len(errors) == 1


# --- at the API ------------------------------------------------------------------------------------------------


def test_a_token_from_oauth_opens_the_api(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat, token=oauth(gigachat).json()["access_token"]) as giga:
        assert giga.chat("hello").status == 200


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic {token}", "{token}"])
def test_an_unknown_token_is_unauthorized(gigachat: GigaChatEmulator, header: str | None) -> None:
    with Giga(gigachat) as giga:
        token = giga.headers.pop("Authorization").partition(" ")[2]
        if header is not None:
            giga.headers["Authorization"] = header.format(token=token)
        reply = giga.chat("hello")
    assert (reply.status, reply.json()) == (401, {"status": 401, "message": "Unauthorized"})


def test_an_expired_token_is_unauthorized(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat, token=gigachat.issue_token(0.1)) as giga:
        assert giga.chat("hello").status == 200
        time.sleep(0.12)
        reply = giga.chat("hello")
    assert (reply.status, reply.json()) == (401, {"status": 401, "message": "Token has expired"})


def test_revoked_tokens_are_unknown_and_new_ones_valid(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as old:
        gigachat.revoke_tokens()
        assert old.chat("hello").json()["message"] == "Unauthorized"
    with Giga(gigachat) as new:
        assert new.chat("hello").status == 200


@pytest.mark.parametrize("agent", [None, "", " "])
def test_without_a_user_agent_everything_is_forbidden(gigachat: GigaChatEmulator, agent: str | None) -> None:
    with Giga(gigachat) as giga:
        del giga.headers["User-Agent"]
        if agent is not None:
            giga.headers["User-Agent"] = agent
        reply = giga.chat("hello")
    assert (reply.status, reply.json()) == (403, {"message": "Unauthorized"})


def test_a_password_gets_a_token_in_seconds() -> None:
    with GigaChatEmulator(users={"anna": "пароль:1"}) as emulator:
        with Http(emulator.api_server.port, trusting(emulator.ca_file)) as http_:
            headers = {"User-Agent": "plain", "Authorization": basic("anna:пароль:1")}
            answer = http_.send("POST", "/v1/token", headers=headers).json()
            assert sorted(answer) == ["exp", "tok"]
            assert abs(answer["exp"] - time.time() - 1800) < 10
            assert http_.send("POST", "/api/v1/token", headers=headers).status == 200
            wrong = http_.send("POST", "/v1/token", headers={"Authorization": basic("anna:wrong")})
            assert (wrong.status, wrong.json()["message"]) == (401, "Unauthorized")
        with Giga(emulator, token=answer["tok"]) as giga:
            assert giga.chat("hello").status == 200
        assert emulator.password_calls == 3
        assert emulator.oauth_calls == 0


def test_a_server_without_users_has_no_password_route(gigachat: GigaChatEmulator) -> None:
    with Http(gigachat.api_server.port, trusting(gigachat.ca_file)) as http_:
        assert http_.send("POST", "/v1/token", headers={"Authorization": basic("a:b")}).status == 404


def test_a_client_certificate_needs_no_token() -> None:
    with GigaChatEmulator() as issuer, GigaChatEmulator(client_ca=issuer.authority) as emulator:
        issued = issuer.authority.issue_client()
        context = trusting(emulator.ca_file)
        context.load_cert_chain(issued.cert_file, issued.key_file)
        with Http(emulator.api_server.port, context) as http_:
            assert http_.send("GET", "/v1/models", headers={"User-Agent": "plain"}).status == 200
            bad = {"User-Agent": "plain", "Authorization": "Bearer wrong"}
            assert http_.send("GET", "/v1/models", headers=bad).status == 401
        assert oauth(emulator).status == 200
        with pytest.raises(OSError), Giga(emulator) as giga:
            giga.chat("hello")


def test_the_key_is_in_no_repr(gigachat: GigaChatEmulator) -> None:
    assert gigachat.credentials not in repr(gigachat)
    assert gigachat.credentials not in repr(gigachat.authority)


def test_a_recorded_token_response_can_be_replayed(gigachat: GigaChatEmulator) -> None:
    gigachat.replay("oauth.json")
    assert oauth(gigachat).body == b'{"access_token": "REDACTED", "expires_at": 4102444800000}'
    assert oauth(gigachat).json()["access_token"] != "REDACTED"
