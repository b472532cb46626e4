"""Tests that an answer never reaches another question, whatever the server sends: RFC 9112, section 6.3.

Each variant is the answer to a first question on a TLS connection that the server keeps open. A second question on the
same client must then get its own answer. Every malformed variant carries an answer that a lenient client would take.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import requests
from support.socket_tools import Peer, ask, read_request, transport_to

from gigaclient import GigaChat
from gigaclient.errors import GigaClientError, InvalidResponseError
from gigaclient.testing import Authority, interim
from gigaclient.transport.tls import Trust

ANSWER, CLOSED, ERROR, ANY_ERROR = "its own answer", "its own answer, then a close", "InvalidResponseError", "any error"


class Variant(NamedTuple):
    """An answer to the first question.

    Attributes:
        lines: the header lines after the content type; LENGTH stands for the length of the body.
        outcome: what the first question gets.
        status: the status line without its line break.
        before: packets before the head.
        chunks: None for a plain body; else how it is written in chunks: CHUNKS, or raw bytes with BODY in them.
        after: bytes after the body, in the same packet.
        end: the line end of the head.
        pieces: the number of bytes in each packet, or 0 for one packet.
        head_alone: True for a packet of the head, and one of the rest.
        compressed: True for a body in gzip.
    """

    lines: bytes
    outcome: str
    status: bytes = b"HTTP/1.1 200 OK"
    before: tuple[bytes, ...] = ()
    chunks: bytes | None = None
    after: bytes = b""
    end: bytes = b"\r\n"
    pieces: int = 0
    head_alone: bool = False
    compressed: bool = False


def completion(text: str, *, stream: bool) -> bytes:
    """Return the body of an answer whose content is ``text``."""
    message = {"role": "assistant", "content": text}
    choice = {"delta" if stream else "message": message, "index": 0, "finish_reason": "stop"}
    payload = json.dumps({"choices": [choice], "created": 1, "model": "m", "object": "chat.completion"})
    return f"data: {payload}\n\ndata: [DONE]\n\n".encode() if stream else payload.encode()


def answer(text: str, *, stream: bool) -> bytes:
    """Return a well-formed answer with ``text``."""
    body = completion(text, stream=stream)
    kind = b"text/event-stream" if stream else b"application/json"
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def packets(variant: Variant, *, stream: bool) -> Iterator[bytes]:
    """Yield what the server sends for ``variant``."""
    yield from variant.before
    body = completion("first", stream=stream)
    if variant.compressed:
        body = gzip.compress(body)
    lines = variant.lines.replace(b"LENGTH", b"%d" % len(body))
    kind = b"text/event-stream" if stream else b"application/json"
    head = variant.status + variant.end + b"Content-Type: " + kind + variant.end + lines + variant.end
    if variant.chunks is not None:
        body = variant.chunks.replace(b"CHUNKS", chunk(body[:5]) + chunk(body[5:])).replace(b"BODY", body)
    if variant.head_alone:
        yield head
        head = b""
    data = head + body + variant.after.replace(b"EVIL", answer("evil", stream=stream))
    pieces = variant.pieces or len(data)
    for start in range(0, len(data), pieces):
        yield data[start : start + pieces]


LENGTH = b"Content-Length: LENGTH\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
WHOLE = b"CHUNKS0\r\n\r\n"
HINT = interim(103, {"Link": "</style.css>; rel=preload"})

VARIANTS = {
    # -- well-formed
    "length": Variant(LENGTH, ANSWER),
    "chunked": Variant(CHUNKED, ANSWER, chunks=WHOLE),
    "extensions and trailers": Variant(CHUNKED, ANSWER, chunks=b"CHUNKS0 ;last\r\nX-Sum: 1\r\n\r\n"),
    "compressed": Variant(LENGTH + GZIP, ANSWER, compressed=True),
    "compressed chunks": Variant(CHUNKED + GZIP, ANSWER, compressed=True, chunks=WHOLE),
    "another case": Variant(b"TRANSFER-ENCODING: Chunked\r\n", ANSWER, chunks=WHOLE),
    "blanks around values": Variant(b"Transfer-Encoding:\t chunked \t\r\n", ANSWER, chunks=WHOLE),
    "blanks around a length": Variant(b"Content-Length:LENGTH \t\r\n", ANSWER),
    "leading zeros": Variant(b"Content-Length: 00LENGTH\r\n", ANSWER),
    "folded line": Variant(b"X: a\r\n  Content-Length: 3\r\n" + LENGTH, ANSWER),
    "folded coding": Variant(b"Transfer-Encoding:\r\n chunked\r\n", ANSWER, chunks=WHOLE),
    "line feeds": Variant(b"Content-Length: LENGTH\n", ANSWER, end=b"\n"),
    "byte by byte": Variant(LENGTH, ANSWER, pieces=1),
    "HTTP/1.0 kept alive": Variant(LENGTH + b"Connection: keep-alive\r\n", ANSWER, status=b"HTTP/1.0 200 OK"),
    "no reason": Variant(LENGTH, ANSWER, status=b"HTTP/1.1 200"),
    "long head": Variant(b"X: " + b"y" * 30_000 + b"\r\n" + LENGTH, ANSWER),
    "close": Variant(LENGTH + b"Connection: close\r\n", CLOSED),
    "HTTP/1.0": Variant(LENGTH, CLOSED, status=b"HTTP/1.0 200 OK"),
    # -- interim answers
    "100": Variant(LENGTH, ANSWER, before=(interim(100),)),
    "102": Variant(LENGTH, ANSWER, before=(interim(102),)),
    "103": Variant(LENGTH, ANSWER, before=(HINT,)),
    "199": Variant(CHUNKED, ANSWER, before=(interim(199),), chunks=WHOLE),
    "many in many packets": Variant(LENGTH, ANSWER, before=(HINT, interim(102), interim(100)) * 10),
    "many in one packet": Variant(LENGTH, ANSWER, before=((HINT + interim(100)) * 25,)),
    "interim in pieces": Variant(LENGTH, ANSWER, before=(HINT[:3], HINT[3:20], HINT[20:])),
    "interim and the beginning": Variant(LENGTH, ANSWER, before=(HINT[:-1], HINT[-1:])),
    "interim with line feeds": Variant(LENGTH, ANSWER, before=(HINT.replace(b"\r\n", b"\n"),)),
    "interim with a length": Variant(LENGTH, ANSWER, before=(interim(102, {"Content-Length": "500"}),)),
    "more than the bound": Variant(LENGTH, ERROR, before=(interim(102) * 101,)),
    "101": Variant(LENGTH, ERROR, before=(interim(101, {"Upgrade": "h2c"}),)),
    "101 after 103": Variant(LENGTH, ERROR, before=(HINT, interim(101))),
    "malformed interim": Variant(LENGTH, ERROR, before=(b"HTTP/1.1 103 Hints\r\nno colon\r\n\r\n",)),
    # -- bytes after an answer
    "after a length": Variant(LENGTH, CLOSED, after=b"EVIL"),
    "after a length, one byte": Variant(LENGTH, CLOSED, after=b"\n"),
    "after chunks": Variant(CHUNKED, CLOSED, chunks=WHOLE, after=b"EVIL"),
    "after chunks, one byte": Variant(CHUNKED, CLOSED, chunks=WHOLE, after=b"\n"),
    "after a compressed length": Variant(LENGTH + GZIP, CLOSED, compressed=True, after=b"EVIL"),
    "after compressed chunks": Variant(CHUNKED + GZIP, CLOSED, compressed=True, chunks=WHOLE, after=b"EVIL"),
    "after a length, head alone": Variant(LENGTH, CLOSED, after=b"EVIL", head_alone=True),
    "after chunks, head alone": Variant(CHUNKED, CLOSED, chunks=WHOLE, after=b"EVIL", head_alone=True),
    "after a compressed length, head alone": Variant(
        LENGTH + GZIP, CLOSED, compressed=True, after=b"EVIL", head_alone=True
    ),
    "half an answer after it": Variant(LENGTH, CLOSED, after=b"HTTP/1.1 200 OK\r\nConte"),
    # -- Transfer-Encoding
    "gzip, chunked": Variant(b"Transfer-Encoding: gzip, chunked\r\n", ERROR, chunks=WHOLE),
    "chunked, gzip": Variant(b"Transfer-Encoding: chunked, gzip\r\n", ERROR, chunks=WHOLE),
    "chunked twice": Variant(CHUNKED * 2, ERROR, chunks=WHOLE),
    "chunked, identity": Variant(CHUNKED + b"Transfer-Encoding: identity\r\n", ERROR, chunks=WHOLE),
    "xchunked": Variant(b"Transfer-Encoding: xchunked\r\n", ERROR, chunks=WHOLE),
    "chunkedx": Variant(b"Transfer-Encoding: chunked-x\r\n", ERROR, chunks=WHOLE),
    "quoted": Variant(b'Transfer-Encoding: "chunked"\r\n', ERROR, chunks=WHOLE),
    "parameter": Variant(b"Transfer-Encoding: chunked;q=1\r\n", ERROR, chunks=WHOLE),
    "identity": Variant(b"Transfer-Encoding: identity\r\n", ERROR),
    "no coding": Variant(b"Transfer-Encoding:\r\n", ERROR, chunks=WHOLE),
    "vertical tab": Variant(b"Transfer-Encoding: \x0bchunked\r\n", ERROR, chunks=WHOLE),
    "form feed": Variant(b"Transfer-Encoding: chunked\x0c\r\n", ERROR, chunks=WHOLE),
    "no-break space": Variant(b"Transfer-Encoding: \xa0chunked\r\n", ERROR, chunks=WHOLE),
    "chunked and a length": Variant(CHUNKED + LENGTH, ERROR, chunks=WHOLE),
    "a length and chunked": Variant(LENGTH + CHUNKED, ERROR, after=b"EVIL"),
    "xchunked and a length": Variant(LENGTH + b"Transfer-Encoding: xchunked\r\n", ERROR, after=b"EVIL"),
    "HTTP/1.0 in chunks": Variant(
        CHUNKED + b"Connection: keep-alive\r\n", ERROR, status=b"HTTP/1.0 200 OK", chunks=WHOLE
    ),
    # -- Content-Length
    "plus": Variant(b"Content-Length: +LENGTH\r\n", ERROR, after=b"EVIL"),
    "minus": Variant(b"Content-Length: -LENGTH\r\n", ERROR, after=b"EVIL"),
    "underscore": Variant(b"Content-Length: 0_LENGTH\r\n", ERROR, after=b"EVIL"),
    "hexadecimal": Variant(b"Content-Length: 0xLENGTH\r\n", ERROR, after=b"EVIL"),
    "fraction": Variant(b"Content-Length: LENGTH.0\r\n", ERROR, after=b"EVIL"),
    "exponent": Variant(b"Content-Length: 1e2\r\n", ERROR, after=b"EVIL"),
    "superscript": Variant(b"Content-Length: \xb2\r\n", ERROR, after=b"EVIL"),
    "empty length": Variant(b"Content-Length:\r\n", ERROR, after=b"EVIL"),
    "length with a vertical tab": Variant(b"Content-Length: \x0bLENGTH\r\n", ERROR, after=b"EVIL"),
    "length with NEL": Variant(b"Content-Length: LENGTH\x85\r\n", ERROR, after=b"EVIL"),
    "length with a comma": Variant(b"Content-Length: LENGTH,\r\n", ERROR, after=b"EVIL"),
    "two lengths": Variant(LENGTH + b"Content-Length: 0\r\n", ERROR, after=b"EVIL"),
    "the same length twice": Variant(LENGTH * 2, ERROR, after=b"EVIL"),
    "a list of lengths": Variant(b"Content-Length: LENGTH, LENGTH\r\n", ERROR, after=b"EVIL"),
    "a length without end": Variant(b"Content-Length: " + b"9" * 400 + b"\r\n", ERROR, after=b"EVIL"),
    # -- header lines
    "no colon": Variant(b"no colon\r\n" + LENGTH, ERROR, after=b"EVIL"),
    "no colon at the end": Variant(LENGTH + b"no-colon\r\n", ERROR, after=b"EVIL"),
    "space before the colon": Variant(b"Content-Length : LENGTH\r\n", ERROR, after=b"EVIL"),
    "space in a name": Variant(b"Content Length: LENGTH\r\n", ERROR, after=b"EVIL"),
    "tab before the colon": Variant(b"Transfer-Encoding\t: chunked\r\n", ERROR, chunks=WHOLE),
    "no name": Variant(b": LENGTH\r\n" + LENGTH, ERROR, after=b"EVIL"),
    "name that is not ASCII": Variant(b"\xd0\xaf: 1\r\n" + LENGTH, ERROR, after=b"EVIL"),
    "carriage return in a value": Variant(b"X: a\rContent-Length: 0\r\n" + LENGTH, ERROR, after=b"EVIL"),
    "NUL in a value": Variant(b"X: a\0b\r\n" + LENGTH, ERROR, after=b"EVIL"),
    "too many": Variant(b"X: y\r\n" * 101 + LENGTH, ERROR),
    "too long": Variant(b"X: " + b"y" * 70_000 + b"\r\n" + LENGTH, ERROR),
    "fold at once": Variant(b"X: y\r\n" + LENGTH, ERROR, status=b"HTTP/1.1 200 OK\r\n folded: 1"),
    # -- status lines
    "four digits": Variant(LENGTH, ERROR, status=b"HTTP/1.1 2000 OK", after=b"EVIL"),
    "no blank": Variant(LENGTH, ERROR, status=b"HTTP/1.1 200OK", after=b"EVIL"),
    "status 099": Variant(LENGTH, ERROR, status=b"HTTP/1.1 099 OK", after=b"EVIL"),
    "HTTP/2": Variant(LENGTH, ERROR, status=b"HTTP/2 200", after=b"EVIL"),
    "another protocol": Variant(LENGTH, ERROR, status=b"ICY 200 OK", after=b"EVIL"),
    # -- chunks
    "chunk size with a plus": Variant(CHUNKED, ERROR, chunks=b"+5\r\nabcde\r\n0\r\n\r\n", after=b"EVIL"),
    "chunk size with an underscore": Variant(CHUNKED, ERROR, chunks=b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    "chunk size with a vertical tab": Variant(CHUNKED, ERROR, chunks=b"5\x0b\r\nabcde\r\n0\r\n\r\n"),
    "negative chunk size": Variant(CHUNKED, ERROR, chunks=b"-5\r\nabcde\r\n0\r\n\r\n", after=b"EVIL"),
    "chunk longer than its size": Variant(CHUNKED, ERROR, chunks=b"3\r\nabcdef\r\n0\r\n\r\n", after=b"EVIL"),
    "compressed chunk with an underscore": Variant(CHUNKED + GZIP, ERROR, compressed=True, chunks=b"1_0\r\nBODY"),
    "compressed chunk with a plus": Variant(CHUNKED + GZIP, ERROR, compressed=True, chunks=b"+10\r\nBODY"),
    "compressed chunk longer than its size": Variant(CHUNKED + GZIP, ERROR, compressed=True, chunks=b"a\r\nBODY\r\n"),
    # -- answers without a body
    "204 with a length": Variant(LENGTH, ANY_ERROR, status=b"HTTP/1.1 204 No Content", after=b"EVIL"),
    "204 in chunks": Variant(CHUNKED, ANY_ERROR, status=b"HTTP/1.1 204 No Content", chunks=WHOLE, after=b"EVIL"),
    "204 with an unknown coding": Variant(b"Transfer-Encoding: x\r\n", ANY_ERROR, status=b"HTTP/1.1 204 No Content"),
    "304 with a length": Variant(LENGTH, ANY_ERROR, status=b"HTTP/1.1 304 Not Modified", after=b"EVIL"),
}


def serve(variant: Variant, authority: Authority) -> Peer:
    """Return a TLS peer that answers the question ``first`` with ``variant``, and every other with its own text."""

    def talk(sock: Any) -> None:
        while request := read_request(sock):
            payload = json.loads(request.partition(b"\r\n\r\n")[2])
            stream, question = bool(payload.get("stream")), payload["messages"][-1]["content"]
            if question != "first":
                sock.sendall(answer(question, stream=stream))
                continue
            for packet in packets(variant, stream=stream):
                sock.sendall(packet)

    return Peer(talk, tls=authority.server_context())


def ask_chat(giga: GigaChat, question: str) -> str:
    return giga.chat(question).text


def ask_stream(giga: GigaChat, question: str) -> str:
    return giga.stream(question).result().text


def read_whole(response: requests.Response, **options: Any) -> None:
    assert response.content is not None


@pytest.mark.parametrize(
    ("ask", "hook"),
    [(ask_chat, None), (ask_stream, None), (ask_chat, "none"), (ask_stream, "none"), (ask_chat, read_whole)],
    ids=["chat", "stream", "chat-session", "stream-session", "chat-hook"],
)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_next_question_gets_its_own_answer(
    name: str, ask: Callable[[GigaChat, str], str], hook: Any, authority: Authority
) -> None:
    variant = VARIANTS[name]
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(serve(variant, authority))
        session = None if hook is None else stack.enter_context(requests.Session())
        if session is not None and callable(hook):
            session.hooks["response"].append(hook)
        giga = stack.enter_context(
            GigaChat(
                access_token="good-token",
                base_url=f"{peer.url}/v1",
                ca_bundle_file=authority.ca_file,
                session=session,
                timeout=20,
                max_retries=0,
            )
        )
        if variant.outcome in (ANSWER, CLOSED):
            assert ask(giga, "first") == "first"
        else:
            with pytest.raises(GigaClientError) as caught:
                ask(giga, "first")
            assert isinstance(caught.value, InvalidResponseError) or variant.outcome == ANY_ERROR
        assert [ask(giga, "second"), ask(giga, "third")] == ["second", "third"]
        assert peer.accepted == (1 if variant.outcome == ANSWER else 2)
        assert giga.stats().in_flight == 0


@pytest.mark.parametrize("lines", [b"Content-Length: 5\r\n", CHUNKED, b"Transfer-Encoding: x\r\n", b""])
@pytest.mark.parametrize("rest", [b"", b"5\r\nevil!\r\n0\r\n\r\n"])
def test_the_answer_to_a_head_has_no_body(lines: bytes, rest: bytes, authority: Authority, trust: Trust) -> None:
    def talk(sock: Any) -> None:
        while request := read_request(sock):
            body = rest if request.startswith(b"HEAD") else b"ok"
            sock.sendall(
                b"HTTP/1.1 200 OK\r\n" + (lines if body is rest else b"Content-Length: 2\r\n") + b"\r\n" + body
            )

    with Peer(talk, tls=authority.server_context()) as peer, transport_to(peer.url, trust=trust) as transport:
        assert ask(transport, peer.url + "/", method="HEAD") == b""
        assert ask(transport, peer.url + "/") == b"ok"
        assert peer.accepted == (2 if rest else 1)


def test_the_table_has_some_seventy_variants() -> None:
    assert len(VARIANTS) >= 70
