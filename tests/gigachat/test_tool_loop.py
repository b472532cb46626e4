"""Dialogues with functions by API v1 and v2, with and without a stream, and the same loop by hand."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.stream_tools import WAIT_SECONDS

from gigaclient import GigaChat, context
from gigaclient.errors import (
    ConfigError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    TooManyStepsError,
    UnprocessableEntityError,
)
from gigaclient.functions import Tool, function
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import Chat, ChatTool, Function, Message, NamedFunctionCall, Run, Step

QUESTION = "How high is the tide in Murmansk?"


def get_tide(port: str, days: int = 0) -> float:
    """Return the height of the tide at a port."""
    return 1.8


def fails(port: str) -> None:
    """Return the height of the tide at a port."""
    raise LookupError(f"no such port: {port}")


def wants_port(name: str = "get_tide", port: Any = "Kem", **more: Any) -> dict[str, Any]:
    """Return a message of API v1 that calls a function."""
    return {"function_call": {"name": name, "arguments": {"port": port}}, "functions_state_id": "s-1", **more}


def calls_v2(*calls: tuple[str, str | None, Any]) -> dict[str, Any]:
    """Return a response of API v2 with these calls: name, id, arguments."""
    parts = [
        {"function_call": {"name": name, "arguments": arguments, **({"id": call_id} if call_id else {})}}
        for name, call_id, arguments in calls
    ]
    message = {"role": "assistant", "content": parts, "tool_state_id": "s-2"}
    return {"messages": [message], "finish_reason": "function_call"}


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    before = dict(vars(shared_emulator.v2))
    shared_emulator.clear()
    yield shared_emulator
    shared_emulator.clear()
    vars(shared_emulator.v2).update(before)


@pytest.fixture(params=["v1", "v2", "v1 stream", "v2 stream"])
def run(request: pytest.FixtureRequest, giga: GigaChat) -> Any:
    """Yield each of the four methods that run functions; all return the run."""
    return {
        "v1": giga.run,
        "v2": giga.chat.run,
        "v1 stream": lambda *arguments, **options: giga.run_stream(*arguments, **options).result(),
        "v2 stream": lambda *arguments, **options: giga.chat.run_stream(*arguments, **options).result(),
    }[request.param]


def bodies(emulator: GigaChatEmulator, last: int) -> list[Any]:
    return [request.json() for request in emulator.requests[-last:]]


# -- all four methods ------------------------------------------------------------------------------


def test_the_functions_run_until_the_model_answers(run: Any) -> None:
    seen: list[Step] = []
    done = run(QUESTION, functions=[get_tide], on_step=seen.append)
    assert isinstance(done, Run)
    assert str(done) == done.text == done.completion.text == "According to get_tide: result: 1.8."
    assert done._repr_markdown_() == done.text
    assert done.steps == seen
    (step,) = done.steps
    assert (step.name, step.arguments["port"], step.error) == ("get_tide", "Murmansk", None)
    assert step.result == {"result": 1.8}
    assert step.seconds > 0
    roles = [message["role"] if isinstance(message, dict) else message.role for message in done.messages]
    assert roles in (["user", "assistant", role, "assistant"] for role in ("function", "tool"))


def test_the_usage_is_the_sum_of_all_turns(run: Any, emulator: GigaChatEmulator) -> None:
    emulator.answer({"content": "Hi", "function_call": None}, times=1)
    once = run("Hello", functions=[get_tide]).usage
    done = run(QUESTION, functions=[get_tide])
    last = done.completion.usage
    assert done.usage.total_tokens > last.total_tokens > once.total_tokens > 0
    assert type(done.usage) is type(last)


def test_the_history_goes_on_where_the_run_ended(run: Any, emulator: GigaChatEmulator) -> None:
    done = run(QUESTION, functions=[get_tide])
    again = run([*done.messages, {"role": "user", "content": "And in Kem? Quote «the tide»."}], functions=[get_tide])
    assert again.steps[0].arguments["port"] == "Kem"
    assert len(again.messages) == 8


def test_an_answer_without_a_call_is_the_end(run: Any) -> None:
    done = run("Count from 1 to 3", functions=[get_tide])
    assert done.text == "1, 2, 3"
    assert done.steps == []


def test_a_failure_is_sent_to_the_model_or_raised_as_chosen(run: Any, emulator: GigaChatEmulator) -> None:
    done = run(QUESTION, functions=[fails])
    assert done.steps[0].error == "LookupError: no such port: Murmansk"
    assert done.steps[0].result == {"error": "LookupError: no such port: Murmansk"}
    assert "no such port: Murmansk" in done.text
    with pytest.raises(LookupError, match="no such port"):
        run(QUESTION, functions=[fails], on_error="raise")


def test_a_long_error_message_is_shortened_for_the_model(run: Any) -> None:
    @function(name="get_tide")
    def long(port: str) -> None:
        """Return the tide at a port."""
        raise LookupError("x" * 100_000)

    assert len(run(QUESTION, functions=[long]).steps[0].result["error"]) <= 1000


def test_a_result_of_any_type_is_sent(run: Any) -> None:
    @function(name="get_tide")
    def raw(port: str) -> bytes:
        """Return the tide at a port."""
        return b"1.8"

    done = run(QUESTION, functions=[raw])
    assert done.steps[0].error is None
    assert done.steps[0].result == {"result": "MS44"}


@pytest.mark.parametrize("on_error", ["tell", "raise"])
def test_a_function_that_worked_is_never_reported_to_the_model_as_failed(
    run: Any, emulator: GigaChatEmulator, on_error: str
) -> None:
    sent = []

    @function(name="get_tide")
    def send(port: str) -> list[Any]:
        """Return the tide at a port."""
        sent.append(port)
        endless: list[Any] = []
        endless.append(endless)
        return endless

    before = len(emulator.requests)
    with pytest.raises(ConfigError, match=r"result of get_tide is nested too deep.*on_result") as caught:
        run(QUESTION, functions=[send], on_error=on_error)
    assert sent == ["Murmansk"]
    assert len(emulator.requests) == before + 1, "nothing is sent after it"
    (step,) = caught.value.run.steps
    assert (step.name, step.result) == ("get_tide", None)
    assert "nested too deep" in step.error
    assert len(caught.value.run.messages) == 1, "the turn is not complete"


def test_a_result_may_be_converted_before_it_is_sent(run: Any) -> None:
    done = run(QUESTION, functions=[get_tide], on_result=lambda result: {"metres": result * 2})
    assert done.steps[0].result == {"metres": 3.6}


def test_an_error_of_our_own_class_inside_a_function_is_reported_as_any_other(run: Any) -> None:
    @function(name="get_tide")
    def asks(port: str) -> None:
        """Return the tide at a port."""
        raise ConfigError("no such port")

    assert run(QUESTION, functions=[asks]).steps[0].error == "ConfigError: no such port"


def test_an_interrupt_comes_through_whatever_was_chosen(run: Any) -> None:
    @function(name="get_tide")
    def interrupted(port: str) -> None:
        """Return the tide at a port."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(QUESTION, functions=[interrupted])


