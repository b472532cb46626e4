"""A dialogue as one prompt, and the body that contains it."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from gigaclient import Chat, ConfigError, Message
from gigaclient.fakegpt.conversation import conversation
from gigaclient.fakegpt.login import random_string
from gigaclient.fakegpt.prompt import format_prompt

DIALOGUE = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "name a river"},
]


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ("hi", "hi"),
        ([{"role": "user", "content": "hi"}], "hi"),
        ([{"role": "system", "content": "  be brief\n"}], "  be brief\n"),
        ([Message(role="user", content="привет")], "привет"),
        (Message(role="user", content="x"), "x"),
        (DIALOGUE, "User: hi\nAssistant: hello\nUser: name a river\nAssistant:"),
        (
            [Message(role="system", content="be brief"), {"role": "user", "content": "a\nUser: b"}],
            "System: be brief\nUser: a\nUser: b\nAssistant:",
        ),
        ([{"role": "myRole", "content": " x "}, {"role": "user", "content": ""}], "MyRole:  x \nUser: \nAssistant:"),
        (
            [{"role": "assistant", "content": None}, {"role": "user", "content": "y"}],
            "Assistant: \nUser: y\nAssistant:",
        ),
        (iter(DIALOGUE[:1]), "hi"),
    ],
)
def test_messages_become_one_prompt(messages: Any, prompt: str) -> None:
    assert format_prompt(messages) == prompt


def test_roles_can_be_forced_on_a_single_message() -> None:
    assert format_prompt("hi", tags=True) == "User: hi\nAssistant:"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "empty"),
        (b"hi", "bytes"),
        (["hi"], r"messages\[0\].*not in a list"),
        (3, "not int"),
        ([{"content": "x"}], "role"),
        ([{"role": "user", "content": ["x"]}], r"messages\[0\].*list"),
        ([{"role": "user", "content": b"x"}], "decode"),
    ],
)
def test_what_are_no_messages_is_explained(messages: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        format_prompt(messages)


def test_the_callers_messages_are_not_changed() -> None:
    messages = [dict(message) for message in DIALOGUE]
    conversation({"messages": messages, "temperature": 1}, {"additional_fields": {"a": 1}})
    assert messages == DIALOGUE


def sent(messages: Any, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(conversation(messages, options).body)
    return body


def test_the_body_is_exactly_what_the_backend_takes() -> None:
    body = sent(DIALOGUE, model="gpt-4", temperature=0.2)
    message_id, parent = body["messages"][0].pop("id"), body.pop("parent_message_id")
    assert uuid.UUID(message_id).version == uuid.UUID(parent).version == 4
    assert message_id != parent
    assert body == {
        "action": "next",
        "messages": [
            {
                "author": {"role": "user"},
                "content": {
                    "content_type": "text",
                    "parts": ["User: hi\nAssistant: hello\nUser: name a river\nAssistant:"],
                },
                "metadata": {},
            }
        ],
        "model": "text-davinci-002-render-sha",
        "plugin_ids": [],
        "timezone_offset_min": -120,
        "suggestions": [],
        "history_and_training_disabled": True,
        "arkose_token": "",
        "force_paragen": False,
    }


def test_each_call_has_ids_of_its_own() -> None:
    first, second = sent("x"), sent("x")
    assert first["messages"][0]["id"] != second["messages"][0]["id"]
    assert first["parent_message_id"] != second["parent_message_id"]


def test_fields_of_the_service_can_be_set_and_a_dialogue_continued() -> None:
    body = sent("x", conversation_id="c-1", parent_message_id="m-1", history_and_training_disabled=False)
    assert (body["conversation_id"], body["parent_message_id"]) == ("c-1", "m-1")
    assert body["history_and_training_disabled"] is False


def test_additional_fields_and_fields_of_a_request_are_sent_and_the_calls_own_win() -> None:
    request = {"messages": "hi", "arkose_token": "a", "additional_fields": {"one": 1, "two": 2}}
    body = sent(request, additional_fields={"two": 3}, arkose_token="b")
    assert (body["one"], body["two"], body["arkose_token"]) == (1, 3, "b")
    assert "additional_fields" not in body


def test_the_prompt_and_the_model_cannot_be_replaced_by_an_additional_field() -> None:
    body = sent("hi", additional_fields={"messages": ["x"], "model": "y"})
    assert body["messages"][0]["content"]["parts"] == ["hi"]
    assert body["model"] == "text-davinci-002-render-sha"


def test_settings_of_other_services_are_named_and_not_sent() -> None:
    request = conversation(Chat(messages=[Message(content="hi")], top_p=0.5), {"temperature": 1, "model": "gpt-4"})
    assert request.ignored == ("model", "temperature", "top_p")
    assert not {"temperature", "top_p"} & json.loads(request.body).keys()


@pytest.mark.parametrize("model", ["gpt-3.5-turbo", "text-davinci-002-render-sha", None])
def test_the_names_of_the_one_model_are_not_called_ignored(model: str | None) -> None:
    assert conversation("hi", {"model": model}).ignored == ()


def test_options_of_the_call_are_not_fields_of_the_body() -> None:
    body = sent("hi", timeout=3, deadline=4, max_retries=0, headers={}, request_id="r", authorization="Bearer x")
    assert body.keys() == sent("hi").keys()


@pytest.mark.parametrize("name", ["api_key", "credentials", "password", "access_token"])
def test_a_secret_passed_as_a_field_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        conversation("hi", {name: "qwertyuiop"})
    assert "qwertyuiop" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"x": float("nan")}, "finite"),
        ({"x": b"1"}, "bytes"),
        ({"x": object()}, "JSON"),
        ({"additional_fields": 1}, "map"),
    ],
)
def test_a_field_that_is_no_json_is_explained(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        conversation("hi", options)


def test_half_a_surrogate_pair_is_explained() -> None:
    with pytest.raises(ConfigError, match="surrogate"):
        conversation("\ud83d", {})


def test_a_request_without_messages_is_explained() -> None:
    with pytest.raises(ConfigError, match='needs "messages"'):
        conversation({"role": "user", "content": "x"}, {})


def test_random_strings_are_ten_letters_and_digits_and_never_the_same() -> None:
    found = {random_string() for _ in range(200)}
    assert len(found) == 200
    assert all(re.fullmatch("[a-z0-9]{10}", text) for text in found)
    assert {letter for text in found for letter in text} > set("abcxyz019")
    assert len(random_string(32)) == 32
