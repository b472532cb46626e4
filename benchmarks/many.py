"""Many prompts: how near ``giga.map`` comes to the rate that the service allows, and what it adds to the calls."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.measure import WORKER, Bench
from benchmarks.rows import Row, Target

_ANSWER_MS = 50
_ANSWER = _ANSWER_MS / 1000


class Way(NamedTuple):
    """One way to ask many prompts.

    Attributes:
        contender: the module that does it.
        installed: whose installation that needs.
        title: for people.
    """

    contender: str
    installed: str
    title: str


WAYS = (
    Way("ours", "ours", "giga.map"),
    Way("ours_with_checkpoint", "ours", "giga.map, checkpoint"),
    Way("ours_in_pool", "ours", "giga.chat in a pool"),
    Way("floor", "floor", "floor in a pool"),
)


class Rate(NamedTuple):
    """A service that takes ``at_once`` at a time, and how many prompts it is sent."""

    at_once: int
    prompts: int
    rounds: int

    @property
    def form(self) -> str:
        return f"paced-{self.at_once}-{_ANSWER_MS}"


# So that each takes about ten seconds at the rate that is possible; the lower ones vary little.
RATES = (Rate(1, 200, 1), Rate(10, 2_000, 1), Rate(64, 10_000, 3))
AT_ONCE = 64
GROWTH_FORM = f"paced-{AT_ONCE}-0"
# How far the curve of each way goes.
GROWTH = {"ours": 100_000, "ours_with_checkpoint": 100_000, "ours_in_pool": 10_000}
SIZES = (1_000, 10_000, 100_000)

SHARE, REFUSED, ADDED, FLAT = Target(None, 0.9, at_least=True), Target(None, 10), Target(None, 1.25), Target(None, 1.25)

_LIMIT_SECONDS = 600

Found = dict[str, Any]
Samples = dict[str, list[dict[str, float]]]


def forms() -> list[str]:
    """The forms that are needed of the server."""
    return [*(rate.form for rate in RATES), GROWTH_FORM]


def measure(bench: Bench, say: Callable[[str], None]) -> Found:
    """All of it.

    Returns:
        ``rates``: by limit and way, a list of what ``many_counted`` found; ``growth``: by way, what ``many_growth``
        found.
    """
    found: Found = {"rates": {}, "growth": {}}
    for rate in RATES:
        row = Row("", "", "", "many_counted", form=rate.form, count=rate.prompts, at_once=rate.at_once, seconds=_ANSWER)
        samples: Samples = {way.contender: [] for way in WAYS}
        for _ in range(rate.rounds):
            for way in WAYS:
                samples[way.contender].append(_once(bench, way, row))
        found["rates"][str(rate.at_once)] = samples
        shares = (f"{way.title} {median(samples, way, 'share'):.2f}" for way in WAYS)
        say(f"{rate.prompts} prompts, {rate.at_once} at a time, share of the possible rate: {', '.join(shares)}")
    for way in WAYS:
        if way.contender in GROWTH:
            row = Row("", "", "", "many_growth", form=GROWTH_FORM, count=GROWTH[way.contender], at_once=AT_ONCE)
            points = found["growth"][way.contender] = _once(bench, way, row)
            prompts, cpu, kilobytes = points[-1]
            say(f"{way.title}, {prompts} prompts: {cpu / 1e3:.1f} s of CPU, {kilobytes / 1024:.1f} MB more memory")
    return found


def _once(bench: Bench, way: Way, row: Row) -> Any:
    specification = bench.specification(way.contender, row)
    return json.loads(bench.run(way.installed, WORKER, specification, limit_seconds=_LIMIT_SECONDS))


def median(samples: Samples, way: Way, what: str) -> float:
    """Of one number, over the rounds."""
    return statistics.median(sample[what] for sample in samples[way.contender])


def added(samples: Samples) -> float:
    """CPU of a prompt, ``giga.map`` to the calls in a pool: the median of the ratios within a round."""
    pairs = zip(samples["ours"], samples["ours_in_pool"], strict=True)
    return statistics.median(ours["cpu"] / pool["cpu"] for ours, pool in pairs)


def table(found: Found) -> str:
    """The numbers, in Markdown."""
    lines = [
        f"| what | {' | '.join(way.title for way in WAYS)} | giga.map must reach | giga.map is at |",
        "| --- |" + " ---: |" * len(WAYS) + " --- | --- |",
    ]

    def add(title: str, cells: Iterable[str], target: Target | None = None, value: float = 0.0, of: str = "") -> None:
        reached = "" if target is None else f"{value:.2f} {'met' if target.met(value) else '**missed**'}"
        lines.append(f"| {title} | {' | '.join(cells)} | {'' if target is None else target}{of} | {reached} |")

    for rate in RATES:
        samples = found["rates"][str(rate.at_once)]
        shares = [median(samples, way, "share") for way in WAYS]
        title = f"{spaced(rate.prompts)} prompts, {rate.at_once} at a time: share of the possible rate"
        add(title, (f"{share:.2f}" for share in shares), SHARE, shares[0])
        refused = [median(samples, way, "refused") for way in WAYS]
        add("… answers that were a 429", (f"{count:.0f}" for count in refused), REFUSED, refused[0])
        cpu = (f"{median(samples, way, 'cpu'):.0f}" for way in WAYS)
        if rate.at_once == AT_ONCE:
            add("… client CPU of a prompt, µs", cpu, ADDED, added(samples), " × the pool")
    growth = {way.contender: _by_size(found, way.contender) for way in WAYS}
    for size in SIZES:
        cells = (
            f"{growth[way.contender][size][1] / 1024:.1f}" if size in growth[way.contender] else "–" for way in WAYS
        )
        title = f"{spaced(size)} prompts answered at once: memory that they take at the most, MB"
        if size == SIZES[0]:
            add(title, cells)
            continue
        at_first, now = growth["ours"][SIZES[0]][1], growth["ours"][size][1]
        add(title, cells, FLAT, now / at_first, f" × that of {spaced(SIZES[0])}")
    for size in SIZES:
        cells = (
            f"{growth[way.contender][size][0] / size * 1e3:.0f}" if size in growth[way.contender] else "–"
            for way in WAYS
        )
        title = f"{spaced(size)} prompts answered at once: client CPU of each, µs"
        if size == SIZES[0]:
            add(title, cells)
            continue
        at_first, now = growth["ours"][SIZES[0]][0] / SIZES[0], growth["ours"][size][0] / size
        add(title, cells, FLAT, now / at_first, f" × that of {spaced(SIZES[0])}")
    return "\n".join(lines)


def _by_size(found: Found, contender: str) -> dict[int, tuple[float, float]]:
    """CPU, ms, and peak of the memory, KB, by the number of prompts."""
    return {int(size): (cpu, kilobytes) for size, cpu, kilobytes in found["growth"].get(contender, ())}


def spaced(number: int) -> str:
    """With the thousands apart."""
    return f"{number:,}".replace(",", " ")
