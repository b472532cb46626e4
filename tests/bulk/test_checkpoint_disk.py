"""Syncing a checkpoint to the disk, and a disk that is full."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from support.checkpoint_tools import claimed, key, line, lines_in, written
from support.token_tools import LONG, in_child, together

from gigaclient.bulk.checkpoint import Checkpoint

# -- on the disk itself -----


class Disk:
    """An ``os.fsync`` that counts its calls, and blocks or fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: OSError | None = None
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        self.entered.set()
        assert self.gate.wait(LONG)
        if self.error is not None:
            raise self.error
        self._fsync(descriptor)

    def running_sync(self, checkpoint: Checkpoint, position: int) -> threading.Thread:
        """Return the thread of a sync that has reached the disk and blocks there until the gate is set."""
        self.calls.clear()
        self.entered.clear()
        self.gate.clear()
        syncing = threading.Thread(target=checkpoint.sync, args=(position,))
        syncing.start()
        assert self.entered.wait(LONG)
        return syncing


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_one_sync_covers_all_lines_before_it(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        disk.calls.clear()
        positions = [checkpoint.append(line(number)) for number in range(100)]
        assert disk.calls == []
        checkpoint.sync(positions[40])
        for position in positions:
            checkpoint.sync(position)
        assert disk.calls == ["file"]
        checkpoint.sync(checkpoint.append(line(100)))
        assert disk.calls == ["file"] * 2
    assert disk.calls == ["file"] * 2, "closing had nothing left to sync"


def test_nothing_is_synced_for_the_position_before_all_lines(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        disk.calls.clear()
        checkpoint.append(line(1))
        checkpoint.sync(0)
        assert disk.calls == []


def test_closing_syncs_what_is_left_once(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    disk.calls.clear()
    position = checkpoint.append(line(1))
    checkpoint.close()
    checkpoint.close()
    checkpoint.sync(position)
    assert disk.calls == ["file"]


def test_the_name_of_a_new_file_is_synced_as_well(path: Path, disk: Disk) -> None:
    Checkpoint(path).close()
    assert disk.calls == ["folder"]


def test_lines_of_a_killed_run_are_synced_before_any_is_claimed(path: Path, disk: Disk) -> None:
    written(path, line(1))
    disk.calls.clear()
    with Checkpoint(path):
        assert disk.calls == ["file"]


def test_lines_can_be_appended_during_a_sync_and_are_not_covered_by_it(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(1))
        syncing = disk.running_sync(checkpoint, first)
        [second] = together(1, lambda _: checkpoint.append(line(2)))
        assert checkpoint.claim(key(1)) is None  # does not wait either
        disk.gate.set()
        syncing.join(LONG)
        assert disk.calls == ["file"]
        checkpoint.sync(first)
        assert disk.calls == ["file"]
        checkpoint.sync(second)
        assert disk.calls == ["file"] * 2


def test_threads_that_wait_for_the_disk_together_share_the_next_sync(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(0))
        syncing = disk.running_sync(checkpoint, first)
        positions = [checkpoint.append(line(number)) for number in range(1, 6)]
        waiting = [threading.Thread(target=checkpoint.sync, args=(position,)) for position in positions]
        for thread in waiting:
            thread.start()
        disk.gate.set()
        for thread in [syncing, *waiting]:
            thread.join(LONG)
            assert not thread.is_alive()
        assert disk.calls == ["file"] * 2


def test_closing_waits_for_a_running_sync(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    position = checkpoint.append(line(1))
    syncing = disk.running_sync(checkpoint, position)
    closing = threading.Thread(target=checkpoint.close)
    closing.start()
    closing.join(0.5)  # time for a wrong close to end; a right one does not depend on it
    assert closing.is_alive()
    disk.gate.set()
    syncing.join(LONG)
    closing.join(LONG)
    assert disk.calls == ["file"], "nothing was left to sync"
    Checkpoint(path).close()


def test_a_synced_position_does_not_wait_for_a_running_sync(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(1))
        checkpoint.sync(first)
        second = checkpoint.append(line(2))
        syncing = disk.running_sync(checkpoint, second)
        try:
            together(1, lambda _: checkpoint.sync(first))
            assert syncing.is_alive()
        finally:
            disk.gate.set()
            syncing.join(LONG)


def test_a_failed_sync_fails_for_ever(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    position = checkpoint.append(line(1))
    disk.error = OSError(errno.EIO, "Input/output error")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error") as caught:
            checkpoint.sync(position)
        assert caught.value.filename == str(path) and caught.value.errno == errno.EIO
        disk.error = None  # the system has dropped what it could not write
    later = checkpoint.append(line(2))
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.sync(later)
    checkpoint.close()  # does not raise the reported error again
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.sync(position)
    assert claimed(path, 2) == [line(2)]


def test_a_sync_that_fails_at_the_end_is_raised_and_the_file_is_closed(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.append(line(1))
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.close()
    disk.error = None
    assert claimed(path, 1) == [line(1)]


# -- a full disk -----


class FullDisk:
    """An ``os.write`` with space for so many bytes. After them it fails, with a part written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, space: int, error: BaseException | None = None) -> None:
        self.space = space
        self.error = error or OSError(errno.ENOSPC, "No space left on device")
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: Any) -> int:
        count = min(len(data), self.space)
        if count == 0:
            raise self.error
        self.space -= count
        return self._write(descriptor, data[:count])


@pytest.mark.parametrize("space", [0, 1, 40, 41])
def test_half_a_line_does_not_stay_when_the_disk_is_full(
    space: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        content = path.read_bytes()
        full = FullDisk(monkeypatch, space)
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoint.append(line(2))
        assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == content
        full.space = 10**6
        checkpoint.append(line(3))
    assert lines_in(path) == [line(1), line(3)]


def test_a_line_that_the_system_takes_in_pieces_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    written(path, line(1), line(2))
    assert lines_in(path) == [line(1), line(2)]


def test_half_a_line_that_could_not_be_removed_is_removed_before_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        with monkeypatch.context() as broken:

            def stuck(descriptor: int, length: int) -> None:
                raise OSError(errno.EIO, "Input/output error")

            FullDisk(broken, 10)
            broken.setattr(os, "ftruncate", stuck)
            for problem in ("No space left", "Input/output error"):
                with pytest.raises(OSError, match=problem):
                    checkpoint.append(line(2))
        assert not path.read_bytes().endswith(b"\n")
        checkpoint.append(line(3))
    assert lines_in(path) == [line(1), line(3)]


def append_from_outside(path: Path, text: str) -> None:
    """Write to the file as another program does."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_failed_line_cuts_nothing_that_another_program_wrote(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        append_from_outside(path, '{"note":"by hand"}\n')
        with monkeypatch.context() as broken:
            FullDisk(broken, 10)
            with pytest.raises(OSError, match="No space left"):
                checkpoint.append(line(2))
        checkpoint.append(line(3))
    assert lines_in(path) == [line(1), {"note": "by hand"}, line(3)]
    assert claimed(path, 3) == [line(3)]


def test_a_line_follows_half_a_line_of_another_program_on_a_line_of_its_own(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        append_from_outside(path, '{"half')
        checkpoint.append(line(2))
    assert claimed(path, 1) + claimed(path, 2) == [line(1), line(2)]


def test_a_file_that_is_emptied_is_noticed(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        os.truncate(path, 0)
        with pytest.raises(OSError, match="shortened"):
            checkpoint.append(line(2))


def test_without_locks_a_failed_line_is_ended_and_not_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigaclient.bulk.checkpoint.file.try_lock", lambda descriptor: None)
    with Checkpoint(path) as mine, Checkpoint(path) as other:
        mine.append(line(1))
        with monkeypatch.context() as broken:
            FullDisk(broken, 10)
            with pytest.raises(OSError, match="No space left"):
                mine.append(line(2))
        other.append(line(3))
        mine.append(line(4))
    assert [claimed(path, number) for number in (1, 2, 3, 4)] == [[line(1)], [], [line(3)], [line(4)]]


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_is_removed_or_replaced_is_noticed(
    replace: bool, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with Checkpoint(path.name) as checkpoint:
        monkeypatch.chdir("/")
        checkpoint.sync(checkpoint.append(line(1)))
        path.unlink()
        if replace:
            path.write_bytes(b"")
        for number in (2, 3):
            with pytest.raises(OSError, match="removed, renamed or replaced") as caught:
                checkpoint.sync(checkpoint.append(line(number)))
            assert caught.value.filename == path.name


@pytest.mark.parametrize("space", [10, 10**6])
def test_an_interrupt_leaves_a_whole_line_or_nothing(space: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        with monkeypatch.context() as interrupted:
            disk = FullDisk(interrupted, space, KeyboardInterrupt())

            def then_interrupt(descriptor: int, data: Any) -> int:
                disk(descriptor, data)
                raise KeyboardInterrupt

            interrupted.setattr(os, "write", then_interrupt)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.append(line(2))
        checkpoint.sync(checkpoint.append(line(3)))
    assert [one["index"] for one in lines_in(path)] == ([1, 3] if space == 10 else [1, 2, 3])


def test_the_limit_of_a_real_system_leaves_no_half_line(path: Path) -> None:
    def work() -> list[Any]:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Checkpoint(path) as checkpoint:
            end = checkpoint.append(line(1))
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (end + 50, hard))
            with pytest.raises(OSError) as caught:
                checkpoint.append(line(2))
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            checkpoint.append(line(3))
            return [caught.value.errno, caught.value.filename, size == end]

    assert in_child(work) == [errno.EFBIG, str(path), True]
    assert lines_in(path) == [line(1), line(3)]


def test_a_repair_on_a_full_disk_is_raised_and_damages_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(path, line(1))
    path.write_bytes(content[:-1])
    with monkeypatch.context() as broken:
        FullDisk(broken, 0)
        with pytest.raises(OSError, match="No space left on device") as caught:
            Checkpoint(path)
    assert caught.value.filename == str(path)
    assert claimed(path, 1) == [line(1)]
