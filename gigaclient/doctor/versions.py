"""Check the installed versions: which are too old, and which have known faults."""

from __future__ import annotations

import datetime
import platform
import re
import ssl
from importlib import metadata

from gigaclient.doctor.report import Diagnosis, Outcome
from gigaclient.version import __version__

__all__ = ["examine_versions"]

_OLD_AUTHORITIES_DAYS = 3 * 365

# A package, the first fixed version, and the fault of the versions before it.
_KNOWN_BAD = (
    ("urllib3", (2, 6, 0), "a compressed response can exhaust its memory (CVE-2025-66471)"),
    ("certifi", (2024, 7, 4), "it trusts an authority that browsers have removed (CVE-2024-39689)"),
)


def examine_versions() -> Diagnosis:
    """List the versions; fail for those too old to work, and warn about those that should be newer."""
    installed = {name: _version(name) for name in ("requests", "urllib3", "msgspec", "certifi")}
    summary = [f"Python {platform.python_version()}", _openssl(), f"gigaclient {__version__}"]
    summary += [f"{name} {version or 'missing'}" for name, version in installed.items()]
    lines = [", ".join(summary)]
    outcome: Outcome = "ok"
    update: list[str] = []
    for name, minimum in _minimum_versions().items():
        version = installed.get(name)
        if version is not None and _version_tuple(version) < _version_tuple(minimum):
            outcome = "failure"
            update.append(name)
            lines.append(f"{name} {version} is older than {minimum}, the oldest version that works")
    bad = [(name, fault) for name, fixed, fault in _KNOWN_BAD if _version_tuple(installed[name] or "9999") < fixed]
    if (_age_days(installed["certifi"]) or 0) > _OLD_AUTHORITIES_DAYS:
        bad.append(("certifi", "it lacks newer public authorities"))
    for name, fault in bad:
        outcome = "warning" if outcome == "ok" else outcome
        update.append(name)
        lines.append(f"{name} {installed[name]}: {fault}")
    steps = [f"pip install -U {' '.join(dict.fromkeys(update))}"] if update else []
    fault, step = _openssl_fault()
    if fault:
        outcome = "warning" if outcome == "ok" else outcome
        lines.append(f"{_openssl()} {fault}")
        steps.append(step)
    return Diagnosis(outcome=outcome, detail="\n".join(lines), next_step="; ".join(steps))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _minimum_versions() -> dict[str, str]:
    """Return the minimum versions in gigaclient's metadata; empty when it is not installed as a package."""
    try:
        required = metadata.requires("gigaclient") or []
    except metadata.PackageNotFoundError:
        return {}
    minimums = {}
    for line in required:
        found = re.match(r"([A-Za-z0-9_.-]+)[^;]*?>=\s*([0-9.]+)", line)
        if found and "extra" not in line:
            minimums[found[1].lower()] = found[2]
    return minimums


def _openssl() -> str:
    return " ".join(ssl.OPENSSL_VERSION.split()[:2])


def _openssl_fault() -> tuple[str, str]:
    """Return the fault of this Python's TLS library and what to do about it; empty strings without a fault."""
    library, _, rest = ssl.OPENSSL_VERSION.partition(" ")
    if library != "OpenSSL":
        return "is not supported by urllib3", "use a Python built with OpenSSL 3"
    version = _version_tuple(rest.partition(" ")[0])
    if version < (3,):
        return "gets no more security fixes", "use a Python built with OpenSSL 3"
    if (3, 0, 0) <= version < (3, 0, 7):
        return "can be attacked through certificates (CVE-2022-3602)", "update the system's OpenSSL"
    return "", ""


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _age_days(certifi: str | None) -> int | None:
    numbers = _version_tuple(certifi) if certifi else ()
    try:
        released = datetime.date(*numbers[:3])
    except (TypeError, ValueError):
        return None
    return (datetime.date.today() - released).days
