"""The lock of a checkpoint, forks, and many threads."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.checkpoint_tools import claimed, key, line, lines_in, parent_with_child, writer, written
from support.token_tools import LONG, in_child, together

from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.errors import ConfigError

# -- one run at a time -----


def test_a_second_run_in_this_program_is_refused_at_once(path: Path) -> None:
    with Checkpoint(path) as first:
        with pytest.raises(ConfigError, match=r"another run is using it.*until it is closed"):
            Checkpoint(path)
        first.append(line(1))
    assert claimed(path, 1) == [line(1)]


def test_a_second_process_is_refused_until_the_first_has_ended_however_it_ends(path: Path) -> None:
    with writer(path, goes_on=False) as process:
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        process.kill()
        Checkpoint(path).close()


def test_an_open_checkpoint_is_closed_when_it_is_dropped(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.append(line(1))
    del checkpoint
    gc.collect()
    assert claimed(path, 1) == [line(1)]


def test_a_child_that_outlives_a_killed_parent_does_not_keep_the_lock(path: Path) -> None:
    with parent_with_child(path) as process:
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        process.popen.kill()
        process.popen.wait(LONG)
        Checkpoint(path).close()


def test_a_forked_child_has_no_part_in_it(path: Path) -> None:
    written(path, line(1))
    with Checkpoint(path) as checkpoint:
        position = checkpoint.append(line(2))

        def refusals() -> list[str]:
            messages = []
            calls: list[Callable[[], Any]] = [
                lambda: checkpoint.claim(key(1)),
                lambda: checkpoint.append(line(3)),
                lambda: checkpoint.sync(position),
            ]
            for call in calls:
                with pytest.raises(ConfigError) as caught:
                    call()
                messages.append(str(caught.value))
            checkpoint.close()
            return messages

        assert ["before a fork" in one for one in in_child(refusals)] == [True] * 3
        # Still the parent's, and still locked.
        with pytest.raises(ConfigError, match="another run"):
            Checkpoint(path)
        assert checkpoint.claim(key(1)) == line(1)
        checkpoint.append(line(4))
    assert [one["index"] for one in lines_in(path)] == [1, 2, 4]


def test_a_child_of_a_fork_from_c_has_no_part_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        position = checkpoint.append(line(1))
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: 1)
            for call in (lambda: checkpoint.append(line(2)), lambda: checkpoint.sync(position)):
                with pytest.raises(ConfigError, match="before a fork"):
                    call()
    assert lines_in(path) == [line(1)]


def test_a_fork_while_another_thread_appends_does_not_hang_the_child(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, data: Any) -> int:
        if threading.current_thread() is appending:
            entered.set()
            assert leave.wait(LONG)
        return write(descriptor, data)

    with Checkpoint(path) as checkpoint:
        appending = threading.Thread(target=checkpoint.append, args=(line(1),))
        monkeypatch.setattr(os, "write", slow)
        appending.start()
        assert entered.wait(LONG)

        def closed() -> bool:
            with pytest.raises(ConfigError):
                checkpoint.append(line(2))
            checkpoint.close()
            return True

        assert in_child(closed) is True
        leave.set()
        appending.join(LONG)
    assert claimed(path, 1) == [line(1)]


class _Msvcrt(types.ModuleType):
    """The ``msvcrt`` of Windows: locks a range from the current position of a descriptor."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: set[tuple[int, int]] = set()
        self.sizes: set[int] = set()

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        offset = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR))
        self.sizes.add(count)
        if mode == self.LK_UNLCK:
            self.held.remove(offset)
        elif offset in self.held:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.held.add(offset)


def test_where_files_are_locked_the_windows_way_it_does_so_beyond_all_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path, line(1))
    windows = _Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    with Checkpoint(path) as checkpoint:
        [(_, offset)] = windows.held
        assert 10**9 < offset < 2**31 and windows.sizes == {1}
        assert checkpoint.claim(key(1)) == line(1)
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        checkpoint.append(line(2))
    assert windows.held == set()
    assert [one["index"] for one in lines_in(path)] == [1, 2]


def test_where_there_are_no_locks_there_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    written(path, line(1))
    assert claimed(path, 1) == [line(1)]


def test_a_file_system_without_locks_is_used_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    written(path, line(1))
    assert claimed(path, 1) == [line(1)]


# -- many threads -----


def test_lines_of_many_threads_are_all_whole_and_each_position_is_the_end_of_its_line(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        appended = together(8, lambda part: [checkpoint.append(line(n)) for n in range(part * 100, part * 100 + 100)])
    ends = [offset + 1 for offset, byte in enumerate(path.read_bytes()) if byte == ord("\n")]
    assert sorted(itertools.chain.from_iterable(appended)) == ends
    assert sorted(one["index"] for one in lines_in(path)) == list(range(800))


def test_claims_and_appends_at_the_same_time_do_not_disturb_each_other(path: Path) -> None:
    written(path, *(line(number) for number in range(300)))
    with Checkpoint(path) as checkpoint:

        def work(part: int) -> list[Any]:
            if part < 2:
                return [checkpoint.claim(key(number)) for number in range(part, 300, 2)]
            return [checkpoint.append(line(1000 * part + number)) for number in range(150)]

        even, odd, *_ = together(4, work)
    assert even == [line(number) for number in range(0, 300, 2)]
    assert odd == [line(number) for number in range(1, 300, 2)]
    assert len(lines_in(path)) == 600
