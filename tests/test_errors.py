"""The error classes: their bases, their attributes, and that they can be pickled."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import pytest

import gigaclient
import gigaclient.errors as errors
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ContentFilterError,
    ForbiddenError,
    GigaClientDeprecationWarning,
    GigaClientError,
    InvalidResponseError,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    StreamInterruptedError,
    TLSError,
    TooManyStepsError,
    UnprocessableEntityError,
)
from gigaclient.types import ChatCompletion, Choice, Message

TREE: dict[type[Exception], tuple[type[BaseException], ...]] = {
    GigaClientError: (Exception,),
    ConfigError: (GigaClientError, ValueError),
    ModelNotSpecifiedError: (ConfigError,),
    APIConnectionError: (GigaClientError,),
    TLSError: (APIConnectionError,),
    APITimeoutError: (APIConnectionError, TimeoutError),
    StreamInterruptedError: (GigaClientError,),
    InvalidResponseError: (GigaClientError, RuntimeError),
    ContentFilterError: (InvalidResponseError,),
    LengthFinishReasonError: (GigaClientError,),
    TooManyStepsError: (GigaClientError,),
    APIStatusError: (GigaClientError,),
    BadRequestError: (APIStatusError,),
    AuthenticationError: (APIStatusError,),
    PaymentRequiredError: (APIStatusError,),
    ForbiddenError: (APIStatusError,),
    NotFoundError: (APIStatusError,),
    RequestEntityTooLargeError: (APIStatusError,),
    UnprocessableEntityError: (APIStatusError,),
    RateLimitError: (APIStatusError,),
    ServerError: (APIStatusError,),
}

ANSWER = ChatCompletion(choices=[Choice(message=Message(role="assistant", content="so far"))]).attach(
    raw={"choices": [], "new": 1}, request_id="r-1"
)

SAMPLES: list[GigaClientError] = [
    GigaClientError("plain", request_id="r-1"),
    ConfigError("pass a key"),
    ModelNotSpecifiedError("name a model"),
    APIConnectionError("refused", sent=False),
    TLSError("not trusted", host="api.example", issuer="CN=Somebody"),
    APITimeoutError("too slow", timeout_kind="event", sent=True, request_id="r-1"),
    StreamInterruptedError("cut", request_id="r-1"),
    InvalidResponseError("a page", request_id="r-1", status_code=200, body="<html>", headers={"server": "nginx"}),
    ContentFilterError("blocked", completion=ANSWER),
    LengthFinishReasonError("too long", completion=ANSWER),
    TooManyStepsError("too many", completion=ANSWER),
    *(
        class_(
            "no",
            status_code=status,
            code=7,
            body={"status": status, "message": "no"},
            headers={"x-request-id": "r-1"},
            request_id="r-1",
            retry_after=2.5,
            content=b'{"status": 1}',
            url="https://api.giga.chat/v1/models",
        )
        for class_, status in (
            (APIStatusError, 418),
            (BadRequestError, 400),
            (AuthenticationError, 401),
            (PaymentRequiredError, 402),
            (ForbiddenError, 403),
            (NotFoundError, 404),
            (RequestEntityTooLargeError, 413),
            (UnprocessableEntityError, 422),
            (RateLimitError, 429),
            (ServerError, 503),
        )
    ),
]


def test_the_tree_is_the_documented_one() -> None:
    assert {class_: class_.__bases__ for class_ in TREE} == TREE


def test_every_error_is_in_the_tree_in_the_docstring_and_at_the_top() -> None:
    found = {class_ for _, class_ in inspect.getmembers(errors, inspect.isclass) if issubclass(class_, Exception)}
    assert found - {GigaClientDeprecationWarning} == set(TREE)
    assert sorted(class_.__name__ for class_ in found) == sorted(errors.__all__)
    for class_ in TREE:
        assert class_.__name__ in (errors.__doc__ or "")
        assert class_.__doc__
        assert getattr(gigaclient, class_.__name__) is class_


def test_the_deprecation_warning_is_at_the_top_and_no_error() -> None:
    assert gigaclient.GigaClientDeprecationWarning is GigaClientDeprecationWarning
    assert issubclass(GigaClientDeprecationWarning, DeprecationWarning)
    assert not issubclass(GigaClientDeprecationWarning, GigaClientError)
    with pytest.warns(GigaClientDeprecationWarning, match="use the other") as caught:
        warnings.warn("use the other", GigaClientDeprecationWarning, stacklevel=1)
    assert pickle.loads(pickle.dumps(caught[0].message)).args == ("use the other",)


def test_there_is_a_sample_of_each_kind_here() -> None:
    assert {type(sample) for sample in SAMPLES} == set(TREE)


STATUSES = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (402, PaymentRequiredError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (413, RequestEntityTooLargeError),
    (422, UnprocessableEntityError),
    (429, RateLimitError),
    (500, ServerError),
    (502, ServerError),
    (503, ServerError),
    (504, ServerError),
    (599, ServerError),
    (302, APIStatusError),
    (405, APIStatusError),
    (408, APIStatusError),
    (409, APIStatusError),
    (418, APIStatusError),
    (499, APIStatusError),
    (600, APIStatusError),
]


@pytest.mark.parametrize(("status", "class_"), STATUSES)
def test_each_status_has_the_class_that_people_catch(status: int, class_: type[APIStatusError]) -> None:
    assert APIStatusError.class_for(status) is class_


# What else an error carries when it is pickled: tests/test_pickle.py.
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_can_be_pickled_with_every_protocol(protocol: int) -> None:
    for error in SAMPLES:
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (type(again), vars(again)) == (type(error), vars(error))


class _MyError(RateLimitError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one}{two}", status_code=429)


def test_a_class_of_the_user_can_be_pickled_too() -> None:
    assert str(pickle.loads(pickle.dumps(_MyError(1, 2)))) == "429: 12"


def test_the_text_of_an_error_has_status_request_and_attempts() -> None:
    error = RateLimitError("Too many requests", status_code=429, request_id="r-1")
    assert str(error) == "429: Too many requests (request r-1)"
    assert error.message == "Too many requests"
    error.attempts = ("429 after 0.10 s",)
    assert str(error) == "429: Too many requests (request r-1)"
    error.attempts = ("503 after 0.10 s", "429 after 0.20 s")
    assert str(error) == "429: Too many requests (request r-1) [2 attempts: 503 after 0.10 s; 429 after 0.20 s]"
    assert str(ConfigError("pass a key")) == "pass a key"
    assert str(APITimeoutError("too slow")) == "too slow"


def test_the_attributes_of_errors_have_defaults() -> None:
    error = GigaClientError("x")
    assert (error.request_id, error.attempts, error.text, error.completion) == (None, (), "", None)
    assert APIConnectionError("x").sent
    assert not TLSError("x").sent
    assert APITimeoutError("x").timeout_kind == "read"
    status = APIStatusError("x", status_code=400)
    assert (status.code, status.body, status.headers, status.retry_after) == (None, None, {}, None)
    invalid = InvalidResponseError("x")
    assert (invalid.status_code, invalid.body, invalid.headers) == (None, "", {})


def test_deadline_is_the_older_name_of_timeout_kind() -> None:
    error = APITimeoutError("x", timeout_kind="event")
    assert (error.deadline, pickle.loads(pickle.dumps(error)).deadline) == ("event", "event")
    with pytest.raises(AttributeError):
        error.deadline = "read"  # type: ignore[misc]


def test_the_headers_of_an_error_are_its_own() -> None:
    mine = {"a": "b"}
    error = APIStatusError("x", status_code=400, headers=mine)
    mine["c"] = "d"
    assert error.headers == {"a": "b"}


def test_a_header_is_found_under_any_spelling_of_its_name() -> None:
    error = APIStatusError("x", status_code=429, headers={"Retry-After": "5", "x-request-id": "r-1"})
    invalid = InvalidResponseError("x", headers={"Server": "nginx"})
    for headers, name, value in ((error.headers, "retry-after", "5"), (invalid.headers, "server", "nginx")):
        assert headers[name] == headers[name.upper()] == headers.get(name.title()) == value
        assert name.title() in headers
        assert headers.get("absent") is None
        assert headers.get("absent", "?") == "?"
        assert 5 not in headers
    assert dict(error.headers) == {"retry-after": "5", "x-request-id": "r-1"}
    assert copy.copy(error).headers["Retry-After"] == "5"


def test_the_content_of_an_error_is_the_received_body_or_the_encoded_one() -> None:
    assert APIStatusError("x", status_code=400, content=b"<html>", body="<html>").content == b"<html>"
    assert APIStatusError("x", status_code=400, body={"message": "нет"}).content == '{"message": "нет"}'.encode()
    assert APIStatusError("x", status_code=400, body="нет").content == "нет".encode()
    assert APIStatusError("x", status_code=400).content == b""
    assert APIStatusError("x", status_code=400).url is None


def test_an_answer_cut_by_length_has_its_text() -> None:
    assert LengthFinishReasonError("x", completion=ANSWER).text == "so far"
    assert LengthFinishReasonError("x").completion is None


def test_a_builtin_except_clause_catches_what_a_python_programmer_expects() -> None:
    with pytest.raises(ValueError):
        raise ConfigError("x")
    with pytest.raises(RuntimeError):
        raise InvalidResponseError("x")
    with pytest.raises(TimeoutError):
        raise APITimeoutError("x")
    with pytest.raises(OSError):
        raise APITimeoutError("x")
