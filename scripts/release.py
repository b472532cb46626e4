"""Prepare a release of the branch ``main``: ``release.py VERSION COMMAND...``, which ``make release`` calls.

It checks the version, the tree and that this commit is green. It moves the changelog's Unreleased section under the
version, sets the version and commits. COMMAND builds and checks the distributions; then the commit is tagged. Nothing
leaves the machine: the last line says what to push. When the command fails, the commit is undone.

``release.py --record-green`` is the end of ``make check``: it notes that this commit passed.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

CHANGELOG = "CHANGELOG.md"
VERSION_FILE = "gigaclient/version.py"
GREEN = ".venv/green"
BRANCH = "main"

_UNRELEASED = re.compile(r"^## Unreleased\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
_SHAPE = re.compile(r"\d+\.\d+\.\d+(rc\d+)?")


class ReleaseError(Exception):
    """The release cannot be made; the message says what to do first."""


def main(arguments: list[str], root: Path) -> int:
    """Make the release, or record that the commit is green; return the exit status."""
    if arguments == ["--record-green"]:
        print(record_green(root))
        return 0
    if len(arguments) < 2:
        print("usage: make release VERSION=0.2.0", file=sys.stderr)
        return 2
    try:
        print(release(root, arguments[0], arguments[1:]))
    except ReleaseError as error:
        print(f"No release was made: {error}", file=sys.stderr)
        return 1
    return 0


def record_green(root: Path) -> str:
    """Note in ``.venv/green`` that the commit passed, unless files differ from it; return a sentence for the user."""
    if _git(root, "rev-parse", "--is-inside-work-tree", check=False) != "true":
        return "Everything passed. Not recorded for a release, because this is not a git repository."
    if _git(root, "status", "--porcelain"):
        return "Everything passed. Not recorded for a release, because files differ from the commit."
    commit = _git(root, "rev-parse", "HEAD")
    (root / GREEN).write_text(commit + "\n", "utf-8")
    return f"Everything passed. {commit[:12]} can be released."


def release(root: Path, version: str, build: list[str]) -> str:
    """Commit and tag ``version`` after ``build`` succeeded; return the next step.

    Raises:
        ReleaseError: a check or the build failed; files, branch and tags are as before.
    """
    tag = f"v{version}"
    _check_version(root, version, tag)
    _check_tree(root)
    before = _git(root, "rev-parse", "HEAD")
    changelog = moved((root / CHANGELOG).read_text("utf-8"), version, datetime.date.today())
    source = _ASSIGNMENT.sub(f'__version__ = "{version}"', (root / VERSION_FILE).read_text("utf-8"))
    try:
        _write(root / CHANGELOG, changelog)
        _write(root / VERSION_FILE, source)
        # The build takes its time stamps from the commit, so the commit comes first.
        _git(root, "commit", "--quiet", "--message", f"Release {version}", "--", CHANGELOG, VERSION_FILE)
        if subprocess.run(build, cwd=root, check=False).returncode:
            raise ReleaseError(f"{' '.join(build)} failed with the output above. The commit was undone.")
        _git(root, "tag", "--annotate", tag, "--message", f"gigaclient {version}")
    except BaseException:
        _git(root, "reset", "--quiet", "--hard", before)
        raise
    return f"{tag} is committed, checked in dist/ and tagged. To publish it: git push --atomic origin {BRANCH} {tag}"


def moved(changelog: str, version: str, date: datetime.date) -> str:
    """Return ``changelog`` with the entries of Unreleased under ``version`` and ``date``, and an empty Unreleased."""
    found = _UNRELEASED.search(changelog)
    if not found or not re.search(r"^- ", found["text"], re.MULTILINE):
        raise ReleaseError(f'{CHANGELOG} has no entry under "## Unreleased". Say there what changed for users.')
    heading = f"## Unreleased\n\n## {version} ({date.isoformat()})\n"
    return changelog[: found.start()] + heading + found["text"] + changelog[found.end() :]


def _check_version(root: Path, version: str, tag: str) -> None:
    assigned = _ASSIGNMENT.search((root / VERSION_FILE).read_text("utf-8"))
    if not assigned:
        raise ReleaseError(f"{VERSION_FILE} assigns no __version__.")
    try:
        higher = Version(version) > Version(assigned["version"])
    except InvalidVersion:
        higher = False
    if not _SHAPE.fullmatch(version) or not higher:
        raise ReleaseError(
            f"{version!r} is no version above {assigned['version']}. Write three numbers, as in 0.2.0 or 0.2.0rc1."
        )
    if _git(root, "tag", "--list", tag):
        raise ReleaseError(f"The tag {tag} exists. A version is released once.")


def _check_tree(root: Path) -> None:
    branch = _git(root, "branch", "--show-current")
    if branch != BRANCH:
        raise ReleaseError(f"The branch is {branch or 'detached'}. Releases are made on {BRANCH}.")
    changed = _git(root, "status", "--porcelain")
    if changed:
        raise ReleaseError(f"These files differ from the commit. Commit or remove them first:\n{changed}")
    green = root / GREEN
    if not green.is_file() or green.read_text("utf-8").strip() != _git(root, "rev-parse", "HEAD"):
        raise ReleaseError("This commit is not known to be green. Run: make check")


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", newline="\n")


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if check and run.returncode:
        raise ReleaseError(f"git {' '.join(arguments)} failed: {(run.stderr or run.stdout).strip()}")
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent.parent))
