"""Lines for the tests of the checkpoint, and processes that append them until they are killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gigaclient.bulk.checkpoint import Checkpoint

LONG = 30.0
"""Seconds after which a wait in a test has failed."""


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()[:16]


def line(number: int, **more: Any) -> dict[str, Any]:
    """A finished item, as a run writes it."""
    return {
        "key": key(number).hex(),
        "index": number,
        "input": f"Вопрос {number}",
        "text": f'Ответ "{number}"\n',
        "completion": {"choices": [{"message": {"content": f"Ответ {number}"}}]},
        "usage": None,
        "attempts": 1,
        "seconds": 0.25,
        **more,
    }


def failed(number: int) -> dict[str, Any]:
    return line(number, error={"type": "ServerError", "message": "not now", "status_code": 500})


def lines_in(path: Path) -> list[dict[str, Any]]:
    """The file by the letter: each line is JSON of its own, and the last one ends."""
    text = path.read_bytes().decode("utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(one, parse_constant=_no_json) for one in text.split("\n")[:-1]]


def _no_json(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


_WRITER = """
import sys
from gigaclient.bulk.checkpoint import Checkpoint
from support.checkpoint_tools import line

checkpoint = Checkpoint(sys.argv[1])
print("open", flush=True)
number = int(sys.argv[2])
while sys.argv[3] == "on":
    checkpoint.append(line(number, text="x" * 300_000))
    print(number, flush=True)
    number += 1
sys.stdin.read()
"""

# Its child lives on, does nothing with the checkpoint, and ends when the test closes the pipe.
_PARENT = """
import os, sys, time
from gigaclient.bulk.checkpoint import Checkpoint

checkpoint = Checkpoint(sys.argv[1])
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
time.sleep(60)
"""


class Process:
    """A Python process that tells what it does on its standard output."""

    def __init__(self, script: str, *arguments: object) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parent.parent,
        )  # fmt: skip

    @property
    def output(self) -> IO[bytes]:
        assert self.popen.stdout is not None
        return self.popen.stdout

    def next_line(self) -> str:
        ready, _, _ = select.select([self.output], [], [], LONG)
        assert ready, "the process says nothing"
        # One byte at a time, so that select never misses what a buffer holds.
        told = b""
        ends_at = time.monotonic() + LONG
        while not told.endswith(b"\n"):
            assert time.monotonic() < ends_at
            piece = self.output.read(1)
            assert piece, f"the process ended with {self.popen.wait(LONG)}"
            told += piece
        return told.decode().strip()

    def kill(self) -> list[str]:
        """SIGKILL; what it had said and nobody had read."""
        self.popen.kill()
        self.popen.wait(LONG)
        rest = self.output.read().decode().split("\n")
        return rest[:-1]  # what follows the last newline is half a number

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.popen.kill()
        self.popen.wait(LONG)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def writer(path: Path, *, first: int = 0, goes_on: bool = True) -> Iterator[Process]:
    """A process that has the checkpoint open, and appends lines numbered from ``first`` for ever if it ``goes_on``."""
    process = Process(_WRITER, path, first, "on" if goes_on else "off")
    try:
        assert process.next_line() == "open"
        yield process
    finally:
        process.close()


@contextlib.contextmanager
def parent_with_child(path: Path) -> Iterator[Process]:
    """A process that has the checkpoint open and a forked child that outlives it."""
    process = Process(_PARENT, path)
    try:
        assert process.next_line() == "forked"
        yield process
    finally:
        process.close()


def written(path: Path, *lines: dict[str, Any]) -> bytes:
    """Write a checkpoint with these lines; return its content."""
    with Checkpoint(path) as checkpoint:
        for one in lines:
            checkpoint.append(one)
    return path.read_bytes()


def claimed(path: Path, number: int) -> list[dict[str, Any]]:
    """Return all finished lines for this number, claimed by a new run."""
    with Checkpoint(path) as checkpoint:
        return list(iter(lambda: checkpoint.claim(key(number)), None))
