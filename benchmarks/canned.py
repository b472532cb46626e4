"""What the server answers, made ready before anything is measured.

A form is a name, such as ``"each-200"``; the server has a port for each, so that it need not look at a request.
"""

from __future__ import annotations

import email.utils
import json
from typing import NamedTuple

_FEW_BYTES = 64 * 1024
_CHAT = {
    "choices": [{"message": {"content": "Hello there.", "role": "assistant"}, "index": 0, "finish_reason": "stop"}],
    "created": 1768996171,
    "model": "GigaChat:2.0.28.2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 17, "completion_tokens": 3, "total_tokens": 20, "precached_prompt_tokens": 2},
}
_END = b"data: [DONE]\n\n"
# The date is of the server's start: clients measure the life of a token against it.
_DATE = email.utils.formatdate(usegmt=True).encode()
_COMMON = b"HTTP/1.1 200 OK\r\nServer: canned\r\nDate: " + _DATE + b"\r\nX-Request-ID: 3f1c\r\n"
_STREAM = _COMMON + b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
CHUNKED_HEAD = _STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSED_HEAD = _STREAM + b"Connection: close\r\n\r\n"


class Answer(NamedTuple):
    """An answer ready to be written.

    Attributes:
        writes: what goes out, one TLS write and one ``send`` each.
        closes: the connection is closed afterwards.
        kind: ``"ready"``, or what the server has to put in as it sends: ``"late"`` the moment, ``"oauth"`` the expiry,
            ``"count"`` the number.
        seconds: for ``"late"`` the silence before the first token, for ``"oauth"`` the life of a token.
    """

    writes: list[bytes]
    closes: bool = False
    kind: str = "ready"
    seconds: float = 0.0


def answer(form: str) -> Answer:
    """The answer of that name.

    ``plain``, ``plain-close``: a chat completion, on a connection that stays or does not.
    ``few-N``, ``each-N``: N events, as few writes as possible or one each; chunked.
    ``line-N``: one event of N bytes.
    ``late-chunked``, ``late-close``: a first token after a while, and the rest after another one.
    ``oauth-S``: a token that lives S seconds.
    ``count``: how many tokens were given so far.
    """
    kind, _, detail = form.partition("-")
    if kind == "plain":
        return Answer([with_length(json.dumps(_CHAT).encode(), detail == "close")], detail == "close")
    if kind == "few":
        events = b"".join([*(event(f"word {index} ") for index in range(int(detail))), _END])
        blocks = [events[start : start + _FEW_BYTES] for start in range(0, len(events), _FEW_BYTES)]
        return Answer(_in_chunks(blocks, apart=False))
    if kind == "each":
        return Answer(_in_chunks([*(event(f"word {index} ") for index in range(int(detail))), _END], apart=True))
    if kind == "line":
        events = event("x" * int(detail)) + _END
        blocks = [events[start : start + _FEW_BYTES] for start in range(0, len(events), _FEW_BYTES)]
        return Answer(_in_chunks(blocks, apart=False))
    if kind == "late":
        return Answer([], detail == "close", "late", 0.05)
    if kind == "oauth":
        return Answer([], False, "oauth", float(detail))
    if kind == "count":
        return Answer([], True, "count")
    raise ValueError(f"no such form: {form}")


def event(content: str) -> bytes:
    """One event of a stream, as GigaChat words it."""
    body = {
        "choices": [{"delta": {"content": content, "role": "assistant"}, "index": 0}],
        "created": 1768996176,
        "model": "GigaChat:2.0.28.2",
        "object": "chat.completion",
    }
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def last_event() -> bytes:
    """The event with the finish reason, and the end marker."""
    body = {
        "choices": [{"delta": {"content": ""}, "index": 0, "finish_reason": "stop"}],
        "created": 1768996176,
        "model": "GigaChat:2.0.28.2",
        "object": "chat.completion",
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n" + _END


def with_length(body: bytes, closes: bool = False) -> bytes:
    """A JSON answer with its head."""
    connection = b"Connection: close\r\n" if closes else b"Connection: keep-alive\r\n"
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return _COMMON + connection + length + b"\r\n" + body


def refusal() -> bytes:
    """The 429 for one request too many."""
    answer = with_length(b'{"status":429,"message":"Too many requests"}')
    return answer.replace(b"200 OK", b"429 Too Many Requests", 1)


def dated(answer: bytes) -> bytes:
    """``answer`` with the date of now."""
    return answer.replace(_DATE, email.utils.formatdate(usegmt=True).encode(), 1)


def missing(data: bytes) -> tuple[int, bytes]:
    """Bytes of a request that are not here yet (-1: the head is not whole), and what came after it."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return -1, b""
    position = data[:end].lower().find(b"content-length:")
    length = int(data[position + 15 : data.index(b"\r\n", position)]) if position >= 0 else 0
    return max(0, end + length - len(data)), data[end + length :]


def chunk(block: bytes) -> bytes:
    """``block`` in the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(block), block)


def _in_chunks(blocks: list[bytes], *, apart: bool) -> list[bytes]:
    chunks = [chunk(block) for block in blocks]
    if apart:
        return [CHUNKED_HEAD, *chunks, b"0\r\n\r\n"]
    chunks[0] = CHUNKED_HEAD + chunks[0]
    chunks[-1] += b"0\r\n\r\n"
    return chunks
