"""The doctor: check the connection to GigaChat, and say what fails and what to do about it.

    from gigaclient.doctor import examine

    report = examine()          # checks what GigaChat() would use, with the same settings
    print(report)               # one screen of text, fit for a public issue: no key, no token, no password
    report.healthy, report["api.tls"].next_step

``gigaclient doctor`` prints the same. Submodules are imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaclient.doctor.report import Check, Report
    from gigaclient.doctor.runner import examine

__all__ = ["Check", "Report", "examine"]

_MODULES = {
    "Check": "gigaclient.doctor.report",
    "Report": "gigaclient.doctor.report",
    "examine": "gigaclient.doctor.runner",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
