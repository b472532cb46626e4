"""The doctor: check the connection to GigaChat, and say what fails and what to do about it.

    from gigaclient.doctor import examine

    report = examine()          # checks what GigaChat() would use, with the same settings
    print(report)               # one screen of text, fit for a public issue: no key, no token, no password
    report.healthy, report["api.tls"].next_step

``gigaclient doctor`` prints the same. Submodules are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient._primitives.lazy import lazy_names

if TYPE_CHECKING:
    from gigaclient.doctor.report import Check, Report
    from gigaclient.doctor.runner import examine

__all__ = ["Check", "Report", "examine"]

_MODULES = {
    "Check": "gigaclient.doctor.report",
    "Report": "gigaclient.doctor.report",
    "examine": "gigaclient.doctor.runner",
}


__getattr__, __dir__ = lazy_names(globals(), _MODULES)
