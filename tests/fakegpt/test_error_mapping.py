"""Error responses of the service."""

from __future__ import annotations

from typing import Any

import pytest

from gigaclient import (
    APIStatusError,
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    UnprocessableEntityError,
)
from gigaclient._core.error_mapping import status_error
from gigaclient._primitives.secret import Secret, mask
from gigaclient.fakegpt.error_mapping import error_in, explain, page_title

WALL = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>x</body></html>"


def made_of(status: int, body: bytes, headers: dict[str, str] | None = None) -> APIStatusError:
    return explain(status_error(status, body, headers or {}, request_id="r-1", now=0.0))


@pytest.mark.parametrize(
    ("status", "body", "error_class", "words", "code"),
    [
        (401, b'{"detail": "Sign in again."}', AuthenticationError, ["Sign in again.", "access token"], None),
        (
            401,
            b'{"detail": {"message": "expired", "code": "token_expired"}}',
            AuthenticationError,
            ["expired"],
            "token_expired",
        ),
        (403, b'{"detail": "no"}', ForbiddenError, ["no"], None),
        (404, b'{"detail": "Not Found"}', NotFoundError, ["Not Found", "check base_url"], None),
        (404, b"<html><title>404</title></html>", NotFoundError, ["HTML", "check base_url"], None),
        (
            413,
            b'{"detail": {"message": "too long", "code": "message_length_exceeds_limit"}}',
            RequestEntityTooLargeError,
            ["too long", "shorten"],
            "message_length_exceeds_limit",
        ),
        (429, b'{"detail": "Too many requests in 1 hour."}', RateLimitError, ["Too many requests in 1 hour."], None),
        (
            422,
            b'{"detail": [{"loc": ["body", "action"], "msg": "field required"}]}',
            UnprocessableEntityError,
            ["body.action: field required"],
            None,
        ),
        (500, b'{"code": 500, "message": "upstream"}', ServerError, ["upstream"], 500),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", ServerError, ["502 Bad Gateway"], None),
        (503, b"", ServerError, ["HTTP status 503"], None),
        (503, b"busy\nbee", ServerError, ["busy"], None),
        (403, WALL, ForbiddenError, ["bot filter", "Just a moment...", "headers="], None),
        (503, WALL, ServerError, ["bot filter", "Just a moment..."], None),
    ],
)
def test_an_error_answer_becomes_an_error_that_helps(
    status: int, body: bytes, error_class: type[APIStatusError], words: list[str], code: Any
) -> None:
    error = made_of(status, body, {"retry-after": "7", "x-server": "pandora/1.3.5"})
    assert type(error) is error_class
    assert [word for word in words if word not in str(error)] == []
    assert (error.status_code, error.code, error.request_id, error.retry_after) == (status, code, "r-1", 7.0)
    assert error.headers["x-server"] == "pandora/1.3.5"


def test_advice_of_another_service_is_not_shown() -> None:
    for status in (401, 404, 413, 429):
        assert not any(word in str(made_of(status, b"{}")) for word in ("scope", "get_models", "tokens_count", "plan"))


def test_a_redirect_keeps_its_explanation() -> None:
    error = made_of(302, b"", {"location": "https://elsewhere.example/login?next=1"})
    assert "https://elsewhere.example/login" in str(error)
    assert "set base_url" in str(error)


@pytest.mark.parametrize(
    ("data", "error_class", "words"),
    [
        ({"message": None, "conversation_id": "c", "error": "boom"}, ServerError, "boom"),
        ({"error": {"message": "slow down", "code": 429}}, RateLimitError, "slow down"),
        ({"error": {"message": "over", "code": "rate_limit_exceeded"}}, RateLimitError, "over"),
        ({"error": {"type": "odd"}}, ServerError, "odd"),
        ({"error": True}, ServerError, "without saying"),
        ({"detail": "gone"}, ServerError, "gone"),
        ({"detail": {"message": "old", "code": "token_expired"}}, AuthenticationError, "old"),
        ({"detail": {"message": "long", "code": "message_length_exceeds_limit"}}, RequestEntityTooLargeError, "long"),
        ({"detail": [{"loc": ["body"], "msg": "bad"}]}, UnprocessableEntityError, "body: bad"),
        ({"code": 500, "message": "upstream"}, ServerError, "upstream"),
        ({"code": 400, "message": "token_key is not valid"}, APIStatusError, "token_key is not valid"),
        ({"code": "429", "msg": "later"}, RateLimitError, "later"),
    ],
)
def test_an_error_object_under_a_good_status_is_found(data: Any, error_class: type[APIStatusError], words: str) -> None:
    error = error_in(data, request_id="r-2")
    assert isinstance(error, error_class)
    assert words in str(error)
    assert error.body == data
    assert error.request_id == "r-2"


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "error",
        7,
        {},
        {"error": None},
        {"error": ""},
        {"detail": None},
        {"message": "hello"},
        {"code": 0, "url": "/"},
        {"code": 200, "message": "ok"},
        {"message": {"id": "m"}, "error": None},
        {"conversation_id": "c", "moderation_response": {"blocked": False}},
    ],
)
def test_what_is_no_error_is_none(data: Any) -> None:
    assert error_in(data, request_id=None) is None


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("<!DOCTYPE html><html><head><title> Just a moment... </title>", "Just a moment..."),
        ("\n<html><body>x</body></html>", ""),
        ("<HTML><TITLE>X</TITLE>", "X"),
        ('{"a": "<html>"}', None),
        ("<xml/>", None),
        ("", None),
    ],
)
def test_a_page_is_recognised_by_its_first_tag(text: str, title: str | None) -> None:
    assert page_title(text) == title


def test_what_the_server_repeats_of_our_secrets_is_masked() -> None:
    raw = status_error(
        400,
        b'{"detail": {"message": "bad topsecret1 in line 1", "code": "x"}, "input": ["topsecret1"]}',
        {},
        request_id=None,
        now=0,
    )
    error = explain(raw, "login: ", [Secret("topsecret1"), Secret("1")])
    assert str(error) == "400: login: bad *** in line 1"
    assert error.body == {"detail": {"message": "bad *** in line 1", "code": "x"}, "input": ["***"]}


def test_masking_reaches_every_depth() -> None:
    assert mask({"a-s": [{"b": "s"}, 1, None]}, ["s"]) == {"a-***": [{"b": "***"}, 1, None]}
