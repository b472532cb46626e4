"""The progress bar: when it is shown, what it shows, and that its errors never end a run."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import tqdm
from support.terminal import LIMIT

from gigaclient.bulk.progress import Progress, progress_for
from gigaclient.errors import ConfigError


class FakeTerminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], FakeTerminal]:
    """Return a function that replaces standard error by a terminal, because pytest replaces it after the fixtures."""

    def start() -> FakeTerminal:
        monkeypatch.setenv("TERM", "xterm")
        terminal = FakeTerminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return start


@pytest.fixture
def without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tqdm", "tqdm.std", "tqdm.notebook"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of our drawing; call it to advance the clock by seconds."""
    now = [1000.0]
    monkeypatch.setattr("gigaclient.bulk.progress.time.monotonic", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def finish(
    progress: Progress, count: int = 1, *, tokens: int = 0, failed: bool = False, restored: bool = False
) -> None:
    for _ in range(count):
        progress.update(tokens=tokens, failed=failed, restored=restored)


def last_line(screen: io.StringIO) -> str:
    return re.split(r"[\r\n]+", screen.getvalue().rstrip())[-1].rstrip()


# -- whether there is one ----------------------------------------------------------------------------------------------


def shown(wanted: bool | None, screen: io.StringIO) -> bool:
    progress = progress_for(wanted, total=2)
    assert screen.getvalue() == ""  # nothing before the run begins
    progress.begin()
    finish(progress, 2)
    progress.close()
    return screen.getvalue() != ""


@pytest.mark.parametrize(("wanted", "expected"), [(None, True), (True, True), (False, False)])
def test_on_a_terminal_there_is_a_bar_unless_it_is_not_wanted(
    wanted: Any, expected: bool, use_terminal: Callable[[], FakeTerminal]
) -> None:
    screen = use_terminal()
    assert shown(wanted, screen) is expected


@pytest.mark.parametrize(("wanted", "expected"), [(None, False), (True, True), (False, False)])
def test_in_a_pipe_there_is_a_bar_only_if_it_is_wanted(
    wanted: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    assert shown(wanted, pipe) is expected


def test_a_terminal_that_cannot_return_to_the_beginning_of_a_line_gets_none(
    use_terminal: Callable[[], FakeTerminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = use_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not shown(None, screen)
    assert shown(True, screen)


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_there_is_none_and_one_that_is_wanted_says_what_to_install(
    use_terminal: Callable[[], FakeTerminal],
) -> None:
    screen = use_terminal()
    assert not shown(None, screen)
    assert not shown(False, screen)
    with pytest.raises(ConfigError, match='a progress bar needs tqdm, which is not installed: pip install "tqdm>='):
        progress_for(True, total=2)


@pytest.mark.parametrize("wanted", ["yes", 2, [], object()])
def test_anything_else_is_refused(wanted: Any) -> None:
    with pytest.raises(ConfigError, match="progress must be True, False or None"):
        progress_for(wanted, total=2)


@pytest.mark.parametrize("closed", [None, "closed"], ids=["none at all", "a closed one"])
def test_no_standard_error_is_no_place_for_a_bar_and_no_reason_to_fail(
    closed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", None if closed is None else stream)
    for wanted in (None, True):
        progress = progress_for(wanted, total=2)
        progress.begin()
        finish(progress, 2)
        progress.close()
        progress.close()
    assert type(progress_for(None, total=2)) is Progress


_ONE_ITEM = """
import threading
from gigaclient.bulk.progress import progress_for
progress = progress_for(True, total=1)
progress.begin()
progress.update(tokens=1, failed=False, restored=False)
print(threading.active_count())
progress.close()
"""


@pytest.mark.parametrize(("value", "expected"), [("", True), ("1", False)], ids=["on", "off"])
def test_it_starts_no_thread_and_can_be_switched_off_by_tqdms_own_variable(value: str, expected: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _ONE_ITEM],
        capture_output=True, timeout=LIMIT, env={**os.environ, "TQDM_DISABLE": value},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, b"1\n")
    assert (b"1/1" in ran.stderr) is expected


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_it_shows_counts_tokens_and_errors(
    use_terminal: Callable[[], FakeTerminal], clock: Callable[[float], None]
) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=10, unit="text")
    progress.begin()
    assert "0/10" in last_line(screen)
    clock(1)
    finish(progress, tokens=999)
    assert "1/10" in last_line(screen)
    assert last_line(screen).endswith(", 999 tokens]")
    assert "text/s" in last_line(screen) or "s/text" in last_line(screen)
    clock(1)
    finish(progress, failed=True, tokens=251)
    assert last_line(screen).endswith(", 1.25k tokens, 1 error]")
    finish(progress, failed=True)
    finish(progress, restored=True)
    progress.close()
    assert "4/10" in last_line(screen)
    assert last_line(screen).endswith(", 1.25k tokens, 2 errors, 1 restored]")
    assert screen.getvalue().endswith("\n")


def test_without_a_total_it_counts(use_terminal: Callable[[], FakeTerminal]) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=None)
    progress.begin()
    finish(progress, 3)
    progress.close()
    assert re.match(r"3prompt \[00:\d\d,", last_line(screen))


@pytest.mark.parametrize(
    ("stopped", "ending"), [("max_seconds", ", stopped by max_seconds]"), ("closed", ", stopped]")]
)
def test_the_last_line_says_what_stopped_it(
    stopped: str, ending: str, use_terminal: Callable[[], FakeTerminal]
) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=3)
    progress.begin()
    finish(progress, tokens=1)
    progress.close(stopped)
    assert last_line(screen).endswith(ending)


def test_what_was_restored_has_no_part_in_the_rate(
    use_terminal: Callable[[], FakeTerminal], clock: Callable[[float], None]
) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=20_000)
    progress.begin()
    finish(progress, 10_000, restored=True)
    clock(1)
    finish(progress, restored=True)
    assert "10001/20000" in last_line(screen)
    assert re.search(r"<\?, +(0\.00|\?)prompt/s", last_line(screen))
    time.sleep(0.5)  # at least
    clock(1)
    finish(progress)
    rates = [last_line(screen)]
    finish(progress, 100, restored=True)
    progress.close()
    rates.append(last_line(screen))
    for line in rates:
        found = re.search(r"([\d.]+)(prompt/s|s/prompt)", line)
        assert found, line
        rate = float(found[1]) if found[2] == "prompt/s" else 1 / float(found[1])
        assert rate <= 2, line
    assert "10102/20000" in rates[-1]


