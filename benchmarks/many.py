"""Many prompts: how close ``giga.map`` comes to the service's rate, and what it adds to the calls."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.measure import WORKER, Bench
from benchmarks.rows import Row, Target

_ANSWER_MS = 50
_ANSWER = _ANSWER_MS / 1000


class Method(NamedTuple):
    """One way to send many prompts.

    Attributes:
        contender: the module that does it.
        installed: the installation that it needs.
        title: for readers.
    """

    contender: str
    installed: str
    title: str


METHODS = (
    Method("ours", "ours", "giga.map"),
    Method("ours_with_checkpoint", "ours", "giga.map, checkpoint"),
    Method("ours_in_pool", "ours", "giga.chat in a pool"),
    Method("floor", "floor", "floor in a pool"),
)


class Rate(NamedTuple):
    """A service that takes ``at_once`` requests at a time, and the number of prompts to send."""

    at_once: int
    prompts: int
    rounds: int

    @property
    def form(self) -> str:
        return f"paced-{self.at_once}-{_ANSWER_MS}"


# So that each takes about ten seconds at the best rate; the lower limits vary little.
RATES = (Rate(1, 200, 1), Rate(10, 2_000, 1), Rate(64, 10_000, 3))
AT_ONCE = 64
GROWTH_FORM = f"paced-{AT_ONCE}-0"
# The largest size of the curve of each method.
GROWTH = {"ours": 100_000, "ours_with_checkpoint": 100_000, "ours_in_pool": 10_000}
SIZES = (1_000, 10_000, 100_000)

SHARE, SHARE_OF_MOST, WITH_CHECKPOINT = (Target(None, share, at_least=True) for share in (0.9, 0.92, 0.85))
REFUSED, ADDED, FLAT = Target(None, 10), Target(None, 1.25), Target(None, 1.25)

_LIMIT_SECONDS = 600

Found = dict[str, Any]
Samples = dict[str, list[dict[str, float]]]


def forms() -> list[str]:
    """Return the server's forms that the measurements need."""
    return [*(rate.form for rate in RATES), GROWTH_FORM]


def measure(bench: Bench, say: Callable[[str], None]) -> Found:
    """Run all measurements.

    Returns:
        ``rates``: by limit and method, a list of results of ``many_counted``; ``growth``: by method, the result of
            ``many_growth``.
    """
    found: Found = {"rates": {}, "growth": {}}
    for rate in RATES:
        row = Row("", "", "", "many_counted", form=rate.form, count=rate.prompts, at_once=rate.at_once, seconds=_ANSWER)
        samples: Samples = {method.contender: [] for method in METHODS}
        for _ in range(rate.rounds):
            for method in METHODS:
                samples[method.contender].append(_once(bench, method, row))
        found["rates"][str(rate.at_once)] = samples
        shares = (f"{method.title} {median(samples, method, 'share'):.2f}" for method in METHODS)
        say(f"{rate.prompts} prompts, {rate.at_once} at a time, share of the possible rate: {', '.join(shares)}")
    for method in METHODS:
        if method.contender in GROWTH:
            row = Row("", "", "", "many_growth", form=GROWTH_FORM, count=GROWTH[method.contender], at_once=AT_ONCE)
            points = found["growth"][method.contender] = _once(bench, method, row)
            prompts, cpu, kilobytes = points[-1]
            say(f"{method.title}, {prompts} prompts: {cpu / 1e3:.1f} s of CPU, {kilobytes / 1024:.1f} MB more memory")
    return found


def _once(bench: Bench, method: Method, row: Row) -> Any:
    specification = bench.specification(method.contender, row)
    return json.loads(bench.run(method.installed, WORKER, specification, limit_seconds=_LIMIT_SECONDS))


def median(samples: Samples, method: Method, field: str) -> float:
    """Return the median of one number over the rounds."""
    return statistics.median(sample[field] for sample in samples[method.contender])


def added(samples: Samples) -> float:
    """Return the CPU of a prompt, ``giga.map`` to the calls in a pool: the median of the ratios within a round."""
    pairs = zip(samples["ours"], samples["ours_in_pool"], strict=True)
    return statistics.median(ours["cpu"] / pool["cpu"] for ours, pool in pairs)


def table(found: Found) -> str:
    """Format the numbers in Markdown."""
    lines = [
        f"| what | {' | '.join(method.title for method in METHODS)} | giga.map must reach | giga.map is at |",
        "| --- |" + " ---: |" * len(METHODS) + " --- | --- |",
    ]

    def add(title: str, cells: Iterable[str], target: Target | None = None, value: float = 0.0, of: str = "") -> None:
        reached = "" if target is None else f"{value:.2f} {'met' if target.met(value) else '**missed**'}"
        lines.append(f"| {title} | {' | '.join(cells)} | {'' if target is None else target}{of} | {reached} |")

    for rate in RATES:
        samples = found["rates"][str(rate.at_once)]
        shares = [median(samples, method, "share") for method in METHODS]
        title = f"{spaced(rate.prompts)} prompts, {rate.at_once} at a time: share of the possible rate"
        cells = [f"{share:.2f}" for share in shares]
        add(title, cells, SHARE_OF_MOST if rate.at_once == AT_ONCE else SHARE, shares[0])
        if rate.at_once == AT_ONCE:
            add("… giga.map with a checkpoint", ["–", cells[1], "–", "–"], WITH_CHECKPOINT, shares[1])
        refused = [median(samples, method, "refused") for method in METHODS]
        add("… answers that were a 429", (f"{count:.0f}" for count in refused), REFUSED, refused[0])
        cpu = (f"{median(samples, method, 'cpu'):.0f}" for method in METHODS)
        if rate.at_once == AT_ONCE:
            add("… client CPU of a prompt, µs", cpu, ADDED, added(samples), " × the pool")
    growth = {method.contender: _by_size(found, method.contender) for method in METHODS}
    for size in SIZES:
        cells = (
            f"{growth[method.contender][size][1] / 1024:.1f}" if size in growth[method.contender] else "–"
            for method in METHODS
        )
        title = f"{spaced(size)} prompts answered at once: peak memory, MB"
        if size == SIZES[0]:
            add(title, cells)
            continue
        at_first, now = growth["ours"][SIZES[0]][1], growth["ours"][size][1]
        add(title, cells, FLAT, now / at_first, f" × that of {spaced(SIZES[0])}")
    for size in SIZES:
        cells = (
            f"{growth[method.contender][size][0] / size * 1e3:.0f}" if size in growth[method.contender] else "–"
            for method in METHODS
        )
        title = f"{spaced(size)} prompts answered at once: client CPU of each, µs"
        if size == SIZES[0]:
            add(title, cells)
            continue
        at_first, now = growth["ours"][SIZES[0]][0] / SIZES[0], growth["ours"][size][0] / size
        add(title, cells, FLAT, now / at_first, f" × that of {spaced(SIZES[0])}")
    return "\n".join(lines)


def _by_size(found: Found, contender: str) -> dict[int, tuple[float, float]]:
    """Return CPU, ms, and peak memory, KB, by the number of prompts."""
    return {int(size): (cpu, kilobytes) for size, cpu, kilobytes in found["growth"].get(contender, ())}


def spaced(number: int) -> str:
    """Format a number with a space between thousands."""
    return f"{number:,}".replace(",", " ")
