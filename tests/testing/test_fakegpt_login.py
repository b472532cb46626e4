"""Tests of the login of the FakeGpt emulator, and of its access control."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from testing.plain_client import (
    Pool,
    conversation_body,
)

from gigaclient.testing import FakeGptEmulator


def test_client_options_point_at_the_emulator(fakegpt: FakeGptEmulator) -> None:
    assert fakegpt.client_options == {
        "base_url": f"https://127.0.0.1:{fakegpt.server.port}",
        "ca_bundle_file": fakegpt.ca_file,
    }


def test_the_pool_lists_its_accounts_for_requests_with_a_time(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        loads = pool.loads()
        assert len(loads) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", load["token_id"]) and load["count"] >= 0 for load in loads)
        for query in ("", "?t=", "?t=now"):
            refused = pool.send("GET", f"/api/loads{query}")
            assert (refused.status, refused.json()["code"]) == (400, 400)
        fakegpt.empty_loads = True
        assert pool.loads() == []


def test_a_login_sets_the_cookie_that_opens_the_session(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        reply = pool.log_in()
        assert reply.status == 200
        assert "credential=" in pool.cookie
        session = pool.session().json()
        assert session["accessToken"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", session["expires"])
        assert session["user"]
    assert fakegpt.logins == 1


def test_a_login_can_be_a_redirect_with_the_cookie_on_it(fakegpt: FakeGptEmulator) -> None:
    fakegpt.login = "redirect"
    with Pool(fakegpt) as pool:
        reply = pool.log_in()
        assert (reply.status, reply.headers["Location"]) == (302, "/")
        assert pool.session().json()["accessToken"]
        assert pool.send("GET", "/").status == 200


def test_the_same_password_is_the_same_session_and_another_is_not(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        key = pool.loads()[0]["token_id"]
        tokens = []
        for password in ("one", "one", "two"):
            pool.log_in(key, password)
            tokens.append(pool.session().json()["accessToken"])
    assert tokens[0] == tokens[1] != tokens[2]


def test_refused_logins_hide_under_status_200(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        for key, password in (("0" * 32, "abc"), (pool.loads()[0]["token_id"], "")):
            reply = pool.log_in(key, password)
            assert (reply.status, reply.json()["code"], pool.cookie) == (200, 400, "")
        as_json = pool.send("POST", "/auth/login", json.dumps({"token_key": pool.loads()[0]["token_id"]}))
        assert as_json.json()["code"] == 400
        fakegpt.login_refused = True
        assert pool.log_in().json()["code"] == 400
        fakegpt.login_refused, fakegpt.login_without_cookie = False, True
        assert (pool.log_in().json()["code"], pool.cookie) == (0, "")
    assert fakegpt.logins == 5


@pytest.mark.parametrize(("status", "body"), [(200, {}), (401, {"detail": "Unauthorized"})])
def test_a_session_without_the_cookie_is_empty_or_refused(status: Any, body: Any) -> None:
    with FakeGptEmulator(session_status=status) as emulator, Pool(emulator) as pool:
        for cookie in ("", "credential=wrong", "other=1"):
            pool.cookie = cookie
            reply = pool.session()
            assert (reply.status, reply.json()) == (status, body)


def test_a_session_can_lack_its_token(fakegpt: FakeGptEmulator) -> None:
    fakegpt.session_without_token = True
    with Pool(fakegpt) as pool:
        pool.log_in()
        assert "accessToken" not in pool.session().json()


@pytest.mark.parametrize("header", ["X-Authorization", "Authorization"])
def test_a_conversation_accepts_the_token_in_either_header(fakegpt: FakeGptEmulator, header: str) -> None:
    with Pool(fakegpt) as pool:
        pool.enter()
        headers = {header: f"Bearer {pool.token}", "Cookie": pool.cookie}
        reply = pool.send("POST", "/api/conversation", conversation_body("hello"), headers)
        assert reply.status == 200
        fakegpt.plain_authorization = False
        reply = pool.send("POST", "/api/conversation", conversation_body("hello"), headers)
        assert reply.status == (200 if header == "X-Authorization" else 401)


@pytest.mark.parametrize(
    "change",
    [{"X-Authorization": "Bearer wrong"}, {"X-Authorization": ""}, {"Cookie": ""}, {"Cookie": "credential=wrong"}],
)
def test_a_conversation_needs_both_token_and_cookie(fakegpt: FakeGptEmulator, change: dict[str, str]) -> None:
    with Pool(fakegpt) as pool:
        reply = pool.enter().talk("hello", **change)
    assert reply.status == 401
    assert "Could not parse" in reply.json()["detail"]


def test_a_token_needs_the_cookie_of_the_same_session(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as one, Pool(fakegpt) as two:
        one.enter()
        two.log_in(password="another")
        assert one.talk("hello", Cookie=two.cookie).status == 401


def test_the_access_token_needs_no_login(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        pool.token = fakegpt.access_token
        assert pool.talk("hello").status == 200
    assert fakegpt.logins == 0


def test_an_expired_token_is_refused_until_a_new_login() -> None:
    with FakeGptEmulator(token_life_s=0.2) as emulator, Pool(emulator) as pool:
        assert pool.enter().talk("hello").status == 200
        time.sleep(0.22)
        reply = pool.talk("hello")
        assert (reply.status, reply.json()["detail"]["code"]) == (401, "token_expired")
        assert pool.enter().talk("hello").status == 200
        assert emulator.logins == 2


def test_revoked_sessions_are_refused_until_a_new_login(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        pool.enter()
        fakegpt.revoke_sessions()
        assert pool.talk("hello").status == 401
        assert pool.session().json() == {}
        assert pool.enter().talk("hello").status == 200


def test_the_page_of_the_bot_filter_is_html(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        pool.enter()
        fakegpt.html_wall = "/api/conversation"
        reply = pool.talk("hello")
        assert reply.status == 403
        assert reply.headers["Content-Type"].startswith("text/html")
        assert "<title>Just a moment...</title>" in reply.text
        assert pool.loads()
        fakegpt.html_wall = True
        assert pool.send("GET", "/api/loads?t=1").status == 403
        fakegpt.html_wall, fakegpt.bot_filter = False, True
        assert pool.send("GET", "/api/loads?t=1").status == 403
        browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Referer": f"{fakegpt.base_url}/?v=2"}
        assert pool.send("GET", "/api/loads?t=1", headers=browser).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"action": "talk"},
        {"messages": []},
        {"messages": "x"},
        {"model": None},
        {"parent_message_id": None},
        {"messages": [{"author": {"role": "system"}, "content": {"parts": ["x"]}}]},
        {"messages": [{"author": {"role": "user"}, "content": {"parts": []}}]},
    ],
)
def test_a_conversation_of_the_wrong_shape_is_refused(fakegpt: FakeGptEmulator, change: dict[str, Any]) -> None:
    with Pool(fakegpt) as pool:
        headers = {"X-Authorization": f"Bearer {fakegpt.access_token}"}
        reply = pool.send("POST", "/api/conversation", conversation_body("hello", **change), headers)
        assert (reply.status, list(reply.json())) == (422, ["detail"])
        assert pool.send("POST", "/api/conversation", "{", headers).status == 400


def test_an_unknown_path_is_not_found(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        for method, path in (("GET", "/v1/models"), ("GET", "/api/conversation"), ("POST", "/api/loads?t=1")):
            assert pool.send(method, path).status == 404
