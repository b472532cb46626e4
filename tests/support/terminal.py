"""The command line in tests: within this process, as a child of its own, or at a real terminal whose screen is read."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte

from gigaclient.__main__ import main

LIMIT = 30.0
"""Seconds that no wait of a test may last."""

_START = "import sys; from gigaclient.__main__ import main; sys.exit(main())"

# A child at a terminal of its own: the terminal is the controlling one, so that Ctrl-C becomes a signal. Done here and
# not by a hook before exec, since the test process has threads.
_AT_A_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_START}"


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """The error that ``--json`` put on standard error."""
        return json.loads(self.err)["error"]


def run(*arguments: str, given: str | bytes | None = None) -> Ended:
    """Run a command in this process, with ``given`` piped in; None for a standard input that is /dev/null."""
    data = given.encode() if isinstance(given, str) else given
    kept = sys.stdin, sys.stdout, sys.stderr
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
        except SystemExit as ended:  # argparse's and the completion's way
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            sys.stdin, sys.stdout, sys.stderr = kept
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    return Ended(code, *texts)


def child(
    *arguments: str, environment: Mapping[str, str] | None = None, start: str = _START, **options: Any
) -> subprocess.Popen[bytes]:
    """The command in a process of its own, its streams pipes unless ``options`` say otherwise."""
    streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr") if name not in options}
    return subprocess.Popen(
        [sys.executable, "-c", start, *arguments],
        # Unbuffered, an output would never show that it was held back, or tried again at the end.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "", **(environment or {})},
        **streams,
        **options,
    )


def run_child(*arguments: str, given: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
    """Run the command in a process of its own to its end."""
    process = child(*arguments, environment=environment)
    try:
        out, err = process.communicate(given, timeout=LIMIT)
    finally:
        process.kill()
        process.wait(LIMIT)
    return Ended(process.returncode, out.decode("utf-8"), err.decode("utf-8"))


class Terminal:
    """A command at a pseudo-terminal, and the screen that a person would see.

    Attributes:
        output: all that was written to the terminal, in the pieces in which it was read.
        screen: the screen, cell by cell.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.output: list[bytes] = []
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # No terminal program answers here, so nobody is asked where the cursor is.
        usual = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            command or [sys.executable, "-c", _AT_A_TERMINAL, *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, **usual, **(environment or {})},
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
        """All lines from the first one that has scrolled away to the last on the screen, without what pads them."""
        above = [_line(row, self.screen.columns) for row in self.screen.history.top]
        return "\n".join([*above, *(line.rstrip() for line in self.screen.display)]).rstrip()

    @property
    def raw(self) -> bytes:
        return b"".join(self.output)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, wanted: str, *, count: int = 1) -> str:
        """Read until ``wanted`` stands on the screen or above it, ``count`` times."""
        limit = time.monotonic() + LIMIT
        while self.text.count(wanted) < count:
            assert self._read(limit), f"the program ended without {wanted!r}; it showed:\n{self.text}"
        return self.text

    def end(self) -> int:
        """Read until the program has ended; its exit code."""
        limit = time.monotonic() + LIMIT
        while self._read(limit):
            continue
        return self._process.wait(max(0.1, limit - time.monotonic()))

    def _read(self, limit: float) -> bool:
        left = limit - time.monotonic()
        assert left > 0, f"nothing more came in {LIMIT} s; the screen showed:\n{self.text}"
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
    """:class:`Terminal`, closed at the end."""
    with Terminal(*arguments, **options) as terminal:
        yield terminal


def write_private(path: Path, content: str) -> None:
    """A file for its owner alone, in a folder that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)