def test_a_run_that_was_restored_as_a_whole_is_full(use_terminal: Callable[[], FakeTerminal]) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=3)
    progress.begin()
    finish(progress, 3, restored=True)
    progress.close()
    assert last_line(screen).startswith("100%")
    assert "3/3" in last_line(screen)


# -- what it must not do -----------------------------------------------------------------------------------------------


def test_a_hundred_thousand_items_are_drawn_a_few_times(
    use_terminal: Callable[[], FakeTerminal], clock: Callable[[float], None]
) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=100_000)
    progress.begin()
    for _ in range(10):
        finish(progress, 10_000, tokens=1)
        clock(0.11)
    progress.close()
    assert screen.getvalue().count("\r") <= 15
    assert "100000/100000" in last_line(screen)


def test_nothing_is_drawn_after_its_end_nor_at_its_end_if_it_never_began(
    use_terminal: Callable[[], FakeTerminal],
) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=2)
    progress.close()
    progress.begin()
    finish(progress)
    assert screen.getvalue() == ""
    progress = progress_for(None, total=2)
    progress.begin()
    progress.close()
    drawn = screen.getvalue()
    finish(progress, 2)
    progress.close("closed")
    assert screen.getvalue() == drawn


def test_a_bar_that_is_dropped_is_not_drawn_again(use_terminal: Callable[[], FakeTerminal]) -> None:
    screen = use_terminal()
    progress = progress_for(None, total=2)
    progress.begin()
    drawn = screen.getvalue()
    del progress
    assert screen.getvalue() == drawn


class Broken(FakeTerminal):
    """A terminal that disappears, or a Ctrl-C, while a line is written."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.to_come = error

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


GONE = [
    BrokenPipeError(32, "Broken pipe"),
    OSError(5, "EIO"),
    ValueError("I/O operation on closed file"),
    RuntimeError(),
]


@pytest.mark.parametrize("error", GONE, ids=repr)
def test_a_screen_that_goes_away_ends_the_bar_and_not_the_run(
    error: Exception, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    broken = Broken(error)
    monkeypatch.setattr(sys, "stderr", broken)
    progress = progress_for(None, total=9)
    progress.begin()
    broken.error = broken.to_come
    for _ in range(3):
        clock(1)
        finish(progress)
    progress.close()
    assert others_can_draw()


def test_an_interrupt_while_it_is_drawn_goes_on_to_the_caller_and_the_last_line_is_whole(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    broken = Broken(KeyboardInterrupt())
    monkeypatch.setattr(sys, "stderr", broken)
    progress = progress_for(None, total=9)
    progress.begin()
    finish(progress, 3)
    broken.error = broken.to_come
    clock(1)
    with pytest.raises(KeyboardInterrupt):
        finish(progress)
    broken.error = None
    assert others_can_draw()
    progress.close("closed")
    assert "4/9" in last_line(broken)
    assert broken.getvalue().endswith(", stopped]\n")


def others_can_draw() -> bool:
    """Return True if another bar of the program can be drawn from another thread."""
    done = threading.Event()

    def draw() -> None:
        with tqdm.tqdm(total=1, file=io.StringIO()) as bar:
            bar.refresh()
        done.set()

    # A daemon, in case it blocks.
    threading.Thread(target=draw, daemon=True).start()
    return done.wait(10)
