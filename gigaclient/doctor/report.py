"""The results of the doctor as values, and the text that shows them. Pure, except that it reads stdout's encoding."""

from __future__ import annotations

import re
import sys
from typing import Any, Literal, TypeAlias

import msgspec.structs

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.cli.layout import wrap
from gigaclient.version import __version__

__all__ = ["Check", "Diagnosis", "Outcome", "Report", "shows_symbols"]

Outcome: TypeAlias = Literal["ok", "warning", "failure", "not_checked"]

_SYMBOLS = {"ok": "✓", "warning": "!", "failure": "✗", "not_checked": "–"}
_WORDS = {"ok": "ok", "warning": "WARN", "failure": "FAIL", "not_checked": "--"}
_ARROWS = ("→", "->")

_TITLE_COLUMNS = 19
_NO_BREAK = "\xa0"
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}\b)")
# On a narrower terminal the titles stand above the findings.
_MIN_COLUMNS_WITH_TITLES = 60
# A shorter duration is not shown.
_MIN_SHOWN_SECONDS = 0.05


class Diagnosis(FrozenStruct, frozen=True, kw_only=True):
    """The result of a check, without its name."""

    outcome: Outcome = "ok"
    detail: str = ""
    next_step: str = ""

    @classmethod
    def failure(cls, detail: str, next_step: str) -> Diagnosis:
        """Return a failure, and what to do about it."""
        return cls(outcome="failure", detail=detail, next_step=next_step)

    @classmethod
    def warning(cls, detail: str, next_step: str) -> Diagnosis:
        """Return a warning, and what to do about it."""
        return cls(outcome="warning", detail=detail, next_step=next_step)

    @classmethod
    def not_checked(cls, detail: str) -> Diagnosis:
        """Return the reason why nothing was checked."""
        return cls(outcome="not_checked", detail=detail)


class Check(FrozenStruct, frozen=True, kw_only=True):
    """The result of one check.

    Attributes:
        id: a name for programs that does not change, such as ``"api.tls"``.
        title: the same for people.
        outcome: ``"ok"``, ``"warning"`` (it works, but …), ``"failure"``, or ``"not_checked"`` (a check that it needs
            failed, or it does not apply; the detail says which).
        detail: the findings; may have several lines.
        next_step: what to do about them; empty when there is nothing to do.
        seconds: the duration.
    """

    id: str
    title: str
    outcome: Outcome
    detail: str = ""
    next_step: str = ""
    seconds: float = 0.0


class Report(FrozenStruct, frozen=True, kw_only=True):
    """The results of all checks. ``str(report)`` is one screen of text; it contains no secret.

    Attributes:
        checks: the checks; each comes after those that it needs.
        examined_at: the time in UTC, as ``2026-03-01 12:00``.
    """

    checks: tuple[Check, ...]
    examined_at: str

    @property
    def healthy(self) -> bool:
        """True when nothing failed; warnings are not failures."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, the first cause first."""
        return tuple(check for check in self.checks if check.outcome == "failure")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that found a problem that does not break anything yet."""
        return tuple(check for check in self.checks if check.outcome == "warning")

    def __getitem__(self, id: str) -> Check:
        """Return the check with this id.

        Raises:
            KeyError: there was no such check.
        """
        for check in self.checks:
            if check.id == id:
                return check
        raise KeyError(id)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values: ``healthy``, ``version``, ``examined_at`` and ``checks``."""
        return {
            "healthy": self.healthy,
            "version": __version__,
            "examined_at": self.examined_at,
            "checks": [msgspec.structs.asdict(check) for check in self.checks],
        }

    def __str__(self) -> str:
        return self.as_text(ascii_symbols=not shows_symbols())

    def as_text(self, *, width: int = 80, ascii_symbols: bool = False) -> str:
        """Return the report as lines of at most ``width`` columns, without a line break at the end.

        Only a word that is longer than that exceeds them, such as a path. ``ascii_symbols`` is for terminals that have
        no ``✓``; names of servers and files stay unchanged.
        """
        marks = _WORDS if ascii_symbols else _SYMBOLS
        arrow = _ARROWS[ascii_symbols]
        mark_columns = max(map(len, marks.values()))
        is_narrow = width < _MIN_COLUMNS_WITH_TITLES
        margin = " " * (mark_columns + 1 + _TITLE_COLUMNS * (not is_narrow))
        lines = [*_wrapped(f"gigaclient {__version__}, doctor's report of {self.examined_at} UTC", "", "", width), ""]
        first_titles: dict[str, str] = {}
        for check in self.checks:
            indent = f"{marks[check.outcome]:<{mark_columns}} {check.title:<{_TITLE_COLUMNS}}"
            if is_narrow:
                lines.append(indent.rstrip())
                indent = margin
            duration = f" ({check.seconds:.1f}{_NO_BREAK}s)" if check.seconds >= _MIN_SHOWN_SECONDS else ""
            for line in (check.detail + duration).strip().splitlines() or [""]:
                lines += _wrapped(line, indent, margin, width)
                indent = margin
            if check.next_step:
                first_title = first_titles.setdefault(check.next_step, check.title)
                step = check.next_step if first_title == check.title else f"same as for {first_title}"
                lines += _wrapped(step, f"{margin}{arrow} ", f"{margin}  ", width)
        return "\n".join([*lines, "", *_wrapped(self._summary(), "", "", width)])

    def _summary(self) -> str:
        failures, warnings = self.failures, self.warnings
        parts = [f"{len(warnings)} warning{'s' * (len(warnings) != 1)}"] if warnings else []
        if not failures:
            return "Nothing failed" + "".join(f", {part}" for part in parts) + "."
        parts.insert(0, f"{len(failures)} of {len(self.checks)} checks failed")
        return f"{', '.join(parts)}. Begin with the first: {failures[0].title}."


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    wrapped = wrap(_THOUSANDS.sub(_NO_BREAK, text), width, first=first, rest=rest)
    return wrapped.replace(_NO_BREAK, " ").split("\n")


def shows_symbols() -> bool:
    """Return True when standard output can show the symbols of a report."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join((*_SYMBOLS.values(), *_ARROWS)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
