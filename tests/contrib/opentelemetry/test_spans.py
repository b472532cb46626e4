"""A span for each request to a model, with the attributes of the GenAI semantic conventions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import SpanKind, StatusCode
from support.telemetry import Telemetry, get_tide

from gigaclient import FakeGpt, GigaChat
from gigaclient.contrib.opentelemetry import instrument, uninstrument
from gigaclient.errors import APIConnectionError, RateLimitError, ServerError, StreamInterruptedError
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT = "Count from 1 to 5"


def attributes_of(span: Any) -> dict[str, Any]:
    return dict(span.attributes)


def test_a_chat_is_one_client_span(giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    answer = giga.chat(PROMPT, model="GigaChat-2-Pro", temperature=1, top_p=0.5, max_tokens=50, session_id="s-1")
    span = telemetry.span
    assert (span.name, span.kind) == ("chat GigaChat-2-Pro", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes_of(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gigachat",
        "gen_ai.request.model": "GigaChat-2-Pro",
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.model": answer.model,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": answer.usage.precached_prompt_tokens,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": emulator.api_server.port,
        "gigaclient.request_id": answer.request_id,
        "gigaclient.attempts": 1,
    }


def test_a_stream_ends_its_span_when_it_is_read(giga: GigaChat, telemetry: Telemetry) -> None:
    stream = giga.stream(PROMPT)
    next(stream)
    assert telemetry.spans == []
    answer = stream.result()
    attributes = attributes_of(telemetry.span)
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens > 0
    seconds = (telemetry.span.end_time - telemetry.span.start_time) / 1e9
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < seconds


def test_a_closed_stream_is_no_failure(giga: GigaChat, telemetry: Telemetry) -> None:
    for _ in giga.generate(PROMPT):
        break
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in telemetry.span.attributes


def test_a_stream_may_be_closed_in_another_thread(giga: GigaChat, telemetry: Telemetry) -> None:
    stream = giga.stream(PROMPT)
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    assert telemetry.span.name == "chat GigaChat-2"


def test_attempts_are_one_span_and_its_children(
    giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    giga.get_token()
    emulator.inject(Fault(status=503))
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracer_provider)
    try:
        with telemetry.tracer.start_as_current_span("mine") as mine:
            giga.chat(PROMPT)
            giga.get_models()
    finally:
        instrumentor.uninstrument()
    chat = next(span for span in telemetry.spans if span.name.startswith("chat"))
    assert chat.attributes["gigaclient.attempts"] == 2
    assert chat.parent.span_id == mine.get_span_context().span_id
    parents = [span.parent.span_id for span in telemetry.spans if span is not chat]
    assert parents == [chat.context.span_id, chat.context.span_id, mine.get_span_context().span_id]


def test_a_failure_is_on_the_span_without_its_text(
    giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    emulator.inject(Fault(status=500, body={"status": 500, "message": "echo of the prompt"}))
    with pytest.raises(ServerError, match="echo of the prompt"):
        giga.chat(PROMPT, max_retries=0)
    span = telemetry.span
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ServerError")
    assert (span.attributes["error.type"], span.attributes["http.response.status_code"]) == ("ServerError", 500)
    assert "echo of the prompt" not in telemetry.exported


def test_a_broken_stream_is_a_failure_with_what_had_arrived(
    talkative: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    emulator.inject(Fault(cut_after_events=2))
    with pytest.raises(StreamInterruptedError) as caught:
        talkative.stream(PROMPT).result()
    span = telemetry.span
    assert span.attributes["error.type"] == "StreamInterruptedError"
    assert caught.value.text
    assert caught.value.text in str(span.attributes["gen_ai.output.messages"])


def test_a_call_that_sends_nothing_has_a_span_too(emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    emulator.inject(Fault(hang_up=True), path="/oauth", times=None)
    with GigaChat(**emulator.client_options, max_retries=0) as giga:
        instrument(giga, **telemetry.providers)
        with pytest.raises(APIConnectionError):
            giga.chat(PROMPT)
    assert telemetry.span.attributes["gigaclient.attempts"] == 0
    assert telemetry.span.status.status_code is StatusCode.ERROR


def test_calls_that_no_model_answers_have_no_span(giga: GigaChat, telemetry: Telemetry) -> None:
    giga.get_models()
    giga.tokens_count(["text"])
    assert telemetry.spans == []
    assert telemetry.points("gen_ai.client.operation.duration") == []


def test_embeddings(giga: GigaChat, telemetry: Telemetry) -> None:
    vectors = giga.embeddings(["one", "two"])
    span = telemetry.span
    assert span.name == "embeddings Embeddings"
    assert span.attributes["gen_ai.operation.name"] == "embeddings"
    assert span.attributes["gen_ai.usage.input_tokens"] == sum(item.usage.prompt_tokens for item in vectors.data)
    assert "gen_ai.usage.output_tokens" not in span.attributes


def test_api_v2(giga: GigaChat, telemetry: Telemetry) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    format_ = {"type": "json_schema", "schema": schema}
    giga.chat.create(PROMPT, temperature=0.5, max_tokens=40, response_format=format_)
    giga.chat.stream(PROMPT).result()
    whole, streamed = telemetry.spans
    assert whole.attributes["gen_ai.request.temperature"] == 0.5
    assert whole.attributes["gen_ai.request.max_tokens"] == 40
    assert whole.attributes["gen_ai.output.type"] == "json"
    for span in (whole, streamed):
        assert span.name == "chat GigaChat-2"
        assert span.attributes["gen_ai.usage.output_tokens"] > 0
        assert len(span.attributes["gen_ai.response.finish_reasons"]) == 1


def test_a_run_of_a_thread_is_one_of_an_agent(giga: GigaChat, telemetry: Telemetry) -> None:
    assistant = giga.assistants.create(model="GigaChat-2", name="helper")
    for _ in giga.threads.run_messages_stream(PROMPT, assistant_id=assistant.assistant_id):
        pass
    span = telemetry.span
    assert span.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert span.attributes["gen_ai.agent.id"] == assistant.assistant_id


def test_fakegpt(fakegpt: FakeGpt, telemetry: Telemetry) -> None:
    answer = fakegpt.chat(PROMPT)
    attributes = attributes_of(telemetry.span)
    assert attributes["gen_ai.provider.name"] == "fakegpt"
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert answer.text in attributes["gen_ai.output.messages"]


@pytest.mark.parametrize("in_executor", [False, True])
def test_map_stays_in_the_callers_trace(giga: GigaChat, telemetry: Telemetry, in_executor: bool) -> None:
    with ThreadPoolExecutor(3) as executor, telemetry.tracer.start_as_current_span("mine") as mine:
        executor_option: Any = {"executor": executor} if in_executor else {}
        results = list(giga.map([f"{PROMPT}, {number}" for number in range(6)], **executor_option))
    assert all(result.ok for result in results)
    assert len(telemetry.spans) == 6
    assert {span.parent.span_id for span in telemetry.spans} == {mine.get_span_context().span_id}


def test_embed_many_stays_in_the_callers_trace(giga: GigaChat, telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("mine") as mine:
        assert len(list(giga.embed_many(["a", "b", "c"], batch_size=1))) == 3
    assert [span.name for span in telemetry.spans] == ["embeddings Embeddings"] * 3
    assert {span.parent.span_id for span in telemetry.spans} == {mine.get_span_context().span_id}


# -- functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_a_span_in_which_it_runs(
    giga: GigaChat, telemetry: Telemetry, version: str, streamed: bool
) -> None:
    def get_tide(port: str) -> float:
        """Return the height of the tide at a port."""
        with telemetry.tracer_provider.get_tracer("the function").start_as_current_span("a query"):
            return 1.8

    methods: Any = giga if version == "v1" else giga.chat
    if streamed:
        methods.run_stream("How high is the tide in Murmansk?", functions=[get_tide]).result()
    else:
        methods.run("How high is the tide in Murmansk?", functions=[get_tide])
    names = [span.name for span in telemetry.spans]
    assert names == ["chat GigaChat-2", "a query", "execute_tool get_tide", "chat GigaChat-2"]
    query, tool = telemetry.spans[1:3]
    assert query.parent.span_id == tool.context.span_id
    assert tool.kind is SpanKind.INTERNAL
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    assert tool.attributes["gen_ai.tool.name"] == "get_tide"
    assert "Murmansk" not in telemetry.exported
    assert telemetry.spans[0].attributes["gen_ai.response.finish_reasons"] == ("function_call",)
    # The turns of one dialogue share a session.
    assert len({span.attributes["gen_ai.conversation.id"] for span in (telemetry.spans[0], telemetry.spans[3])}) == 1


def test_a_function_that_fails_is_a_failure_of_its_span(giga: GigaChat, telemetry: Telemetry) -> None:
    def get_tide(port: str) -> float:
        """Return the height of the tide at a port."""
        raise LookupError(f"no port {port}")

    giga.run("How high is the tide in Murmansk?", functions=[get_tide])
    with pytest.raises(LookupError):
        giga.run("How high is the tide in Murmansk?", functions=[get_tide], on_error="raise")
    tools = [span for span in telemetry.spans if span.name.startswith("execute_tool")]
    assert [span.attributes["error.type"] for span in tools] == ["LookupError", "LookupError"]
    assert {span.status.description for span in tools} == {"LookupError"}
    assert "Murmansk" not in telemetry.exported


def test_wrong_arguments_are_a_failure_with_few_names(
    giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    emulator.answer({"function_call": {"name": "get_tide", "arguments": {"port": 7, "x": 1}}, "content": ""})
    giga.run("How high is the tide in Murmansk?", functions=[get_tide])
    tool = next(span for span in telemetry.spans if span.name == "execute_tool get_tide")
    assert tool.attributes["error.type"] == "invalid_arguments"


# -- clients -----------------------------------------------------------------------------------------------------------


def test_copies_are_instrumented_whatever_their_hooks(giga: GigaChat, telemetry: Telemetry) -> None:
    ends: list[Any] = []
    giga.with_options(model="GigaChat-2-Max", on_end=ends.append).chat(PROMPT)
    assert len(ends) == 1
    assert telemetry.span.name == "chat GigaChat-2-Max"


def test_instrumenting_twice_makes_one_span_and_uninstrumenting_none(giga: GigaChat, telemetry: Telemetry) -> None:
    other = Telemetry()
    assert instrument(giga, **other.providers) is giga
    giga.chat(PROMPT)
    assert (len(telemetry.spans), len(other.spans)) == (0, 1)
    assert uninstrument(giga) is giga
    giga.chat(PROMPT)
    assert len(other.spans) == 1


def test_a_429_is_named(giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    emulator.inject(Fault(status=429))
    with pytest.raises(RateLimitError):
        giga.stream(PROMPT, max_retries=0)
    assert telemetry.span.attributes["error.type"] == "RateLimitError"