@pytest.mark.parametrize(
    ("call", "problem"),
    [(("get_tide", {"port": 5}), r"\$\.port"), (("get_weather", {}), "no function get_weather; there are: get_tide")],
)
def test_a_wrong_call_is_sent_to_the_model_or_raised_as_chosen(
    run: Any, emulator: GigaChatEmulator, call: tuple[str, Any], problem: str
) -> None:
    name, arguments = call

    def scripted() -> None:
        emulator.answer({"function_call": {"name": name, "arguments": arguments}}, place="v1")
        emulator.answer(calls_v2((name, "c-1", arguments)), place="v2")

    scripted()
    done = run(QUESTION, functions=[get_tide])
    assert done.steps[0].error is not None
    emulator.clear()
    scripted()
    with pytest.raises(InvalidResponseError, match=problem) as caught:
        run(QUESTION, functions=[get_tide], on_error="raise")
    assert caught.value.completion is not None
    assert [type(message) for message in caught.value.run.messages] == [type(done.messages[0])]


def test_the_same_mistake_is_never_answered_in_the_same_words(run: Any, emulator: GigaChatEmulator) -> None:
    emulator.answer(wants_port(port=5), times=3, place="v1")
    emulator.answer(calls_v2(("get_tide", "c-1", {"port": 5})), times=3, place="v2")
    done = run(QUESTION, functions=[get_tide])
    errors = [step.error for step in done.steps[:3]]
    assert all("expected a string, not an integer" in error and "$.port" in error for error in errors)
    assert len(set(errors)) == 3
    assert '"required":["port"]' in errors[1]
    assert "answer without this call" in errors[2]
    assert [step.result for step in done.steps[:3]] == [{"error": error} for error in errors]


