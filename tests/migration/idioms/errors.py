"""Errors of the server, retries, and what exceptions hold."""

from __future__ import annotations

from gigachat import GigaChat
from gigachat.exceptions import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    GigaChatException,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    RateLimitError,
    RequestEntityTooLargeError,
    ResponseError,
    ServerError,
    UnprocessableEntityError,
)
from support.official_sdk import differs, raises

from gigaclient.testing import Fault

URL = "https://api.example/v1/chat/completions"


def _refused(giga, emulator, status, **fault):
    emulator.inject(Fault(status=status, **fault))
    try:
        giga.chat("Hi")
    except GigaChatException as error:
        return error
    return None


def _caught(emulator, status, type_, **fault):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        error = _refused(giga, emulator, status, **fault)
    return [isinstance(error, type_), isinstance(error, ResponseError), error.status_code]


def a_bad_request_is_refused(emulator):
    return _caught(emulator, 400, BadRequestError)


@differs("new-token", official=raises("AuthenticationError"), ours="1, 2")
def a_new_token_is_refused_once(emulator):
    emulator.inject(Fault(status=401))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return giga.chat("Count from 1 to 2").choices[0].message.content


def an_unauthorized_request_is_refused(emulator):
    emulator.inject(Fault(status=401), times=None)
    with GigaChat(model="GigaChat-2", access_token=emulator.issue_token(), max_retries=0) as giga:
        try:
            giga.chat("Hi")
        except AuthenticationError as error:
            return error.status_code


def a_forbidden_request_is_refused(emulator):
    return _caught(emulator, 403, ForbiddenError)


@differs("similar-names", official=[True, True, 404, 1], ours=[True, True, 404, 2])
def a_missing_model_is_not_found(emulator):
    return [*_caught(emulator, 404, NotFoundError), len(emulator.requests)]


def a_prompt_that_is_too_long_is_refused(emulator):
    return _caught(emulator, 413, RequestEntityTooLargeError)


def a_wrong_value_is_unprocessable(emulator):
    return _caught(emulator, 422, UnprocessableEntityError)


def too_many_requests_are_refused(emulator):
    return _caught(emulator, 429, RateLimitError)


def a_failure_of_the_server_is_an_error(emulator):
    return [_caught(emulator, status, ServerError) for status in (500, 502, 503, 504)]


def a_status_without_a_class_is_a_response_error(emulator):
    return _caught(emulator, 418, ResponseError)


def a_payment_that_is_due_is_a_response_error(emulator):
    return _caught(emulator, 402, ResponseError)


