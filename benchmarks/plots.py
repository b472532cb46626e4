"""The pictures: bars of ratios, and cost against size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
# Text stays text, and the same numbers give the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gigaclient", "font.size": 9})

from matplotlib import pyplot  # noqa: E402 - after the choice of a backend
from matplotlib.patches import Rectangle  # noqa: E402

from benchmarks.curves import CURVES  # noqa: E402
from benchmarks.many import METHODS  # noqa: E402
from benchmarks.measure import ratio  # noqa: E402
from benchmarks.rows import CONTENDERS, ROWS, TITLES  # noqa: E402

_COLOURS = dict(
    zip(CONTENDERS, ("#0b7a4b", "#c0392b", "#8e6bbf", "#b07d2b", "#2c6fbb", "#5aa9d6", "#999999"), strict=True)
)
_COLOURS_OF_METHODS = dict(
    zip((method.contender for method in METHODS), ("#0b7a4b", "#8e6bbf", "#2c6fbb", "#999999"), strict=True)
)


def draw(results: dict[str, Any], folder: Path) -> list[str]:
    """Write the pictures into ``folder``; return their names."""
    names = [_ratios(results["samples"], folder)]
    for curve in CURVES:
        points = results["curves"].get(curve.key)
        if points:
            names.append(_curve(curve.key, curve.title, curve.x_label, curve.y_label, curve.xs, points, folder))
    prompts = results["curves"].get("prompts")
    if prompts:
        marks = tuple(int(mark) for mark, *_ in next(iter(prompts.values())))
        memory = {name: [kb / 1024 for _, _, kb in rows] for name, rows in prompts.items()}
        title, x_label = "Resident memory", "calls one after the other"
        names.append(_curve("memory", title, x_label, "MB", marks, memory, folder, linear_y=True))
    if "many" in results:
        names.append(_prompts(results["many"]["growth"], folder))
    return names


def _ratios(samples: dict[str, dict[str, list[float]]], folder: Path) -> str:
    # A difference may be negative, and then a ratio means nothing. There may also be no other contender.
    rows = [row for row in ROWS if len(samples.get(row.key, {})) > 1 and not (row.beyond or row.minus_one_ca)]
    figure, axes = pyplot.subplots(figsize=(9, 1.0 + 0.75 * len(rows)))
    for position, row in enumerate(rows):
        others = [name for name in CONTENDERS if name != "ours" and samples[row.key].get(name)]
        higher_is_better = any(target.at_least for target in row.targets)
        for index, name in enumerate(others):
            factor = ratio(samples[row.key], name)
            # Drawn so that a longer bar always means slower than ours.
            factor = factor if higher_is_better else 1 / factor
            axes.barh(position + (index - len(others) / 2) * 0.13, factor - 1, 0.12, left=1, color=_COLOURS[name])
    axes.axvline(1.0, color=_COLOURS["ours"], linewidth=2)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.title.replace(": ", ":\n").replace(", ", ",\n", 1) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("times what ours costs (left of the green line: cheaper than ours)")
    handles = [Rectangle((0, 0), 1, 1, color=_COLOURS[name]) for name in CONTENDERS]
    axes.legend(handles, [TITLES[name] for name in CONTENDERS], loc="lower right")
    return _save(figure, folder / "ratios.svg")


def _curve(
    key: str,
    title: str,
    x_label: str,
    y_label: str,
    xs: tuple[int, ...],
    points: dict[str, list[float | None]],
    folder: Path,
    *,
    linear_y: bool = False,
) -> str:
    figure, axes = pyplot.subplots(figsize=(6.5, 4))
    for name, values in points.items():
        known = [(size, value) for size, value in zip(xs, values, strict=True) if value is not None]
        width = 2.4 if name == "ours" else 1.2
        axes.plot(*zip(*known, strict=True), marker="o", label=TITLES[name], color=_COLOURS[name], linewidth=width)
    axes.set_xscale("log", base=2 if key == "threads" else 10)
    axes.set_yscale("linear" if linear_y else "log")
    if linear_y:
        axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, folder / f"{key}.svg")


def _prompts(growth: dict[str, list[list[float]]], folder: Path) -> str:
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(6.5, 7))
    for method in METHODS:
        points = growth.get(method.contender)
        if not points:
            continue
        colour = _COLOURS_OF_METHODS[method.contender]
        prompts, cpu, kilobytes = zip(*points, strict=True)
        above.plot(prompts, [ms / 1e3 for ms in cpu], marker="o", label=method.title, color=colour)
        below.plot(prompts, [kb / 1024 for kb in kilobytes], marker="o", color=colour)
    above.set_xscale("log")
    above.set_yscale("log")
    above.set_title("Many prompts, answered at once")
    above.set_ylabel("client CPU, s")
    above.legend()
    below.set_ylim(bottom=0)
    below.set_ylabel("peak memory, MB")
    below.set_xlabel("prompts")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return _save(figure, folder / "prompts.svg")


def _save(figure: Any, path: Path) -> str:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return path.name
