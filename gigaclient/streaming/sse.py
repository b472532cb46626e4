"""The event-stream decoder: bytes in, events out.

It follows the parsing rules of the WHATWG HTML standard, section 9.2.6 (https://html.spec.whatwg.org/multipage/
server-sent-events.html#event-stream-interpretation), on bytes: a line ends at LF, CR or CRLF and nowhere else, so that
U+2028, U+2029 and U+0085 inside JSON stay where they are, and a character may be cut anywhere. What an event *means*
(``[DONE]``, JSON) is the provider's business.
"""

from __future__ import annotations

from gigaclient._primitives.struct import FrozenStruct

__all__ = ["DEFAULT_MAX_EVENT_BYTES", "Decoder", "Event"]

DEFAULT_MAX_EVENT_BYTES = 32 * 1024 * 1024

# As numbers: Python looks for a byte faster than for a string of one byte.
_LF, _CR = 0x0A, 0x0D
_BOM = b"\xef\xbb\xbf"


class Event(FrozenStruct, frozen=True, gc=False):
    """One event of the stream.

    Attributes:
        data: the ``data`` lines joined with LF, as bytes, without decoding.
        event: the event's name; ``"message"`` when the stream gave none.
        id: the last event id seen so far.
    """

    data: bytes
    event: str = "message"
    id: str = ""


class Decoder:
    """Turns blocks of bytes, cut anywhere, into events; the same events for every way of cutting.

    One decoder serves one stream. Work is linear in the bytes fed, whatever the size of blocks and lines; memory is
    bounded by ``max_event_bytes``, which limits a line and the data of one event alike.

    Attributes:
        overflow: why decoding stopped, once a line or an event was longer than the limit; None while all is well. The
            events before it come out all the same, and none after it.
    """

    __slots__ = (
        "_data",
        "_data_bytes",
        "_event",
        "_last_id",
        "_limit",
        "_pending",
        "_pending_bytes",
        "_skip_lf",
        "_start",
        "overflow",
    )

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._pending: list[bytes] = []  # pieces of a line whose end has not come; joined once, when it does
        self._pending_bytes = 0
        self._skip_lf = False  # the last line ended with a CR: an LF that follows belongs to it
        self._start: bytes | None = b""  # until it is clear whether the stream opens with a byte-order mark
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._last_id = ""
        self.overflow: str | None = None

    def feed(self, block: bytes) -> list[Event]:
        """The events that ``block`` completes, in order; often none, sometimes many."""
        if (
            block[:6] == b"data: "
            and block.find(b"\n") == len(block) - 2
            and block[-1] == _LF
            and _CR not in block
            and len(block) <= self._limit
            and not (self._pending or self._data or self._event or self._skip_lf or self._start)
            and self.overflow is None
        ):
            # One event of one line and nothing else, as servers write them.
            self._start = None
            return [Event(block[6:-2], "message", self._last_id)]
        if self.overflow is not None:
            return []
        if self._start is not None:
            block = self._start + block
            if len(block) < len(_BOM) and _BOM.startswith(block):
                self._start = block
                return []
            self._start = None
            if block.startswith(_BOM):
                block = block[len(_BOM) :]
        if self._skip_lf and block:
            # A CR ends its line at once, so that an event is never held back for the byte after it.
            self._skip_lf = False
            if block[0] == _LF:
                block = block[1:]
        if not block:
            return []
        if _LF not in block and _CR not in block:
            self._keep(block)
            return []
        if self._pending:
            self._pending.append(block)
            block = b"".join(self._pending)
            self._pending.clear()
            self._pending_bytes = 0
        if _CR not in block and len(block) <= self._limit and not (self._data or self._event):
            return self._many(block)
        lines = block.splitlines()  # of bytes: cuts at LF, CR and CRLF alone
        last = block[-1]
        if last == _CR:
            self._skip_lf = True
        elif last != _LF:
            tail = lines.pop()
            events = self._interpret(lines)
            if self.overflow is None:
                self._keep(tail)
            return events
        return self._interpret(lines)

    def _many(self, block: bytes) -> list[Event]:
        """:meth:`feed` for a block that begins where an event does and is within the limit."""
        end = block.rfind(b"\n\n")
        if end >= 6 and block[:6] == b"data: ":
            # As servers write them, one line each: cut in one step, and then one look whether that was all there is.
            found = block[6:end].split(b"\n\ndata: ")
            if block.count(b"\n", 0, end) == 2 * len(found) - 2:
                last_id = self._last_id
                events = [Event(data, "message", last_id) for data in found]
                rest = block[end + 2 :]
                return events + self._one_by_one(rest) if rest else events
        return self._one_by_one(block)

    def _one_by_one(self, block: bytes) -> list[Event]:
        *lines, tail = block.split(b"\n")
        events = self._interpret(lines) if lines else []
        if tail:
            self._keep(tail)
        return events

    def finish(self) -> Event | None:
        """The event that the stream's end cut short, if it holds data.

        The standard discards it; some servers send a complete last event without the empty line that should close it,
        so whoever knows what an event means may look at it.
        """
        tail, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        if self._start:
            tail, self._start = self._start + tail, None
        if tail:
            self._interpret([tail])
        if not self._data:
            return None
        event = Event(b"\n".join(self._data), self._event or "message", self._last_id)
        self._data, self._data_bytes, self._event = [], 0, ""
        return event

    def _keep(self, piece: bytes) -> None:
        self._pending_bytes += len(piece)
        if self._pending_bytes > self._limit:
            self._overflow("a line")
        else:
            self._pending.append(piece)

    def _overflow(self, what: str) -> None:
        self.overflow = f"{what} of the event stream is longer than {self._limit} bytes"
        self._pending, self._data = [], []

    def _interpret(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        data = self._data
        for line in lines:
            if len(line) > self._limit:
                # Here as well as while a line is incomplete: whether it came in one block must not matter.
                self._overflow("a line")
                break
            if line[:5] == b"data:":
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data_bytes += len(value) + 1
                if self._data_bytes > self._limit:
                    self._overflow("an event")
                    break
                data.append(value)
            elif not line:
                if data:
                    events.append(
                        Event(data[0] if len(data) == 1 else b"\n".join(data), self._event or "message", self._last_id)
                    )
                    data.clear()
                    self._data_bytes = 0
                self._event = ""
            elif line == b"data":  # without a colon: an empty line of data
                self._data_bytes += 1
                if self._data_bytes > self._limit:
                    self._overflow("an event")
                    break
                data.append(b"")
            elif line[0] != 0x3A:  # a colon first: a comment
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._last_id = value.decode("utf-8", "replace")
