"""Converts cumulative text to deltas: every event of the service repeats the whole answer so far. Pure.

Delivered text cannot be taken back, so there is a rule for each kind of change:

- the text grows: the new part is delivered;
- the text of the same message differs or is shorter: the part after the common prefix is delivered, with the length of
  that prefix, so that a program that shows the text can remove what is no longer part of it;
- a message with another id begins: its text is delivered from its first character, after the earlier text;
- the text is empty: it says nothing, and the earlier text stays;
- the text ends in half a character, or in U+FFFD, which a server writes for the first bytes of a character: that end is
  held back until the next snapshot, which has the whole character.
"""

from __future__ import annotations

from typing import NamedTuple

from gigaclient._primitives.surrogates import well_formed

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
        mended: True if broken characters of the latest text were joined or replaced.
    """

    __slots__ = ("_held", "_message_id", "_started", "mended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.mended = False
        self._held = ""
        self._message_id: str | None = None
        self._started = False

    def starts_message(self, message_id: str | None) -> bool:
        """Return True if ``message_id`` starts a new message. None is the current message."""
        return self._started and message_id is not None and self._message_id not in (None, message_id)

    def take(self, message_id: str | None, text: str, *, is_last: bool = False) -> Increment:
        """Return the increment from the delivered text to ``text``.

        Args:
            message_id: the id of the message; None is the current message.
            text: the whole text of the message so far.
            is_last: no snapshot of this message follows, so that nothing is held back.
        """
        if not text:
            return Increment("")
        if self.starts_message(message_id):
            self.text = ""
        self._started = True
        if message_id is not None:
            self._message_id = message_id
        ready = text if is_last else _without_partial_character(text)
        self._held = text[len(ready) :]
        return self._advance(ready)

    def rest(self) -> Increment:
        """Return the end that was held back, as an increment; no snapshot follows."""
        held, self._held = self._held, ""
        return self._advance(self.text + held) if held else Increment("")

    def _advance(self, text: str) -> Increment:
        whole = well_formed(text)
        self.mended = whole != text
        known, self.text = self.text, whole
        if whole.startswith(known):
            return Increment(whole[len(known) :])
        pairs = zip(known, whole, strict=False)
        common = next((index for index, (old, new) in enumerate(pairs) if old != new), len(whole))
        return Increment(whole[common:], common)


def _without_partial_character(text: str) -> str:
    return (text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text).rstrip("\ufffd")
