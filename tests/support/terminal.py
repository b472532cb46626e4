"""Helpers of the command line tests: commands in this process, in a child process, and at a pseudo-terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte

from gigaclient.__main__ import main

LIMIT = 30.0
"""The limit of every wait in seconds."""

_START = "import sys; from gigaclient.__main__ import main; sys.exit(main())"

# Makes the terminal the controlling one, so that Ctrl-C becomes a signal. The child does it itself, because a
# preexec_fn is unsafe in a test process with threads.
_AT_A_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_START}"


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output as one JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """The error that ``--json`` wrote to standard error."""
        return json.loads(self.err)["error"]


def run(*arguments: str, stdin: str | bytes | None = None) -> Ended:
    """Run a command in this process with ``stdin`` as standard input; None is /dev/null."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    original_streams = sys.stdin, sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        stdin = (
            stack.enter_context(open(os.devnull, encoding="utf-8"))
            if data is None
            else io.TextIOWrapper(io.BytesIO(data), "utf-8")
        )
        sys.stdin, sys.stdout, sys.stderr = stdin, out, err
        try:
            code = main(list(arguments))
        except SystemExit as ended:  # argparse and the completion raise it
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            sys.stdin, sys.stdout, sys.stderr = original_streams
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    return Ended(code, *texts)


def child(
    *arguments: str, environment: Mapping[str, str] | None = None, start: str = _START, **options: Any
) -> subprocess.Popen[bytes]:
    """Start the command in a child process. Its streams are pipes by default."""
    streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr") if name not in options}
    return subprocess.Popen(
        [sys.executable, "-c", start, *arguments],
        # Buffered, because unbuffered output would hide a missing flush or a second write at the exit.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "", **(environment or {})},
        **streams,
        **options,
    )


def run_child(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
    """Run the command in a child process to its end."""
    process = child(*arguments, environment=environment)
    try:
        out, err = process.communicate(stdin, timeout=LIMIT)
    finally:
        process.kill()
        process.wait(LIMIT)
    return Ended(process.returncode, out.decode("utf-8"), err.decode("utf-8"))


class Terminal:
    """A command at a pseudo-terminal, and its screen.

    Attributes:
        output: the data written to the terminal, in the pieces in which it was read.
        screen: the screen as cells.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        import fcntl  # all three here, because other systems import this module too
        import pty
        import termios

        self.output: list[bytes] = []
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # No CPR, because this terminal does not answer requests for the cursor position.
        variables = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            command or [sys.executable, "-c", _AT_A_TERMINAL, *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, **variables, **(environment or {})},
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait(LIMIT)
        os.close(self._master)

    @property
    def text(self) -> str:
        """All lines, also those that have scrolled off the screen, without trailing spaces."""
        above = [_line(row, self.screen.columns) for row in self.screen.history.top]
        return "\n".join([*above, *(line.rstrip() for line in self.screen.display)]).rstrip()

    @property
    def raw(self) -> bytes:
        """The data written to the terminal."""
        return b"".join(self.output)

    @property
    def echoes(self) -> bool:
        """True if the terminal echoes the input."""
        import termios

        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        """Send keys to the command."""
        os.write(self._master, keys.encode())

    def wait_for(self, wanted: str, *, count: int = 1) -> str:
        """Read until the text contains ``wanted`` ``count`` times."""
        deadline = time.monotonic() + LIMIT
        while self.text.count(wanted) < count:
            assert self._read(deadline), f"the program ended without {wanted!r}; it showed:\n{self.text}"
        return self.text

    def wait_for_output(self, pattern: bytes) -> None:
        """Read until the written data match ``pattern``, also if it is no longer on the screen."""
        deadline = time.monotonic() + LIMIT
        while re.search(pattern, self.raw) is None:
            assert self._read(deadline), f"the program ended without {pattern!r}; it showed:\n{self.text}"

    def end(self) -> int:
        """Read until the program has ended, and return its exit code."""
        deadline = time.monotonic() + LIMIT
        while self._read(deadline):
            continue
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        assert left > 0, f"no output for {LIMIT} s; the screen showed:\n{self.text}"
        if not select.select([self._master], [], [], left)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the other side is closed
            data = b""
        if data:
            self.output.append(data)
            self._stream.feed(data)
        return bool(data)


def _line(row: Any, columns: int) -> str:
    return "".join(row[column].data for column in range(columns)).rstrip()


@contextlib.contextmanager
def at_terminal(*arguments: str, **options: Any) -> Iterator[Terminal]:
    """Yield a :class:`Terminal`, and close it at the end."""
    with Terminal(*arguments, **options) as terminal:
        yield terminal


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)
