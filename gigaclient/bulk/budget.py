"""Budgets and limits of a run over many prompts."""

from __future__ import annotations

from gigaclient._primitives.struct import FrozenStruct

__all__ = ["Budget", "Limits"]


class Limits(FrozenStruct, frozen=True, kw_only=True):
    """What a run may spend; None for no limit.

    Attributes:
        max_tokens_total: tokens of prompts and answers together, as the server counts them.
        max_seconds: from the first prompt on.
        max_errors_in_row: failed prompts, one after the other.
    """

    max_tokens_total: int | None = None
    max_seconds: float | None = None
    max_errors_in_row: int | None = None


class Budget:
    """What a run has spent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = 0
        self._counted = 0
        self._errors_in_row = 0

    def spend(self, tokens: int | None, failed: bool) -> None:
        """An item is finished."""
        if tokens is not None:
            self._tokens += tokens
            self._counted += 1
        self._errors_in_row = self._errors_in_row + 1 if failed else 0

    def has_room(self, under_way: int, more: int = 1) -> bool:
        """Whether ``more`` items may be asked: they will cost as much as others did, and so will those under way."""
        most = self._limits.max_tokens_total
        if most is None:
            return True
        each = self._tokens / self._counted if self._counted else 0.0
        return self._tokens < most and self._tokens + (under_way + more) * each <= most

    def exceeded(self, under_way: int, more: int = 1) -> str | None:
        """The name of the limit that is reached, if one is, with so many items under way and ``more`` to go next."""
        most_errors = self._limits.max_errors_in_row
        if most_errors is not None and self._errors_in_row >= most_errors:
            return "max_errors_in_row"
        if under_way == 0 and not self.has_room(0, more):
            return "max_tokens_total"
        return None