def the_time_to_wait_is_an_attribute(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return _refused(giga, emulator, 429, retry_after=7).retry_after


@differs("retry-after", official=0.0, ours=None)
def there_is_no_time_to_wait(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return _refused(giga, emulator, 429).retry_after


def the_time_to_wait_is_awaited_in_a_sum(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return (_refused(giga, emulator, 429).retry_after or 1) + 1


def an_error_has_the_body_and_the_address(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        error = _refused(giga, emulator, 400, body={"status": 400, "message": "odd"})
    return [error.content, str(error.url).endswith("/v1/chat/completions"), error.status_code]


def an_error_has_headers_in_any_case(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        headers = _refused(giga, emulator, 400, headers={"X-Odd": "1"}).headers
    return [headers["x-odd"], headers["X-ODD"], headers.get("X-Missing"), headers.get("x-missing", "-")]


def an_error_prints_its_status(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return "400" in str(_refused(giga, emulator, 400))


def an_error_prints_the_message_of_the_server(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return "rather odd" in str(_refused(giga, emulator, 400, body={"status": 400, "message": "rather odd"}))


@differs("error-text", official=True, ours=False)
def an_error_prints_the_headers(emulator):
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return "x-odd" in str(_refused(giga, emulator, 400, headers={"x-odd": "1"})).lower()


def an_error_is_constructed():
    error = NotFoundError(URL, 404, b"{}", None)
    return [error.url, error.status_code, error.content, not error.headers]


def an_error_is_constructed_by_names():
    error = RateLimitError(url=URL, status_code=429, content=b"", headers={"retry-after": "3"})
    return [error.retry_after, isinstance(error, ResponseError)]


def an_error_of_the_length_is_constructed(giga):
    completion = giga.chat("Count from 1 to 2")
    error = LengthFinishReasonError(completion)
    return [error.completion is completion, isinstance(error, GigaChatException)]


def an_error_of_the_model_is_constructed():
    return isinstance(ModelNotSpecifiedError(), GigaChatException)


def an_exception_of_the_package_is_raised_by_hand():
    try:
        raise GigaChatException("mine")
    except GigaChatException as error:
        return str(error)


def an_error_in_a_stream_is_raised_at_its_start(emulator):
    emulator.inject(Fault(status=400))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        try:
            return list(giga.stream("Hi"))
        except BadRequestError as error:
            return error.status_code


@differs("stream-starts", official="not read", ours=raises("BadRequestError"))
def a_stream_is_refused_before_it_is_read(emulator):
    emulator.inject(Fault(status=400))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        giga.stream("Hi")
    return "not read"


def a_failure_is_tried_again(emulator):
    emulator.inject(Fault(status=503), times=2)
    with GigaChat(model="GigaChat-2", max_retries=2, retry_backoff_factor=0.01) as giga:
        return [giga.chat("Count from 1 to 2").choices[0].message.content, len(emulator.chats)]


def a_failure_is_not_tried_again(emulator):
    emulator.inject(Fault(status=503))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        try:
            giga.chat("Hi")
        except ServerError:
            return len(emulator.chats)


@differs("retries", official=raises("RateLimitError"), ours="1, 2")
def a_failure_is_tried_again_by_default(emulator):
    emulator.inject(Fault(status=429, retry_after=0))
    with GigaChat(model="GigaChat-2", retry_backoff_factor=0.01) as giga:
        return giga.chat("Count from 1 to 2").choices[0].message.content


@differs("retried-statuses", official=[2, "1, 2"], ours=raises("ServerError"))
def only_listed_statuses_are_tried_again(emulator):
    emulator.inject(Fault(status=503))
    with GigaChat(model="GigaChat-2", max_retries=1, retry_on_status_codes=(429,)) as giga:
        answer = giga.chat("Count from 1 to 2").choices[0].message.content
    return [len(emulator.chats), answer]


def retries_are_set_in_the_environment(emulator):
    import os

    os.environ.update(GIGACHAT_MAX_RETRIES="1", GIGACHAT_RETRY_BACKOFF_FACTOR="0.01")
    emulator.inject(Fault(status=500))
    with GigaChat(model="GigaChat-2") as giga:
        return [giga.chat("Count from 1 to 2").choices[0].message.content, len(emulator.chats)]


def a_list_of_models_is_tried_again(emulator):
    emulator.inject(Fault(status=502))
    with GigaChat(max_retries=1, retry_backoff_factor=0.01) as giga:
        return giga.get_models().object_


def a_stream_is_tried_again_before_its_start(emulator):
    emulator.inject(Fault(status=503))
    with GigaChat(model="GigaChat-2", max_retries=1, retry_backoff_factor=0.01) as giga:
        return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream("Count from 1 to 3"))


def a_refused_key_is_an_error_of_its_status():
    with GigaChat(model="GigaChat-2", credentials="bm90LWE6a2V5") as giga:
        try:
            giga.chat("Hi")
        except ResponseError as error:
            return error.status_code


@differs("refused-key", official=raises("BadRequestError"), ours=raises("AuthenticationError"))
def a_key_that_the_token_address_calls_malformed(emulator):
    emulator.inject(Fault(status=400, body={"code": 4, "message": "odd"}), path="/oauth")
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        giga.chat("Hi")


def the_token_address_fails(emulator):
    emulator.inject(Fault(status=500), path="/oauth")
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        try:
            giga.chat("Hi")
        except ServerError as error:
            return error.status_code


@differs("unreadable-answer", official=raises("JSONDecodeError"), ours=raises("InvalidResponseError"))
def a_page_of_a_gateway_is_an_answer(emulator):
    emulator.inject(Fault(html=True))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        giga.chat("Hi")


@differs("unreadable-answer", official=raises("ValidationError"), ours=raises("InvalidResponseError"))
def an_answer_without_choices(emulator):
    emulator.inject(Fault(body={"object": "chat.completion", "created": 1, "model": "m"}))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        giga.chat("Hi")


@differs("odd-answers", official=raises("ValidationError"), ours=None)
def a_missing_field_of_an_answer(emulator):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}
    emulator.inject(Fault(body={"choices": [choice], "object": "chat.completion", "model": "m"}))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return giga.chat("Hi").created
