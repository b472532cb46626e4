"""Error responses of every known shape become the errors that users catch."""

from __future__ import annotations

import email.utils
import json
from typing import Any

import pytest

from gigaclient._core.error_mapping import error_in, excerpt, status_error
from gigaclient.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    UnprocessableEntityError,
)

NOW = 1_790_000_000.0
PAGE = b"<html>\r\n<head><title>502 Bad\n Gateway &amp; more</title></head><body>nginx</body></html>"


def refused(status: int, body: Any, **headers: str) -> APIStatusError:
    sent = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return status_error(
        status, sent, {name.replace("_", "-"): value for name, value in headers.items()}, request_id="r-1", now=NOW
    )


@pytest.mark.parametrize(
    ("status", "body", "error_class", "message", "code"),
    [
        (404, {"status": 404, "message": "No such model"}, NotFoundError, "No such model", None),
        (
            401,
            {"code": 6, "message": "credentials doesn't match db data"},
            AuthenticationError,
            "credentials doesn't",
            6,
        ),
        (403, {"message": "Unauthorized"}, ForbiddenError, "Unauthorized", None),
        (502, PAGE, ServerError, "a page of HTML titled '502 Bad Gateway & more'", None),
        (502, b"<html><body>no title</body></html>", ServerError, "a page of HTML", None),
        (502, b"<TITLE lang='en'>Oops</TITLE>", ServerError, "a page of HTML titled 'Oops'", None),
        (502, "<p>İİİİ<title>Ошибка</title>".encode(), ServerError, "a page of HTML titled 'Ошибка'", None),
        (502, b"x" * 2000 + b"<title>Late</title>", ServerError, "a page of HTML titled 'Late'", None),
        (503, b"", ServerError, "HTTP status 503", None),
        (503, b"   \n", ServerError, "HTTP status 503", None),
        (503, b"upstream connect error\nreset", ServerError, "upstream connect error", None),
        (500, b"\xff\xfe\x00", ServerError, "\ufffd", None),
        (500, [], ServerError, "[]", None),
        (500, None, ServerError, "null", None),
        (500, "oops", ServerError, '"oops"', None),
        (500, {}, ServerError, "{}", None),
        (500, {"message": None}, ServerError, '{"message": null}', None),
        (500, {"message": {"x": 1}}, ServerError, '{"message": {"x": 1}}', None),
        (400, {"detail": "bad"}, BadRequestError, "bad", None),
        (422, {"detail": [{"loc": ["x"], "msg": "bad"}]}, UnprocessableEntityError, '{"detail": [', None),
        (429, {"error": {"message": "slow down", "code": "rate"}}, RateLimitError, "slow down", "rate"),
        (429, {"error": "slow down"}, RateLimitError, "slow down", None),
        (413, {"status": 413, "message": "Payload too large"}, RequestEntityTooLargeError, "Payload too large", None),
        (402, {"status": 402, "message": "Payment Required"}, PaymentRequiredError, "Payment Required", None),
        (418, {"status": 418, "message": "tea"}, APIStatusError, "tea", None),
        (599, {"status": 599, "message": "odd"}, ServerError, "odd", None),
        (500, b"[" * 50_000, ServerError, "[[[", None),
        (500, b'{"message": "cut', ServerError, '{"message": "cut', None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_shape_of_body_gives_a_readable_error(
    status: int, body: Any, error_class: type[APIStatusError], message: str, code: int | str | None
) -> None:
    error = refused(status, body)
    assert type(error) is error_class
    assert error.status_code == status
    assert error.message.startswith(message)
    assert error.code == code
    assert error.request_id == "r-1"
    assert error.retry_after is None
    assert len(str(error)) < 700
    assert "\n" not in str(error)


def test_the_body_is_kept_as_json_or_as_the_beginning_of_its_text() -> None:
    body = {"status": 404, "message": "No such model", "more": [1]}
    assert refused(404, body).body == body
    assert refused(502, PAGE).body == PAGE.decode().replace("\r\n", "\n")
    assert refused(502, b"x" * 10_000).body == "x" * 500
    assert refused(502, b"").body == ""


def test_the_headers_are_kept() -> None:
    assert refused(500, {}, server="nginx", retry_after="3").headers == {"server": "nginx", "retry-after": "3"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "advice"),
    [
        (401, {"message": "Unauthorized"}, {}, "check credentials and scope"),
        (402, {"message": "Payment Required"}, {}, "get_balance()"),
        (403, {"message": "Unauthorized"}, {}, "User-Agent"),
        (403, PAGE, {"content_type": "text/html"}, "comes from a gateway"),
        (404, {"message": "No such model"}, {}, "get_models()"),
        (413, {"message": "Payload too large"}, {}, "tokens_count()"),
        (429, {"message": "Too many requests"}, {}, "max_connections"),
        (400, {"message": "Your request contains invalid JSON syntax."}, {}, "a field with a wrong name or type"),
        (302, b"", {"location": "https://other.example/x?token=secret"}, "to https://other.example/x, and redirects"),
        (307, b"", {}, "to another address, and redirects are not followed: set base_url"),
    ],
)
def test_an_error_says_what_to_do_where_that_is_known(
    status: int, body: Any, headers: dict[str, str], advice: str
) -> None:
    error = refused(status, body, **headers)
    assert advice in error.message
    assert "secret" not in error.message


JSON_SYNTAX = "Your request contains invalid JSON syntax."
NAMES = (
    "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot (.) and "
    "digits (not leading) are allowed.: [1st]"
)
RESULT = "every assistant function result must have an assistant function call in history"


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (400, JSON_SYNTAX, "check names, types and roles"),
        (400, 'Unknown type "json" in response_format', '{"type": "json_schema", "schema": {…}}'),
        (400, "Empty schema with json format type is not supported", "a schema with at least one property"),
        (400, "Invalid model version", "leave out what follows the colon"),
        (400, "invalid function result for function tide json string high", "pass a dict, and the client encodes it"),
        (422, "Invalid params: invalid function result for function tide json string high", "pass a dict, and the"),
        (401, "Unauthorized", "check credentials and scope"),
        (401, "Token has expired", "pass credentials="),
        (402, "Payment Required", "buy one, or choose another model"),
        (403, "Permission denied", "get_balance() is for prepaid packages"),
        (403, "Unauthorized", "User-Agent"),
        (404, "No such model", "get_models() lists"),
        (404, "Batch task not found", "get_batches() lists"),
        (404, "Unknown tool 7d1c", "web_search"),
        (404, "No such file", "client_id="),
        (404, "Not Found", "check base_url"),
        (413, "Payload too large", "tokens_count() measures"),
        (422, "Invalid params: repetition_penalty must be in range (0, +inf)", "1.0 has no effect"),
        (422, "Invalid params: temperature must be in range (0, +inf)", "choose a value in that range"),
        (422, "Invalid params: system message must be the first message", "into one system message"),
        (
            422,
            "Invalid params: every assistant function call must have a result in history",
            'append a message with role "function"',
        ),
        (422, f"Invalid params: {RESULT}", "append the model's message with its function_call"),
        (422, NAMES, "rename the function"),
        (422, "Invalid params: Requested model does not support functions", "choose another model, GigaChat-2"),
        (422, "Invalid params: function tide is not in functions", 'or pass "auto"'),
        (422, "Invalid params: Tool code_interpreter is unavailable", "leave it out of tools"),
        (422, "Invalid params: file text is longer than the context of the model", "shorten or split them"),
        (429, "Too many requests", "max_connections"),
        (429, "TOO MANY REQUESTS", "max_connections"),
    ],
)
def test_everything_that_the_api_is_known_to_say_gets_one_sentence_on_what_to_do(
    status: int, message: str, advice: str
) -> None:
    error = refused(status, {"status": status, "message": message})
    assert error.message.startswith(f"{message} - ")
    assert advice in error.message
    assert "\n" not in error.message
    assert len(error.message) - len(message) < 200
    in_a_stream = error_in({"status": status, "message": message}, request_id=None)
    assert in_a_stream is not None
    assert in_a_stream.message == error.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Your profile is gone"),
        (400, "Some new text"),
        (500, "Internal Server Error"),
        (422, "Invalid params"),
        (400, "No such model"),
    ],
)
def test_an_error_says_no_more_than_the_server_where_nothing_is_known(status: int, message: str) -> None:
    assert refused(status, {"status": status, "message": message}).message == message


