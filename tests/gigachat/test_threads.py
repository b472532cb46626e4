"""Threads: requests, blocking runs, and streams whose usage is a sum of parts."""

from __future__ import annotations

import copy
import json
import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import client_of
from support.stream_tools import DONE, Background, event, payload, sse_bytes, until
from support.thread_tools import SOON, WAIT_SECONDS, requests_to

from gigaclient import Function, GigaChat, Message, Usage
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from gigaclient.gigachat.thread_stream import ThreadStream
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import (
    NamedFunctionCall,
    ThreadCompletion,
    ThreadCompletionChunk,
    ThreadMessageAttachment,
    ThreadRunOptions,
    ThreadStatus,
)

RUN = "/threads/messages/run"
COUNT = "Count from 1 to 5"
COUNTED = "1, 2, 3, 4, 5"


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_of(emulator) as client:
        yield client


def sent(emulator: GigaChatEmulator, end: str) -> Any:
    return requests_to(emulator, "POST", end)[-1].json()


def stream_of(emulator: GigaChatEmulator, giga: GigaChat, body: bytes, **fault: Any) -> ThreadStream:
    """Make the emulator stream the bytes ``body``."""
    emulator.inject(Fault(body=body, content_type="text/event-stream", **fault), path=RUN)
    return giga.threads.run_messages_stream("hi", max_retries=0)


def chunk(content: str, prompt: int, completion: int, **fields: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return payload(
        content, usage=usage, thread_id="t-1", message_id="m-1", **{**fields, "object": "threads.messages.run"}
    )


# -- a thread --------------------------------------------------------------------------------------


def test_a_thread_keeps_its_history(giga: GigaChat) -> None:
    first = giga.threads.run_messages("Count to 2")
    assert first.thread_id is not None and first.message_id is not None
    second = giga.threads.run_messages(["Count to 3"], thread_id=first.thread_id)
    assert second.text == str(second) == second._repr_markdown_() == "1, 2, 3"
    history = [message.content for message in giga.threads.get_messages(first.thread_id).messages]
    assert history == ["Count to 2", "1, 2", "Count to 3", "1, 2, 3"]
    assert second.thread_id == first.thread_id
    assert (second.object, second.finish_reason, second.message.role) == ("threads.messages.run", "stop", "assistant")
    assert second.model is not None and second.model.startswith("GigaChat-2:")
    assert second.usage is not None and second.usage.completion_tokens > 0
    assert second.function_call is None
    found = giga.threads.get_messages(first.thread_id)
    assert found.thread_id == first.thread_id
    assert [message.role for message in found.messages] == ["user", "assistant", "user", "assistant"]
    assert found.messages[-1].content == second.text
    assert found.messages[-1].message_id == second.message_id
    assert found.messages[-1].finish_reason == "stop"


def test_a_thread_is_created_and_deleted(giga: GigaChat) -> None:
    thread_id = giga.threads.create_thread()
    assert isinstance(thread_id, str) and thread_id
    [thread] = giga.threads.retrieve([thread_id, "none"]).threads
    assert thread.id == thread.thread_id == thread_id
    assert (thread.status, thread.run_lock) == (ThreadStatus.READY, False)
    assert thread.status == "ready" == f"{ThreadStatus.READY}" == str(ThreadStatus.READY)
    assert giga.threads.retrieve(thread_id).threads[0] == thread
    assert giga.threads.delete(thread_id) is True
    assert giga.threads.list().threads == []
    with pytest.raises(NotFoundError, match=r"No such thread - threads\.list"):
        giga.threads.delete(thread_id)


@pytest.mark.parametrize("name", ["id", "thread_id"])
def test_a_threads_id_is_read_in_either_spelling(emulator: GigaChatEmulator, giga: GigaChat, name: Any) -> None:
    emulator.threads.id_name = name
    thread_id = giga.threads.create_thread()
    [thread] = giga.threads.list().threads
    assert thread.id == thread.thread_id == thread_id == thread.raw.get(name, thread_id)
    again = pickle.loads(pickle.dumps(thread))
    assert again == thread == copy.copy(thread)


def test_a_thread_without_an_id_is_invalid(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body={"model": "GigaChat-2", "status": "ready"}), path="/threads")
    with pytest.raises(InvalidResponseError):
        giga.threads.create_thread()


