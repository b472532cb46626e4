"""``make release`` in a temporary repository: what it changes, what it refuses, and what a failure leaves behind."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import load_script

CHECKOUT = Path(__file__).resolve().parent.parent

CHANGELOG = """# Changelog

## Unreleased

- Added streams.
- Fixed the end
  of a stream.

## 0.1.0 (2026-11-21)

- The first version.
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("release")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on ``main``, which is recorded as green."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.invalid")
    (tmp_path / "gigaclient").mkdir()
    (tmp_path / "gigaclient/version.py").write_text('"""The version."""\n\n__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / ".gitignore").write_text("/.venv/\n/dist/\n")
    (tmp_path / ".venv").mkdir()
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Start")
    (tmp_path / ".venv/green").write_text(git(tmp_path, "rev-parse", "HEAD"))
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def state(root: Path) -> tuple[str, str, str, str]:
    """Return all that a failed release must leave unchanged."""
    files = "".join((root / name).read_text() for name in ("CHANGELOG.md", "gigaclient/version.py"))
    return git(root, "rev-parse", "HEAD"), git(root, "tag"), git(root, "status", "--porcelain"), files


def build(code: str = "") -> list[str]:
    """Return a build command that writes the version that it finds to dist/built, and runs ``code``."""
    source = (
        "import pathlib, sys; pathlib.Path('dist').mkdir(exist_ok=True);"
        f"pathlib.Path('dist/built').write_text(pathlib.Path('gigaclient/version.py').read_text()); {code}"
    )
    return [sys.executable, "-c", source]


def test_a_release_moves_the_changelog_sets_the_version_builds_and_tags(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["0.2.0", *build()], repository) == 0
    today = datetime.date.today().isoformat()
    assert (repository / "CHANGELOG.md").read_text() == CHANGELOG.replace(
        "## Unreleased\n", f"## Unreleased\n\n## 0.2.0 ({today})\n"
    )
    assert (repository / "gigaclient/version.py").read_text() == '"""The version."""\n\n__version__ = "0.2.0"\n'
    assert '"0.2.0"' in (repository / "dist/built").read_text()
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "--format=%s").splitlines() == ["Release 0.2.0", "Start"]
    assert git(repository, "rev-parse", "v0.2.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert git(repository, "cat-file", "-t", "v0.2.0") == "tag\n"
    assert "git push --atomic origin main v0.2.0" in capsys.readouterr().out


def test_the_commit_of_a_release_is_not_green_before_it_was_checked(script: ModuleType, repository: Path) -> None:
    assert script.main(["0.2.0", *build()], repository) == 0
    with pytest.raises(script.ReleaseError, match="make check"):
        script._check_tree(repository)


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "0.1.0rc1", "0.2", "v0.2.0", "0.2.0.dev1", "next", ""])
def test_only_a_higher_version_of_three_numbers_is_released(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    before = state(repository)
    assert script.main([version, *build()], repository) == 1
    assert "no version above 0.1.0" in capsys.readouterr().err
    assert state(repository) == before


def test_a_release_candidate_may_come_before_its_version(script: ModuleType, repository: Path) -> None:
    assert script.main(["0.2.0rc1", *build()], repository) == 0
    (repository / "CHANGELOG.md").write_text(CHANGELOG)
    git(repository, "commit", "--quiet", "--all", "--message", "Go on")
    (repository / ".venv/green").write_text(git(repository, "rev-parse", "HEAD"))
    assert script.main(["0.2.0", *build()], repository) == 0
    assert git(repository, "tag").split() == ["v0.2.0", "v0.2.0rc1"]


def test_a_version_is_released_once(script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(repository, "tag", "v0.2.0")
    assert script.main(["0.2.0", *build()], repository) == 1
    assert "A version is released once" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["edited", "new"])
def test_changed_files_stop_a_release(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    name = "CHANGELOG.md" if change == "edited" else "notes.txt"
    (repository / name).write_text("changed\n")
    before = state(repository)
    assert script.main(["0.2.0", *build()], repository) == 1
    assert name in capsys.readouterr().err
    assert state(repository) == before


@pytest.mark.parametrize("green", [None, "0" * 40])
def test_a_commit_that_did_not_pass_is_not_released(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str], green: str | None
) -> None:
    if green is None:
        (repository / ".venv/green").unlink()
    else:
        (repository / ".venv/green").write_text(green)
    assert script.main(["0.2.0", *build()], repository) == 1
    assert "Run: make check" in capsys.readouterr().err


def test_other_branches_are_not_released(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "checkout", "--quiet", "-b", "topic")
    assert script.main(["0.2.0", *build()], repository) == 1
    assert "Releases are made on main" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["# Changelog\n", "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- The first version.\n"]
)
def test_a_release_without_changes_for_users_is_refused(script: ModuleType, text: str) -> None:
    with pytest.raises(script.ReleaseError, match="Say there what changed for users"):
        script.moved(text, "0.2.0", datetime.date(2026, 12, 1))


