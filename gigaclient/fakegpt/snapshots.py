"""Cumulative text to deltas: every event of the service repeats the whole answer so far. Pure.

What was handed out cannot be taken back, so there is a policy for a server that changes its mind:

- the text grows: what is new is handed out;
- the text is a beginning of what was there: nothing is, and the longer one stays;
- a message with another id begins: its text is handed out from its first character, after what came before;
- the text of the same message differs: what follows the common beginning is handed out, and the delta says where the
  two part, so that whoever shows the text can take back what is no longer said.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Increment", "Snapshots"]


class Increment(NamedTuple):
    """What one snapshot adds.

    Attributes:
        text: what to append; may be empty.
        rewritten_from: None when the message just grew; otherwise how many of its characters still stand, ``text``
            being what follows them now.
    """

    text: str
    rewritten_from: int | None = None


class Snapshots:
    """Takes the snapshots of one stream in order.

    Attributes:
        text: the latest text of the latest message: what a caller who can wait would have got.
    """

    __slots__ = ("_message_id", "_started", "text")

    def __init__(self) -> None:
        self.text = ""
        self._message_id: str | None = None
        self._started = False

    def begins(self, message_id: str | None) -> bool:
        """Whether ``message_id`` is a message other than the one before. No id is the message that is under way."""
        return self._started and message_id is not None and self._message_id not in (None, message_id)

    def take(self, message_id: str | None, text: str) -> Increment:
        """The increment that makes ``text`` of what was handed out so far."""
        if self.begins(message_id):
            self.text = ""
        self._started = True
        if message_id is not None:
            self._message_id = message_id
        known = self.text
        if text.startswith(known):
            self.text = text
            return Increment(text[len(known) :])
        if known.startswith(text):
            return Increment("")
        # They differ before the shorter one ends: neither begins with the other.
        common = next(place for place, (old, new) in enumerate(zip(known, text, strict=False)) if old != new)
        self.text = text
        return Increment(text[common:], common)