def test_the_body_is_kept_as_bytes_too() -> None:
    body = '{"status": 404,  "message": "нет"}'.encode()
    assert refused(404, body).content == body
    assert refused(502, b"").content == b""
    found = error_in({"status": 404, "message": "нет"}, request_id=None)
    assert found is not None
    assert json.loads(found.content) == {"status": 404, "message": "нет"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
        # The server's clock is an hour ahead of ours, so Retry-After is compared with the server's Date.
        (
            {
                "retry_after": email.utils.formatdate(NOW + 3630, usegmt=True),
                "date": email.utils.formatdate(NOW + 3600, usegmt=True),
            },
            30.0,
        ),
        (
            {
                "retry_after": email.utils.formatdate(NOW + 30, usegmt=True),
                "date": email.utils.formatdate(NOW + 4, usegmt=True),
            },
            30.0,
        ),
        ({"retry_after": email.utils.formatdate(NOW + 30, usegmt=True), "date": "yesterday"}, 30.0),
    ],
)
def test_the_wait_that_the_server_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert refused(429, {"message": "no"}, **headers).retry_after == seconds


# -- errors in good answers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error_class", "status", "message", "code"),
    [
        ({"status": 500, "message": "oh"}, ServerError, 500, "oh", None),
        ({"status": 404, "message": "oh"}, NotFoundError, 404, "oh", None),
        ({"status": "429", "message": "oh"}, RateLimitError, 429, "oh", None),
        ({"status": 1, "message": "oh"}, ServerError, 500, "oh", None),
        ({"code": 7, "message": "oh"}, ServerError, 500, "oh", 7),
        ({"error": {"message": "oh", "code": 429}}, RateLimitError, 429, "oh", 429),
        ({"error": {"message": "oh", "code": "rate_limit"}, "status": 429}, RateLimitError, 429, "oh", "rate_limit"),
        ({"error": {"message": "oh", "status": 422}}, UnprocessableEntityError, 422, "oh", None),
        ({"error": {"message": "oh"}}, ServerError, 500, "oh", None),
        ({"error": "oh"}, ServerError, 500, "oh", None),
        ({"error": "oh", "status_code": 403}, ForbiddenError, 403, "oh", None),
        ({"choices": [], "status": 500, "message": "oh"}, ServerError, 500, "oh", None),
        ({"choices": None, "error": "oh"}, ServerError, 500, "oh", None),
        ({"status": 500, "detail": "oh"}, ServerError, 500, "oh", None),
    ],
)
def test_an_error_object_in_place_of_a_result_is_found(
    data: Any, error_class: type[APIStatusError], status: int, message: str, code: Any
) -> None:
    error = error_in(data, request_id="r-1")
    assert error is not None
    assert type(error) is error_class
    assert (error.status_code, error.code, error.body, error.request_id) == (status, code, data, "r-1")
    assert error.message.startswith(message)


