"""Tests of the event-stream decoder: the rules of the WHATWG HTML standard, for any blocks of bytes."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gigaclient.streaming.sse import Decoder, Event

BOM = b"\xef\xbb\xbf"


def decode(*blocks: bytes, limit: int | None = None) -> list[Event]:
    decoder = Decoder() if limit is None else Decoder(limit)
    return [event for block in blocks for event in decoder.feed(block)]


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


STREAMS: list[tuple[str, bytes, list[Event]]] = [
    ("line feeds", b"data: a\n\ndata: b\n\n", [Event(b"a"), Event(b"b")]),
    ("carriage returns", b"data: a\r\rdata: b\r\r", [Event(b"a"), Event(b"b")]),
    ("both", b"data: a\r\n\r\ndata: b\r\n\r\n", [Event(b"a"), Event(b"b")]),
    ("a mixture", b"data: a\r\ndata: b\n\rdata: c\r\n\ndata: d\r\n\r\n", [Event(b"a\nb"), Event(b"c"), Event(b"d")]),
    ("LF then CR is two line ends", b"data: a\n\rdata: b\n\n", [Event(b"a"), Event(b"b")]),
    ("CRLF is one line end", b"data: a\r\ndata: b\r\n\r\n", [Event(b"a\nb")]),
    ("a byte-order mark", BOM + b"data: a\n\n", [Event(b"a")]),
    ("only one byte-order mark", BOM + BOM + b"data: a\n\ndata: b\n\n", [Event(b"b")]),
    ("a mark later is part of the line", b"data: a\n\n" + BOM + b"data: b\n\ndata: c\n\n", [Event(b"a"), Event(b"c")]),
    ("the beginning of a mark is no mark", BOM[:2] + b"data: a\n\ndata: b\n\n", [Event(b"b")]),
    ("comments", b": ping\n\n:\ndata: a\n: in between\ndata: b\n\n", [Event(b"a\nb")]),
    ("several data lines", b"data: a\ndata:  b\ndata\ndata:\ndata: c\n\n", [Event(b"a\n b\n\n\nc")]),
    ("data without a colon", b"data\n\n", [Event(b"")]),
    ("two of them", b"data\ndata\n\n", [Event(b"\n")]),
    ("no space after the colon", b'data:{"a": 1}\n\n', [Event(b'{"a": 1}')]),
    ("one space is taken off", b"data:  a\n\n", [Event(b" a")]),
    ("a tab is not", b"data:\ta\n\n", [Event(b"\ta")]),
    ("an event without data is not dispatched", b"event: x\nid: 1\n\n\n\ndata: a\n\n", [Event(b"a", "message", "1")]),
    ("a name", b"event: ping\ndata: a\n\ndata: b\n\n", [Event(b"a", "ping"), Event(b"b")]),
    ("a name is forgotten with its event", b"event: ping\n\ndata: a\n\n", [Event(b"a")]),
    ("an empty name", b"event\ndata: a\n\n", [Event(b"a")]),
    (
        "an id stays",
        b"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
        [Event(b"a", id="7"), Event(b"b", id="7"), Event(b"c")],
    ),
    ("an id with NUL is ignored", b"id: 7\nid: 8\0\ndata: a\n\n", [Event(b"a", id="7")]),
    ("retry is ignored", b"retry: 1\nretry: x\ndata: a\n\n", [Event(b"a")]),
    ("unknown fields are ignored", b"foo: 1\nbar\nDATA: x\n data: y\ndataa: z\ndata: a\n\n", [Event(b"a")]),
    ("an unfinished event is none", b"data: a\n\ndata: b\n", [Event(b"a")]),
    (
        "line ends of Unicode, VT and FF stay in the data",
        'data: "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"\n\n'.encode(),
        [Event('"\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"'.encode())],
    ),
    ("characters are not decoded", "data: Привет 🙂\n\n".encode(), [Event("Привет 🙂".encode())]),
    ("bytes that are no characters come through", b"data: \xff\xfe\x00\n\n", [Event(b"\xff\xfe\x00")]),
]
NAMES = [name for name, _, _ in STREAMS]


@pytest.mark.parametrize(("name", "data", "events"), STREAMS, ids=NAMES)
def test_bytes_become_the_events_that_the_standard_says(name: str, data: bytes, events: list[Event]) -> None:
    assert decode(data) == events


@pytest.mark.parametrize(("name", "data", "events"), STREAMS, ids=NAMES)
def test_the_events_do_not_depend_on_where_the_bytes_are_cut(name: str, data: bytes, events: list[Event]) -> None:
    for cut in range(len(data) + 1):
        assert decode(data[:cut], data[cut:]) == events, cut
        assert decode(data[:cut], b"", data[cut : cut + 1], data[cut + 1 :]) == events, cut
    assert decode(*blocks_of(data, 1)) == events


_LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"data: ", b"event: x", b"event", b"id: 1", b"id: 2\0", b"id", b"retry: 5", b":",
     b": ping", b"", b"", b"x: y", BOM, BOM[:1], BOM[:2], b"data: \xd0\xbf\xe2\x80\xa8", b" data: c", b"data : d"]
)  # fmt: skip
_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\r", b"\n\n", b""])
_GRAMMAR = st.lists(st.tuples(_LINES, _ENDS), max_size=30).map(lambda parts: b"".join(map(b"".join, parts)))
_STREAMS = st.one_of(
    _GRAMMAR, st.binary(max_size=200), st.lists(st.sampled_from(list(b"data: \n\r\xef\xbb\xbf"))).map(bytes)
)


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    marks = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def decode_all(blocks: list[bytes], limit: int) -> tuple[list[Event], bool, Event | None]:
    decoder = Decoder(limit)
    events = [event for block in blocks for event in decoder.feed(block)]
    return events, decoder.overflow is not None, decoder.finish()


@given(data=_STREAMS, positions=st.lists(st.integers(0, 10**6), max_size=12), limit=st.sampled_from([10**6, 9, 3]))
@example(data=b"data: 123\n\n", positions=[9], limit=8)
@example(data=b": a comment\ndata\n\n", positions=[11], limit=10)
@example(data=b"data\ndata\ndata\ndata\n\n", positions=[], limit=3)
def test_every_way_of_cutting_gives_the_same_events_end_and_overflow(
    data: bytes, positions: list[int], limit: int
) -> None:
    whole = decode_all([data], limit)
    assert decode_all(cut(data, positions), limit) == whole
    assert decode_all(blocks_of(data, 1), limit) == whole


def reference_decode(data: bytes) -> list[Event]:
    """Decode with the standard's own algorithm, which is simple and slow."""
    if data.startswith(BOM):
        data = data[3:]
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    events, buffer, name, last_id = [], b"", "", ""
    for line in lines:
        if not line:
            if buffer:
                events.append(Event(buffer[:-1], name or "message", last_id))
            buffer, name = b"", ""
            continue
        if line.startswith(b":"):
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            buffer += value + b"\n"
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            last_id = value.decode("utf-8", "replace")
    return events


