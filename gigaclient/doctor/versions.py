"""What is installed, and what of it is known to be too old or bad."""

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

# A package, the first version that is good again, and what is wrong with those before it.
_KNOWN_BAD = (
    ("urllib3", (2, 6, 0), "a compressed answer can exhaust its memory (CVE-2025-66471)"),
    ("certifi", (2024, 7, 4), "it believes an authority that browsers have put out (CVE-2024-39689)"),
)


def examine_versions() -> Diagnosis:
    """The versions; what of them is too old to work, and what should be newer."""
    installed = {name: _version(name) for name in ("requests", "urllib3", "msgspec", "certifi")}
    told = [f"Python {platform.python_version()}", _openssl(), f"gigaclient {__version__}"]
    told += [f"{name} {version or 'missing'}" for name, version in installed.items()]
    lines = [", ".join(told)]
    outcome: Outcome = "ok"
    update: list[str] = []
    for name, floor in _floors().items():
        version = installed.get(name)
        if version is not None and _numbers(version) < _numbers(floor):
            outcome = "failure"
            update.append(name)
            lines.append(f"{name} {version} is older than {floor}, the oldest that works")
    bad = [(name, fault) for name, good, fault in _KNOWN_BAD if _numbers(installed[name] or "9999") < good]
    if (_age_days(installed["certifi"]) or 0) > _OLD_AUTHORITIES_DAYS:
        bad.append(("certifi", "it does not know newer public authorities"))
    for name, fault in bad:
        outcome = "warning" if outcome == "ok" else outcome
        update.append(name)
        lines.append(f"{name} {installed[name]}: {fault}")
    steps = [f"pip install -U {' '.join(dict.fromkeys(update))}"] if update else []
    fault, step = _about_openssl()
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


def _floors() -> dict[str, str]:
    """The oldest versions that gigaclient's own metadata names; nothing where it is not installed as a package."""
    try:
        required = metadata.requires("gigaclient") or []
    except metadata.PackageNotFoundError:
        return {}
    floors = {}
    for line in required:
        found = re.match(r"([A-Za-z0-9_.-]+)[^;]*?>=\s*([0-9.]+)", line)
        if found and "extra" not in line:
            floors[found[1].lower()] = found[2]
    return floors


def _openssl() -> str:
    return " ".join(ssl.OPENSSL_VERSION.split()[:2])


def _about_openssl() -> tuple[str, str]:
    """What is wrong with the TLS library of this Python, and what to do about it; empty when nothing is."""
    library, _, rest = ssl.OPENSSL_VERSION.partition(" ")
    if library != "OpenSSL":
        return "is not what urllib3 supports", "take a Python that was built with OpenSSL 3"
    version = _numbers(rest.partition(" ")[0])
    if version < (3,):
        return "gets no security fixes any more", "take a Python that was built with OpenSSL 3"
    if (3, 0, 0) <= version < (3, 0, 7):
        return "can be attacked through certificates (CVE-2022-3602)", "update the system's OpenSSL"
    return "", ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _age_days(certifi: str | None) -> int | None:
    numbers = _numbers(certifi) if certifi else ()
    try:
        made = datetime.date(*numbers[:3])
    except (TypeError, ValueError):
        return None
    return (datetime.date.today() - made).days
