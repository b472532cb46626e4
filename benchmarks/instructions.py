"""Instructions instead of time, counted by valgrind: they are reproducible where times are not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.measure import WORKER, Bench
from benchmarks.rows import Row

_CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
_COLLECTED = re.compile(r"Collected : (\d+)")
# The name, the row, and how many of it one count of the row is.
_PATHS = (
    ("one call", Row("", "", "", "callgrind_calls", count=20), 1),
    ("one event", Row("", "", "", "callgrind_events", form="each-200", count=2, events=200), 200),
)
FORMS = tuple(row.form for _, row, _ in _PATHS)


def count(bench: Bench, contenders: Sequence[str], say: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """Return the instructions of one call and of one event: the difference between N and 2N, without start-up.

    An event is one of 200 with a write each, the call included. Empty if valgrind is not installed.
    """
    if shutil.which("valgrind") is None:
        say("valgrind is not here: instructions are not counted")
        return {}
    found: dict[str, dict[str, int]] = {}
    for measured, row, per_count in _PATHS:
        found[measured] = {}
        for name in contenders:
            once, twice = (_collected(bench, name, replace(row, count=row.count * times)) for times in (1, 2))
            found[measured][name] = (twice - once) // (row.count * per_count)
    return found


def _collected(bench: Bench, contender: str, row: Row) -> int:
    output = bench.run(contender, WORKER, bench.specification(contender, row), prefix=_CALLGRIND)
    match = _COLLECTED.search(output)
    if match is None:
        raise RuntimeError(f"valgrind counted nothing: {output[-300:]}")
    return int(match[1])