def test_an_error_in_a_good_answer_comes_with_advice_too() -> None:
    error = error_in({"status": 429, "message": "Too many requests"}, request_id=None)
    assert error is not None
    assert "max_connections" in error.message


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        5,
        "error",
        {},
        {"message": "hello"},
        {"status": 200, "message": "ok"},
        {"status": True, "message": "ok"},
        {"error": None, "message": "hello"},
        {"error": {}},
        {"error": []},
        {"status": 500},
        {"status": 500, "message": 5},
        {"choices": [{"index": 0}], "status": 500, "message": "no"},
        {"messages": [{}], "error": "no"},
    ],
    ids=str,
)
def test_what_is_no_error_is_not_taken_for_one(data: Any) -> None:
    assert error_in(data, request_id=None) is None


def test_an_excerpt_is_short_and_fit_to_be_shown() -> None:
    assert excerpt(b"a\r\nb\tc\x1b[31m\x00") == "a\nb\tc\ufffd[31m\ufffd"
    assert excerpt("я".encode() * 5000) == "я" * 500
    assert excerpt(b"\xd0") == "\ufffd"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"status": 199, "message": "odd"}, 500),
        ({"status": 200, "message": "fine"}, None),
        ({"status": 299, "message": "fine"}, None),
        ({"status": 300, "message": "odd"}, 500),
        ({"status": 200, "message": "fine", "code": 7}, None),
        ({"status": 399, "message": "odd"}, 500),
        ({"status": 400, "message": "odd"}, 400),
        ({"status": 599, "message": "odd"}, 599),
        ({"status": 600, "message": "odd"}, 500),
        ({"code": "999999999", "message": "odd"}, 500),
        ({"code": "1000000000", "message": "an id, not a status"}, None),
    ],
)
def test_a_status_in_a_body_counts_within_its_bounds(data: dict[str, Any], status: int | None) -> None:
    error = error_in(data, request_id=None)
    assert (error and error.status_code) == status


def test_an_error_in_a_body_without_advice_is_the_servers_message_alone() -> None:
    error = error_in({"status": 418, "message": "odd", "code": ["odd"]}, request_id=None)
    assert error is not None
    assert (error.message, error.code) == ("odd", None)
