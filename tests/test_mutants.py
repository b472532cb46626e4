"""``make mutate``: where it finds the tests of a module, and which survivors it knows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import load_script

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("mutate")


def test_each_default_module_has_tests_that_mirror_it(script: ModuleType) -> None:
    assert script.tests_of("gigaclient/_core/retry.py") == "tests/_core/test_retry.py"
    assert script.tests_of("gigaclient/functions.py") == "tests/test_functions.py"
    for module in script.DEFAULT:
        assert (CHECKOUT / module).is_file()
        assert (CHECKOUT / script.tests_of(module)).is_file()


def test_a_survivor_is_known_by_the_lines_that_it_changes(script: ModuleType) -> None:
    known = script.known_survivors("# All.\n\n# Ten is one of many.\n-     return 10\n+     return 11\n")
    head = "# name: survived\n--- gigaclient/a.py\n+++ gigaclient/a.py\n@@ -1,2 +1,2 @@\n def f():\n"
    shown = f"{head}-    return 10\n+    return 11\n"
    assert script.changed_lines(shown) == ("- return 10", "+ return 11")
    assert script.changed_lines(shown) in known
    assert script.changed_lines(shown.replace("11", "12")) not in known


def test_a_listed_survivor_needs_a_reason(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="no reason"):
        script.known_survivors("# Head.\n\n- return 10\n+ return 11\n")


def test_the_listed_survivors_are_still_lines_of_the_default_modules(script: ModuleType) -> None:
    listed = script.known_survivors((CHECKOUT / "tests/mutants.txt").read_text("utf-8"))
    assert listed
    source = {line.strip() for module in script.DEFAULT for line in (CHECKOUT / module).read_text("utf-8").splitlines()}
    for change in listed:
        assert [line for line in change if line.startswith("- ") and line[2:] not in source] == []
