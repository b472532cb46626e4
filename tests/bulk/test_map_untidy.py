"""``giga.map`` over answers that the filter blocked, and over untidy ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.map_tools import echo

from gigaclient import ContentFilterError, FakeGpt, GigaChat, InvalidResponseError
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator

BLOCKED = {"content": "Let us talk about something else.", "finish_reason": "blacklist"}


@dataclasses.dataclass
class Tide:
    port: str
    metres: float


def test_a_blocked_answer_is_an_error_that_keeps_the_answer(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator, bad=BLOCKED)
    results = giga.map(["good", "bad", "fine"], max_errors_in_row=1, max_workers=1)
    good, bad, fine = list(results)
    assert good.ok
    assert fine.ok, "a blocked answer is no failure of the service"
    assert not bad.ok
    assert isinstance(bad.error, ContentFilterError)
    assert bad.error.completion is bad.completion
    assert bad.text == bad.error.text == "Let us talk about something else."
    assert bad.usage is not None
    progress = results.progress
    assert (progress.answered, progress.failed, progress.blocked) == (2, 1, 1)


def test_a_blocked_answer_is_kept_as_an_answer_if_that_is_asked_for(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator, bad=BLOCKED)
    results = giga.map(["bad"], keep_blocked=True)
    (bad,) = list(results)
    assert bad.ok
    assert bad.completion is not None
    assert bad.completion.blocked
    assert results.progress.blocked == 0


def test_a_blocked_answer_raises_if_errors_do(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator, bad=BLOCKED)
    with pytest.raises(ContentFilterError):
        list(giga.map(["bad"], raise_errors=True))


@pytest.mark.parametrize("type_", [None, Tide])
def test_a_blocked_answer_is_stored_and_not_paid_for_again(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path, type_: Any
) -> None:
    echo(emulator, bad=BLOCKED)
    path = tmp_path / "results.jsonl"
    for restored in (False, True):
        (bad,) = list(giga.map(["bad"], checkpoint=path, response_format=type_))
        assert isinstance(bad.error, ContentFilterError)
        assert bad.restored is restored
        assert bad.text == "Let us talk about something else."
    assert len(emulator.prompts) == 1


def test_a_blocked_answer_holds_no_value_whatever_is_kept(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator, bad=BLOCKED)
    (bad,) = list(giga.map(["bad"], response_format=Tide, keep_blocked=True))
    assert isinstance(bad.error, ContentFilterError)


def test_an_answer_of_fakegpt_that_was_blocked_is_an_error_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGptEmulator() as emulator, FakeGpt(**emulator.client_options) as client:
        blocked = client.chat("Hello")
        blocked.additional_data = {"moderation": {"blocked": True}}
        assert blocked.blocked
        monkeypatch.setattr(FakeGpt, "_completion", lambda *arguments: blocked)
        (result,) = list(client.map(["Hello"]))
        assert isinstance(result.error, ContentFilterError)
        (result,) = list(client.map(["Hello"], keep_blocked=True))
        assert result.ok


UNTIDY = "Here: {'port': 'Kem', 'metres': 3,}"


def test_untidy_values_are_mended_and_stored_unless_that_is_switched_off(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    echo(emulator, tide=UNTIDY)
    path = tmp_path / "results.jsonl"
    for restored in (False, True):
        (result,) = list(giga.map(["tide"], response_format=Tide, checkpoint=path))
        assert result.value == Tide("Kem", 3.0)
        assert result.completion is not None
        assert result.completion.repaired
        assert result.restored is restored
    (line,) = [json.loads(line) for line in path.read_text().splitlines() if '"text"' in line]
    assert line["text"] == UNTIDY
    assert line["value"] == {"port": "Kem", "metres": 3.0}
    (result,) = list(giga.map(["tide"], response_format=Tide, repair=False))
    assert isinstance(result.error, InvalidResponseError)
    assert result.text == UNTIDY


def test_functions_take_the_options_of_a_run(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    def get_tide(ports: list[str]) -> float:
        """Return the height of the tide."""
        return 1.8

    call = {"function_call": {"name": "get_tide", "arguments": {"ports": '["Kem"]'}}}
    for repair in (True, False):
        emulator.answer(call)
        (result,) = list(
            giga.map(["tide?"], functions=[get_tide], on_result=lambda tide: {"metres": tide}, repair=repair)
        )
        assert result.run is not None
        assert ("metres" in result.run.steps[0].result) is repair
