"""``make bench`` and ``make bench-short``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import curves, instructions, many, report
from benchmarks.environments import CHECKOUT, NOTEBOOK, Environments
from benchmarks.measure import Bench, Samples, bench, forms_of, known
from benchmarks.rows import CONTENDERS, HOLDS, ROWS, TITLES, Row, short_rows

_FOLDER = CHECKOUT / "benchmarks"
_RESULTS = _FOLDER / "results.json"
_DOCUMENT = CHECKOUT / "docs" / "performance.md"
_PINS = CHECKOUT / "requirements" / "bench.txt"
_TRIES = 3
_A_THIRD = 4 / 3
_VERSIONS = (
    "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version "
    "for d in m.distributions() if d.metadata['Name']}))"
)
_NAMED = {
    "ours": ("gigaclient",),
    "official": ("gigachat", "httpx", "pydantic"),
    "with_openai": ("openai",),
    "with_g4f": ("g4f", "aiohttp"),
    "with_requests": ("requests",),
    "with_urllib3": ("urllib3",),
    "floor": ("msgspec",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status, in the short form 1 if a ratio misses its target."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="floors alone, with what is installed here; for CI")
    parser.add_argument("--rounds", type=int, default=0, help="measurements of each contender (5; 3 when short)")
    parser.add_argument("--rows", default="", help="only these, by key, comma-separated; nothing is written")
    parser.add_argument("--contenders", default="", help="only these, comma-separated; nothing is written")
    parser.add_argument(
        "--only", choices=("map", "holds"), help="measure only many prompts, or only holds; keep the other last results"
    )
    parser.add_argument("--tries", type=int, default=_TRIES, help="when short: the best of so many")
    parser.add_argument(
        "--counts", action="store_true", help="when short: check the counts too, even if rows are chosen"
    )
    parser.add_argument("--wheel", type=Path, help="what to install as ours")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".venv" / "bench" / "contenders")
    parser.add_argument("--report", action="store_true", help="only write the pages anew from the last results")
    options = parser.parse_args(arguments)
    if options.report:
        _write(json.loads(_RESULTS.read_text("utf-8")))
        return 0
    rows = _chosen(short_rows() if options.short else list(ROWS), options.rows)
    with tempfile.TemporaryDirectory() as home:
        if options.short:
            with_counts = not options.rows or options.counts
            return _short(
                Environments(None, Path(home)), rows, options.rounds or 3, options.tries, with_counts=with_counts
            )
        contenders = known(options.contenders.split(",")) if options.contenders else list(CONTENDERS)
        environments = Environments(options.folder, Path(home))
        wheel = options.wheel or max((CHECKOUT / "dist").glob("gigaclient-*.whl"), key=os.path.getmtime)
        if options.only is not None:
            contenders = known([method.installed for method in many.METHODS] if options.only == "map" else ["ours"])
        environments.install([*contenders, NOTEBOOK], wheel.resolve(), _PINS)
        if options.only is not None:
            return _only(options.only, environments, contenders, options.rounds or 5)
        return _full(
            environments, rows, contenders, options.rounds or 5, write=not (options.rows or options.contenders)
        )


def _chosen(rows: list[Row], keys: str) -> list[Row]:
    if not keys:
        return rows
    wanted = keys.split(",")
    strange = set(wanted) - {row.key for row in rows}
    if strange:
        raise SystemExit(f"no such row: {', '.join(sorted(strange))}; there are {', '.join(row.key for row in rows)}")
    return [row for row in rows if row.key in wanted]


def _full(environments: Environments, rows: list[Row], contenders: list[str], rounds: int, *, write: bool) -> int:
    begun = time.monotonic()
    forms = {*forms_of(rows)}
    if write:
        forms.update(instructions.FORMS, curves.forms(), many.forms())
    results: dict[str, Any] = {"samples": {}, "curves": {}, "counts": {}}
    with bench(environments, sorted(forms)) as running:
        results["versions"] = _versions(running, contenders)
        for row in rows:
            samples = running.row(row, contenders, rounds, _say)
            results["samples"][row.key] = samples
            _say_row(row, samples)
        if write:
            for curve in curves.CURVES:
                results["curves"][curve.key] = curves.measure(running, curve, contenders, _say)
            results["curves"]["prompts"] = curves.measure_prompts(running, contenders, curves.PROMPTS.count)
            counted = [name for name in contenders if name not in ("with_openai", "with_g4f")]
            results["counts"] = instructions.count(running, counted, _say)
            results["many"] = _many(running, contenders)
            results["holds"] = _holds(running, rounds)
    results.update(date=str(datetime.date.today()), machine=_machine(), rounds=rounds)
    if write:
        _keep(results)
    _say(f"Done in {time.monotonic() - begun:.0f} s.")
    return 0


def _only(part: str, environments: Environments, contenders: list[str], rounds: int) -> int:
    results = json.loads(_RESULTS.read_text("utf-8"))
    with bench(environments, many.forms() if part == "map" else forms_of(HOLDS)) as running:
        if part == "map":
            results["many"] = _many(running, contenders)
        else:
            results["holds"] = _holds(running, rounds)
    _keep(results)
    return 0


def _many(running: Bench, contenders: list[str]) -> dict[str, Any]:
    installed = known([method.installed for method in many.METHODS])
    found = many.measure(running, _say)
    versions = _versions(running, [name for name in contenders if name in installed])
    return {**found, "date": str(datetime.date.today()), "machine": _machine(), "versions": versions}


def _holds(running: Bench, rounds: int) -> dict[str, Any]:
    samples = {row.key: running.row(row, ["ours"], rounds, _say) for row in HOLDS}
    for row in HOLDS:
        _say_row(row, samples[row.key])
    versions = _versions(running, ["ours"])
    return {
        "samples": samples,
        "date": str(datetime.date.today()),
        "machine": _machine(),
        "versions": versions,
        "rounds": rounds,
    }


def _keep(results: dict[str, Any]) -> None:
    _RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _write(results)


def _write(results: dict[str, Any]) -> None:
    from benchmarks import plots  # matplotlib is not installed for the short form

    pictures = plots.draw(results, _FOLDER)
    (_FOLDER / "RESULTS.md").write_text(report.page(results, pictures), "utf-8")
    _DOCUMENT.write_text(report.between_markers(_DOCUMENT.read_text("utf-8"), results), "utf-8")


def _short(environments: Environments, rows: list[Row], rounds: int, tries: int, *, with_counts: bool = False) -> int:
    begun = time.monotonic()
    failed = []
    forms = {*forms_of(rows), *(instructions.FORMS if with_counts else ())}
    with bench(environments, sorted(forms)) as running:
        above = instructions.check(running, _say) if with_counts else []
        for row in rows:
            if not _passes(running, row, rounds, tries):
                failed.append(row.key)
    _say(f"{time.monotonic() - begun:.0f} s in all.")
    if failed:
        _say(f"FAILED: worse than the table by more than a third, {tries} times: {', '.join(failed)}")
    if above:
        _say(f"FAILED: more than the limit: {'; '.join(above)}")
    return 1 if failed or above else 0


def _passes(running: Bench, row: Row, rounds: int, tries: int) -> bool:
    peers = [target.against for target in row.targets if target.against is not None]
    contenders = known(["ours", *peers])
    missing = set(row.targets)
    if row.task in ("first_token", "renewal", "many_share", "embed_share") or row.task.endswith("_memory"):
        rounds = 1  # a long measurement, and a median or a percentile already
    for _ in range(tries):
        samples = running.row(row, contenders, rounds, _say)
        _say_row(row, samples)
        found = report.verdicts(row, samples, _A_THIRD)
        missing -= {verdict.target for verdict in found if verdict.met}
        if not missing:
            return True
    return False


def _say_row(row: Row, samples: Samples) -> None:
    medians = (
        f"{TITLES[name]} {report.number(statistics.median(values))}" for name, values in samples.items() if values
    )
    reached = (f"{verdict.target}: {verdict}".replace("*", "") for verdict in report.verdicts(row, samples))
    _say(f"{row.title}, {row.unit}: {', '.join(medians)} [{'; '.join(reached)}]")


def _versions(running: Bench, contenders: list[str]) -> dict[str, str]:
    named = {"Python": platform.python_version()}
    for contender in contenders:
        found = json.loads(running.run(contender, _VERSIONS))
        named.update({name: found[name] for name in _NAMED[contender] if name in found})
    return named


def _machine() -> str:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, {gigabytes:.0f} GB"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
