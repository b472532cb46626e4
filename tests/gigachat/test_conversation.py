"""Conversations: which turns join the history, how it is trimmed, and how it is saved."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
import uuid
from typing import Any

import pytest
from support.stream_tools import WAIT_SECONDS

from gigaclient import GigaChat
from gigaclient._primitives import fork_safety as forks
from gigaclient.errors import ConfigError, RateLimitError, ServerError, StreamInterruptedError, TooManyStepsError
from gigaclient.gigachat.conversation import Conversation
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import Message, Step

QUESTION = "How high is the tide in Murmansk?"


def get_tide(port: str) -> float:
    """Return the height of the tide at a port."""
    return 1.8


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


def sent(emulator: GigaChatEmulator) -> Any:
    return emulator.requests[-1].json()


def history_texts(conversation: Conversation) -> list[tuple[str, str]]:
    """Return the history as roles and texts."""
    return [(message["role"], message.get("content") or "") for message in conversation.to_dict()["messages"]]


# -- turns -----------------------------------------------------------------------------------------


def test_each_turn_is_sent_with_all_previous_turns(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation("Answer briefly.", temperature=0.5)
    assert conversation.ask("Count from 1 to 3").text == "1, 2, 3"
    assert conversation.ask("Count from 1 to 2", temperature=0.7).text == "1, 2"
    history = [
        ("system", "Answer briefly."),
        ("user", "Count from 1 to 3"),
        ("assistant", "1, 2, 3"),
        ("user", "Count from 1 to 2"),
    ]
    assert [(message["role"], message["content"]) for message in sent(emulator)["messages"]] == history
    assert history_texts(conversation) == [*history, ("assistant", "1, 2")]
    assert sent(emulator)["temperature"] == 0.7
    conversation.ask("Count from 1 to 2")
    assert sent(emulator)["temperature"] == 0.5


def test_the_session_is_the_same_in_each_turn_so_that_the_prompt_cache_hits(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    conversation = giga.conversation()
    first = conversation.ask("Count from 1 to 30")
    second = conversation.ask("Count from 1 to 2")
    assert {request.headers["x-session-id"] for request in emulator.requests[-2:]} == {conversation.session_id}
    assert uuid.UUID(conversation.session_id)
    assert first.usage is not None and second.usage is not None
    assert (second.usage.precached_prompt_tokens or 0) > (first.usage.precached_prompt_tokens or 0)
    assert giga.conversation().session_id != conversation.session_id
    assert giga.conversation(session_id="mine").session_id == "mine"


def test_a_streamed_answer_joins_when_it_has_ended(giga: GigaChat) -> None:
    conversation = giga.conversation()
    with conversation.stream("Count from 1 to 5") as stream:
        next(stream)
        assert conversation.messages == []
        rest = "".join(chunk.text for chunk in stream)
    assert stream.text.endswith(rest)
    assert history_texts(conversation) == [("user", "Count from 1 to 5"), ("assistant", "1, 2, 3, 4, 5")]
    assert stream.closed
    assert stream.completion.text == stream.result().text == "1, 2, 3, 4, 5"
    assert (stream.steps, stream.request_id) == ([], stream.completion.request_id)
    assert conversation.stream("Count from 1 to 2").result().text == "1, 2"
    assert len(conversation.messages) == 4


def test_a_turn_that_fails_leaves_the_history_unchanged(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation("Answer briefly.")
    conversation.ask("Count from 1 to 2")
    before = history_texts(conversation)
    emulator.inject(Fault(status=429))
    with pytest.raises(RateLimitError):
        conversation.ask("Count from 1 to 3")
    emulator.inject(Fault(status=500))
    with pytest.raises(ServerError):
        conversation.stream("Count from 1 to 3")
    with pytest.raises(ConfigError):
        conversation.ask("Count from 1 to 3", temperature=float("nan"))
    assert history_texts(conversation) == before
    assert conversation.ask("Count from 1 to 3").text == "1, 2, 3"


def test_a_stream_that_breaks_keeps_its_text_and_leaves_the_history_alone(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    conversation = giga.conversation()
    emulator.inject(Fault(cut_after_events=3))
    stream = conversation.stream("Count from 1 to 9")
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.text == stream.text == stream.completion.text != ""
    assert conversation.messages == []
    assert conversation.ask("Count from 1 to 2").text == "1, 2"


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_a_stream_that_is_left_leaves_the_history_alone_and_the_turn_free(
    giga: GigaChat, emulator: GigaChatEmulator, how: str
) -> None:
    conversation = giga.conversation()
    stream = conversation.stream("Count from 1 to 9")
    next(stream)
    if how == "close":
        stream.close()
        assert list(stream) == []
    elif how == "with":
        with stream:
            next(stream)
    else:
        del stream
        gc.collect()
    assert conversation.messages == []
    assert conversation.ask("Count from 1 to 2").text == "1, 2"


def test_a_filtered_response_stays_out_of_the_history(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation()
    emulator.answer({"content": "Let us talk about something else.", "finish_reason": "blacklist"})
    assert conversation.ask("Something bad").finish_reason == "blacklist"
    assert conversation.messages == []
    emulator.answer({"content": "Let us talk about something else.", "finish_reason": "blacklist"})
    assert conversation.stream("Something bad").result().finish_reason == "blacklist"
    assert conversation.messages == []


def test_a_filtered_response_is_kept_if_that_is_asked_for(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation(keep_blocked=True)
    emulator.answer({"content": "Let us talk about something else.", "finish_reason": "blacklist"})
    assert conversation.ask("Something bad").blocked
    assert history_texts(conversation) == [
        ("user", "Something bad"),
        ("assistant", "Let us talk about something else."),
    ]


def test_functions_of_a_turn_take_the_options_of_a_run(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    def get_tide(ports: list[str]) -> float:
        """Return the height of the tide at a port."""
        return 1.8

    call = {"function_call": {"name": "get_tide", "arguments": {"ports": '["Kem"]'}}}
    conversation = giga.conversation(functions=[get_tide], on_result=lambda result: {"metres": result})
    emulator.answer(call)
    conversation.ask("How high is the tide?")
    assert conversation.last_run is not None
    assert conversation.last_run.steps[0].result == {"metres": 1.8}
    emulator.answer(call)
    conversation.ask("How high is the tide?", repair=False)
    assert conversation.last_run.steps[0].error is not None
    giga.conversation(repair=False).ask("Hello")
    assert "repair" not in emulator.requests[-1].json()


def test_a_second_turn_during_another_is_refused_and_the_first_goes_on(giga: GigaChat) -> None:
    conversation = giga.conversation()
    stream = conversation.stream("Count from 1 to 3")
    for second in (conversation.ask, conversation.stream):
        with pytest.raises(ConfigError, match="in progress"):
            second("Count from 1 to 2")
    with pytest.raises(ConfigError, match="in progress"):
        conversation.reset()
    assert stream.result().text == "1, 2, 3"
    assert conversation.ask("Count from 1 to 2").text == "1, 2"


def test_of_two_threads_at_once_one_is_refused(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    received, may_answer = threading.Event(), threading.Event()

    def slowly(request: Any) -> str:
        received.set()
        assert may_answer.wait(WAIT_SECONDS)
        return "Slow."

    emulator.answer(slowly)
    conversation = giga.conversation()
    thread = threading.Thread(target=conversation.ask, args=("Hello",))
    thread.start()
    assert received.wait(WAIT_SECONDS)
    with pytest.raises(ConfigError, match="in progress"):
        conversation.ask("Hello again")
    may_answer.set()
    thread.join(WAIT_SECONDS)
    assert history_texts(conversation) == [("user", "Hello"), ("assistant", "Slow.")]


def test_conversations_of_one_client_go_on_side_by_side(giga: GigaChat) -> None:
    conversations = [giga.conversation() for _ in range(4)]

    def talk(number: int) -> None:
        for last in range(number + 2, number + 5):
            conversations[number].ask(f"Count from 1 to {last}")

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    for number, conversation in enumerate(conversations):
        answers = [text for role, text in history_texts(conversation) if role == "assistant"]
        assert [answer.split(", ")[-1] for answer in answers] == [str(n) for n in range(number + 2, number + 5)]


def test_a_forked_child_may_continue_although_a_turn_was_in_progress(giga: GigaChat) -> None:
    conversation = giga.conversation()
    stream = conversation.stream("Count from 1 to 3")
    assert conversation in forks._registered
    conversation.after_fork_in_child()
    assert conversation.ask("Count from 1 to 2").text == "1, 2"
    stream.close()
    assert conversation.ask("Count from 1 to 2").text == "1, 2"


def test_attachments_go_with_a_message_and_other_roles_do_not_go_at_all(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    conversation = giga.conversation()
    emulator.answer("A cat.")
    conversation.ask(Message(role="user", content="What is this?", attachments=["f-1"]))
    assert sent(emulator)["messages"][0]["attachments"] == ["f-1"]
    for message in ({"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}, 5):
        with pytest.raises(ConfigError):
            conversation.ask(message)  # type: ignore[arg-type]
    assert len(conversation.messages) == 2


# -- functions -------------------------------------------------------------------------------------


def test_functions_run_within_a_turn_and_their_calls_join_the_history(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    seen: list[Step] = []
    conversation = giga.conversation(functions=[get_tide], on_step=seen.append)
    assert conversation.ask(QUESTION).text == "According to get_tide: result: 1.8."
    assert [role for role, _ in history_texts(conversation)] == ["user", "assistant", "function", "assistant"]
    assert conversation.last_run is not None
    assert conversation.last_run.steps == seen
    stream = conversation.stream("How high is the tide in Kem?")
    assert "".join(chunk.text for chunk in stream) == "According to get_tide: result: 1.8."
    assert stream.steps == seen[1:]
    assert len(conversation.messages) == 8
    assert {request.headers["x-session-id"] for request in emulator.requests[-4:]} == {conversation.session_id}
    assert conversation.ask("Count from 1 to 2", functions=[]).text == "1, 2"


def test_options_of_a_run_are_taken_with_each_turn(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation(functions=[get_tide], max_steps=1)
    emulator.answer({"function_call": {"name": "get_tide", "arguments": {"port": "Kem"}}}, times=2)
    with pytest.raises(TooManyStepsError):
        conversation.ask(QUESTION)
    assert conversation.messages == []


def test_a_function_may_be_run_by_hand(giga: GigaChat) -> None:
    spec = {"name": "get_tide", "description": "The tide at a port", "parameters": {"type": "object"}}
    conversation = giga.conversation(functions=[spec])
    assert conversation.ask(QUESTION).function_call is not None
    with pytest.raises(ConfigError, match="waits for the result of get_tide"):
        conversation.ask("Well?")
    result = {"role": "function", "name": "get_tide", "content": {"metres": 3}}
    assert conversation.ask(result).text == "According to get_tide: metres: 3."
    with pytest.raises(ConfigError, match="no function was called"):
        conversation.ask(result)
    assert len(conversation.messages) == 4


# -- the limit of the history ----------------------------------------------------------------------


def counts(emulator: GigaChatEmulator) -> int:
    return sum(request.path.endswith("/tokens/count") for request in emulator.requests)


def test_the_oldest_turns_go_first_and_the_system_message_stays(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    limit = 120
    conversation = giga.conversation("Answer briefly.", history_tokens=limit)
    for last in range(10, 26):
        answer = conversation.ask(f"Count from 1 to {last}")
        assert answer.usage is not None
        # The emulator adds 10 tokens to any request, and before the first response the server has counted nothing.
        assert answer.usage.prompt_tokens <= limit + 10
        history = sent(emulator)["messages"]
        assert history[0] == {"role": "system", "content": "Answer briefly."}
        assert history[1]["role"] == "user"
        assert history[-1]["content"] == f"Count from 1 to {last}"
    assert 3 < len(history) < 16
    numbers = [int(message["content"].split()[-1]) for message in history if message["role"] == "user"]
    assert numbers == list(range(26 - len(numbers), 26)), "the youngest turns, without a gap"


def test_a_short_history_is_not_counted(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    before = counts(emulator)
    conversation = giga.conversation("Answer briefly.", history_tokens=10_000)
    for _ in range(3):
        conversation.ask("Count from 1 to 3")
    giga.conversation().ask("Count from 1 to 100" * 50)
    assert counts(emulator) == before


def test_counting_uses_the_model_of_the_turn(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation(history_tokens=60, model="GigaChat-2-Pro")
    conversation.ask("Count from 1 to 9")
    conversation.ask("Count from 1 to 9, and then go on to tell me how you are")
    counts_sent = [request.json() for request in emulator.requests if request.path.endswith("/tokens/count")]
    assert counts_sent[-1]["model"] == "GigaChat-2-Pro"


def test_calls_and_their_results_are_dropped_together(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation("Be brief.", functions=[get_tide], history_tokens=150)
    for _ in range(6):
        assert conversation.ask(QUESTION).text == "According to get_tide: result: 1.8."
    roles = [role for role, _ in history_texts(conversation)]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant", "function", "assistant"] * (len(roles) // 4)
    assert len(roles) < 1 + 6 * 4


def test_a_message_that_is_too_long_by_itself_is_refused_before_it_is_sent(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    conversation = giga.conversation("Answer briefly.", history_tokens=30)
    conversation.ask("Count from 1 to 2")
    before = history_texts(conversation)
    with pytest.raises(ConfigError, match="history_tokens of the conversation is 30"):
        conversation.ask("long " * 100)
    assert history_texts(conversation) == before


def test_a_turn_that_fails_drops_nothing(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    conversation = giga.conversation(history_tokens=45)
    for _ in range(2):
        conversation.ask("Count from 1 to 9")
    before = history_texts(conversation)
    emulator.inject(Fault(status=500), path="/chat/completions")
    with pytest.raises(ServerError):
        conversation.ask("Count from 1 to 9")
    assert history_texts(conversation) == before
    conversation.ask("Count from 1 to 9")
    assert len(history_texts(conversation)) < len(before) + 2, "it would have, had it not failed"


def test_a_history_from_elsewhere_is_counted_and_trimmed(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    earlier = [
        {"role": role, "content": f"{role} {number} " + "says something long " * 4}
        for number in range(6)
        for role in ("user", "assistant")
    ]
    conversation = giga.conversation("Answer briefly.", messages=earlier, history_tokens=160)
    answer = conversation.ask("Count from 1 to 2")
    assert answer.usage is not None and answer.usage.prompt_tokens <= 170
    history = sent(emulator)["messages"]
    assert [message["role"] for message in history] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert history[1]["content"].startswith("user 4")


def test_the_token_overhead_of_messages_is_counted(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    earlier = [{"role": role, "content": "Yes"} for _ in range(20) for role in ("user", "assistant")]
    answer = giga.conversation(messages=earlier, history_tokens=60).ask("Count from 1 to 2")
    assert answer.usage is not None and answer.usage.prompt_tokens <= 70
    assert len(sent(emulator)["messages"]) > 5


# -- creating, resetting, saving -------------------------------------------------------------------


def test_a_conversation_continues_an_earlier_history(giga: GigaChat) -> None:
    earlier: list[Any] = [
        Message(role="system", content="Answer briefly."),
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good evening."},
    ]
    before = copy.deepcopy(earlier)
    conversation = giga.conversation(messages=earlier)
    conversation.ask("Count from 1 to 2")
    assert len(conversation.messages) == 5
    assert earlier == before
    conversation.messages.clear()
    assert len(conversation.messages) == 5, "the returned list is a copy"
    conversation.reset()
    assert history_texts(conversation) == [("system", "Answer briefly.")]


@pytest.mark.parametrize("form", ["text", "bytes", "dict"])
def test_a_saved_conversation_goes_on_where_it_was(giga: GigaChat, emulator: GigaChatEmulator, form: str) -> None:
    conversation = giga.conversation("Отвечай кратко.", functions=[get_tide], history_tokens=1000)
    conversation.ask(QUESTION)
    text = conversation.to_json()
    assert "Отвечай кратко." in text
    saved: Any = {"text": text, "bytes": text.encode(), "dict": conversation.to_dict()}[form]
    restored = Conversation.from_json(giga, saved, functions=[get_tide])
    assert history_texts(restored) == history_texts(conversation)
    assert restored.to_dict() == conversation.to_dict()
    assert restored.ask("How high is the tide in Kem?").text == "According to get_tide: result: 1.8."
    assert sent(emulator)["messages"][:5] == conversation.to_dict()["messages"]
    assert emulator.requests[-1].headers["x-session-id"] == conversation.session_id


def test_a_saved_conversation_holds_no_options(giga: GigaChat) -> None:
    secret = "Bearer of-the-user"
    conversation = giga.conversation(authorization=secret, functions=[get_tide])
    assert "of-the-user" not in conversation.to_json()
    assert set(json.loads(conversation.to_json())) == {"session_id", "history_tokens", "tokens", "messages"}
    restored = Conversation.from_json(giga, conversation.to_json(), history_tokens=50, session_id="other")
    assert restored.to_dict() == {"session_id": "other", "history_tokens": 50, "tokens": None, "messages": []}
    assert "of-the-user" not in repr(conversation)


@pytest.mark.parametrize("saved", ["", "{", "[]", "{}", 5, None, '{"messages": 5}', '{"messages": ["x"]}'])
def test_an_invalid_saved_conversation_is_refused(giga: GigaChat, saved: Any) -> None:
    with pytest.raises(ConfigError):
        Conversation.from_json(giga, saved)


@pytest.mark.parametrize("again", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_saved_rather_than_pickled(giga: GigaChat, again: Any) -> None:
    with pytest.raises(ConfigError, match="to_json"):
        again(giga.conversation())


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"history_tokens": 0}, "bounds its history"),
        ({"history_tokens": 1.5}, "bounds its history"),
        ({"system": 5}, "system must be a string"),
        ({"session_id": 5}, "session_id must be a string"),
        ({"messages": ["Hello"]}, r"messages\[0\]"),
        ({"system": "x", "messages": [{"role": "system", "content": "y"}]}, "two system messages"),
    ],
)
def test_an_invalid_argument_gets_advice(giga: GigaChat, arguments: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        giga.conversation(**arguments)
