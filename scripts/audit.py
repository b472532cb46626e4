"""Checks gigaclient's runtime dependencies for known vulnerabilities.

A vulnerability is a failure. An advisory service that does not answer proves nothing about the dependencies, so it is
reported and is not a failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
LIMIT_S = 180
# Messages of pip-audit when the service is unreachable.
NO_ANSWER = (
    "ConnectionError",
    "ConnectTimeout",
    "HTTPError",
    "Max retries exceeded",
    "NewConnectionError",
    "ProxyError",
    "ReadTimeout",
    "SSLError",
    "ServiceError",
    "Connection refused",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Tunnel connection failed",
    "timed out",
)


def main() -> int:
    """Run pip-audit on the pinned versions and their dependencies; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        pins = _pinned_with_dependencies(Path(folder))
        found = Path(folder, "found.json")
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--no-deps", "--disable-pip"]
        command += ["--requirement", str(pins), "--format=json", "--output", str(found)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return _no_answer(f"no answer within {LIMIT_S} s")
        if not found.is_file() or not found.read_text().strip():
            lines = [line for line in run.stderr.splitlines() if line.strip()]
            if any(sign in run.stderr for sign in NO_ANSWER):
                return _no_answer(lines[-1] if lines else "no answer")
            print(run.stdout + run.stderr, file=sys.stderr)
            print(f"audit: pip-audit failed with status {run.returncode} with the output above", file=sys.stderr)
            return 1
        return _report_vulnerabilities(json.loads(found.read_text())["dependencies"])


def _pinned_with_dependencies(folder: Path) -> Path:
    """Write a requirements file of the newest runtime dependencies and their pins; return its path."""
    needed = {"certifi", "charset-normalizer", "idna"}
    lines = _pins("newest.txt") + [pin for pin in _pins("pins.txt") if pin.partition("==")[0] in needed]
    path = folder / "runtime.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _pins(name: str) -> list[str]:
    return [line for line in (REQUIREMENTS / name).read_text().splitlines() if "==" in line]


def _report_vulnerabilities(dependencies: list[dict[str, Any]]) -> int:
    audited = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    if not audited:
        reasons = [dependency["skip_reason"] for dependency in dependencies]
        return _no_answer(reasons[0] if reasons else "it checked nothing")
    vulnerable = 0
    for dependency in audited:
        for vulnerability in dependency["vulns"]:
            vulnerable += 1
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"audit: {dependency['name']} {dependency['version']}: {vulnerability['id']}, fixed in {fixed}")
    for dependency in dependencies:
        if "skip_reason" in dependency:
            print(f"audit: {dependency['name']} was NOT audited: {dependency['skip_reason']}")
    print(f"audit: {len(audited)} of {len(dependencies)} packages audited, {vulnerable} known vulnerabilities")
    return 1 if vulnerable else 0


def _no_answer(reason: str) -> int:
    print(f"audit: NOT DONE, the advisory service gave no answer: {reason[:200]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