def test_unexpected_fields_do_not_fail_the_response(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = {
        "object": None,
        "created": 1790000000.0,
        "usage": {"prompt_tokens": None, "completion_tokens": "3"},
        "message": {"content": "Hello.", "brand_new": 1},
        "finish_reason": "something_new",
        "thread_id": None,
    }
    emulator.inject(Fault(body=odd), path=RUN)
    answer = giga.threads.run_messages("hi")
    assert (answer.text, answer.message.role, answer.finish_reason) == ("Hello.", "assistant", "something_new")
    assert answer.usage == Usage(completion_tokens=3)
    assert answer.created == 1790000000
    assert answer.raw == odd


def test_threads_are_listed_by_assistant_limit_and_time(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    one, two = (giga.assistants.create("GigaChat-2", name).assistant_id for name in ("one", "two"))
    of_one = giga.threads.run_messages("hi", assistant_id=one).thread_id
    of_two = giga.threads.run_messages("hi", assistant_id=two).thread_id
    of_none = giga.threads.create_thread()
    assert [thread.id for thread in giga.threads.get_threads().threads] == [of_one, of_two, of_none]
    assert [thread.id for thread in giga.threads.list([two]).threads] == [of_two]
    assert {thread.assistant_id for thread in giga.threads.list(assistants_ids=(one, two)).threads} == {one, two}
    request = requests_to(emulator, "GET", "/threads")[-1]
    assert request.query == f"assistants_ids={one}&assistants_ids={two}"
    assert [thread.id for thread in giga.threads.list(limit=1).threads] == [of_one]
    assert giga.threads.list(before=1000, limit=5).threads == []
    assert requests_to(emulator, "GET", "/threads")[-1].params == {"limit": "5", "before": "1000"}
    assert giga.assistants.get(one).data[0].threads_count == 1


def test_messages_are_listed_by_limit_and_time(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.add_messages(messages=["one", "two", "three"], model="GigaChat-2").thread_id
    assert [one.content for one in giga.threads.get_messages(thread_id, limit=2).messages] == ["two", "three"]
    assert giga.threads.get_messages(thread_id, before=1).messages == []
    assert requests_to(emulator, "GET", "/messages")[-1].params == {"thread_id": thread_id, "before": "1"}


# -- messages --------------------------------------------------------------------------------------


def test_messages_may_be_texts_dicts_and_messages(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.create_thread()
    added = giga.threads.add_messages(
        thread_id,
        ["one", {"role": "user", "content": "two", "name": None}, Message(content="three", attachments=["f-1"])],
    )
    assert sent(emulator, "/threads/messages") == {
        "thread_id": thread_id,
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": "two"},
            {"role": "user", "content": "three", "attachments": ["f-1"]},
        ],
    }
    assert added.thread_id == thread_id
    assert len({one.message_id for one in added.messages}) == 3
    assert giga.threads.add_message(thread_id, "four").thread_id == thread_id
    assert sent(emulator, "/threads/messages")["messages"] == [{"role": "user", "content": "four"}]
    found = giga.threads.get_messages(thread_id).messages
    assert [one.content for one in found] == ["one", "two", "three", "four"]
    assert found[2].attachments == [ThreadMessageAttachment("f-1", "f-1.txt")]
    assert found[0].attachments == []


def test_unusual_messages_are_read(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = [
        {"message_id": 1, "role": "search_result", "content": None, "attachments": None},
        {"message_id": "m", "role": None, "attachments": ["f", {"file_id": "g"}, {"odd": 1}]},
    ]
    emulator.inject(Fault(body={"thread_id": "t", "messages": [odd[1]]}), path="/threads/messages")
    [found] = giga.threads.get_messages("t").messages
    attachments: Any = found.attachments
    assert attachments == [ThreadMessageAttachment("f"), ThreadMessageAttachment("g"), {"odd": 1}]
    assert (found.role, found.content, found.created_at) == (None, "", None)


def test_a_new_thread_gets_its_assistant_or_its_model(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assistant_id = giga.assistants.create("GigaChat-2-Pro", "Pilot").assistant_id
    giga.threads.add_messages(messages="hi", assistant_id=assistant_id, model="GigaChat-2-Max")
    assert sent(emulator, "/threads/messages") == {
        "assistant_id": assistant_id,
        "messages": [{"role": "user", "content": "hi"}],
    }
    giga.threads.add_messages(messages=[{"role": "user", "content": "hi"}], model="GigaChat-2-Max")
    assert sent(emulator, "/threads/messages")["model"] == "GigaChat-2-Max"
    assert [thread.model for thread in giga.threads.list().threads] == ["GigaChat-2-Pro", "GigaChat-2-Max"]


def test_the_model_is_not_sent_with_a_thread_or_an_assistant(emulator: GigaChatEmulator) -> None:
    with client_of(emulator, model="GigaChat-2-Max", profanity_check=False, flags=["x"]) as giga:
        assistant_id = giga.assistants.create("GigaChat-2-Pro", "Pilot").assistant_id
        thread_id = giga.threads.run_messages("hi").thread_id
        assert sent(emulator, RUN) == {"model": "GigaChat-2-Max", "messages": [{"role": "user", "content": "hi"}]}
        giga.threads.run_messages("hi", thread_id=thread_id, model="GigaChat-2")
        assert sent(emulator, RUN) == {"thread_id": thread_id, "messages": [{"role": "user", "content": "hi"}]}
        giga.threads.run_messages("hi", assistant_id=assistant_id)
        assert "model" not in sent(emulator, RUN)
        giga.threads.run_messages("hi", model="GigaChat-2")
        assert sent(emulator, RUN)["model"] == "GigaChat-2"


# -- options of a run ------------------------------------------------------------------------------


OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "limit": 4,
    "max_tokens": 3,
    "repetition_penalty": 1.1,
    "profanity_check": False,
    "flags": ["a"],
    "function_call": "none",
    "functions": [{"name": "tide"}],
}


@pytest.mark.parametrize(
    "options",
    [
        {"thread_options": ThreadRunOptions(**{**OPTIONS, "functions": [Function(name="tide")]})},
        {"thread_options": {**OPTIONS, "stream": True, "top_k": None}},
        OPTIONS,
        {"thread_options": {**OPTIONS, "temperature": 2.0}, "temperature": 0.5},
    ],
)
def test_run_options_may_be_an_object_a_dict_or_names(
    emulator: GigaChatEmulator, giga: GigaChat, options: dict[str, Any]
) -> None:
    answer = giga.threads.run_messages(COUNT, **options)
    assert sent(emulator, RUN) == {
        "model": "GigaChat-2",
        "messages": [{"role": "user", "content": COUNT}],
        **OPTIONS,
    }
    assert (answer.finish_reason, answer.text) == ("length", COUNTED[:10])
    giga.threads.rerun_messages(answer.thread_id or "", **options)
    assert sent(emulator, "/rerun") == {"thread_id": answer.thread_id, **OPTIONS}


def test_unknown_options_are_sent_unchanged(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    forced = NamedFunctionCall(name="tide", partial_arguments={"port": "north"})
    giga.threads.run_messages(
        "hi", thread_options={"brand_new": 1, "functions": [Function(name="tide")]}, function_call=forced
    )
    assert sent(emulator, RUN)["brand_new"] == 1
    assert sent(emulator, RUN)["function_call"] == {"name": "tide", "partial_arguments": {"port": "north"}}


def test_the_official_sdks_old_name_of_the_options_still_works(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.run_messages("hi").thread_id or ""
    with pytest.deprecated_call(match="pass thread_options=") as noted:
        giga.threads.run(thread_id, options=ThreadRunOptions(temperature=0.5))
    assert noted[0].filename == __file__
    assert sent(emulator, "/threads/run") == {"thread_id": thread_id, "temperature": 0.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda threads: threads.run_messages([]), "messages is empty"),
        (lambda threads: threads.add_messages("t"), "messages is empty"),
        (lambda threads: threads.run_messages(None), "messages is empty"),
        (lambda threads: threads.run_messages(17), "messages must be"),
        (lambda threads: threads.run_messages(b"hi"), "messages are bytes"),
        (lambda threads: threads.run_messages(["hi", 5]), r"messages\[1\]"),
        (lambda threads: threads.add_message("", "hi"), "thread_id is empty"),
        (lambda threads: threads.add_message(None, "hi"), "thread_id must be a string"),
        (lambda threads: threads.run("t", assistant_id=""), "assistant_id is empty"),
        (lambda threads: threads.run("t", thread_options=5), "thread_options must be"),
        (lambda threads: threads.run("t", temperature=float("nan")), "temperature must be a finite number"),
        (lambda threads: threads.get_threads(limit=-1), "limit must be a whole number"),
        (lambda threads: threads.get_messages("t", before="x"), "before must be a number"),
        (lambda threads: threads.retrieve([]), "threads_ids is empty"),
        (lambda threads: threads.retrieve([5]), r"threads_ids\[0\] must be a string"),
        (lambda threads: threads.get_threads(17), "assistants_ids must be"),
        (lambda threads: threads.run_messages_stream("hi", update_interval="x", timeout=-1), "timeout"),
    ],
)
def test_invalid_arguments_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, call: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(giga.threads)
    assert emulator.requests == []


def test_an_unknown_option_is_a_type_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for call in (giga.threads.run, giga.threads.run_stream, giga.threads.get_run, giga.threads.wait_for_run):
        with pytest.raises(TypeError, match="top_k"):
            call("t", top_k=1)  # type: ignore[operator]
    assert emulator.requests == []


def test_a_function_call_is_returned_and_answered(giga: GigaChat) -> None:
    tide = {"name": "get_tide", "description": "The tide", "parameters": {"type": "object", "properties": {}}}
    asked_for = giga.threads.run_messages("What is the tide?", functions=[tide])
    assert asked_for.finish_reason == "function_call"
    assert asked_for.function_call is not None and asked_for.function_call.name == "get_tide"
    result = {"role": "function", "name": "get_tide", "content": {"height": 3}}
    answer = giga.threads.run_messages([result], thread_id=asked_for.thread_id)
    assert answer.text == "According to get_tide: height: 3."
    kept = giga.threads.get_messages(answer.thread_id or "").messages
    assert kept[1].function_call == asked_for.function_call


# -- background runs ------------------------------------------------------------------


def test_a_run_is_started_and_polled(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.add_messages(messages=[COUNT], model="GigaChat-2").thread_id
    begun = giga.threads.run(thread_id)
    assert (begun.status, begun.thread_id) == ("in_progress", thread_id)
    assert giga.threads.retrieve(thread_id).threads[0].run_lock is True
    with pytest.raises(UnprocessableEntityError, match="locked by a run"):
        giga.threads.add_message(thread_id, "and now?")
    first = giga.threads.get_run(thread_id)
    assert (first.status, first.messages, first.text) == ("in_progress", None, "")
    second = giga.threads.get_run(thread_id)
    assert (second.status, second.text, str(second)) == (ThreadStatus.READY, COUNTED, COUNTED)
    assert second.model is not None and second.updated_at is not None
    assert giga.threads.add_message(thread_id, "and now?").thread_id == thread_id


def test_a_run_may_use_an_assistant(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assistant_id = giga.assistants.create("GigaChat-2-Pro", "Pilot").assistant_id
    thread_id = giga.threads.add_messages(messages=[COUNT], model="GigaChat-2").thread_id
    giga.threads.run(thread_id, assistant_id)
    assert sent(emulator, "/threads/run") == {"thread_id": thread_id, "assistant_id": assistant_id}
    assert giga.threads.wait_for_run(thread_id, poll_interval=SOON).model == "GigaChat-2-Pro"


@pytest.mark.parametrize("failing", [False, True])
def test_a_run_is_waited_for_until_it_ends(emulator: GigaChatEmulator, giga: GigaChat, failing: bool) -> None:
    emulator.threads.failing = failing
    emulator.threads.looks = 4
    thread_id = giga.threads.add_messages(messages=[COUNT], model="GigaChat-2").thread_id
    giga.threads.run(thread_id)
    result = giga.threads.wait_for_run(thread_id, poll_interval=SOON)
    assert (result.status, result.text) == (("failed", "") if failing else ("ready", COUNTED))
    assert len(requests_to(emulator, "GET", "/threads/run")) == 4


def test_an_unknown_status_does_not_end_the_wait(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for status in ("queued", "thinking", "deleted"):
        emulator.inject(Fault(body={"status": status, "thread_id": "t"}), path="/threads/run")
    assert giga.threads.wait_for_run("t", poll_interval=SOON).status == "deleted"


def test_a_wait_for_a_run_times_out(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.threads.looks = 10_000
    thread_id = giga.threads.add_messages(messages=[COUNT], model="GigaChat-2").thread_id
    giga.threads.run(thread_id)
    began_at = time.monotonic()
    with pytest.raises(APITimeoutError, match=r"is still in_progress after 0\.2 s") as caught:
        giga.threads.wait_for_run(thread_id, poll_interval=0.05, timeout=0.2)
    assert time.monotonic() - began_at < WAIT_SECONDS
    assert caught.value.completion.status == "in_progress"


def test_close_ends_a_wait_for_a_run(emulator: GigaChatEmulator) -> None:
    giga = client_of(emulator)
    emulator.inject(Fault(body={"status": "in_progress"}), times=None, path="/threads/run")
    waiting = Background(lambda: giga.threads.wait_for_run("t", poll_interval=3600))
    until(lambda: len(requests_to(emulator, "GET", "/run")) == 1 and giga.stats().in_flight == 0, "the first look")
    giga.close()
    assert isinstance(waiting.join().error, (APIConnectionError, ConfigError))


# -- retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "end"),
    [
        (lambda threads: threads.create_thread(), "/threads"),
        (lambda threads: threads.add_message("t", "hi"), "/threads/messages"),
        (lambda threads: threads.run("t"), "/threads/run"),
        (lambda threads: threads.run_stream("t"), "/threads/run"),
        (lambda threads: threads.run_messages("hi"), RUN),
        (lambda threads: threads.run_messages_stream("hi"), RUN),
        (lambda threads: threads.delete("t"), "/threads/delete"),
    ],
)
@pytest.mark.parametrize(
    ("fault", "error_type"), [(Fault(status=500), ServerError), (Fault(reset=True), APIConnectionError)]
)
def test_a_request_that_may_have_arrived_is_not_repeated(
    emulator: GigaChatEmulator, giga: GigaChat, call: Any, end: str, fault: Fault, error_type: type[Exception]
) -> None:
    emulator.inject(fault, path=end)
    with pytest.raises(error_type):
        call(giga.threads)
    assert len(requests_to(emulator, "POST", end)) == 1


def test_a_rerun_is_retried(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.run_messages(COUNT).thread_id or ""
    emulator.inject(Fault(status=500), times=2, path="/rerun")
    again = giga.threads.rerun_messages(thread_id)
    assert (again.text, again.thread_id) == (COUNTED, thread_id)
    roles = [message.role for message in giga.threads.get_messages(thread_id).messages]
    assert roles == ["user", "assistant"]


def test_errors_keep_their_class_and_their_retry_after(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=429, retry_after=3), path="/threads/delete")
    with pytest.raises(RateLimitError) as caught:
        giga.threads.delete("t", max_retries=0)
    assert caught.value.retry_after == 3


def test_an_error_instead_of_an_empty_body_is_raised(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body={"status": 404, "message": "No such thread"}), path="/threads/delete")
    with pytest.raises(NotFoundError):
        giga.threads.delete("t")


def test_an_unknown_model_gets_the_same_hint_as_for_chat(giga: GigaChat) -> None:
    with pytest.raises(NotFoundError, match="No such model") as caught:
        giga.threads.run_messages("hi", model="GigaChat-9")
    assert "threads.list" not in str(caught.value)


# -- streams ---------------------------------------------------------------------------------------


def test_the_usage_of_a_stream_is_the_sum_of_its_chunks(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    whole = giga.threads.run_messages(COUNT)
    with giga.threads.run_messages_stream([COUNT], update_interval=0) as stream:
        chunks = list(stream)
    assert all(isinstance(one, ThreadCompletionChunk) for one in chunks)
    assert "".join(one.text for one in chunks) == stream.text == COUNTED
    assert [one.finish_reason for one in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].text != ""
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == len(chunks) > 3
    assert usages[0].prompt_tokens > 0 and {usage.prompt_tokens for usage in usages[1:]} == {0}
    answer = stream.completion
    assert isinstance(answer, ThreadCompletion)
    assert answer.usage is not None and whole.usage is not None
    assert answer.usage.total_tokens == sum(usage.total_tokens for usage in usages) == whole.usage.total_tokens
    assert answer.usage.completion_tokens == whole.usage.completion_tokens
    assert answer.usage.precached_prompt_tokens is None
    assert (answer.text, answer.finish_reason, answer.object) == (COUNTED, "stop", "threads.messages.run")
    assert answer.thread_id == chunks[0].thread_id is not None
    assert answer.message_id == chunks[0].message_id is not None
    assert answer.request_id == stream.request_id == chunks[0].request_id is not None
    assert answer.raw["usage"]["total_tokens"] == answer.usage.total_tokens
    assert answer.raw["message"] == {"role": "assistant", "content": COUNTED}
    assert "choices" not in answer.raw
    request = requests_to(emulator, "POST", RUN)[-1]
    assert request.headers["accept"] == "text/event-stream"
    assert request.json() == {
        "model": "GigaChat-2",
        "messages": [{"role": "user", "content": COUNT}],
        "update_interval": 0,
        "stream": True,
    }


def test_counts_that_only_some_chunks_have_are_summed_too(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    chunks = [chunk("a", 9, 1), chunk("b", 0, 2), chunk("c", 0, 3, finish="stop")]
    chunks[0]["usage"]["precached_prompt_tokens"] = 4
    chunks[1]["usage"] = None
    answer = stream_of(emulator, giga, sse_bytes(*chunks) + DONE).result()
    assert answer.usage == Usage(prompt_tokens=9, completion_tokens=4, total_tokens=13, precached_prompt_tokens=4)


def test_runs_and_reruns_are_streamed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.add_messages(messages=[COUNT], model="GigaChat-2").thread_id
    first = giga.threads.run_stream(thread_id, max_tokens=100).result()
    assert (first.text, first.thread_id) == (COUNTED, thread_id)
    assert sent(emulator, "/threads/run") == {"thread_id": thread_id, "max_tokens": 100, "stream": True}
    again = giga.threads.rerun_messages_stream(thread_id, {"temperature": 1}, update_interval=0.5)
    assert again.result().text == COUNTED
    assert sent(emulator, "/rerun") == {
        "thread_id": thread_id,
        "temperature": 1,
        "update_interval": 0.5,
        "stream": True,
    }
    assert [one.role for one in giga.threads.get_messages(thread_id).messages] == ["user", "assistant"]


def test_a_function_call_comes_in_a_stream(giga: GigaChat) -> None:
    tide = {"name": "get_tide", "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}}
    answer = giga.threads.run_messages_stream("What is the tide?", functions=[tide]).result()
    assert answer.function_call is not None and answer.function_call.name == "get_tide"
    assert (answer.finish_reason, answer.text) == ("function_call", "")
    assert answer.message.functions_state_id is not None
    assert answer.raw["message"]["function_call"]["name"] == "get_tide"


def test_a_cut_stream_keeps_its_text(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_events=3), path=RUN)
    stream = giga.threads.run_messages_stream(COUNT)
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.text == stream.text == "1, 2, 3,"
    partial = caught.value.completion
    assert isinstance(partial, ThreadCompletion)
    assert (partial.text, partial.finish_reason) == ("1, 2, 3,", None)
    assert partial.usage is not None and partial.usage.prompt_tokens > 0
    assert len(requests_to(emulator, "POST", RUN)) == 1


def test_a_stream_that_ends_without_marker_and_reason_is_incomplete(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(StreamInterruptedError, match="without an end marker"):
        stream_of(emulator, giga, sse_bytes(chunk("a", 1, 1))).result()
    with pytest.raises(StreamInterruptedError, match="without an end marker"):
        stream_of(emulator, giga, b"").result()
    assert stream_of(emulator, giga, sse_bytes(chunk("a", 1, 1)) + DONE).result().text == "a"
    assert stream_of(emulator, giga, sse_bytes(chunk("a", 1, 1, finish="stop"))).result().text == "a"


def test_an_error_within_a_stream_has_the_text_so_far(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(error_after_events=2), path=RUN)
    stream = giga.threads.run_messages_stream(COUNT)
    with pytest.raises(ServerError) as caught:
        list(stream)
    assert caught.value.text == "1, 2,"


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        ('{"choices":[],"error":{"message":"no"}}', APIStatusError),
        ('{"choices":[],"message":{"content":"hm"}}', InvalidResponseError),
        ("not json", InvalidResponseError),
        ("[]", InvalidResponseError),
    ],
)
def test_an_invalid_chunk_is_an_error(
    emulator: GigaChatEmulator, giga: GigaChat, data: str, error_type: type[Exception]
) -> None:
    stream = stream_of(emulator, giga, sse_bytes(chunk("a", 1, 1)) + event(data) + DONE)
    with pytest.raises(error_type) as caught:
        list(stream)
    assert getattr(caught.value, "text", None) == "a"


def test_a_chunk_without_choices_may_bring_the_usage(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    bare = {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}}
    answer = stream_of(emulator, giga, sse_bytes(chunk("a", 1, 1, finish="stop"), bare) + DONE).result()
    assert answer.usage == Usage(prompt_tokens=1, completion_tokens=3, total_tokens=4)


def test_a_refused_stream_is_raised_by_the_call_itself(giga: GigaChat) -> None:
    for call in (giga.threads.run_stream, giga.threads.rerun_messages_stream):
        with pytest.raises(NotFoundError, match=r"No such thread - threads\.list"):
            call("none")


def test_a_page_instead_of_a_stream_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(html=True), path=RUN)
    with pytest.raises(InvalidResponseError, match="not an event stream"):
        giga.threads.run_messages_stream("hi")


def test_a_stream_left_early_releases_its_permit(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.max_streams = 1
    emulator.inject(Fault(stall_after_events=2), path=RUN)
    with giga.threads.run_messages_stream(COUNT) as stream:
        next(stream)
    until(lambda: emulator.open_streams == 0, "the end of the stream at the server")
    assert stream.closed and stream.text == "1,"
    assert giga.threads.run_messages(COUNT).text == COUNTED
    assert repr(stream).startswith("<ThreadStream closed, 2 characters so far")


def test_streams_use_one_connection_one_after_the_other(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    thread_id = giga.threads.run_messages(COUNT).thread_id
    before = emulator.connections
    for _ in range(3):
        assert giga.threads.rerun_messages_stream(thread_id).result().text == COUNTED
    assert emulator.connections == before


def test_a_response_can_be_pickled(giga: GigaChat) -> None:
    answer = giga.threads.run_messages_stream(COUNT).result()
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    assert again.raw == answer.raw
    assert json.dumps(again.raw)
