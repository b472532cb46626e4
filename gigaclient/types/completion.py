"""The properties that the responses of all chats have."""

from __future__ import annotations

from collections.abc import Iterable

from gigaclient.types.base import APIResponse

__all__ = ["BLOCKED", "Completion", "add_repairs"]

BLOCKED = frozenset({"blacklist", "request_blacklist", "response_blacklist", "request_filter", "request_whitelist"})
"""The finish reasons of answers that the service's filter blocked."""


class Completion(APIResponse):
    """The base of the responses of all chats: how the answer ended, and what was mended in it."""

    @property
    def blocked(self) -> bool:
        """True if the service's filter blocked the answer; its text is then a stock refusal."""
        # The class has no fields, so that each response lists its own in the API's order.
        if getattr(self, "finish_reason", None) in BLOCKED:
            return True
        # FakeGpt reports it in a field of the response, not as a finish reason.
        reported = getattr(self, "additional_data", None)
        moderation = reported.get("moderation") if isinstance(reported, dict) else None
        return isinstance(moderation, dict) and bool(moderation.get("blocked"))

    @property
    def truncated(self) -> bool:
        """True if the answer was cut by the token limit (``finish_reason`` is ``length``)."""
        return getattr(self, "finish_reason", None) == "length"

    @property
    def repaired(self) -> tuple[str, ...]:
        """The sentences that say what was mended to read the answer: broken characters, or mistakes in its JSON.

        Empty for an answer that was read as it came. ``.raw`` and ``.text`` keep what the server sent, but for the
        broken characters.
        """
        repaired: tuple[str, ...] = self._metadata.get("repaired", ())
        return repaired


def add_repairs(completion: object, repairs: Iterable[str]) -> None:
    """Add sentences to ``completion.repaired``, each once."""
    if isinstance(completion, Completion):
        completion._store(repaired=tuple(dict.fromkeys((*completion.repaired, *repairs))))