@given(data=_STREAMS)
def test_any_bytes_become_the_events_of_the_standards_own_algorithm(data: bytes) -> None:
    assert decode(data) == reference_decode(data)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_comes_out_with_its_last_byte(end: bytes) -> None:
    decoder = Decoder()
    data = b"data: a" + end + end
    last = len(data) if end != b"\r\n" else len(data) - 1  # the CR ends the line, and the LF after it has no effect
    assert decoder.feed(data[: last - 1]) == []
    assert decoder.feed(data[last - 1 : last]) == [Event(b"a")]
    assert decoder.feed(data[last:]) == []
    assert decoder.feed(b"data: b" + end + end) == [Event(b"b")]


@pytest.mark.parametrize(
    ("data", "tail"),
    [
        (b"data: a\n\ndata: b", Event(b"b")),
        (b"data: a\n\ndata: b\n", Event(b"b")),
        (b"event: x\nid: 1\ndata: b\ndata: c\r", Event(b"b\nc", "x", "1")),
        (b"data: a\n\n", None),
        (b"data: a\n\nid: 3", None),
        (b"data: a\n\n: ping", None),
        (b"", None),
        (BOM[:2], None),
        (b"data", Event(b"")),
    ],
)
def test_finish_returns_the_cut_off_event_once(data: bytes, tail: Event | None) -> None:
    decoder = Decoder()
    decoder.feed(data)
    assert decoder.finish() == tail
    assert decoder.finish() is None


