"""Helpers of the checkpoint tests: lines, and processes that append them until they are killed."""

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
"""The limit of every wait in seconds."""


def key(number: int) -> bytes:
    """Return the key of item ``number``."""
    return hashlib.sha256(b"%d" % number).digest()[:16]


def line(number: int, **fields: Any) -> dict[str, Any]:
    """Return the line of a finished item, with ``fields`` changed or added."""
    return {
        "key": key(number).hex(),
        "index": number,
        "input": f"Вопрос {number}",
        "text": f'Ответ "{number}"\n',
        "completion": {"choices": [{"message": {"content": f"Ответ {number}"}}]},
        "usage": None,
        "attempts": 1,
        "seconds": 0.25,
        **fields,
    }


def failed(number: int) -> dict[str, Any]:
    """Return the line of a failed item."""
    return line(number, error={"type": "ServerError", "message": "not now", "status_code": 500})


def lines_in(path: Path) -> list[dict[str, Any]]:
    """Parse the file strictly: each line is a JSON document, and the last one ends with a newline."""
    text = path.read_bytes().decode("utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(text_of_line, parse_constant=_refuse_constant) for text_of_line in text.split("\n")[:-1]]


def _refuse_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


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

# The child outlives its parent, does not use the checkpoint, and exits when the test closes the pipe.
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
    """A Python process that reports its progress on standard output."""

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
        """Read the next line of standard output."""
        ready, _, _ = select.select([self.output], [], [], LONG)
        assert ready, "the process prints nothing"
        # One byte at a time, because select does not see bytes in a buffer.
        received = b""
        deadline = time.monotonic() + LONG
        while not received.endswith(b"\n"):
            assert time.monotonic() < deadline
            byte = self.output.read(1)
            assert byte, f"the process ended with {self.popen.wait(LONG)}"
            received += byte
        return received.decode().strip()

    def kill(self) -> list[str]:
        """Send SIGKILL, and return the unread lines."""
        self.popen.kill()
        self.popen.wait(LONG)
        lines = self.output.read().decode().split("\n")
        return lines[:-1]  # the last line may be incomplete

    def close(self) -> None:
        """Kill the process and close its pipes."""
        with contextlib.suppress(OSError):
            self.popen.kill()
        self.popen.wait(LONG)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def writer(path: Path, *, first: int = 0, goes_on: bool = True) -> Iterator[Process]:
    """Start a process that opens the checkpoint. If it ``goes_on``, it appends lines numbered from ``first``."""
    process = Process(_WRITER, path, first, "on" if goes_on else "off")
    try:
        assert process.next_line() == "open"
        yield process
    finally:
        process.close()


@contextlib.contextmanager
def parent_with_child(path: Path) -> Iterator[Process]:
    """Start a process that opens the checkpoint and forks a child that outlives it."""
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
