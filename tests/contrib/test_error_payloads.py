"""Errors as statuses, headers and JSON for a browser."""

from __future__ import annotations

import json

import pytest

from gigaclient import errors
from gigaclient.contrib.event_stream import error_headers, error_payload, status_of

STATUSES: list[tuple[BaseException, int]] = [
    (errors.AuthenticationError("x", status_code=401), 401),
    (errors.PaymentRequiredError("x", status_code=402), 402),
    (errors.RateLimitError("x", status_code=429), 429),
    (errors.UnprocessableEntityError("x", status_code=422), 422),
    (errors.ServerError("x", status_code=503), 503),
    (errors.APIStatusError("x", status_code=302), 502),
    (errors.APIStatusError("x", status_code=0), 502),
    (errors.APITimeoutError("x"), 504),
    (errors.APIConnectionError("x"), 502),
    (errors.TLSError("x"), 502),
    (errors.StreamInterruptedError("x"), 502),
    (errors.InvalidResponseError("x"), 502),
    (errors.ContentFilterError("x"), 502),
    (errors.LengthFinishReasonError("x"), 502),
    (errors.TooManyStepsError("x"), 502),
    (errors.ConfigError("x"), 500),
    (errors.GigaClientError("x"), 502),
    (LookupError("x"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda value: type(value).__name__)
def test_each_error_has_a_status_and_a_sentence_for_a_person(error: BaseException, status: int) -> None:
    assert status_of(error) == status
    reported = error_payload(error)
    assert set(reported) == {"status", "type", "message", "retry_after", "request_id"}
    assert reported["status"] == status
    assert len(reported["message"].split()) > 3 or status == 422
    json.dumps(reported, allow_nan=False)


def test_the_payload_of_an_error_has_no_hosts_paths_and_settings() -> None:
    inner = "proxy http://proxy.corp:3128, ca_bundle_file=/srv/ca.pem, check credentials and scope"
    for error, _ in STATUSES:
        if isinstance(error, errors.UnprocessableEntityError):
            continue  # the payload quotes the message of the service
        error.message = inner  # type: ignore[attr-defined]
        error.args = (inner,)
        reported = json.dumps(error_payload(error))
        assert not any(word in reported for word in ("proxy.corp", "ca.pem", "credentials")), reported


def test_an_invalid_request_is_reported_with_the_message_of_the_service() -> None:
    error = errors.BadRequestError("temperature must be\nin range", status_code=400, request_id="r-1")
    assert error_payload(error) == {
        "status": 400,
        "type": "BadRequestError",
        "message": "temperature must be in range",
        "retry_after": None,
        "request_id": "r-1",
    }


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.0, "0"), (0.2, "1"), (3.0, "3"), (3.01, "4")])
def test_retry_after_is_passed_on_in_whole_seconds(seconds: float | None, header: str | None) -> None:
    error = errors.RateLimitError("x", status_code=429, retry_after=seconds)
    assert error_headers(error).get("Retry-After") == header
    assert error_payload(error)["retry_after"] == seconds
