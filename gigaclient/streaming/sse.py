"""An incremental decoder of server-sent events.

It follows the parsing rules of the WHATWG HTML standard, section 9.2.6 (https://html.spec.whatwg.org/multipage/
server-sent-events.html#event-stream-interpretation), on bytes. A line ends only at LF, CR or CRLF, so that U+2028,
U+2029 and U+0085 inside JSON are preserved, and a block may end inside a character. The provider interprets the data
(``[DONE]``, JSON).
"""

from __future__ import annotations

from gigaclient._primitives.struct import FrozenStruct

__all__ = ["DEFAULT_MAX_EVENT_BYTES", "Decoder", "Event"]

DEFAULT_MAX_EVENT_BYTES = 32 * 1024 * 1024

# Numbers, because Python finds a byte faster than a string of one byte.
_LF, _CR = 0x0A, 0x0D
_BOM = b"\xef\xbb\xbf"


class Event(FrozenStruct, frozen=True, gc=False):
    """One event of the stream.

    Attributes:
        data: the ``data`` lines joined with LF, as undecoded bytes.
        event: the name of the event; ``"message"`` when the stream names none.
        id: the last event id so far.
    """

    data: bytes
    event: str = "message"
    id: str = ""


class Decoder:
    """Decodes blocks of bytes into events; the events do not depend on where the blocks are cut.

    One decoder serves one stream. Time is linear in the number of bytes, for any size of blocks and lines. Memory is
    bounded by ``max_event_bytes``, the limit for a line and for the data of one event.

    Attributes:
        overflow: the reason why decoding stopped, after a line or an event exceeded the limit; otherwise None. The
            events before it are returned, and none after it.
    """

    __slots__ = (
        "_between_events",
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
        self._between_events = True  # nothing of an event is kept, and decoding has not stopped
        self._pending: list[bytes] = []  # pieces of an incomplete line, joined once when its end arrives
        self._pending_bytes = 0
        self._skip_lf = False  # the last line ended with a CR; a following LF belongs to it
        self._start: bytes | None = b""  # the first bytes, until it is known if they are a byte-order mark; then None
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._last_id = ""
        self.overflow: str | None = None

    def feed(self, block: bytes) -> list[Event]:
        """Return the events that ``block`` completes, in order; often none, sometimes many."""
        if self._between_events and block[:6] == b"data: ":
            end = len(block) - 2
            if block.find(b"\n") == end and block[-1] == _LF and _CR not in block and end + 2 <= self._limit:
                # Fast path: exactly one event of one line, which is how servers write events.
                self._start = None
                return [Event(block[6:end], "message", self._last_id)]
        events = self._feed_block(block)
        self._between_events = not (
            self._pending or self._data or self._event or self._skip_lf or self._start or self.overflow
        )
        return events

    def _feed_block(self, block: bytes) -> list[Event]:
        if self.overflow is not None:
            return []
        if self._start is not None or self._skip_lf:
            block = self._strip(block)
        if not block:
            return []
        if _LF not in block and _CR not in block:
            self._keep_incomplete(block)
            return []
        if self._pending:
            self._pending.append(block)
            block = b"".join(self._pending)
            self._pending.clear()
            self._pending_bytes = 0
        if _CR not in block and len(block) <= self._limit and not (self._data or self._event):
            return self._feed_many(block)
        return self._feed_any_lines(block)

    def _feed_any_lines(self, block: bytes) -> list[Event]:
        lines = block.splitlines()  # on bytes, it splits only at LF, CR and CRLF
        last = block[-1]
        if last == _CR:
            self._skip_lf = True
        elif last != _LF:
            tail = lines.pop()
            events = self._interpret(lines)
            if self.overflow is None:
                self._keep_incomplete(tail)
            return events
        return self._interpret(lines)

    def _strip(self, block: bytes) -> bytes:
        """Remove the byte order mark of the stream, and the LF of a CRLF that two blocks share."""
        if self._start is not None:
            block = self._start + block
            if len(block) < len(_BOM) and _BOM.startswith(block):
                self._start = block
                return b""
            self._start = None
            if block.startswith(_BOM):
                block = block[len(_BOM) :]
        if self._skip_lf and block:
            # A CR ends its line at once, so that an event is never delayed until the next byte.
            self._skip_lf = False
            if block[0] == _LF:
                block = block[1:]
        return block

    def _feed_many(self, block: bytes) -> list[Event]:
        """Decode a block within the limit that begins at an event."""
        end = block.rfind(b"\n\n")
        if end >= 6 and block[:6] == b"data: ":
            # Fast path for events of one line: split at once, then check that no other lines are between them.
            datas = block[6:end].split(b"\n\ndata: ")
            if block.count(b"\n", 0, end) == 2 * len(datas) - 2:
                last_id = self._last_id
                events = [Event(data, "message", last_id) for data in datas]
                rest = block[end + 2 :]
                return events + self._feed_lines(rest) if rest else events
        return self._feed_lines(block)

    def _feed_lines(self, block: bytes) -> list[Event]:
        *lines, tail = block.split(b"\n")
        events = self._interpret(lines) if lines else []
        if tail:
            self._keep_incomplete(tail)
        return events

    def finish(self) -> Event | None:
        """Return the event that the end of the stream cut off, if it has data.

        The standard discards it. But some servers send a complete last event without the empty line after it, so the
        provider decides whether it is complete.
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

    def _keep_incomplete(self, piece: bytes) -> None:
        self._pending_bytes += len(piece)
        if self._pending_bytes > self._limit:
            self._stop("a line")
        else:
            self._pending.append(piece)

    def _stop(self, element: str) -> None:
        self.overflow = f"{element} of the event stream is longer than {self._limit} bytes"
        self._pending, self._data = [], []

    def _interpret(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        data = self._data
        for line in lines:
            if len(line) > self._limit:
                # The same limit as for an incomplete line: the result must not depend on how the blocks are cut.
                self._stop("a line")
                break
            if line[:5] == b"data:":
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data_bytes += len(value) + 1
                if self._data_bytes > self._limit:
                    self._stop("an event")
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
            elif line == b"data":  # a field without a colon has an empty value
                self._data_bytes += 1
                if self._data_bytes > self._limit:
                    self._stop("an event")
                    break
                data.append(b"")
            elif line[0] != 0x3A:  # a line that starts with a colon is a comment
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._last_id = value.decode("utf-8", "replace")
