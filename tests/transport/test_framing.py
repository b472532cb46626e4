"""Tests of the chunked decoder: any payload, any chunk sizes, any blocks."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.transport.framing import ChunkedDecoder, MalformedChunkError

SIZE_LINES = st.sampled_from(
    [b"%x\r\n", b"%X\r\n", b"%x\n", b"0000%x\r\n", b"%x;ext=1\r\n", b'%x ; a="b"\r\n', b" %x \r\n"]
)
TRAILERS = st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: 1\nB: 2\r\n"])


@st.composite
def coded(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a payload, and the same payload in the chunked coding."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    encoded = b""
    for piece in pieces:
        encoded += draw(SIZE_LINES) % len(piece) + piece + draw(st.sampled_from([b"\r\n", b"\n"]))
    encoded += draw(st.sampled_from([b"0\r\n", b"000\r\n", b"0;last\r\n", b"0\n"])) + draw(TRAILERS) + b"\r\n"
    return b"".join(pieces), encoded


def split_at(encoded: bytes, positions: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(encoded) + 1) for position in positions), len(encoded)]
    return [encoded[start:end] for start, end in itertools.pairwise(edges)]


@given(coded(), st.lists(st.integers(0, 10_000), max_size=12), st.binary(max_size=20))
def test_the_payload_comes_out_however_it_was_chunked_and_cut(
    body: tuple[bytes, bytes], positions: list[int], excess: bytes
) -> None:
    payload, encoded = body
    decoder = ChunkedDecoder()
    received = b""
    for block in split_at(encoded, positions):
        assert not decoder.ended or not block
        received += decoder.feed(block)
    assert received == payload
    assert decoder.ended
    assert decoder.excess == b""
    assert decoder.feed(excess) == b""
    assert decoder.excess == excess


@given(coded())
def test_byte_by_byte_and_at_once_are_the_same(body: tuple[bytes, bytes]) -> None:
    payload, encoded = body
    slow, fast = ChunkedDecoder(), ChunkedDecoder()
    assert b"".join(slow.feed(encoded[i : i + 1]) for i in range(len(encoded))) == fast.feed(encoded) == payload
    assert slow.ended
    assert fast.ended


@given(coded(), st.integers(1, 10_000))
def test_a_body_that_is_cut_has_not_ended(body: tuple[bytes, bytes], position: int) -> None:
    payload, encoded = body
    decoder = ChunkedDecoder()
    received = decoder.feed(encoded[: len(encoded) - 1 - position % len(encoded)])
    assert not decoder.ended
    assert payload.startswith(received)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_body_or_malformed(noise: bytes) -> None:
    decoder = ChunkedDecoder()
    try:
        payload = decoder.feed(noise)
    except MalformedChunkError:
        return
    assert len(payload) <= len(noise)


@given(st.binary(min_size=2, max_size=60), st.data())
def test_each_byte_of_a_chunk_comes_out_as_soon_as_it_is_in(payload: bytes, data: st.DataObject) -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"%x\r\n" % len(payload))
    for index in range(len(payload)):
        assert decoder.feed(payload[index : index + 1]) == payload[index : index + 1]


@pytest.mark.parametrize(
    "encoded",
    [
        b"\r\n",
        b"-5\r\nabcde\r\n",
        b"+5\r\nabcde\r\n",
        b"0x5\r\nabcde\r\n",
        b"1_0\r\n",
        b"g\r\n",
        b";ext\r\n",
        b"5 5\r\nabcde\r\n",
        b"\xd9\xa5\r\nabcde\r\n",  # an Arabic five
        b"11111111111111111\r\n",
        b"5\r\nabcdeX\r\n",
        b"5\r\nabcdef\n",
        b"a" * 9000,
        b"5;" + b"x" * 9000,
    ],
    ids=lambda encoded: repr(encoded[:16]),
)
def test_invalid_chunks_are_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedChunkError):
        ChunkedDecoder().feed(encoded)


def test_a_line_that_never_ends_is_malformed_when_it_comes_in_pieces_too() -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(MalformedChunkError, match="too long"):
        for _ in range(200):
            decoder.feed(b"1" * 100)


def test_trailers_without_end_are_malformed() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"0\r\n")
    with pytest.raises(MalformedChunkError, match="trailers"):
        for number in range(10_000):
            decoder.feed(b"X-Trailer-%d: value\r\n" % number)


def test_a_huge_size_takes_no_memory_before_its_bytes_are_in() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"ffffffffffffffff\r\nabc") == b"abc"


def test_a_single_chunk_is_handed_on_without_another_copy_of_the_block_in_between() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"5\r\n")
    block = b"abcde"
    assert decoder.feed(block) is block


def test_many_small_chunks_cost_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        encoded = b"1\r\nx\r\n" * count
        best = float("inf")
        for _ in range(3):
            decoder = ChunkedDecoder()
            began = time.thread_time()  # the CPU time of this thread, because the machine is shared
            for start in range(0, len(encoded), 16384):
                decoder.feed(encoded[start : start + 16384])
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(40_000) < 10 * seconds(10_000) + 0.05
