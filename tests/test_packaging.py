"""The installed package is complete and has nothing else, and the tests run against it, not the checkout."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import load_script

import gigaclient

CHECKOUT = Path(__file__).resolve().parent.parent
REQUIREMENTS = CHECKOUT / "requirements"


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(CHECKOUT / "setup.cfg", "utf-8")
    return parser


@pytest.fixture(scope="module")
def installed() -> importlib.metadata.Distribution:
    """The installed distribution, which "make test" installs as a wheel.

    In another environment the tests that need an installed wheel are skipped; "make test" permits no skips.
    """
    if os.environ.get("PYTHONPATH"):
        pytest.skip("PYTHONPATH may put the checkout first; make test does without")
    try:
        found = importlib.metadata.distribution("gigaclient")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gigaclient is not installed here; make test installs it")
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("an editable install; make test makes a real one")
    return found


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def pins(name: str) -> dict[str, str]:
    found = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REQUIREMENTS / name).read_text("utf-8"), re.MULTILINE))
    return {re.sub(r"[-_.]+", "-", key).lower(): version for key, version in found.items()}


# -- the tests meet the installed package ----------------------------------------------------------


def test_the_package_under_test_is_the_installed_one(installed: importlib.metadata.Distribution) -> None:
    imported = Path(gigaclient.__file__).resolve()
    assert imported == Path(str(installed.locate_file("gigaclient/__init__.py"))).resolve()
    assert CHECKOUT / "gigaclient" not in imported.parents


@pytest.mark.usefixtures("installed")
def test_the_checkout_is_not_on_the_import_path() -> None:
    assert [entry for entry in sys.path if Path(entry or os.curdir).resolve() == CHECKOUT] == []


def test_the_installed_modules_are_those_of_the_checkout(installed: importlib.metadata.Distribution) -> None:
    files = {str(path) for path in installed.files or ()}
    expected = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "gigaclient").rglob("*.py")}
    expected.add("gigaclient/certs/__init__.py")
    assert {name for name in files if name.endswith(".py")} == expected
    for name in sorted(expected):
        source = CHECKOUT / name.replace("gigaclient/certs/", "certs/")
        assert Path(str(installed.locate_file(name))).read_bytes() == source.read_bytes(), (
            f"{name}: run make test again"
        )


# -- what is in it ---------------------------------------------------------------------------------


def test_types_certificate_and_recordings_are_installed(installed: importlib.metadata.Distribution) -> None:
    files = {str(path) for path in installed.files or ()}
    recordings = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "gigaclient/testing/recordings").iterdir()}
    assert recordings
    assert recordings <= files
    wanted = {"gigaclient/py.typed", "gigaclient/certs/russian_trusted_root_ca.pem", "gigaclient/certs/README.md"}
    assert wanted <= files


def test_only_the_package_is_installed(installed: importlib.metadata.Distribution) -> None:
    tops = {path.parts[0] for path in installed.files or () if path.parts[0] != ".."}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gigaclient"}


def test_one_version(installed: importlib.metadata.Distribution) -> None:
    assert installed.version == gigaclient.__version__


def test_the_metadata_names_python_and_the_four_dependencies(installed: importlib.metadata.Distribution) -> None:
    assert installed.metadata["Requires-Python"] == ">=3.10"
    needed = [requirement for requirement in installed.requires or () if "extra ==" not in requirement]
    names = sorted(re.split(r"[<>=]", requirement)[0] for requirement in needed)
    assert names == ["docstring-parser", "msgspec", "requests", "urllib3"]


def test_the_entry_points_can_be_loaded(installed: importlib.metadata.Distribution) -> None:
    points = {(point.group, point.name): point for point in installed.entry_points}
    hooks = ("pyinstaller40", "hook-dirs")
    assert set(points) == {
        ("console_scripts", "gigaclient"),
        ("llm", "gigachat"),
        ("opentelemetry_instrumentor", "gigaclient"),
        ("pytest11", "gigaclient"),
        hooks,
    }
    (folder,) = points[hooks].load()()
    assert Path(folder, "hook-gigaclient.py").is_file()
    assert callable(points["console_scripts", "gigaclient"].load())
    assert points["pytest11", "gigaclient"].load().__name__ == "gigaclient.testing.plugin"


# -- the files that say the same thing twice -------------------------------------------------------


def test_setup_py_only_calls_setup() -> None:
    docstring, imported, call = ast.parse((CHECKOUT / "setup.py").read_text("utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(imported) == "from setuptools import setup"
    assert ast.unparse(call) == "setup()"


def test_every_folder_of_the_package_is_listed(config: configparser.ConfigParser) -> None:
    found = {
        ".".join(path.parent.relative_to(CHECKOUT).parts) for path in (CHECKOUT / "gigaclient").rglob("__init__.py")
    }
    assert set(lines(config["options"]["packages"])) == found | {"gigaclient.certs"}


def test_the_floor_that_is_tested_is_the_floor_that_is_declared(config: configparser.ConfigParser) -> None:
    declared = re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(lines(config["options"]["install_requires"])), re.MULTILINE)
    assert pins("floor.txt") == dict(declared)


def test_each_package_is_pinned_to_one_version() -> None:
    seen: dict[str, str] = {}
    for name in (
        "pins.txt",
        "build.txt",
        "tools.txt",
        "test.txt",
        "browser.txt",
        "clusters.txt",
        "deployment.txt",
        "newest.txt",
        "next.txt",
    ):
        for package, version in pins(name).items():
            assert seen.setdefault(package, version) == version, f"{package} has two pins"


def test_everything_that_is_required_is_pinned() -> None:
    for path in REQUIREMENTS.glob("*.txt"):
        for line in lines(path.read_text("utf-8")):
            pin = r"[\w.-]+==[\w.]+(; python_version < \"3\.\d+\")?"
            assert line.startswith(("#", "-c pins.txt", "-c test.txt")) or re.fullmatch(pin, line), (
                f"{path.name}: {line}"
            )


def test_the_extras_are_pinned_for_the_tests(config: configparser.ConfigParser) -> None:
    extras = config["options.extras_require"]
    assert set(extras) == {
        "cache",
        "cli",
        "django",
        "flask",
        "jupyter",
        "langchain",
        "llm",
        "otel",
        "progress",
        "socks",
        "testing",
    }
    packages = re.findall(r"^([\w-]+)>=", "\n".join(extras.values()), re.MULTILINE)
    assert packages
    assert set(packages) <= set(pins("test.txt")) | set(pins("peers.txt"))


@pytest.mark.parametrize("extra", ["langchain", "llm", "otel"])
def test_the_oldest_peers_are_those_of_the_extras(config: configparser.ConfigParser, extra: str) -> None:
    declared = re.findall(r"^([\w-]+)>=(\S+)$", config["options.extras_require"][extra], re.MULTILINE)
    assert declared
    oldest = pins("peers-floor.txt")
    # "0.32.0" is "0.32".
    assert {name: oldest[name].removesuffix(".0") for name, _ in declared} == {
        name: version.removesuffix(".0") for name, version in declared
    }


def test_the_license_is_where_it_should_be(installed: importlib.metadata.Distribution) -> None:
    assert (
        (CHECKOUT / "LICENSE")
        .read_text("utf-8")
        .startswith("MIT License\n\nCopyright (c) 2026 gigaclient contributors\n")
    )
    assert [path for path in installed.files or () if path.name == "LICENSE"]


# -- licences --------------------------------------------------------------------------------------


def test_the_page_of_licences_has_every_dependency(config: configparser.ConfigParser) -> None:
    text = (CHECKOUT / "docs/licenses.md").read_text("utf-8")
    runtime = lines(config["options"]["install_requires"])
    rows = {f"| `{re.split('[<>=]', requirement)[0]}` |" for requirement in runtime}
    for extra, packages in config["options.extras_require"].items():
        rows |= {f"| `{extra}` | `{re.split('[<>=]', requirement)[0]}` |" for requirement in lines(packages)}
    assert [row for row in sorted(rows) if row not in text] == [], "run: make licenses"


def test_the_page_of_licences_has_the_libraries_of_the_example_and_their_texts_are_there() -> None:
    text = (CHECKOUT / "docs/licenses.md").read_text("utf-8")
    vendored = load_script("licenses").vendored()
    rows = [f"| {library} | `{name}` | {licence} |" for library, licence, name in vendored]
    assert rows and [row for row in rows if row not in text] == [], "run: make licenses"
    folder = CHECKOUT / "examples/chat_page/vendor"
    assert len(list(folder.glob("*.LICENSE"))) == len(rows)
    assert all(path.stat().st_size > 500 for path in folder.glob("*.LICENSE"))


def test_the_page_of_licences_is_what_the_installed_packages_say() -> None:
    text = (CHECKOUT / "docs/licenses.md").read_text("utf-8")
    script = load_script("licenses")
    newest = {**pins("pins.txt"), **pins("test.txt"), **pins("newest.txt")}
    for name, listed in re.findall(r"^(?:\| `\w+` )?\| `([\w.-]+)` \| (.+) \|$", text, re.MULTILINE):
        if name in script._INSTALLED_ELSEWHERE:
            continue
        # The oldest dependencies may have had other metadata.
        if importlib.metadata.version(name) == newest[re.sub(r"[-_.]+", "-", name).lower()]:
            assert script.licence(name) == listed, "run: make licenses"


# -- the chores ------------------------------------------------------------------------------------


def test_make_alone_lists_the_chores() -> None:
    make = shutil.which("make")
    assert make, "make is needed"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run([make], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stderr
    listed = set(re.findall(r"^ +make ([\w-]+)", run.stdout, re.MULTILINE))
    assert {"demo", "test", "lint", "wheel", "test-all", "test-floor", "audit", "check", "clean", "help"} <= listed


@pytest.fixture
def audit() -> ModuleType:
    return load_script("audit")


def pip_audit_says(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, answer: object, stderr: str = "") -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        pinned = Path(command[command.index("--requirement") + 1]).read_text("utf-8")
        assert {"requests", "urllib3", "msgspec", "docstring-parser", "certifi"} <= set(
            re.findall(r"^([\w-]+)==", pinned, re.MULTILINE)
        )
        if answer is not None:
            Path(command[command.index("--output") + 1]).write_text(json.dumps(answer), "utf-8")
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(audit.subprocess, "run", run)


SOUND = {"name": "requests", "version": "2.0", "vulns": []}
UNSOUND = {"name": "urllib3", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "msgspec", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "stderr", "status", "message"),
    [
        ({"dependencies": [SOUND]}, "", 0, "1 of 1 packages audited, 0 known"),
        ({"dependencies": [SOUND, UNSOUND]}, "", 1, "urllib3 2.0: CVE-1, fixed in 2.1"),
        ({"dependencies": [SOUND, UNKNOWN]}, "", 0, "msgspec was NOT audited: not found"),
        ({"dependencies": [UNKNOWN]}, "", 0, "NOT DONE"),
        (None, "requests.exceptions.ConnectionError: refused", 0, "NOT DONE"),
        (None, "TypeError: pip-audit is broken", 1, "pip-audit failed"),
    ],
)
def test_a_vulnerability_fails_the_audit_and_silence_does_not(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    stderr: str,
    status: int,
    message: str,
) -> None:
    pip_audit_says(audit, monkeypatch, answer, stderr)
    assert audit.main() == status
    printed = capsys.readouterr()
    assert message in printed.out + printed.err


def test_each_slow_test_that_the_inner_loop_leaves_out_exists() -> None:
    source = (CHECKOUT / "tests/conftest.py").read_text("utf-8")
    found = re.search(r"^SLOW = (\(.*?^\))", source, re.MULTILINE | re.DOTALL)
    assert found
    names = ast.literal_eval(found[1])
    assert len(names) == len(set(names)) > 20
    assert [name for name in names if not (CHECKOUT / "tests" / name).exists()] == []


def test_continuous_integration_runs_what_make_check_runs() -> None:
    script = (CHECKOUT / ".ci/run").read_text("utf-8")
    assert os.access(CHECKOUT / ".ci/run", os.X_OK)
    commands = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
    stages = {stage for stages in re.findall(r"\bmake ((?:[a-z-]+\b ?)+)", commands) for stage in stages.split()}
    tests = {"test", "test-all", "test-floor", "test-next", "browser", "clusters", "deployment"}
    tests |= {"peers-newest", "peers-oldest"}
    assert stages == tests | {"lint", "wheel", "sbom", "demo", "docs", "audit", "soak", "bench-short"}
    rule = re.search(r"^check: (.*?) ##(.*?)\n\n", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert rule
    assert stages <= set(re.findall(r"[\w-]+", rule.group(0)))
