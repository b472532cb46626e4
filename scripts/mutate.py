"""Break modules in small ways with mutmut, and list each break that no test notices: ``make mutate``.

Usage: mutate.py DIRECTORY [MODULE ...]. A module is a path such as ``gigaclient/_core/retry.py``; its tests are in the
file that mirrors it, here ``tests/_core/test_retry.py``. DIRECTORY gets a copy of the package, which is mutated there.

tests/mutants.txt lists the known survivors, each with the reason why no test can or should notice it. Any other
survivor is a failure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests/mutants.txt"
# Modules that decide, whose tests take seconds.
DEFAULT = (
    "gigaclient/_core/error_mapping.py",
    "gigaclient/_core/retry.py",
    "gigaclient/bulk/throttle.py",
    "gigaclient/transport/framing.py",
)
_SETTINGS = """\
[mutmut]
source_paths = gigaclient
also_copy = gigaclient
only_mutate =
    {modules}
pytest_add_cli_args_test_selection =
    {tests}
pytest_add_cli_args =
    -p
    no:cacheprovider
use_git_change_detection = False

[tool:pytest]
pythonpath = tests .
filterwarnings = error
"""


def main(directory: Path, modules: list[str]) -> int:
    """Run mutmut on ``modules`` in ``directory``; return 1 if there are survivors that are not listed."""
    for module in modules:
        if not (ROOT / module).is_file() or not (ROOT / tests_of(module)).is_file():
            print(f"{module} or {tests_of(module)} is not there", file=sys.stderr)
            return 2
    prepare(directory, modules)
    mutmut = [str(Path(sys.executable).with_name("mutmut"))]
    with (directory / "log.txt").open("w", encoding="utf-8") as log:
        run = subprocess.run([*mutmut, "run"], cwd=directory, stdout=log, stderr=subprocess.STDOUT, check=False)
    results = subprocess.run(
        [*mutmut, "results", "--all", "true"], cwd=directory, capture_output=True, text=True, check=False
    )
    verdicts = re.findall(r"^\s*(\S+): (.+)$", results.stdout, re.MULTILINE)
    if run.returncode or not verdicts:
        print(f"mutmut failed; see {directory / 'log.txt'}", file=sys.stderr)
        return 1
    alive = [name for name, verdict in verdicts if verdict not in ("killed", "caught by type check", "timeout")]
    known, unknown = known_survivors(KNOWN.read_text("utf-8")), 0
    for name in alive:
        shown = subprocess.run(
            [*mutmut, "show", name], cwd=directory, capture_output=True, text=True, check=False
        ).stdout
        if changed_lines(shown) not in known:
            unknown += 1
            print(shown)
    print(
        f"{len(verdicts)} mutants of {len(modules)} modules, {len(verdicts) - len(alive)} noticed by tests, "
        f"{len(alive) - unknown} known survivors, {unknown} new ones"
    )
    return 1 if unknown else 0


def tests_of(module: str) -> str:
    """Return the path of the tests that mirror ``module``."""
    folder, _, name = module.removeprefix("gigaclient/").rpartition("/")
    return "/".join(filter(None, ("tests", folder, f"test_{name}")))


def prepare(directory: Path, modules: list[str]) -> None:
    """Copy the package, its certificate and the tests of ``modules``, and write the settings of mutmut."""
    shutil.rmtree(directory, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gigaclient", directory / "gigaclient", ignore=ignored)
    shutil.copytree(ROOT / "certs", directory / "gigaclient/certs", ignore=ignored)
    shutil.copytree(ROOT / "tests/support", directory / "tests/support", ignore=ignored)
    tests = [tests_of(module) for module in modules]
    for path in ("tests/conftest.py", *tests):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, directory / path)
    settings = _SETTINGS.format(modules="\n    ".join(modules), tests="\n    ".join(tests))
    (directory / "setup.cfg").write_text(settings, "utf-8")


def known_survivors(text: str) -> set[tuple[str, ...]]:
    """Return the changed lines of each listed survivor. Each has a reason, in lines that begin with ``#``."""
    found = set()
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        changed = tuple(line for line in lines if not line.startswith("#"))
        if changed and not any(line.startswith("#") for line in lines):
            raise ValueError(f"{KNOWN}: no reason for {changed}")
        found.add(tuple(f"{line[0]} {line[1:].strip()}" for line in changed))
    return found - {()}


def changed_lines(shown: str) -> tuple[str, ...]:
    """Return the removed and the added lines of a difference, without their indentation."""
    lines = re.findall(r"^([-+])(?![-+]{2} )(.*)$", shown, re.MULTILINE)
    return tuple(f"{sign} {line.strip()}" for sign, line in lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:] or list(DEFAULT)))
