"""Converts cumulative text to deltas: every event of the service repeats the whole answer so far. Pure.

Delivered text cannot be taken back, so there is a rule for each kind of change:

- the text grows: the new part is delivered;
- the text is shorter and a prefix of the known one: nothing is delivered, and the longer text stays;
- a message with another id begins: its text is delivered from its first character, after the earlier text;
- the text of the same message differs: the part after the common prefix is delivered, with the length of that prefix,
  so that a program that shows the text can remove what is no longer part of it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Increment", "Snapshots"]


class Increment(NamedTuple):
    """The part that one snapshot adds.

    Attributes:
        text: the text to append; may be empty.
        rewritten_from: None if the message grew; otherwise the number of its characters that stay, and ``text`` follows
            them.
    """

    text: str
    rewritten_from: int | None = None


class Snapshots:
    """Compares the snapshots of one stream, in order.

    Attributes:
        text: the latest text of the latest message, as a caller without streaming would get it.
    """

    __slots__ = ("_message_id", "_started", "text")

    def __init__(self) -> None:
        self.text = ""
        self._message_id: str | None = None
        self._started = False

    def starts_message(self, message_id: str | None) -> bool:
        """Return True if ``message_id`` starts a new message. None is the current message."""
        return self._started and message_id is not None and self._message_id not in (None, message_id)

    def take(self, message_id: str | None, text: str) -> Increment:
        """Return the increment from the delivered text to ``text``."""
        if self.starts_message(message_id):
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
        # They differ before the shorter one ends: neither is a prefix of the other.
        common = next(index for index, (old, new) in enumerate(zip(known, text, strict=False)) if old != new)
        self.text = text
        return Increment(text[common:], common)
