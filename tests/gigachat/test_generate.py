"""The text-only methods ``generate`` and ``create_generator``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from support.stream_tools import DONE, WAIT_SECONDS, Background, payload, sse_bytes, until

from gigaclient import GigaChat
from gigaclient.errors import AuthenticationError, ConfigError, NotFoundError, StreamInterruptedError
from gigaclient.testing import Fault, GigaChatEmulator

TEXT = "1, 2, 3, 4, 5"
PROMPT = "Count from 1 to 5"
CHAT = "/chat/completions"


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**emulator.client_options, timeout=WAIT_SECONDS) as client:
        yield client


def one_call(emulator: GigaChatEmulator, **options: Any) -> Iterator[str]:
    client = {name: value for name, value in emulator.client_options.items() if name != "credentials"}
    arguments = {"model": "GigaChat-2", "messages": PROMPT, "api_key": emulator.credentials, **client, **options}
    return GigaChat.create_generator(**arguments)


# -- generate --------------------------------------------------------------------------------------


def test_generate_yields_the_text_piece_by_piece(giga: GigaChat) -> None:
    pieces = list(giga.generate(PROMPT))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 3
    assert all(type(piece) is str and piece for piece in pieces)


def test_generate_yields_no_progress_and_no_reasoning(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.answer(
        sse_bytes(
            payload("10 seconds left", delta={"role": "function_in_progress", "name": "text2image"}),
            payload("", delta={"role": "assistant", "reasoning_content": "hmm"}),
            payload("Here."),
            payload(delta={"function_call": {"name": "f", "arguments": {}}}),
            payload("", finish="stop"),
        )
        + DONE
    )
    assert list(giga.generate(PROMPT)) == ["Here."]


def test_generate_blocks_and_yields_as_pieces_come(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=1), path=CHAT)
    pieces = giga.generate(PROMPT)
    assert next(pieces) == "1,"
    reader = Background(lambda: next(pieces, None))
    until(lambda: giga.stats().in_flight == 1)
    giga.close()
    assert isinstance(reader.join().error, StreamInterruptedError)


def test_generate_checks_the_request_now_and_sends_it_later(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(ConfigError):
        giga.generate([])
    pieces = giga.generate(PROMPT)
    assert emulator.requests == []
    next(pieces)
    assert len(emulator.requests) == 1
    pieces.close()  # type: ignore[attr-defined]


def test_leaving_the_loop_early_closes_the_connection(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    for _piece in giga.generate(PROMPT):
        break
    assert giga.stats().in_flight == 0
    until(lambda: emulator.api_aborted == 1)
    assert giga.chat(PROMPT).text == TEXT


def test_an_error_comes_out_of_the_loop_with_the_text(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_events=2), path=CHAT)
    pieces: list[str] = []
    with pytest.raises(StreamInterruptedError) as caught:
        for piece in giga.generate(PROMPT):
            pieces.append(piece)
    assert "".join(pieces) == caught.value.text == "1, 2,"
    assert len(emulator.requests) == 1


def test_an_error_status_comes_with_the_first_piece(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    pieces = giga.generate(PROMPT, model="no-such-model")
    with pytest.raises(NotFoundError):
        next(pieces)
    assert next(pieces, None) is None


# -- create_generator ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_one_call_is_enough(emulator: GigaChatEmulator, stream: bool) -> None:
    pieces = list(one_call(emulator, stream=stream))
    assert "".join(pieces) == TEXT
    assert (len(pieces) > 3) is stream
    assert emulator.requests[-1].json().get("stream", False) is stream
    assert emulator.requests[-1].json()["model"] == "GigaChat-2"


def test_one_call_passes_body_fields_and_call_options(emulator: GigaChatEmulator) -> None:
    list(one_call(emulator, update_interval=0.01, temperature=0.5, max_tokens=50, brand_new=1, request_id="my-request"))
    request = emulator.requests[-1]
    assert request.headers["x-request-id"] == "my-request"
    assert request.json() == {
        "messages": [{"role": "user", "content": PROMPT}],
        "model": "GigaChat-2",
        "stream": True,
        "update_interval": 0.01,
        "temperature": 0.5,
        "max_tokens": 50,
        "brand_new": 1,
    }


def test_one_call_without_a_model_uses_the_default(emulator: GigaChatEmulator) -> None:
    assert "".join(one_call(emulator, model=None)) == TEXT
    assert emulator.requests[-1].json()["model"] == "GigaChat-2"


def test_calls_with_the_same_settings_share_token_and_connection(emulator: GigaChatEmulator) -> None:
    for number in range(4):
        list(one_call(emulator, stream=number % 2 == 0, temperature=0.1 + number))
    assert emulator.oauth_calls == 1
    assert emulator.connections == 1


@pytest.mark.parametrize("difference", ["key", "timeout"])
def test_calls_with_other_settings_share_nothing(emulator: GigaChatEmulator, difference: str) -> None:
    list(one_call(emulator))
    list(one_call(emulator, **({"api_key": emulator.add_credentials()} if difference == "key" else {"timeout": 7})))
    assert emulator.oauth_calls == 2


def test_no_key_at_all_is_a_value_error_at_once(emulator: GigaChatEmulator) -> None:
    with pytest.raises(ValueError, match="GIGACHAT_CREDENTIALS"):
        one_call(emulator, api_key=None)
    assert emulator.oauth_calls == 0


def test_the_key_may_come_from_the_environment(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", emulator.credentials)
    assert "".join(one_call(emulator, api_key=None)) == TEXT


def test_a_wrong_key_is_reported_with_the_first_piece(emulator: GigaChatEmulator) -> None:
    wrong = base64.b64encode(b"0b6a4c1e-0000-4000-8000-000000000000:0b6a4c1e-0000-4000-8000-000000000001").decode()
    pieces = one_call(emulator, api_key=wrong)
    with pytest.raises(AuthenticationError) as caught:
        next(pieces)
    assert wrong not in str(caught.value)


def test_an_unusable_request_is_refused_at_once(emulator: GigaChatEmulator) -> None:
    for stream in (True, False):
        with pytest.raises(ConfigError):
            one_call(emulator, messages=[], stream=stream)
    assert emulator.requests == []


def test_model_and_messages_may_be_positional(emulator: GigaChatEmulator) -> None:
    client = {name: value for name, value in emulator.client_options.items() if name != "credentials"}
    generator = GigaChat.create_generator("GigaChat-2", PROMPT, False, None, api_key=emulator.credentials, **client)
    assert list(generator) == [TEXT]
