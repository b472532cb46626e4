"""The text for a missing extra names a command that works wherever the package was installed from."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from gigaclient._primitives.extras import extra_is_missing, install_command

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRAS = metadata.metadata("gigaclient").get_all("Provides-Extra") or []
FROM_AN_INDEX = re.compile(r"""pip install (?:-\S+ )*["']?gigaclient\b""")


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_command_names_the_packages_of_each_extra_with_their_floors(extra: str) -> None:
    command = install_command(extra)
    assert re.fullmatch(r'pip install( "[\w-]+[<>=][^" ;]+")+', command)
    assert "gigaclient" not in command
    declared = re.search(rf"(?m)^{extra} =\n((?:    .+\n)+)", (CHECKOUT / "setup.cfg").read_text("utf-8"))
    assert declared is not None
    names = {re.split(r"[<>=\[;]", line.strip())[0].lower() for line in declared[1].splitlines()}
    assert {re.split(r"[<>=\[;]", package)[0].lower() for package in re.findall('"([^"]+)"', command)} == names


def test_sources_that_are_not_installed_name_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert install_command("flask") == 'pip install ".[flask]" in a clone of the repository'


def test_the_text_names_the_feature_the_package_and_the_command() -> None:
    text = extra_is_missing("a progress bar", "tqdm", "progress")
    assert re.fullmatch(r'a progress bar needs tqdm, which is not installed: pip install "tqdm>=[\d.]+"', text)


def test_no_page_and_no_text_of_the_package_needs_an_index() -> None:
    """gigaclient is not on an index, so that pages show the form for a clone."""
    folders = ("gigaclient", "docs", "examples")
    files = [path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.suffix in (".py", ".md")]
    files += CHECKOUT.glob("*.md")
    assert len(files) > 100
    found = [path.relative_to(CHECKOUT).as_posix() for path in files if FROM_AN_INDEX.search(path.read_text("utf-8"))]
    assert found == []
