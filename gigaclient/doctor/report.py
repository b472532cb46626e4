"""What the doctor found, as values, and the screen of text that shows it. Pure but for one look at the terminal."""

from __future__ import annotations

import sys
import textwrap
from typing import Any, Literal, TypeAlias

import msgspec.structs

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.version import __version__

__all__ = ["Check", "Diagnosis", "Outcome", "Report"]

Outcome: TypeAlias = Literal["ok", "warning", "failure", "not_checked"]

_SYMBOLS = {"ok": "✓", "warning": "!", "failure": "✗", "not_checked": "–"}
_WORDS = {"ok": "ok", "warning": "WARN", "failure": "FAIL", "not_checked": "--"}
_ARROWS = ("→", "->")

_TITLE_COLUMNS = 19
# Below this, how long it took is nobody's concern.
_WORTH_TELLING_SECONDS = 0.05


class Diagnosis(FrozenStruct, frozen=True, kw_only=True):
    """What a look at one thing gave: a check without its name."""

    outcome: Outcome = "ok"
    detail: str = ""
    next_step: str = ""


class Check(FrozenStruct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        id: a name for programs that does not change, such as ``"api.tls"``.
        title: the same for people.
        outcome: ``"ok"``, ``"warning"`` (it works, but …), ``"failure"``, or ``"not_checked"`` (what it stands on is
            missing, or it does not apply; the detail says which).
        detail: what was met; may have several lines.
        next_step: what to do about it; empty when there is nothing to do.
        seconds: how long it took.
    """

    id: str
    title: str
    outcome: Outcome
    detail: str = ""
    next_step: str = ""
    seconds: float = 0.0


class Report(FrozenStruct, frozen=True, kw_only=True):
    """All that the doctor found. ``str(report)`` is one screen of text; no secret is in it.

    Attributes:
        checks: what was looked at, in the order in which one thing stands on another.
        examined_at: when, UTC, as ``2026-03-01 12:00``.
    """

    checks: tuple[Check, ...]
    examined_at: str

    @property
    def healthy(self) -> bool:
        """Whether nothing failed; warnings are no failures."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, the first cause first."""
        return tuple(check for check in self.checks if check.outcome == "failure")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that have something to be mended before it breaks."""
        return tuple(check for check in self.checks if check.outcome == "warning")

    def __getitem__(self, id: str) -> Check:
        """The check of this id.

        Raises:
            KeyError: nothing of that id was looked at.
        """
        for check in self.checks:
            if check.id == id:
                return check
        raise KeyError(id)

    def as_dict(self) -> dict[str, Any]:
        """The report for programs, made of what JSON has: ``healthy``, ``version``, ``examined_at`` and ``checks``."""
        return {
            "healthy": self.healthy,
            "version": __version__,
            "examined_at": self.examined_at,
            "checks": [msgspec.structs.asdict(check) for check in self.checks],
        }

    def __str__(self) -> str:
        return self.as_text(ascii_symbols=not _shows_symbols())

    def as_text(self, *, width: int = 80, ascii_symbols: bool = False) -> str:
        """The report as lines of at most ``width`` columns, without a line break at the end.

        ``ascii_symbols`` is for terminals that have no ``✓``; what servers and files are called stays as it is.
        """
        marks = _WORDS if ascii_symbols else _SYMBOLS
        arrow = _ARROWS[ascii_symbols]
        mark_columns = max(map(len, marks.values()))
        margin = " " * (mark_columns + 1 + _TITLE_COLUMNS)
        lines = [f"gigaclient {__version__}, doctor's report of {self.examined_at} UTC", ""]
        told: dict[str, str] = {}
        for check in self.checks:
            head = f"{marks[check.outcome]:<{mark_columns}} {check.title:<{_TITLE_COLUMNS}}"
            took = f" ({check.seconds:.1f} s)" if check.seconds >= _WORTH_TELLING_SECONDS else ""
            for line in (check.detail + took).strip().splitlines() or [""]:
                lines += _wrapped(line, head, margin, width)
                head = margin
            if check.next_step:
                before = told.setdefault(check.next_step, check.title)
                step = check.next_step if before == check.title else f"as for {before}"
                lines += _wrapped(step, f"{margin}{arrow} ", f"{margin}  ", width)
        return "\n".join([*lines, "", *_wrapped(self._summary(), "", "", width)])

    def _summary(self) -> str:
        failures, warnings = self.failures, self.warnings
        told = [f"{len(warnings)} warning{'s' * (len(warnings) != 1)}"] if warnings else []
        if not failures:
            return "Nothing failed" + "".join(f", {part}" for part in told) + "."
        told.insert(0, f"{len(failures)} of {len(self.checks)} checks failed")
        return f"{', '.join(told)}. Begin with the first: {failures[0].title}."


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=True
    )
    return [line.rstrip() for line in lines] or [first.rstrip()]


def _shows_symbols() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join((*_SYMBOLS.values(), *_ARROWS)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
