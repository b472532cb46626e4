"""Idioms of programs for the official SDK, each run with it and with gigaclient.

``idioms/`` has them by topic: functions that return what a program would print. They import the official SDK; for
gigaclient, only the name of the package in the imports is replaced. An idiom that differs on purpose says how, and the
pages on migration list exactly these differences.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.migration_differences import ROWS
from support.official_sdk import OFFICIAL, OURS, Idiom, Raised, idioms_of
from support.pages import CHECKOUT, LANGUAGES

from gigaclient.testing import Authority, GigaChatEmulator

IDIOMS = [idiom for path in sorted(Path(__file__).with_name("idioms").glob("*.py")) for idiom in idioms_of(path)]


@pytest.mark.parametrize("idiom", IDIOMS, ids=lambda idiom: f"{idiom.path.stem}-{idiom.name}")
def test_an_idiom_does_the_same_or_differs_as_it_says(idiom: Idiom, authority: Authority) -> None:
    with GigaChatEmulator(authority=authority) as emulator:
        official = idiom.run(OFFICIAL, emulator)
    with GigaChatEmulator(authority=authority) as emulator:
        ours = idiom.run(OURS, emulator)
    difference = idiom.difference
    if difference is not None:
        assert official.result == difference.official
        assert ours.result == difference.ours
        assert difference.official != difference.ours
    elif isinstance(official.result, Raised):
        # Every "except" that catches the official error must catch ours.
        assert isinstance(ours.result, Raised)
        assert official.result <= ours.result
        assert ours.requests == official.requests
    else:
        assert ours == official


def test_there_are_many_idioms_and_most_do_the_same() -> None:
    assert len(IDIOMS) >= 370
    assert len([idiom for idiom in IDIOMS if idiom.difference is None]) >= 290


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_lists_exactly_the_differences(language: str) -> None:
    page = (CHECKOUT / "docs" / language / "migration.md").read_text("utf-8")
    # The tables with a reason in their third column.
    reason = {"en": "| official | here | why |", "ru": "| официальный | здесь | почему |"}[language]
    tables = [table.partition("\n\n")[0].splitlines()[1:] for table in page.split(f"{reason}\n")[1:]]
    listed = [row.split(" | ")[0].removeprefix("| ") for table in tables for row in table]
    assert listed == [row[LANGUAGES.index(language)] for row in ROWS.values()]


def test_every_difference_is_that_of_an_idiom_and_each_has_a_row() -> None:
    assert {idiom.difference.row for idiom in IDIOMS if idiom.difference is not None} == ROWS.keys()
