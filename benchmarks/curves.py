"""Cost against size: which cost grows linearly, and which does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from benchmarks.measure import Bench
from benchmarks.rows import Row

_COMPARED = ("ours", "official", "with_requests", "with_urllib3", "floor")


class Curve(NamedTuple):
    """One picture.

    Attributes:
        key: its name in the results.
        title, x_label, y_label: for readers.
        xs: the sizes.
        row: the measurement at a size.
        scale: converts the task's number to the picture's.
        contenders: those that can do it.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    xs: tuple[int, ...]
    row: Callable[[int], Row]
    scale: Callable[[float, int], float]
    contenders: tuple[str, ...] = _COMPARED


def _events(count: int) -> Row:
    return Row("", "", "", "events", form=f"few-{count}", count=max(1, min(200, 20_000 // count)), events=count)


def _line(size: int) -> Row:
    return Row("", "", "", "events", form=f"line-{size}", count=max(2, min(200, 20_000_000 // size // 10)), events=1)


def _threads(count: int) -> Row:
    return Row("", "", "", "throughput", count=count, seconds=1.0)


def _tolerant(size: int) -> Row:
    return Row("", "", "", "tolerant", count=size)


def _idle(count: int) -> Row:
    return Row("", "", "", "idle_connections", form="few-10", count=count, events=10)


def _records(count: int) -> Row:
    return Row("", "", "", "records", count=count)


CURVES = (
    Curve(
        "events",
        "Client CPU of a stream",
        "events, in few writes",
        "ms",
        (10, 100, 1_000, 10_000, 100_000),
        _events,
        lambda value, size: value * size / 1e3,
    ),
    Curve(
        "line",
        "Client CPU of a stream of one event",
        "bytes of the event",
        "ms",
        (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
        _line,
        lambda value, size: value / 1e3,
    ),
    Curve(
        "threads",
        "Calls a second",
        "threads that share a client",
        "calls/s",
        (1, 2, 4, 8, 16, 32, 64),
        _threads,
        lambda value, size: value,
    ),
    Curve(
        "tolerant",
        "Reading JSON that a model wrote with mistakes",
        "objects in the text",
        "ms",
        (10, 100, 1_000, 10_000),
        _tolerant,
        lambda value, size: value,
        ("ours",),
    ),
    Curve(
        "records",
        "Validating and dumping a record, as pydantic does with our types",
        "choices of the completion",
        "ms",
        (10, 100, 1_000, 10_000),
        _records,
        lambda value, size: value,
        ("ours",),
    ),
    Curve(
        "idle",
        "Client CPU of a stream of ten events, with the checks of the process id",
        "idle connections of the client",
        "µs",
        (1, 10, 100, 300),
        _idle,
        lambda value, size: value,
        ("ours",),
    ),
)
PROMPTS = Row("prompts", "", "", "prompts", count=10_000)

Points = dict[str, list[float | None]]


def forms() -> list[str]:
    """Return the server's forms that the curves need."""
    return sorted({curve.row(size).form for curve in CURVES for size in curve.xs} | {PROMPTS.form})


def measure(bench: Bench, curve: Curve, contenders: Sequence[str], say: Callable[[str], None]) -> Points:
    """Measure the curve of each contender; None where it cannot run."""
    points: Points = {name: [] for name in contenders if name in curve.contenders}
    for size in curve.xs:
        for name, values in points.items():
            try:
                values.append(curve.scale(float(bench.once(name, curve.row(size))), size))
            except RuntimeError as error:
                say(f"{name} cannot do {size} {curve.x_label}: {error}")
                values.append(None)
    return points


def measure_prompts(bench: Bench, contenders: Sequence[str], calls: int) -> dict[str, list[list[float]]]:
    """Return for each contender ``[calls, CPU ms, resident KB]`` at 1, 10, 100 … sequential calls."""
    found: dict[str, list[list[float]]] = {}
    for name in contenders:
        if name in _COMPARED:
            flat = bench.once(name, replace(PROMPTS, count=calls))
            found[name] = [[10.0**power, *flat[2 * power : 2 * power + 2]] for power in range(len(flat) // 2)]
    return found
