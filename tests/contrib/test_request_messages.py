"""The messages in a browser's request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.web import NO_MESSAGES

from gigaclient.contrib.event_stream import messages_from_json
from gigaclient.types import Message

DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Привет 🦔"},
    {"role": "assistant", "content": ""},
]


@pytest.mark.parametrize("convert", [lambda body: body, json.dumps, lambda body: json.dumps(body).encode()])
def test_roles_and_texts_are_taken_from_json_bytes_and_text(convert: Any) -> None:
    found = messages_from_json(convert({"messages": DIALOGUE, "model": "GigaChat-2"}))
    assert found == [Message(**message) for message in DIALOGUE]


def test_other_fields_of_a_browser_are_not_sent_on() -> None:
    extra = {"attachments": ["file-1"], "functions_state_id": "x", "name": "n", "unknown": 1}
    assert messages_from_json({"messages": [{**DIALOGUE[1], **extra}]}) == [Message(**DIALOGUE[1])]


@pytest.mark.parametrize("body", [*NO_MESSAGES, None, b"{", b"\xff", "[" * 200_000], ids=lambda body: ascii(body)[:40])
def test_any_other_body_is_a_value_error_of_one_sentence(body: Any) -> None:
    with pytest.raises(ValueError, match=r"^(the body of the request|messages\[0\]) [\w\W]+$") as caught:
        messages_from_json(body)
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is None


def test_the_error_names_the_message() -> None:
    with pytest.raises(ValueError, match=r"^messages\[1\] needs a content, which is a text$"):
        messages_from_json({"messages": [DIALOGUE[0], {"role": "user"}]})