def test_arguments_that_were_mended_are_reported(run: Any, emulator: GigaChatEmulator) -> None:
    @function(name="get_tide")
    def tides(ports: list[str]) -> int:
        """Return the tides at some ports."""
        return len(ports)

    def scripted() -> None:
        emulator.answer({"function_call": {"name": "get_tide", "arguments": {"ports": '["Kem"]'}}}, place="v1")
        emulator.answer(calls_v2(("get_tide", "c-1", {"ports": '["Kem"]'})), place="v2")

    scripted()
    done = run(QUESTION, functions=[tides])
    assert done.steps[0].result == {"result": 1}
    assert done.repaired == done.steps[0].repaired == ("read the JSON text at `$.ports`",)
    emulator.clear()
    scripted()
    done = run(QUESTION, functions=[tides], repair=False)
    assert "expected a JSON array, not a string" in done.steps[0].error
    assert done.repaired == ()


def test_arguments_cut_by_the_token_limit_are_not_mended(run: Any, emulator: GigaChatEmulator) -> None:
    cut = {"function_call": {"name": "get_tide", "arguments": '{"port": "Kem",}'}, "finish_reason": "length"}
    emulator.answer(cut, place="v1")
    emulator.answer({**calls_v2(("get_tide", "c-1", '{"port": "Kem",}')), "finish_reason": "length"}, place="v2")
    assert "not JSON" in run(QUESTION, functions=[get_tide]).steps[0].error


@pytest.mark.parametrize(
    ("arguments", "error", "sent"),
    [('{"port": "Kem",}', None, {"port": "Kem"}), ('{"port": "Ke', "not JSON", {}), ("Kem", "not JSON", {})],
)
def test_arguments_that_are_not_json_go_back_as_an_object(
    run: Any, emulator: GigaChatEmulator, arguments: str, error: str | None, sent: dict[str, Any]
) -> None:
    emulator.answer({"function_call": {"name": "get_tide", "arguments": arguments}}, place="v1")
    emulator.answer(calls_v2(("get_tide", "c-1", arguments)), place="v2")
    (step,) = run(QUESTION, functions=[get_tide]).steps
    assert step.error is None if error is None else error in step.error
    message = emulator.requests[-1].json()["messages"][1]
    call = message.get("function_call") or message["content"][0]["function_call"]
    assert call["arguments"] == sent


def test_a_model_that_goes_on_calling_is_stopped_and_the_history_kept(run: Any, emulator: GigaChatEmulator) -> None:
    emulator.answer(wants_port(), times=5, place="v1")
    emulator.answer(calls_v2(("get_tide", "c-1", {"port": "Kem"})), times=5, place="v2")
    with pytest.raises(TooManyStepsError, match="max_steps is 3") as caught:
        run(QUESTION, functions=[get_tide], max_steps=3)
    error = pickle.loads(pickle.dumps(caught.value))
    assert len(error.run.steps) == 3
    assert len(error.run.messages) == 7
    assert error.completion.function_call.name == "get_tide"
    assert error.run.usage.total_tokens > 0
    emulator.clear()
    assert run(error.run.messages, functions=[get_tide]).text.startswith("According to get_tide")