# -- time and memory -------------------------------------------------------------------------------


class CountingList(list[bytes]):
    """A list of the pieces of a line that counts the bytes appended to it."""

    kept = 0

    def append(self, piece: bytes) -> None:
        self.kept += len(piece)
        super().append(piece)


@pytest.mark.parametrize("block_bytes", [1, 512, 16384])
def test_the_work_for_a_line_is_linear_in_its_size(block_bytes: int) -> None:
    # A decoder that joined the pieces at each block would append the same bytes again and again.
    for line_bytes in (250_000, 500_000):
        decoder = Decoder()
        decoder._pending = pieces = CountingList()
        data = b"data: " + b"x" * line_bytes + b"\n\n"
        events = [event for block in blocks_of(data, block_bytes) for event in decoder.feed(block)]
        assert events == [Event(b"x" * line_bytes)]
        assert decoder._pending is pieces
        assert pieces.kept <= len(data) + block_bytes


@pytest.mark.parametrize("block_bytes", [1, 512])
def test_a_line_of_four_megabytes_in_small_blocks_is_decoded_quickly(block_bytes: int) -> None:
    # A decoder that joined at each block would copy 8 TB for blocks of one byte, and the test would time out.
    data = b"data: " + b"x" * (4 * 1024 * 1024) + b"\r\n\r\n"
    decoder = Decoder()
    events = [event for block in blocks_of(data, block_bytes) for event in decoder.feed(block)]
    assert [len(event.data) for event in events] == [4 * 1024 * 1024]


def test_many_events_in_one_block_are_not_copied_again_for_each() -> None:
    block = b"data: 0123456789\n\n" * 50_000
    decoder = Decoder()
    tracemalloc.start()
    try:
        events = decoder.feed(block)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(events) == 50_000
    assert most < 60 * len(block)


# -- the limit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"data: 1\n\ndata: " + b"x" * 100, "a line"),
        (b"data: 1\n\ndata: " + b"x" * 100 + b"\n\ndata: 2\n\n", "a line"),
        (b"data: 1\n\n: " + b"x" * 100 + b"\ndata: 2\n\n", "a line"),
        (b"data: 1\n\n" + b"data: xxxxxxxxxx\n" * 6 + b"\ndata: 2\n\n", "an event"),
        (b"data: 1\n\n" + b"data\n" * 60 + b"\ndata: 2\n\n", "an event"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 7, 10**6])
def test_too_long_a_line_or_event_stops_it_after_the_events_before(data: bytes, what: str, block_bytes: int) -> None:
    decoder = Decoder(50)
    events = [event for block in blocks_of(data, block_bytes) for event in decoder.feed(block)]
    assert events == [Event(b"1")]
    assert decoder.overflow == f"{what} of the event stream is longer than 50 bytes"
    assert decoder.feed(b"data: 3\n\n") == []
    assert decoder.finish() is None


def test_a_line_and_an_event_of_exactly_the_limit_pass() -> None:
    decoder = Decoder(50)
    line = b"data: " + b"x" * 44
    assert len(line) == 50
    assert decoder.feed(line + b"\n\n") == [Event(b"x" * 44)]
    assert decoder.feed(b"data: " + b"x" * 24 + b"\ndata: " + b"y" * 24 + b"\n\n") == [
        Event(b"x" * 24 + b"\n" + b"y" * 24)
    ]
    assert decoder.overflow is None


def test_memory_stays_within_the_limit_while_a_line_never_ends() -> None:
    decoder = Decoder(100_000)
    block = b"x" * 1000
    tracemalloc.start()
    try:
        for _ in range(2000):
            decoder.feed(bytes(block))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoder.overflow is not None
    assert most < 300_000


def test_the_default_limit_holds_what_the_api_may_send() -> None:
    assert decode(b"data: " + b"x" * (20 * 1024 * 1024) + b"\n\n")[0].data == b"x" * (20 * 1024 * 1024)


def test_events_are_compared_by_value() -> None:
    event = Event(b"a", "b", "c")
    assert event == Event(data=b"a", event="b", id="c")
    assert event != Event(b"a")
    assert (event.data, event.event, event.id) == (b"a", "b", "c")
