"""The workflows of the public hosting call make, and their commands, Pythons and files are those of the project.

``make lint`` checks them with actionlint and against their schemas.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
MAKEFILE = (CHECKOUT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
# Commands that are no call of make: the broker of one job, and the page of a release.
OTHER_COMMANDS = {"sudo apt-get update", "gh release create"}


def loaded(path: Path) -> dict[str, Any]:
    """Return a workflow. YAML 1.1 reads the key ``on`` as True."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = loaded(CHECKOUT / ".github/workflows" / name)["jobs"]
    return found


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for job in loaded(path)["jobs"].values():
            for step in job.get("steps", ()):
                yield path.name, step


def make_calls() -> list[tuple[str, str, dict[str, str]]]:
    """Return each call of make: the workflow, the target, and the variables."""
    found = []
    for name, step in steps():
        for line in step.get("run", "").splitlines():
            if not any(line.startswith(command) for command in OTHER_COMMANDS):
                call = re.fullmatch(r"make ([a-z-]+)((?: [A-Z]+=[\w.]+)*)", line)
                assert call, f"{name}: {line!r} is no thin call of make"
                found.append((name, call[1], dict(part.split("=") for part in call[2].split())))
    return found


def test_every_command_is_a_call_of_a_target_that_exists() -> None:
    assert {target for _, target, _ in make_calls()} - TARGETS == set()


def test_every_variable_of_a_call_is_one_of_the_makefile() -> None:
    known = set(re.findall(r"^([A-Z]+) \?=", MAKEFILE, re.MULTILINE))
    assert known > {"PYTHON", "SECONDS"}
    assert {variable for _, _, variables in make_calls() for variable in variables} - known == set()


def test_the_workflows_together_run_all_that_make_check_runs() -> None:
    rule = re.search(r"^check: (.*?) ##.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert rule
    called = " ".join([rule[1], *re.findall(r"\$\(MAKE\)(.*)", rule[2])])
    checked = set(re.findall(r"(?<![\w-])[a-z][a-z-]+", called)) & TARGETS
    assert {"lint", "test", "test-floor", "wheel", "soak"} <= checked
    # The matrix of Pythons stands for test-all.
    assert checked - {target for _, target, _ in make_calls()} == {"test-all"}


def test_every_supported_python_is_tested_on_linux_and_macos() -> None:
    matrix = jobs("tests.yml")["tests"]["strategy"]["matrix"]
    versions = re.search(r"^VERSIONS \?= (.+)$", MAKEFILE, re.MULTILINE)
    assert versions
    assert set(versions[1].split()) <= set(matrix["python"])
    assert [system.partition("-")[0] for system in matrix["system"]] == ["ubuntu", "macos"]
    config = configparser.ConfigParser(delimiters=("=",))
    config.read(CHECKOUT / "setup.cfg", "utf-8")
    claimed = re.findall(r":: (3\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)
    assert claimed == versions[1].split()


def test_windows_runs_the_quick_tests_with_bash() -> None:
    windows = jobs("tests.yml")["windows"]
    assert windows["runs-on"].startswith("windows")
    assert windows["defaults"]["run"]["shell"] == "bash"
    assert windows["steps"][-1]["run"] == "make test-quick PYTHON=python"


def test_every_action_is_pinned_by_the_hash_of_a_version() -> None:
    used = [line for path in WORKFLOWS for line in path.read_text("utf-8").splitlines() if "uses: " in line]
    others = [line for line in used if "uses: ./" not in line]
    assert len(others) > 20
    pinned = re.compile(r"\s+(?:- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in others if not pinned.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_few_permissions_and_ends_in_time(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 90, name
        for step in job.get("steps", ()):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}


def test_a_release_is_built_after_every_check_and_published_without_a_stored_secret() -> None:
    workflow = loaded(CHECKOUT / ".github/workflows/release.yml")
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    called = {job["uses"].rpartition("/")[2] for job in workflow["jobs"].values() if "uses" in job}
    assert called == {"tests.yml", "lint.yml", "docs.yml"}
    assert set(build["needs"]) == {name for name, job in workflow["jobs"].items() if "uses" in job}
    assert (publish["needs"], publish["environment"]) == ("build", "release")
    assert publish["permissions"] == {"contents": "write", "id-token": "write", "attestations": "write"}
    publishing = next(step for step in publish["steps"] if "pypi-publish" in step.get("uses", ""))
    assert publishing["with"] == {"attestations": True}
    text = (CHECKOUT / ".github/workflows/release.yml").read_text("utf-8")
    assert "secrets." not in text
    # The checks are called with the name of the caller, so a group of that name would cancel two of them.
    for name in called:
        assert loaded(CHECKOUT / ".github/workflows" / name)["concurrency"]["group"].startswith(name[:-4])


def test_commits_and_the_hosted_site_run_the_same_commands() -> None:
    hooks = [hook for repo in _yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == ["make lint"]
    assert _yaml(".readthedocs.yaml")["build"]["commands"][0] == "make docs"


def _yaml(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text("utf-8"))


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", ".editorconfig"])
def test_the_files_that_strangers_look_for_are_there_and_in_the_sdist(name: str) -> None:
    assert len((CHECKOUT / name).read_text("utf-8")) > 200
    assert name in (CHECKOUT / "MANIFEST.in").read_text("utf-8")


def test_every_command_of_make_is_explained() -> None:
    public = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))
    assert TARGETS - public == {"run-floor"}
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(phony[1].replace("\\", "").split()) == TARGETS