def test_a_function_that_the_caller_runs_ends_the_run(run: Any, emulator: GigaChatEmulator) -> None:
    spec = {"name": "get_tide", "description": "The tide at a port", "parameters": {"type": "object", "properties": {}}}
    done = run(QUESTION, functions=[spec])
    assert done.completion.function_call.name == "get_tide"
    assert done.steps == []
    result = {"role": "function", "name": "get_tide", "content": {"metres": 3}}
    assert run([*done.messages, result], functions=[spec]).text == "According to get_tide: metres: 3."


def test_functions_of_all_kinds_run_together(run: Any, emulator: GigaChatEmulator) -> None:
    parameters = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
    depth = Function(name="get_depth", description="How deep it is", parameters=parameters)
    weather = {"name": "get_weather", "description": "The weather", "parameters": parameters}
    functions: list[Any] = [get_tide, (depth, lambda port: {"deep": port}), Tool(weather, lambda port: "storm")]
    assert run("How deep is it in Kem?", functions=functions).text == "According to get_depth: deep: Kem."
    assert run("The weather in Kem?", functions=functions).text == "According to get_weather: result: storm."


def test_turns_share_a_session_unless_one_is_named(run: Any, emulator: GigaChatEmulator) -> None:
    def sessions() -> set[str | None]:
        return {request.headers.get("x-session-id") for request in emulator.requests[-2:]}

    run(QUESTION, functions=[get_tide])
    (first,) = sessions()
    run(QUESTION, functions=[get_tide])
    (second,) = sessions()
    assert first and second and first != second
    run(QUESTION, functions=[get_tide], session_id="mine")
    assert sessions() == {"mine"}
    run(QUESTION, functions=[get_tide], headers={"x-session-id": "theirs"})
    assert sessions() == {"theirs"}
    reset = context.session_id_cvar.set("of the context")
    try:
        run(QUESTION, functions=[get_tide])
    finally:
        context.session_id_cvar.reset(reset)
    assert sessions() == {"of the context"}


def test_an_error_between_turns_keeps_the_turns_before(run: Any, emulator: GigaChatEmulator) -> None:
    def overloaded(step: Step) -> None:
        emulator.inject(Fault(status=429))

    with pytest.raises(RateLimitError) as caught:
        run(QUESTION, functions=[get_tide], on_step=overloaded)
    assert len(caught.value.run.steps) == 1
    assert len(caught.value.run.messages) == 3
    assert run(caught.value.run.messages, functions=[get_tide]).text.startswith("According to get_tide")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"on_error": "ignore"}, "on_error"),
        ({"on_step": "print"}, "on_step"),
        ({"on_result": "str"}, "on_result"),
        ({"functions": get_tide}, "must be a list"),
        ({"functions": [get_tide, get_tide]}, "two functions"),
        ({"messages": []}, "empty"),
        ({"messages": b"Hello"}, "messages"),
    ],
)
def test_what_cannot_work_costs_no_request(
    run: Any, emulator: GigaChatEmulator, options: dict[str, Any], advice: str
) -> None:
    before = len(emulator.requests)
    arguments = {"messages": QUESTION, "functions": [get_tide], **options}
    with pytest.raises(ConfigError, match=advice):
        run(arguments.pop("messages"), **arguments)
    assert len(emulator.requests) == before


def test_the_arguments_are_never_changed(run: Any) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    functions: list[Any] = [({"name": "get_tide", "description": "The tide"}, lambda **arguments: 1)]
    options: dict[str, Any] = {"headers": {"X-Trace-ID": "t"}}
    before = copy.deepcopy((messages, functions[0][0], options))
    run(messages, functions=functions, **options)
    assert (messages, functions[0][0], options) == before


# -- requests of API v1 ----------------------------------------------------------------------------


