"""``giga.map`` with a checkpoint, with typed values, and with functions."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.map_tools import echo

from gigaclient import (
    ConfigError,
    GigaChat,
    GigaClientError,
)
from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.testing import Fault, GigaChatEmulator

# -- the checkpoint -----


def test_finished_prompts_are_not_sent_again_in_any_order(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    echo(emulator)
    path = tmp_path / "results.jsonl"
    prompts = [f"prompt {n}" for n in range(12)]
    with giga.map(prompts, checkpoint=path) as results:
        first = {result.input: result for result in itertools.islice(results, 7)}
    sent = Counter(emulator.prompts)
    results = giga.map(prompts[::-1], checkpoint=path)
    second = {result.input: result for result in results}
    assert list(second) == prompts[::-1]
    assert all(result.text == f"echo of {result.input}" for result in second.values())
    assert results.progress.restored >= 7
    for prompt, result in first.items():
        again = second[prompt]
        assert again.restored
        assert again.index == 11 - result.index
        assert (again.completion, again.usage, again.attempts) == (result.completion, result.usage, 1)
        assert again.completion is not None
        assert result.completion is not None
        assert again.completion.raw == result.completion.raw
    # Calls that ran when the first loop was left may be sent once more.
    assert sum((Counter(emulator.prompts) - sent).values()) <= 5
    sent = Counter(emulator.prompts)
    assert all(result.restored for result in giga.map(prompts, checkpoint=path))
    assert Counter(emulator.prompts) == sent


def test_a_prompt_that_is_there_three_times_has_three_answers(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    for number in range(3):
        emulator.answer(f"answer {number}")
    texts = sorted(result.text for result in giga.map(["same"] * 3, checkpoint=path))
    assert texts == ["answer 0", "answer 1", "answer 2"]
    emulator.answer("answer 3")
    results = list(giga.map(["same"] * 4, checkpoint=path))
    assert sorted(result.text for result in results) == [*texts, "answer 3"]
    assert len(emulator.prompts) == 4


def test_other_options_are_another_request(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    list(giga.map(["one"], checkpoint=path, temperature=0.5, model="GigaChat-2"))
    same = list(giga.map(["one"], checkpoint=path, model="GigaChat-2", temperature=0.5, timeout=17))
    other = list(giga.map(["one"], checkpoint=path, model="GigaChat-2", temperature=0.6))
    assert [same[0].restored, other[0].restored] == [True, False]


def test_failed_prompts_are_written_to_the_file_and_sent_again(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    emulator.inject(Fault(status=400))
    results = list(giga.map(["one", None, "two"], checkpoint=path))
    assert [result.ok for result in results] == [False, False, True]
    assert '"status_code":400' in path.read_text("utf-8")
    again = list(giga.map(["one", "two"], checkpoint=path))
    assert [(result.ok, result.restored) for result in again] == [(True, False), (True, True)]


def test_a_result_is_on_the_disk_before_it_is_delivered(
    giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    synced: list[int] = []
    plain = os.fsync

    def counted(descriptor: int) -> None:
        plain(descriptor)
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", counted)
    delivered = []
    for result in giga.map(["one", "two", "three"], checkpoint=path):
        delivered.append(result.input)
        lines = path.read_bytes()[: synced[-1]].decode().splitlines()
        assert any(f'"input":"{result.input}"' in line for line in lines)
    assert delivered == ["one", "two", "three"]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_full_disk_ends_the_run_after_the_results_that_are_on_it(
    ordered: bool, giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Checkpoint.append

    def full(checkpoint: Checkpoint, line: Any) -> int:
        if line["input"] == "prompt 3":
            raise OSError(28, "No space left on device")
        return plain(checkpoint, line)

    monkeypatch.setattr(Checkpoint, "append", full)
    path = tmp_path / "results.jsonl"
    came = []
    results = giga.map((f"prompt {n}" for n in range(2000)), checkpoint=path, ordered=ordered)
    with pytest.raises(OSError, match="No space left"):
        for result in results:
            came.append(result.input)
            assert f'"input":"{result.input}"' in path.read_text("utf-8")
    assert {f"prompt {n}" for n in range(3)} <= set(came)
    assert "prompt 3" not in came
    assert len(came) < 1000
    [refused] = [result for result in results.undelivered if result.input == "prompt 3"]
    assert refused.text


def test_a_checkpoint_that_is_removed_ends_the_run_and_no_answer_is_lost(giga: GigaChat, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    came = []
    results = giga.map((f"prompt {n}" for n in range(1000)), checkpoint=path)
    with pytest.raises(OSError, match="removed, renamed or replaced"):
        for result in results:
            came.append(result)
            path.unlink(missing_ok=True)
    assert results.undelivered
    seen = {result.index for result in (*came, *results.undelivered)}
    assert len(seen) == len(came) + len(results.undelivered) == results.progress.answered
    assert not path.exists()


def test_a_file_that_is_no_checkpoint_is_refused_before_anything_is_sent(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one"}\n', "utf-8")
    with pytest.raises(ConfigError):
        giga.map(["one"], checkpoint=path)
    assert path.read_text("utf-8") == '{"prompt": "one"}\n'
    assert emulator.requests == []


# -- values and functions -----


@dataclasses.dataclass
class Review:
    good: bool
    stars: int


def test_answers_come_as_values_of_a_type_also_from_the_checkpoint(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    emulator.answer('{"good": true, "stars": 5}')
    emulator.answer("no JSON at all")
    first, second = giga.map(["nice", "odd"], response_format=Review, checkpoint=path, max_workers=1)
    assert first.value == Review(good=True, stars=5)
    assert second.value is None
    assert isinstance(second.error, GigaClientError)
    assert second.text == "no JSON at all"
    emulator.answer('{"good": false, "stars": 1}')
    again = list(giga.map(["odd", "nice"], response_format=Review, checkpoint=path))
    assert [result.value for result in again] == [Review(good=False, stars=1), Review(good=True, stars=5)]
    assert [result.restored for result in again] == [False, True]


def test_an_answer_that_is_nested_beyond_reading_costs_its_own_prompt_alone(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    emulator.answer("[" * 100_000)
    emulator.answer('{"good": true, "stars": 5}')
    results = list(giga.map(["deep", "nice"], response_format=Review, checkpoint=tmp_path / "c.jsonl", max_workers=1))
    assert [result.ok for result in results] == [False, True]
    assert results[0].text == "[" * 100_000


def test_functions_are_run_for_each_prompt(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    called: list[str] = []

    def weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        called.append(city)
        return f"rain in {city}"

    path = tmp_path / "results.jsonl"
    for city in ("Omsk", "Kazan"):
        emulator.answer({"function_call": {"name": "weather", "arguments": {"city": city}}})
        emulator.answer(f"It rains in {city}.")
    results = list(giga.map(["Omsk?", "Kazan?"], functions=[weather], checkpoint=path, max_workers=1))
    assert called == ["Omsk", "Kazan"]
    assert [result.text for result in results] == ["It rains in Omsk.", "It rains in Kazan."]
    assert [result.attempts for result in results] == [2, 2]
    run = results[0].run
    assert run is not None
    assert [step.result for step in run.steps] == [{"result": "rain in Omsk"}]
    assert results[0].usage == run.usage
    again = list(giga.map(["Kazan?"], functions=[weather], checkpoint=path))
    assert (again[0].text, again[0].restored, again[0].usage) == ("It rains in Kazan.", True, results[1].usage)
    assert len(called) == 2


def test_a_function_that_ends_its_thread_costs_its_own_prompt_alone(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    def leave() -> str:
        """Leave."""
        raise SystemExit(3)

    emulator.answer({"function_call": {"name": "leave", "arguments": {}}})
    results = list(giga.map(["one", "two"], functions=[leave], max_workers=1))
    assert isinstance(results[0].error, GigaClientError)
    assert "SystemExit" in str(results[0].error)
    assert results[1].ok


def test_descriptions_of_functions_alone_are_sent_and_the_call_is_the_answer(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.answer({"function_call": {"name": "pay", "arguments": {"sum": 5}}})
    description = {"name": "pay", "description": "pay", "parameters": {"type": "object", "properties": {}}}
    (result,) = giga.map(["pay!"], functions=[description])
    assert result.completion is not None
    assert result.completion.function_call is not None
    assert result.completion.function_call.arguments == {"sum": 5}
    assert result.run is None
