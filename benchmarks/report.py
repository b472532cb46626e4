"""The results as a page, and the same table between the markers of ``docs/performance.md``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import many
from benchmarks.curves import CURVES
from benchmarks.measure import Samples, ratio
from benchmarks.rows import CONTENDERS, HOLDS, ROWS, TITLES, Row, Target

BEGIN, END = "<!-- results: begin, written by make bench -->", "<!-- results: end -->"
BEGIN_MANY, END_MANY = "<!-- many prompts: begin, written by make bench -->", "<!-- many prompts: end -->"
BEGIN_HOLDS, END_HOLDS = "<!-- holds: begin, written by make bench -->", "<!-- holds: end -->"


class Verdict:
    """One target compared with the measurement.

    Attributes:
        value: the ratio, or the median itself without another contender; None if it was not measured.
        met: the value meets the target.
    """

    def __init__(self, target: Target, samples: Samples, slack: float = 1.0) -> None:
        self.target = target
        self.value: float | None = None
        if samples.get("ours") and target.against is None:
            self.value = statistics.median(samples["ours"])
        elif samples.get("ours") and target.against is not None and samples.get(target.against):
            self.value = ratio(samples, target.against)
        self.met = self.value is not None and target.met(self.value, slack)

    def __str__(self) -> str:
        if self.value is None:
            return "not measured"
        return f"{self.value:.2f} {'met' if self.met else '**missed**'}"


def verdicts(row: Row, samples: Samples, slack: float = 1.0) -> list[Verdict]:
    """Return the verdict on each target of the row."""
    return [Verdict(target, samples, slack) for target in row.targets]


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(samples: dict[str, Samples], rows: Sequence[Row] = ROWS) -> str:
    """Format medians, targets and verdicts in Markdown."""
    shown = [name for name in CONTENDERS if any(name in measured for measured in samples.values())]
    lines = [
        "| what | " + " | ".join(TITLES[name] for name in shown) + " | ours must reach | ours is at |",
        "| --- |" + " ---: |" * len(shown) + " --- | --- |",
    ]
    for row in rows:
        measured = samples.get(row.key)
        if not measured:
            continue
        cells = [number(statistics.median(measured[name])) if measured.get(name) else "–" for name in shown]
        found = verdicts(row, measured)
        targets = "<br>".join(str(verdict.target) for verdict in found)
        reached = "<br>".join(str(verdict) for verdict in found)
        lines.append(f"| {row.title}, {row.unit} | " + " | ".join(cells) + f" | {targets} | {reached} |")
    return "\n".join(lines)


def curves(results: dict[str, Any]) -> str:
    """Format the numbers behind the pictures."""
    parts = []
    for curve in CURVES:
        points = results["curves"].get(curve.key)
        if not points:
            continue
        parts.append(f"{curve.title}, {curve.y_label}, by {curve.x_label}:\n")
        parts.append(f"| | {' | '.join(f'{size:,}'.replace(',', ' ') for size in curve.xs)} |")
        parts.append("| --- |" + " ---: |" * len(curve.xs))
        for name, values in points.items():
            cells = ("–" if value is None else number(value) for value in values)
            parts.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
        parts.append("")
    prompts = results["curves"].get("prompts")
    if prompts:
        marks = [f"{int(mark):,}".replace(",", " ") for mark, *_ in next(iter(prompts.values()))]
        parts.append("CPU, ms / resident memory, MB, after so many calls one after the other:\n")
        parts.append(f"| | {' | '.join(marks)} |")
        parts.append("| --- |" + " ---: |" * len(marks))
        for name, rows in prompts.items():
            cells = (f"{number(cpu)} / {kb / 1024:.1f}" for _, cpu, kb in rows)
            parts.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def counts(results: dict[str, Any]) -> str:
    """Format the counts of instructions and system calls, or why there are none."""
    counted = results["counts"]
    if not counted:
        return "Not counted: neither valgrind nor strace was installed.\n"
    names = list(next(iter(next(iter(counted.values())).values())))
    lines = [f"| counted | {' | '.join(TITLES[name] for name in names)} |"]
    lines.append("| --- |" + " ---: |" * len(names))
    for kind, measured in counted.items():
        unit, scale = ("thousand instructions", 1e3) if kind == "instructions" else (kind, 1.0)
        for title, found in measured.items():
            lines.append(f"| {title}, {unit} | {' | '.join(number(found[name] / scale) for name in names)} |")
    return "\n".join(lines) + "\n"


def circumstances(results: dict[str, Any]) -> str:
    """Format the date, the machine and the versions."""
    return f"{_where(results)} Medians of {results['rounds']} rounds.\n"


def many_prompts(results: dict[str, Any]) -> str:
    """Format the results of ``giga.map``, and their conditions."""
    rounds = many.RATES[-1].rounds
    return f"{_where(results['many'])} At {many.AT_ONCE} at a time medians of {rounds} rounds.\n\n" + many.table(
        results["many"]
    )


def holds(results: dict[str, Any]) -> str:
    """Format for how long other threads were held, and the conditions."""
    found = results["holds"]
    return f"{circumstances(found)}\n{table(found['samples'], HOLDS)}\n"


def _where(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"{results['date']}, {results['machine']}. {versions}."


def page(results: dict[str, Any], pictures: list[str]) -> str:
    """Return ``RESULTS.md``."""
    return "\n".join(
        [
            "# Results",
            "",
            "Written by `make bench`; [docs/performance.md](../docs/performance.md) says how it was measured and what "
            "it means.",
            "",
            circumstances(results),
            "The last two columns are ratios within one round, medians over the rounds: compare those, not times.",
            "",
            table(results["samples"]),
            "",
            "## Instructions and system calls",
            "",
            "Counted by valgrind and strace; counts repeat where times do not. An event is one of 200 with a write "
            "each, or one of 100 that the client waits for, the call included.",
            "",
            counts(results),
            "## Curves",
            "",
            curves(results),
            *(["## Many prompts", "", many_prompts(results), ""] if "many" in results else []),
            *(["## Other threads", "", holds(results), ""] if "holds" in results else []),
            *(f"![{name.partition('.')[0]}]({name})\n" for name in pictures),
        ]
    )


def between_markers(text: str, results: dict[str, Any]) -> str:
    """Replace the text between the markers in ``text``.

    Raises:
        ValueError: the markers are missing.
    """
    main = f"{circumstances(results)}\n{table(results['samples'])}\n\n{counts(results)}"
    text = _between(text, BEGIN, END, main)
    if "many" in results:
        text = _between(text, BEGIN_MANY, END_MANY, many_prompts(results) + "\n")
    return _between(text, BEGIN_HOLDS, END_HOLDS, holds(results)) if "holds" in results else text


def _between(text: str, begin: str, end: str, part: str) -> str:
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError("the page has lost its markers")
    return f"{before}{begin}\n\n{part}\n{end}{after}"