def test_the_answer_goes_back_unchanged_directly_followed_by_the_result(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.answer(wants_port(content="Let me look."))
    giga.run(QUESTION, functions=[get_tide])
    first, second = bodies(emulator, 2)
    assert second["functions"] == first["functions"]
    assert second["messages"] == [
        {"role": "user", "content": QUESTION},
        {
            "role": "assistant",
            "content": "Let me look.",
            "function_call": {"name": "get_tide", "arguments": {"port": "Kem"}},
            "functions_state_id": "s-1",
        },
        {"role": "function", "name": "get_tide", "content": '{"result":1.8}'},
    ]


@pytest.mark.parametrize("forced", [{"name": "get_tide"}, NamedFunctionCall("get_tide", {"port": "Kem"})])
def test_a_function_is_forced_in_the_first_turn_alone(giga: GigaChat, emulator: GigaChatEmulator, forced: Any) -> None:
    done = giga.run("Good evening", functions=[get_tide], function_call=forced, temperature=0.5)
    first, second = bodies(emulator, 2)
    assert first["function_call"]["name"] == "get_tide"
    assert second["function_call"] == "auto"
    assert first["temperature"] == second["temperature"] == 0.5
    assert len(done.steps) == 1


def test_functions_may_be_switched_off_and_arguments_come_as_text(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    assert giga.run(QUESTION, functions=[get_tide], function_call="none").steps == []
    emulator.answer({"function_call": {"name": "get_tide", "arguments": '{"port": "Kem"}'}})
    assert giga.run(QUESTION, functions=[get_tide]).steps[0].error is None


def test_a_whole_request_may_be_run(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    request = Chat(
        messages=[Message(role="user", content=QUESTION)],
        temperature=0.5,
        functions=[Function(name="text2image")],
        additional_fields={"new": 1},
    )
    giga.run(request, functions=[get_tide])
    for body in bodies(emulator, 2):
        assert (body["temperature"], body["new"]) == (0.5, 1)
        assert [spec["name"] for spec in body["functions"]] == ["get_tide", "text2image"]


def test_the_same_loop_works_by_hand(giga: GigaChat) -> None:
    functions = [{"name": "get_tide", "description": "The tide at a port", "parameters": {"type": "object"}}]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    answer = giga.chat(messages, functions=functions)
    assert answer.function_call is not None
    messages.append(answer.message)
    messages.append({"role": "function", "name": answer.function_call.name, "content": {"metres": 1.8}})
    assert giga.chat(messages, functions=functions).text == "According to get_tide: metres: 1.8."


# -- requests of API v2 ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_calls_are_answered_in_one_message_by_id(
    giga: GigaChat, emulator: GigaChatEmulator, stream: bool
) -> None:
    calls = calls_v2(("get_tide", "c-1", {"port": "Kem"}), ("get_tide", "c-2", {"port": "Murmansk"}))
    emulator.answer(calls, place="v2")
    if stream:
        done = giga.chat.run_stream(QUESTION, functions=[get_tide]).result()
    else:
        done = giga.chat.run(QUESTION, functions=[get_tide])
    assert [step.arguments["port"] for step in done.steps] == ["Kem", "Murmansk"]
    _, second = bodies(emulator, 2)
    _, answer, result = second["messages"]
    assert [part["function_call"]["id"] for part in answer["content"]] == ["c-1", "c-2"]
    assert answer["tools_state_id"] == result["tools_state_id"] == "s-2"
    assert result["role"] == "tool"
    assert result["content"] == [
        {"function_result": {"id": "c-1", "name": "get_tide", "result": {"result": 1.8}}},
        {"function_result": {"id": "c-2", "name": "get_tide", "result": {"result": 1.8}}},
    ]


def test_messages_of_several_states_are_each_followed_by_their_own_results(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    one, two = calls_v2(("get_tide", "c-1", {"port": "Kem"})), calls_v2(("get_tide", "c-2", {"port": "Onega"}))
    two["messages"][0]["tool_state_id"] = "s-3"
    emulator.answer({**one, "messages": [*one["messages"], *two["messages"]]}, place="v2")
    emulator.answer("Done.", place="v2")
    done = giga.chat.run(QUESTION, functions=[get_tide])
    states = [(message.role, message.tools_state_id) for message in done.messages[1:5]]
    assert states == [("assistant", "s-2"), ("tool", "s-2"), ("assistant", "s-3"), ("tool", "s-3")]
    assert done.messages[2].content[0].function_result.id == "c-1"
    assert done.messages[4].content[0].function_result.id == "c-2"


def test_results_take_the_form_that_a_server_requires(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.v2.strict_roles, emulator.v2.strict_results = "function", "text"
    done = giga.chat.run(QUESTION, functions=[get_tide], result_role="function", result_as_text=True)
    assert done.text == "According to get_tide: result: 1.8."
    with pytest.raises(ConfigError, match="result_role"):
        giga.chat.run(QUESTION, functions=[get_tide], result_role="assistant")


def test_servers_without_ids_are_answered_by_name(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.v2.call_ids = False
    assert giga.chat.run(QUESTION, functions=[get_tide]).text == "According to get_tide: result: 1.8."


@pytest.mark.parametrize(
    ("config", "first", "later"),
    [
        ("any", {"mode": "any"}, None),
        ("get_tide", {"mode": "forced", "function_name": "get_tide"}, None),
        ({"mode": "forced", "function_name": "get_tide"}, {"mode": "forced", "function_name": "get_tide"}, None),
        ("auto", {"mode": "auto"}, {"mode": "auto"}),
        ({"mode": "auto"}, {"mode": "auto"}, {"mode": "auto"}),
    ],
)
def test_a_call_is_forced_in_the_first_turn_alone(
    giga: GigaChat, emulator: GigaChatEmulator, config: Any, first: Any, later: Any
) -> None:
    giga.chat.run(QUESTION, functions=[get_tide], tool_config=config)
    assert [body.get("tool_config") for body in bodies(emulator, 2)] == [first, later]


def test_tools_of_the_service_and_whole_requests_go_along(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    request = {
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [ChatTool(image_generate={}), {"functions": {"specifications": [weather]}}],
        "model_options": {"temperature": 0.5},
    }
    giga.chat.run(request, functions=[get_tide])
    for body in bodies(emulator, 2):
        assert body["model_options"] == {"temperature": 0.5}
        specs = [spec for tool in body["tools"] for spec in tool.get("functions", {}).get("specifications", [])]
        assert [spec["name"] for spec in specs] == ["get_tide", "get_weather"]
        assert any("image_generate" in tool for tool in body["tools"])


# -- streams ---------------------------------------------------------------------------------------


@pytest.fixture(params=["v1", "v2"])
def run_stream(request: pytest.FixtureRequest, giga: GigaChat) -> Any:
    return giga.run_stream if request.param == "v1" else giga.chat.run_stream


def test_a_stream_yields_texts_and_steps_in_order(run_stream: Any) -> None:
    with run_stream(QUESTION, functions=[get_tide]) as stream:
        events = list(stream)
    index = next(number for number, event in enumerate(events) if isinstance(event, Step))
    assert not any(isinstance(event, Step) for event in [*events[:index], *events[index + 1 :]])
    assert "".join(event.text for event in events[:index]) == ""
    assert "".join(event.text for event in events) == stream.text == "According to get_tide: result: 1.8."
    assert stream.closed
    assert stream.result().messages == stream.run.messages
    assert stream.completion.text == stream.text
    assert len(stream.steps) == 1
    assert stream.request_id


def test_the_functions_run_as_the_stream_is_read_and_no_sooner(run_stream: Any, emulator: GigaChatEmulator) -> None:
    seen: list[Step] = []
    before = len(emulator.requests)
    stream = run_stream(QUESTION, functions=[get_tide], on_step=seen.append)
    assert len(emulator.requests) == before + 1
    for event in stream:
        if isinstance(event, Step):
            break
    assert seen == stream.steps != []
    assert len(emulator.requests) == before + 1
    stream.close()
    assert list(stream) == []
    assert len(emulator.requests) == before + 1


def test_a_refusal_of_the_first_request_is_raised_at_once(run_stream: Any, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=500))
    with pytest.raises(ServerError):
        run_stream(QUESTION, functions=[get_tide])


def test_a_stream_that_breaks_keeps_its_text_and_its_run(run_stream: Any, emulator: GigaChatEmulator) -> None:
    def cut(step: Step) -> None:
        emulator.inject(Fault(cut_after_events=2))

    stream = run_stream(QUESTION, functions=[get_tide], on_step=cut)
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert "According to get_tide: result: 1.8.".startswith(caught.value.text)
    assert caught.value.text == stream.text == caught.value.completion.text != ""
    assert len(caught.value.run.steps) == 1
    assert len(caught.value.run.messages) == 3
    assert stream.closed
    with pytest.raises(StreamInterruptedError, match="broken") as again:
        stream.result()
    assert again.value.text == stream.text


def test_closing_ends_a_stream_and_gives_the_connection_back(run_stream: Any, emulator: GigaChatEmulator) -> None:
    with run_stream(QUESTION, functions=[get_tide]) as stream:
        next(stream)
    assert list(stream) == []
    with pytest.raises(StreamInterruptedError, match="closed"):
        stream.result()


def test_another_thread_may_close_a_stream_while_a_function_runs(run_stream: Any, emulator: GigaChatEmulator) -> None:
    running, closed = threading.Event(), threading.Event()

    @function(name="get_tide")
    def slow(port: str) -> float:
        """Return the tide at a port."""
        running.set()
        assert closed.wait(WAIT_SECONDS)
        return 1.8

    before = len(emulator.requests)
    stream = run_stream(QUESTION, functions=[slow])
    events: list[Any] = []
    reader = threading.Thread(target=lambda: events.extend(stream))
    reader.start()
    assert running.wait(WAIT_SECONDS)
    stream.close()
    closed.set()
    reader.join(WAIT_SECONDS)
    assert not reader.is_alive()
    assert len(emulator.requests) == before + 1


def test_closing_while_the_next_request_is_in_progress_yields_nothing_more(
    run_stream: Any, emulator: GigaChatEmulator
) -> None:
    stream: Any = None

    def close_and_answer(request: Any) -> str:
        stream.close()
        return "Too late."

    def script(step: Step) -> None:
        emulator.answer(close_and_answer)

    stream = run_stream(QUESTION, functions=[get_tide], on_step=script)
    assert isinstance(list(stream)[-1], Step)
    with pytest.raises(StreamInterruptedError, match="closed"):
        stream.result()
    deadline = time.monotonic() + WAIT_SECONDS
    while emulator.open_streams and time.monotonic() < deadline:
        time.sleep(0.01)
    assert emulator.open_streams == 0


def test_a_stream_is_read_by_one_thread_at_a_time(run_stream: Any) -> None:
    stream: Any = None

    @function(name="get_tide")
    def nosy(port: str) -> float:
        """Return the tide at a port."""
        with pytest.raises(ConfigError, match="one thread"):
            next(stream)
        return 1.8

    stream = run_stream(QUESTION, functions=[nosy])
    assert stream.result().steps[0].error is None


def test_a_failure_that_is_raised_breaks_the_stream(run_stream: Any) -> None:
    stream = run_stream(QUESTION, functions=[fails], on_error="raise")
    with pytest.raises(LookupError):
        list(stream)
    assert stream.closed
    assert "broken" in repr(stream)


# -- the run object --------------------------------------------------------------------------------


def test_a_run_can_be_pickled_and_a_step_adds_no_text(giga: GigaChat) -> None:
    done = giga.run(QUESTION, functions=[get_tide])
    again = pickle.loads(pickle.dumps(done))
    assert again == done
    assert again.completion.raw == done.completion.raw
    assert done.steps[0].text == ""
    assert msgspec.to_builtins(done.steps[0])["result"] == {"result": 1.8}


def test_an_error_of_the_service_is_raised_as_in_any_call(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.models_without_functions.add("GigaChat-2-Max")
    try:
        with pytest.raises(UnprocessableEntityError):
            giga.run(QUESTION, functions=[get_tide], model="GigaChat-2-Max")
    finally:
        emulator.models_without_functions.clear()
