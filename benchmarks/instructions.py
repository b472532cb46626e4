"""Instructions instead of time, counted by valgrind: they repeat where times do not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.measure import WORKER, Bench
from benchmarks.rows import Row

_CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
_COLLECTED = re.compile(r"Collected : (\d+)")
# What, the row, and how many of it one count of the row is.
_PATHS = (
    ("one call", Row("", "", "", "callgrind_calls", count=20), 1),
    ("one event", Row("", "", "", "callgrind_events", form="each-200", count=2, events=200), 200),
)
FORMS = tuple(row.form for _, row, _ in _PATHS)


def count(bench: Bench, contenders: Sequence[str], say: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """Instructions of one call and of one event; the difference between N and 2N, so start-up does not count.

    An event is one of 200 that come with a write each, the call included. Empty where valgrind is not installed.
    """
    if shutil.which("valgrind") is None:
        say("valgrind is not here: instructions are not counted")
        return {}
    found: dict[str, dict[str, int]] = {}
    for what, row, per_count in _PATHS:
        found[what] = {}
        for name in contenders:
            once, twice = (_collected(bench, name, replace(row, count=row.count * times)) for times in (1, 2))
            found[what][name] = (twice - once) // (row.count * per_count)
    return found


def _collected(bench: Bench, contender: str, row: Row) -> int:
    said = bench.run(contender, WORKER, bench.specification(contender, row), prefix=_CALLGRIND)
    match = _COLLECTED.search(said)
    if match is None:
        raise RuntimeError(f"valgrind counted nothing: {said[-300:]}")
    return int(match[1])
