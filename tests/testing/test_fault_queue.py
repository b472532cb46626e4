"""Tests of the requests that get a fault."""

from __future__ import annotations

from typing import Any

import pytest
from testing.plain_client import Giga, oauth

from gigaclient.testing import Fault, GigaChatEmulator

PROMPT = "Count from 1 to 4"


def test_faults_apply_in_order_and_as_often_as_injected(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(status=500), times=2)
    gigachat.inject(Fault(status=503))
    with Giga(gigachat) as giga:
        assert [giga.chat(PROMPT).status for _ in range(4)] == [500, 500, 503, 200]


def test_a_fault_can_stay_until_it_is_cleared(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(status=500), times=None)
    with Giga(gigachat) as giga:
        assert {giga.chat(PROMPT).status for _ in range(5)} == {500}
        gigachat.clear()
        assert giga.chat(PROMPT).status == 200


def test_a_fault_waits_for_its_path(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(status=500), path="/models")
    gigachat.inject(Fault(status=503), path="/chat/completions")
    with Giga(gigachat) as giga:
        assert giga.chat(PROMPT).status == 503
        assert giga.chat(PROMPT).status == 200
        assert giga.get("/v1/models").status == 500


def test_a_fault_without_a_path_applies_only_to_authenticated_api_requests(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(status=500))
    assert oauth(gigachat).status == 200
    with Giga(gigachat, token="wrong") as giga:
        assert giga.chat(PROMPT).status == 401
    with Giga(gigachat) as giga:
        assert giga.chat(PROMPT).status == 500


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault(status=503), 503, {"code": 503, "message": "Service Unavailable"}),
        (Fault(unauthorized=True), 401, {"code": 6, "message": "credentials doesn't match db data"}),
        (Fault(status=429, body={"code": 9, "message": "slower"}), 429, {"code": 9, "message": "slower"}),
    ],
)
def test_oauth_gets_faults_with_its_path(gigachat: GigaChatEmulator, fault: Fault, status: int, body: Any) -> None:
    gigachat.inject(fault, path="/oauth")
    reply = oauth(gigachat)
    assert (reply.status, reply.json()) == (status, body)
    assert gigachat.tokens_issued == 0
    assert oauth(gigachat).status == 200


def test_invalid_times_are_refused_at_once(gigachat: GigaChatEmulator) -> None:
    with pytest.raises(ValueError, match="times"):
        gigachat.inject(Fault(), times=0)
    with pytest.raises(ValueError, match="times"):
        gigachat.answer("x", times=0)
