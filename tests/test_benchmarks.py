"""The benchmark's own logic, and that its short form runs: a measurement that nobody can make is no promise."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[ModuleType]:
    """The package, imported without the checkout on the path: the tests meet the installed gigaclient."""
    spec = importlib.util.spec_from_file_location(
        "benchmarks", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = package
    spec.loader.exec_module(package)
    yield package
    for name in [name for name in sys.modules if name == "benchmarks" or name.startswith("benchmarks.")]:
        del sys.modules[name]


def test_a_ratio_is_taken_within_each_round_so_a_slow_round_does_not_count() -> None:
    from benchmarks.measure import ratio

    # The machine was ten times slower in the last two rounds, for both.
    assert ratio({"ours": [1.0, 10.0, 10.0], "with_requests": [2.0, 20.0, 20.0]}, "with_requests") == 0.5


@pytest.mark.parametrize(
    ("at_least", "value", "slack", "met"),
    [
        (False, 0.60, 1.0, True),
        (False, 0.61, 1.0, False),
        (False, 0.79, 4 / 3, True),
        (False, 0.81, 4 / 3, False),
        (True, 0.60, 1.0, True),
        (True, 0.59, 1.0, False),
        (True, 0.45, 4 / 3, True),
        (True, 0.44, 4 / 3, False),
    ],
)
def test_a_target_is_met_up_to_its_factor_and_a_third_is_forgiven_when_asked(
    at_least: bool, value: float, slack: float, met: bool
) -> None:
    from benchmarks.rows import Target

    assert Target("with_requests", 0.6, at_least).met(value, slack) is met


def test_a_target_whose_peer_was_not_measured_is_not_met() -> None:
    from benchmarks.report import Verdict
    from benchmarks.rows import Target

    verdict = Verdict(Target("official", 0.5), {"ours": [1.0]})
    assert (verdict.met, str(verdict)) == (False, "not measured")


def test_the_short_form_asks_for_no_sdk_that_is_not_a_floor() -> None:
    from benchmarks.rows import FLOORS, short_rows

    peers = {target.against for row in short_rows() for target in row.targets}
    assert peers
    assert peers <= {None, *FLOORS}


def test_every_row_of_the_short_form_gives_ours_something_to_reach() -> None:
    from benchmarks.rows import short_rows

    assert [row.key for row in short_rows() if not row.targets] == []


@pytest.mark.parametrize("form", ["few-300", "each-300"])
def test_a_canned_stream_has_the_events_it_is_named_for_and_an_end_marker(form: str) -> None:
    from benchmarks import canned

    answer = canned.answer(form)
    body = b"".join(answer.writes)
    assert body.count(b"data: {") == 300
    assert body.count(b"data: [DONE]") == 1
    assert body.endswith(b"0\r\n\r\n")
    assert len(answer.writes) == (1 if form == "few-300" else 303)  # head, events, marker, last chunk


def test_the_table_has_a_line_for_each_row_that_was_measured_and_says_what_was_missed() -> None:
    from benchmarks.report import table

    samples = {
        "call": {"ours": [300.0, 300.0], "with_requests": [600.0, 600.0], "with_urllib3": [200.0, 200.0]},
        "size": {"ours": [5.0]},
    }
    lines = table({"samples": samples}).splitlines()
    assert len(lines) == 4
    assert "| 300 | 600 | 200 |" in lines[3]
    assert "0.50 met<br>not measured<br>1.50 **missed**" in lines[3]


def test_only_what_is_between_the_markers_is_written_anew() -> None:
    from benchmarks.report import BEGIN, END, between_markers

    results = {"samples": {}, "instructions": {}, "versions": {}, "date": "today", "machine": "it", "rounds": 1}
    page = between_markers(f"above {BEGIN} old {END} below", results)
    assert page.startswith("above ")
    assert page.endswith(" below")
    assert " old " not in page
    with pytest.raises(ValueError, match="markers"):
        between_markers("no markers here", results)


def run_short(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER), "--short", "--rounds", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)


def test_the_short_form_measures_real_calls_streams_and_first_tokens() -> None:
    finished = run_short("--tries", "1", "--rows", "call,each-200,late-close")
    # Whether a ratio is good enough is for a machine that does nothing else; that there is one is for this test.
    assert finished.returncode in (0, 1), finished.stderr
    for title in ("client CPU of one call", "200 events, one write each", "first token late, close-delimited"):
        assert title in finished.stdout
    assert "cannot do" not in finished.stdout


def test_the_short_form_fails_when_a_target_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks import command
    from benchmarks.environments import Environments
    from benchmarks.rows import Target, short_rows

    row = next(row for row in short_rows() if row.key == "call")
    said: list[str] = []
    monkeypatch.setattr(command, "_say", said.append)
    impossible = [
        replace(row, count=5, targets=(Target("with_requests", 0.0001),)),
    ]
    assert command._short(Environments(None, tmp_path), impossible, rounds=1, tries=2) == 1
    assert sum("client CPU of one call" in line for line in said) == 2
    assert "FAILED" in said[-1]


def test_a_row_that_does_not_exist_is_refused_by_name() -> None:
    finished = run_short("--rows", "nonsense")
    assert finished.returncode != 0
    assert "no such row: nonsense" in finished.stderr


def test_the_page_on_performance_shows_the_results_that_are_kept() -> None:
    from benchmarks.report import between_markers

    page = (CHECKOUT / "docs" / "performance.md").read_text("utf-8")
    assert between_markers(page, json.loads((FOLDER / "results.json").read_text("utf-8"))) == page