@pytest.mark.parametrize("code", ["sys.exit(1)", "pathlib.Path('CHANGELOG.md').write_text('broken'); sys.exit(1)"])
def test_a_failed_build_leaves_no_trace(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    before = state(repository)
    assert script.main(["0.2.0", *build(code)], repository) == 1
    assert "The commit was undone" in capsys.readouterr().err
    assert state(repository) == before


def test_a_command_without_a_version_says_how_to_call_it(
    script: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([], repository) == 2
    assert "make release VERSION=0.2.0" in capsys.readouterr().err


def test_a_passed_check_is_recorded_for_the_commit_alone(script: ModuleType, repository: Path) -> None:
    (repository / ".venv/green").unlink()
    (repository / "notes.txt").write_text("not committed\n")
    assert "files differ" in script.record_green(repository)
    assert not (repository / ".venv/green").exists()
    (repository / "notes.txt").unlink()
    assert "can be released" in script.record_green(repository)
    assert script.main(["0.2.0", *build()], repository) == 0


def test_the_changelog_of_the_project_can_be_released(script: ModuleType) -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased\n\n## 99.0.0 (2026-12-01)\n" in script.moved(text, "99.0.0", datetime.date(2026, 12, 1))


def test_the_version_of_the_project_is_in_the_changelog(script: ModuleType) -> None:
    found = script._ASSIGNMENT.search((CHECKOUT / "gigaclient/version.py").read_text("utf-8"))
    assert f"\n## {found['version']} (" in (CHECKOUT / "CHANGELOG.md").read_text("utf-8")


# -- the built files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build_python() -> Path:
    python = CHECKOUT / ".venv/build/bin/python"
    if not python.exists():
        pytest.skip("make test makes the environment that builds")
    return python


def test_two_builds_give_the_same_wheel_and_the_sdist_has_every_file(build_python: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True).stdout
    files = [name for name in listed.split("\0") if (CHECKOUT / name).is_file()] or _files_of_an_unpacked_sdist()
    builds = [_start_build(build_python, files, tmp_path / str(mask), mask) for mask in (0o022, 0o077)]
    for process in builds:
        assert process.wait(50) == 0
    one, other = (next((tmp_path / name / "out").glob("*.whl")) for name in ("18", "63"))
    assert one.name == other.name
    assert _described(one) == _described(other)
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(next((tmp_path / "18/out").glob("*.tar.gz"))) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert set(files) - packed == set()


def _files_of_an_unpacked_sdist() -> list[str]:
    sources = (CHECKOUT / "gigaclient.egg-info/SOURCES.txt").read_text("utf-8").splitlines()
    return [name for name in sources if not name.startswith("gigaclient.egg-info")]


def _start_build(python: Path, files: list[str], folder: Path, mask: int) -> subprocess.Popen[bytes]:
    """Copy the project with fresh times and the modes of ``mask``, and start the build of it."""
    source = folder / "source"
    for name in files:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((CHECKOUT / name).read_bytes())
        target.chmod(((CHECKOUT / name).stat().st_mode | 0o666) & ~mask)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = ["bash", "scripts/build-dist", str(python), str(folder / "out")]
    return subprocess.Popen(command, cwd=source, env=environment, umask=mask, stdout=subprocess.DEVNULL)


def _described(wheel: Path) -> list[tuple[str, tuple[int, ...], int, int]]:
    with zipfile.ZipFile(wheel) as archive:
        return [(info.filename, info.date_time, info.external_attr, info.CRC) for info in archive.infolist()]
