"""The doctor: what works between this machine and GigaChat, what does not, and what to do about it.

    from gigaclient.doctor import examine

    report = examine()          # what GigaChat() would meet, with the same settings
    print(report)               # one screen of text, fit for a public issue: no key, no token, no password
    report.healthy, report["api.tls"].next_step

``gigaclient doctor`` prints the same. Nothing is imported before the first name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaclient.doctor.report import Check, Report
    from gigaclient.doctor.runner import examine

__all__ = ["Check", "Report", "examine"]

_HOMES = {
    "Check": "gigaclient.doctor.report",
    "Report": "gigaclient.doctor.report",
    "examine": "gigaclient.doctor.runner",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
