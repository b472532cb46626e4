"""The server's responses, prepared before anything is measured.

A form is a name, such as ``"each-200"``. The server has a port for each, so that it need not look at a request.
"""

from __future__ import annotations

import email.utils
import json
from typing import NamedTuple

_FEW_BYTES = 64 * 1024
_FILE_BLOCK = bytes(64 * 1024)
_CHAT = {
    "choices": [{"message": {"content": "Hello there.", "role": "assistant"}, "index": 0, "finish_reason": "stop"}],
    "created": 1768996171,
    "model": "GigaChat:2.0.28.2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 17, "completion_tokens": 3, "total_tokens": 20, "precached_prompt_tokens": 2},
}
_UPLOADED = {
    "id": "6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e",
    "object": "file",
    "bytes": 100_000_000,
    "created_at": 1768996171,
    "filename": "file.bin",
    "purpose": "general",
}
# As many numbers as the vectors of the model Embeddings have.
_VECTOR = json.dumps([round(0.0371 * (number % 53) - 0.9, 7) for number in range(1024)])
_END = b"data: [DONE]\n\n"
# The date is of the server's start: clients compare the expiry of a token with it.
_DATE = email.utils.formatdate(usegmt=True).encode()
_COMMON = b"HTTP/1.1 200 OK\r\nServer: canned\r\nDate: " + _DATE + b"\r\nX-Request-ID: 3f1c\r\n"
_STREAM = _COMMON + b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
CHUNKED_HEAD = _STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSED_HEAD = _STREAM + b"Connection: close\r\n\r\n"


class Answer(NamedTuple):
    """A response ready to be written.

    Attributes:
        writes: the bytes to send, one TLS write and one ``send`` each.
        closes: the connection is closed afterwards.
        type_: ``"ready"``, or the value that the server inserts as it sends: ``"late"`` the time, ``"oauth"`` the
            expiry, ``"count"`` the number; ``"file"`` when ``writes`` are encrypted one by one, to save memory.
        seconds: for ``"late"`` the silence before the first token, for ``"oauth"`` the lifetime of a token, for
            ``"ready"`` the pause before each write after the first.
    """

    writes: list[bytes]
    closes: bool = False
    type_: str = "ready"
    seconds: float = 0.0


def answer(form: str) -> Answer:
    """Return the response of that name.

    ``plain``, ``plain-close``: a chat completion, on a connection that stays open or is closed.
    ``few-N``, ``each-N``: N events, in as few writes as possible or one each; chunked.
    ``apart-N-MS``: N events, one write each, MS milliseconds apart, as models send them; chunked.
    ``download-MB``: a file of MB million bytes. ``upload``: the metadata of an uploaded file.
    ``line-N``: one event of N bytes.
    ``late-chunked``, ``late-close``: a first token after a while, and the rest after another one.
    ``oauth-S``: a token that lives S seconds.
    ``count``: the number of tokens issued so far.
    """
    type_, _, detail = form.partition("-")
    if type_ == "plain":
        return Answer([with_length(json.dumps(_CHAT).encode(), detail == "close")], detail == "close")
    if type_ == "few":
        events = b"".join([*(event(f"word {index} ") for index in range(int(detail))), _END])
        blocks = [events[start : start + _FEW_BYTES] for start in range(0, len(events), _FEW_BYTES)]
        return Answer(_in_chunks(blocks, apart=False))
    if type_ == "each":
        return Answer(_in_chunks([*(event(f"word {index} ") for index in range(int(detail))), _END], apart=True))
    if type_ == "apart":
        count, _, milliseconds = detail.partition("-")
        return answer(f"each-{count}")._replace(seconds=int(milliseconds) / 1000)
    if type_ == "download":
        blocks, rest = divmod(int(detail) * 1_000_000, len(_FILE_BLOCK))
        head = _COMMON + b"Content-Type: application/octet-stream\r\nContent-Length: %d000000\r\n\r\n" % int(detail)
        return Answer([head, *[_FILE_BLOCK] * blocks, _FILE_BLOCK[:rest]], type_="file")
    if type_ == "upload":
        return Answer([with_length(json.dumps(_UPLOADED).encode())])
    if type_ == "line":
        events = event("x" * int(detail)) + _END
        blocks = [events[start : start + _FEW_BYTES] for start in range(0, len(events), _FEW_BYTES)]
        return Answer(_in_chunks(blocks, apart=False))
    if type_ == "late":
        return Answer([], detail == "close", "late", 0.05)
    if type_ == "oauth":
        return Answer([], False, "oauth", float(detail))
    if type_ == "count":
        return Answer([], True, "count")
    raise ValueError(f"no such form: {form}")


def event(content: str) -> bytes:
    """Return one event of a stream in GigaChat's format."""
    body = {
        "choices": [{"delta": {"content": content, "role": "assistant"}, "index": 0}],
        "created": 1768996176,
        "model": "GigaChat:2.0.28.2",
        "object": "chat.completion",
    }
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def last_event() -> bytes:
    """Return the event with the finish reason, and the end marker."""
    body = {
        "choices": [{"delta": {"content": ""}, "index": 0, "finish_reason": "stop"}],
        "created": 1768996176,
        "model": "GigaChat:2.0.28.2",
        "object": "chat.completion",
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n" + _END


def with_length(body: bytes, closes: bool = False) -> bytes:
    """Return a JSON response with its head."""
    connection = b"Connection: close\r\n" if closes else b"Connection: keep-alive\r\n"
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return _COMMON + connection + length + b"\r\n" + body


def embeddings(count: int) -> bytes:
    """Return the response with the vectors of ``count`` texts."""
    items = (
        f'{{"object":"embedding","embedding":{_VECTOR},"index":{index},"usage":{{"prompt_tokens":6}}}}'
        for index in range(count)
    )
    return with_length(f'{{"object":"list","data":[{",".join(items)}],"model":"Embeddings"}}'.encode())


def refusal() -> bytes:
    """Return the 429 for one request too many."""
    answer = with_length(b'{"status":429,"message":"Too many requests"}')
    return answer.replace(b"200 OK", b"429 Too Many Requests", 1)


def dated(answer: bytes) -> bytes:
    """Return ``response`` with the current date."""
    return answer.replace(_DATE, email.utils.formatdate(usegmt=True).encode(), 1)


def missing(data: bytes) -> tuple[int, bytes]:
    """Return how many bytes of a request are missing (-1: the head is incomplete), and the bytes after it."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return -1, b""
    position = data[:end].lower().find(b"content-length:")
    length = int(data[position + 15 : data.index(b"\r\n", position)]) if position >= 0 else 0
    return max(0, end + length - len(data)), data[end + length :]


def chunk(block: bytes) -> bytes:
    """Return ``block`` in the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(block), block)


def _in_chunks(blocks: list[bytes], *, apart: bool) -> list[bytes]:
    chunks = [chunk(block) for block in blocks]
    if apart:
        return [CHUNKED_HEAD, *chunks, b"0\r\n\r\n"]
    chunks[0] = CHUNKED_HEAD + chunks[0]
    chunks[-1] += b"0\r\n\r\n"
    return chunks
