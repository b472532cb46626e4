"""Instructions and system calls instead of time: they are reproducible where times are not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from benchmarks.measure import WORKER, Bench
from benchmarks.rows import Row, Target

_WAITING = "apart-100-20"  # far enough apart that a client waits for each event, also under valgrind


class Tool(NamedTuple):
    """A program that counts what another one does.

    Attributes:
        name: the kind of what it counts, and the key in the results.
        command: its arguments, before those of the other program.
        found: matches its output; the group is the number.
    """

    name: str
    command: tuple[str, ...]
    found: re.Pattern[str]


INSTRUCTIONS = Tool(
    "instructions",
    ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
    re.compile(r"Collected : (\d+)"),
)
SYSTEM_CALLS = Tool(
    "system calls",
    ("strace", "-f", "-c", "-U", "calls,name"),
    re.compile(r"^ *(\d+) total$", re.MULTILINE),
)


class Path(NamedTuple):
    """What is counted.

    Attributes:
        tool: what counts it.
        title: for readers.
        row: the measurement.
        per_count: how many of it one count of the row has.
        limit: the most that ours may need as a share of urllib3's, in the short form.
    """

    tool: Tool
    title: str
    row: Row
    per_count: int
    limit: float | None = None


_CALLS = Row("", "", "", "counted_calls", count=100)
_EACH = Row("", "", "", "counted_events", form="each-200", count=2, events=200)
_PACED = Row("", "", "", "counted_events", form=_WAITING, count=2, events=100)
PATHS = (
    Path(INSTRUCTIONS, "one call", _CALLS, 1, 1.0),
    Path(INSTRUCTIONS, "one event", _EACH, 200),
    Path(INSTRUCTIONS, "one event that is waited for", _PACED, 100, 0.95),
    Path(SYSTEM_CALLS, "one call", _CALLS, 1, 0.9),
    Path(SYSTEM_CALLS, "one event that is waited for", replace(_PACED, count=4), 100, 0.9),
)
FORMS = tuple(dict.fromkeys(path.row.form for path in PATHS))

Counts = dict[str, dict[str, dict[str, float]]]


def count(bench: Bench, contenders: Sequence[str], say: Callable[[str], None]) -> Counts:
    """Return what one call and one event need, by kind, title and contender: the difference between N and 2N.

    So the start is not counted. Events are those of streams with one write each, the call included. A kind is missing
    if the tool that counts it is not installed.
    """
    found: Counts = {}
    for path in PATHS:
        if shutil.which(path.tool.command[0]) is None:
            say(f"{path.tool.command[0]} is not here: the {path.tool.name} of {path.title} are not counted")
            continue
        measured = found.setdefault(path.tool.name, {})[path.title] = {}
        for name in contenders:
            measured[name] = _each(bench, name, path)
    return found


def check(bench: Bench, say: Callable[[str], None]) -> list[str]:
    """Return what needs more than its limit, in short sentences; see :attr:`Path.limit`."""
    failed = []
    for path in PATHS:
        if path.limit is None:
            continue
        if shutil.which(path.tool.command[0]) is None:
            say(f"{path.tool.command[0]} is not here: the {path.tool.name} of {path.title} are not checked")
            continue
        ours, theirs = (_each(bench, name, path) for name in ("ours", "with_urllib3"))
        target = Target("with_urllib3", path.limit)
        text = f"{path.title}, {path.tool.name}: ours {ours:.7g}, urllib3 {theirs:.7g} [{target}: {ours / theirs:.2f}]"
        say(text)
        if not target.met(ours / theirs):
            failed.append(text)
    return failed


def _each(bench: Bench, contender: str, path: Path) -> float:
    row = path.row
    once, twice = (_collected(bench, contender, replace(row, count=row.count * times), path.tool) for times in (1, 2))
    return round((twice - once) / (row.count * path.per_count), 2)


def _collected(bench: Bench, contender: str, row: Row, tool: Tool) -> int:
    output = bench.run(contender, WORKER, bench.specification(contender, row), prefix=tool.command)
    match = tool.found.search(output)
    if match is None:
        raise RuntimeError(f"{tool.command[0]} counted nothing: {output[-300:]}")
    return int(match[1])
