"""The balance, the AI check, the content filter, and the tools for function specifications."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import client_without_retries
from support.platform_tools import answer_with, bodies_sent_to
from support.reliability_tools import Task

from gigaclient import Function, GigaChat, Message
from gigaclient.errors import (
    BadRequestError,
    ConfigError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
    UnprocessableEntityError,
)
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import BalanceValue, FunctionIssue

ESSAY = "Вчера вечером мы шли вдоль реки и молчали. " * 3
BY_A_MODEL = (
    "Важно отметить, что река течёт медленно и широко. Мы шли и молчали весь вечер. "
    "Таким образом, вечер удался на славу нам всем."
)
PATHS = {
    "openapi": "3.0.0",
    "paths": {"/tides": {"get": {"operationId": "get_tides", "summary": "Tides", "responses": {}}}},
}
GOOD = Function(
    name="get_tide",
    description="The tide at a port",
    parameters={"type": "object", "properties": {"port": {"type": "string"}}},
    return_parameters={"type": "object", "properties": {"height": {"type": "number"}}},
)


@pytest.fixture(scope="module")
def _emulators() -> Iterator[dict[str, GigaChatEmulator]]:
    with GigaChatEmulator() as personal, GigaChatEmulator(scope="GIGACHAT_API_CORP") as company:
        yield {"personal": personal, "company": company}
    assert personal.api_server.handler_errors == company.api_server.handler_errors == []


@pytest.fixture
def emulator(_emulators: dict[str, GigaChatEmulator]) -> Iterator[GigaChatEmulator]:
    yield _emulators["personal"]
    _emulators["personal"].clear()


@pytest.fixture
def company(_emulators: dict[str, GigaChatEmulator]) -> Iterator[GigaChat]:
    with client_without_retries(_emulators["company"]) as client:
        yield client


# -- balance ---------------------------------------------------------------------------------------


def test_the_balance_has_the_rest_of_each_package(giga: GigaChat) -> None:
    balance = giga.get_balance()
    left = {entry.usage: entry.value for entry in balance.balance}
    assert left["GigaChat-2-Pro"] == 1_000_000
    assert left["embeddings"] == 1_000_000.5
    assert balance.request_id


def test_a_pay_as_you_go_plan_gets_advice_about_the_balance(company: GigaChat) -> None:
    with pytest.raises(ForbiddenError, match=r"Permission denied - .*pays as it goes has none") as caught:
        company.get_balance()
    assert caught.value.args == (caught.value.message,)


def test_a_gateways_refusal_keeps_its_own_advice(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=403, body={"message": "Unauthorized"}), path="/balance")
    with pytest.raises(ForbiddenError, match="User-Agent") as caught:
        giga.get_balance()
    assert "pays as it goes" not in caught.value.message
    emulator.inject(Fault(status=403, html=True), path="/balance")
    with pytest.raises(ForbiddenError, match="gateway"):
        giga.get_balance()


def test_a_null_value_does_not_affect_other_packages(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, "/balance", {"balance": [{"usage": "a", "value": None}, {"usage": "b", "value": "7"}]})
    assert giga.get_balance().balance == [BalanceValue(usage="a"), BalanceValue(usage="b", value=7.0)]


# -- the AI check -------------------------------------------------------------------------------


def test_check_ai_returns_a_category_and_intervals(company: GigaChat) -> None:
    found = company.check_ai(BY_A_MODEL, "GigaCheckDetection")
    assert found.category == "mixed"
    assert found.characters == len(BY_A_MODEL)
    assert found.ai_intervals is not None
    assert [BY_A_MODEL[start:end].split()[0] for start, end in found.ai_intervals] == ["Важно", "Таким"]
    assert company.check_ai(ESSAY, model="GigaCheckClassification").category == "human"
    assert company.check_ai(ESSAY, "GigaCheckClassification").ai_intervals is None
    assert found.request_id


def test_other_plans_get_advice_about_the_check(giga: GigaChat) -> None:
    with pytest.raises(ForbiddenError, match="GIGACHAT_API_CORP"):
        giga.check_ai(ESSAY, "GigaCheckDetection")


def test_a_short_text_is_refused_by_the_server(company: GigaChat) -> None:
    with pytest.raises(UnprocessableEntityError, match="20 words"):
        company.check_ai("Too short.", "GigaCheckDetection")
    with pytest.raises(NotFoundError, match="No such model"):
        company.check_ai(ESSAY, "GigaChat-2")


def test_intervals_are_not_changed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, "/ai/check", {"category": "of a new kind", "ai_intervals": [[1, None], [5, 7]], "tokens": 3})
    found = giga.check_ai(ESSAY, "GigaCheckDetection")
    assert (found.category, found.ai_intervals, found.characters) == ("of a new kind", [[1, None], [5, 7]], None)
    answer_with(emulator, "/ai/check", {"category": "ai", "ai_intervals": None})
    assert giga.check_ai(ESSAY, "GigaCheckDetection").ai_intervals is None


@pytest.mark.parametrize(("text", "model"), [("", "m"), (None, "m"), (["a"], "m"), ("text", ""), ("text", None)])
def test_a_check_without_a_text_or_a_model_is_not_sent(
    emulator: GigaChatEmulator, giga: GigaChat, text: Any, model: Any
) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError):
        giga.check_ai(text, model)
    assert len(emulator.requests) == before


# -- the filter ------------------------------------------------------------------------------------


def test_the_filter_checks_messages(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assert giga.filter_check("Good morning").is_profane is False
    found = giga.filter_check([Message(content="Good morning"), {"role": "assistant", "content": "You idiot"}])
    assert found.is_profane is True
    assert found.usage is not None
    assert found.usage.filter_tokens == 7
    assert bodies_sent_to(emulator, "/filter/check")[-1].json() == {
        "model": "GigaFilter",
        "messages": [{"role": "user", "content": "Good morning"}, {"role": "assistant", "content": "You idiot"}],
    }


def test_further_fields_of_the_filter_are_sent_and_options_are_not(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    settings = {"neuro": False, "blacklist": False, "whitelist": True, "unnormalized_history": False}
    found = giga.filter_check(
        "You idiot",
        "GigaFilter",
        settings=settings,
        functions=None,
        request_id="r-1",
        additional_fields={"new": [1], "model": "x"},
    )
    assert found.is_profane is False
    request = bodies_sent_to(emulator, "/filter/check")[-1]
    assert request.json() == {
        "model": "GigaFilter",
        "settings": settings,
        "new": [1],
        "messages": [{"role": "user", "content": "You idiot"}],
    }
    assert request.headers["x-request-id"] == "r-1" == found.request_id


def test_a_server_without_the_filter_is_reported(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(NotFoundError):
        giga.filter_check("text", "GigaChat-2")
    with pytest.raises(ConfigError, match="messages is empty"):
        giga.filter_check([])


# -- functions from OpenAPI --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "bytes", "bytes with a mark", "dict"])
def test_a_description_becomes_functions(emulator: GigaChatEmulator, giga: GigaChat, form: str) -> None:
    text = json.dumps(PATHS, ensure_ascii=False)
    description: Any = {
        "text": text, "bytes": text.encode(), "bytes with a mark": b"\xef\xbb\xbf" + text.encode(), "dict": PATHS,
    }[form]  # fmt: skip
    found = giga.openapi_function_convert(description)
    assert [(function.name, function.description) for function in found.functions] == [("get_tides", "Tides")]
    request = bodies_sent_to(emulator, "/functions/convert")[-1]
    assert json.loads(request.body) == PATHS
    assert "content-type" not in request.headers  # as the official SDK sends it


def test_a_description_in_yaml_is_sent_unchanged(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    text = "paths:\n  /приливы:\n    get:\n      operationId: tides\n      summary: Прилив\n"
    assert giga.openapi_function_convert(openapi_function=text).functions[0].description == "Прилив"
    assert bodies_sent_to(emulator, "/functions/convert")[-1].body == text.encode()


def test_a_converted_function_may_be_passed_to_chat(giga: GigaChat) -> None:
    functions = giga.openapi_function_convert(PATHS).functions
    called = giga.chat("What tides are there?", functions=functions).function_call
    assert called is not None
    assert called.name == "get_tides"


def test_an_invalid_description_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(BadRequestError):
        giga.openapi_function_convert("no: paths")
    emulator.inject(Fault(status=404, body={"status": 404, "message": "Not Found"}), path="/functions/convert")
    with pytest.raises(NotFoundError, match="does not offer the conversion"):
        giga.openapi_function_convert(PATHS)


def test_a_pair_of_surrogates_in_a_description_is_joined(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.openapi_function_convert(f"# \ud83d\ude00\n{PATHS}")
    assert "# 😀" in emulator.requests[-1].body.decode()


@pytest.mark.parametrize("description", ["", b"", None, 7, b"\xff\xfe", "half \ud83d"])
def test_an_unsendable_description_is_refused(emulator: GigaChatEmulator, giga: GigaChat, description: Any) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError, match="openapi_function"):
        giga.openapi_function_convert(description)
    assert len(emulator.requests) == before


# -- validation of functions -----------------------------------------------------------------


def test_a_good_function_is_valid_and_has_warnings(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    verdict = giga.validate_function(GOOD)
    assert verdict.valid
    assert verdict.errors is None
    assert verdict.warnings == [
        FunctionIssue(description="consider adding call examples", schema_location="(root).parameters")
    ]
    assert verdict.json_ai_rules_version
    assert bodies_sent_to(emulator, "/functions/validate")[-1].json() == {
        "name": "get_tide", "description": "The tide at a port", "parameters": GOOD.parameters,
        "return_parameters": GOOD.return_parameters,
    }  # fmt: skip


def test_a_bad_function_is_a_result_with_errors(giga: GigaChat) -> None:
    verdict = giga.validate_function({"name": "f", "parameters": {"type": "object", "properties": {"port": {}}}})
    assert not verdict.valid
    assert verdict.errors == [
        FunctionIssue(description="property type is missing", schema_location="(root).parameters.properties.port")
    ]
    assert verdict.warnings is None


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"status": 200, "message": "Function is valid"}, True),
        ({"message": "Function is valid", "errors": []}, True),
        ({"message": "Function is valid", "errors": None, "warnings": [None, {}]}, True),
        ({"status": 200, "message": "Incorrect function syntax"}, False),
        (
            {"status": 400, "message": "Incorrect", "json_ai_rules_version": "9", "errors": [{"description": "x"}]},
            False,
        ),
        ({"status": 200, "message": "Function is valid", "errors": [{"description": "x"}]}, False),
        ({"status": 422, "message": "Rules broken", "json_ai_rules_version": "9"}, False),
    ],
    ids=str,
)
def test_errors_and_the_message_decide(
    emulator: GigaChatEmulator, giga: GigaChat, body: dict[str, Any], valid: bool
) -> None:
    answer_with(emulator, "/functions/validate", body)
    assert giga.validate_function(GOOD).valid is valid


def test_an_error_object_under_status_200_is_no_verdict(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, "/functions/validate", {"status": 500, "message": "Internal Server Error"})
    with pytest.raises(ServerError):
        giga.validate_function(GOOD)


@pytest.mark.parametrize("function", ["get_tide", b"{}", None, [GOOD]])
def test_an_invalid_function_is_refused_before_sending(giga: GigaChat, function: Any) -> None:
    with pytest.raises(ConfigError, match="function must be a Function or a dict"):
        giga.validate_function(function)


def test_a_value_outside_json_is_named_by_its_path(giga: GigaChat) -> None:
    with pytest.raises(ConfigError, match=r"function\.parameters\.default"):
        giga.validate_function({"name": "f", "parameters": {"default": {1, 2}}})


# -- all endpoints of this module -----------------------------------------------------------------------------------


CALLS: dict[str, Any] = {
    "/balance": lambda giga, **options: giga.get_balance(**options),
    "/ai/check": lambda giga, **options: giga.check_ai(ESSAY, "GigaCheckDetection", **options),
    "/filter/check": lambda giga, **options: giga.filter_check("text", **options),
    "/functions/convert": lambda giga, **options: giga.openapi_function_convert(PATHS, **options),
    "/functions/validate": lambda giga, **options: giga.validate_function(GOOD, **options),
}


@pytest.mark.parametrize("path", CALLS)
def test_a_response_of_another_shape_is_invalid(emulator: GigaChatEmulator, giga: GigaChat, path: str) -> None:
    bodies: list[Any] = [{}, [], b"null", b"<html>", {"error": None}]
    for body in bodies:
        answer_with(emulator, path, body)
        with pytest.raises(InvalidResponseError):
            CALLS[path](giga)


@pytest.mark.parametrize("path", CALLS)
def test_an_error_under_status_200_is_that_error(emulator: GigaChatEmulator, giga: GigaChat, path: str) -> None:
    answer_with(emulator, path, {"error": {"status": 503, "message": "busy"}})
    with pytest.raises(ServerError, match="busy"):
        CALLS[path](giga)


@pytest.mark.parametrize("path", CALLS)
def test_a_call_takes_the_options_of_calls(emulator: GigaChatEmulator, giga: GigaChat, path: str) -> None:
    emulator.inject(Fault(status=503), path=path, times=2)
    with pytest.raises(ServerError) as caught:
        CALLS[path](giga, request_id="mine", max_retries=1)
    assert caught.value.request_id == "mine"
    assert len(caught.value.attempts) == 2


@pytest.mark.parametrize(("path", "times"), [("/ai/check", 1), ("/filter/check", 1), ("/balance", 2)])
def test_a_request_that_may_be_billed_is_not_repeated(emulator: GigaChatEmulator, path: str, times: int) -> None:
    before = len(emulator.requests)
    emulator.inject(Fault(reset=True), path=path)
    with client_without_retries(emulator, max_retries=1) as giga:
        error = Task(lambda: CALLS[path](giga)).error()
    assert (error is None) is (times == 2)
    assert len(emulator.requests) - before == times


def test_unknown_options_are_type_errors(giga: GigaChat) -> None:
    for path in CALLS.keys() - {"/filter/check"}:
        with pytest.raises(TypeError, match="no_such"):
            CALLS[path](giga, no_such=1)
