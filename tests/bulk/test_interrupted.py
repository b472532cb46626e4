"""A killed or interrupted run: finished items are on the disk, and the next run sends only the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.token_tools import LONG

from gigaclient.testing import GigaChatEmulator

_SCRIPT = """
import itertools, sys
from gigaclient import GigaChat

path, count = sys.argv[1], int(sys.argv[2])
prompts = [f"prompt {n}" for n in range(count)]
if "backwards" in sys.argv:
    prompts.reverse()
giga = GigaChat()
for result in giga.map(prompts, checkpoint=path, ordered=False, progress=False):
    print(result.input, "restored" if result.restored else "sent", flush=True)
print("the end", flush=True)
"""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


@contextmanager
def program(emulator: GigaChatEmulator, path: Path, count: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the script in a new process, in which interrupts are not ignored."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(path), str(count), *words],
        env={**os.environ, **emulator.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def some_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def finished_in(path: Path) -> Counter[str]:
    """Return the prompts of all whole lines in the checkpoint."""
    whole = path.read_bytes().rpartition(b"\n")[0]
    return Counter(json.loads(line)["input"] for line in whole.splitlines())


@contextmanager
def answered_slowly(emulator: GigaChatEmulator, first: int) -> Iterator[None]:
    """Answer the first so many prompts, and the others after the end of the block."""
    gate = threading.Event()

    def answer(request: Any) -> Any:
        number = int(request.json()["messages"][-1]["content"].split()[1])
        if number >= first:
            gate.wait(2 * LONG)
        return f"answer {number}"

    emulator.answer(answer, times=10_000)
    try:
        yield
    finally:
        gate.set()
        emulator.clear()


@posix_only
def test_a_run_that_is_killed_repeatedly_sends_no_finished_prompt_twice(
    emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    count, kills = 300, 4
    emulator.answer_pause_s = 0.05
    finished: Counter[str] = Counter()
    for run in range(kills):
        already = finished_in(path) if run else Counter[str]()
        sent_before = Counter(emulator.prompts)
        with program(emulator, path, count, *(["backwards"] if run % 2 else [])) as process:
            seen = some_lines(process, 5 + sum(already.values()))
            process.send_signal(signal.SIGKILL)
            process.wait(LONG)
        finished = finished_in(path)
        # Delivered results were on the disk, and prompts on the disk were not sent again.
        assert {line.rpartition(" ")[0] for line in seen} <= set(finished)
        assert not (Counter(emulator.prompts) - sent_before).keys() & already.keys()
        assert set(finished.values()) == {1}
    sent_before = Counter(emulator.prompts)
    with program(emulator, path, count) as process:
        output, _ = process.communicate(timeout=LONG)
    lines = output.splitlines()
    assert lines[-1] == "the end"
    assert {line.rpartition(" ")[0] for line in lines[:-1]} == {f"prompt {n}" for n in range(count)}
    assert {line for line in lines[:-1] if line.endswith(" restored")} == {f"{prompt} restored" for prompt in finished}
    assert finished_in(path) == Counter(f"prompt {n}" for n in range(count))
    assert not (Counter(emulator.prompts) - sent_before).keys() & finished.keys()


@posix_only
def test_an_interrupt_ends_the_run_at_once_and_keeps_what_was_finished(
    emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    with answered_slowly(emulator, 10), program(emulator, path, 30) as process:
        seen = some_lines(process, 10)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LONG)
    assert output == ""
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode != 0
    assert set(seen) == {f"prompt {n} sent" for n in range(10)}
    assert finished_in(path) == Counter(f"prompt {n}" for n in range(10))
    with program(emulator, path, 30) as process:
        output, _ = process.communicate(timeout=LONG)
    assert Counter(line.rpartition(" ")[2] for line in output.splitlines()) == {"restored": 10, "sent": 20, "end": 1}
