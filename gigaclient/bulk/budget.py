"""The limits of a run over many prompts, and the budget that counts against them."""

from __future__ import annotations

from gigaclient._primitives.struct import FrozenStruct

__all__ = ["Budget", "Limits"]


class Limits(FrozenStruct, frozen=True, kw_only=True):
    """The limits of a run; None for no limit.

    Attributes:
        max_tokens_total: tokens of prompts and answers together, as the server counts them.
        max_seconds: seconds since the first prompt was read.
        max_errors_in_row: consecutive failed prompts.
    """

    max_tokens_total: int | None = None
    max_seconds: float | None = None
    max_errors_in_row: int | None = None


class Budget:
    """Counts what a run has used of its limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = 0
        self._counted = 0
        self._errors_in_row = 0

    def spend(self, tokens: int | None, failed: bool) -> None:
        """Count a finished item."""
        if tokens is not None:
            self._tokens += tokens
            self._counted += 1
        self._errors_in_row = self._errors_in_row + 1 if failed else 0

    def allows(self, running: int, more: int = 1) -> bool:
        """Return True if ``more`` items fit the budget, at the average cost, together with the running items."""
        max_tokens = self._limits.max_tokens_total
        if max_tokens is None:
            return True
        average = self._tokens / self._counted if self._counted else 0.0
        return self._tokens < max_tokens and self._tokens + (running + more) * average <= max_tokens

    def exceeded(self, running: int, more: int = 1) -> str | None:
        """Return the name of the limit that is reached with so many running items and ``more`` to go next, or None."""
        max_errors = self._limits.max_errors_in_row
        if max_errors is not None and self._errors_in_row >= max_errors:
            return "max_errors_in_row"
        if running == 0 and not self.allows(0, more):
            return "max_tokens_total"
        return None
