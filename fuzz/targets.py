"""The fuzz targets: each function takes arbitrary bytes in place of a server's, and raises if a rule is broken.

None of them needs a fuzzer: tests/test_fuzz_targets.py runs them on the seeds. The first byte of an input selects the
target, the second one how the rest is split into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from gigaclient._core.error_mapping import status_error
from gigaclient._core.responses import decode
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient.auth.shared_source import SharedSource
from gigaclient.auth.token_manager import Credential
from gigaclient.auth.token_store import FileTokenStore, StoreUnusable
from gigaclient.errors import GigaClientError, InvalidResponseError
from gigaclient.fakegpt.events import SnapshotAccumulator, SnapshotParser
from gigaclient.gigachat.oauth import read_token
from gigaclient.gigachat.request_body import chat_body
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.gigachat.tool_dialect import V1
from gigaclient.gigachat.tool_loop import ToolLoop
from gigaclient.schema.json_schema import type_schema_of
from gigaclient.schema.repair import read_value
from gigaclient.schema.tolerant import find_documents
from gigaclient.schema.validation import ValidationFailed
from gigaclient.streaming import sse
from gigaclient.streaming.accumulator import ChatAccumulator
from gigaclient.streaming.stream import ChatStream, EventParser
from gigaclient.transport.framing import ChunkedDecoder, MalformedChunkError
from gigaclient.types import ChatCompletion, Choice, FunctionCall, Message

_LIMIT = 4096
_LONGEST_MESSAGE = 4000
_completion = msgspec.json.Decoder(ChatCompletion)


class _Response:
    """A response of the transport whose bytes have all arrived."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.deadline = Deadline(Timeouts())
        self._blocks = blocks
        self.closed = False

    def blocks(self) -> Iterator[bytes]:
        yield from self._blocks

    def drain(self, blocks: Iterator[bytes]) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


def pieces(data: bytes, size: int) -> list[bytes]:
    """Split ``data`` into blocks of ``size`` bytes; 0 keeps it whole."""
    return [data[start : start + size] for start in range(0, len(data), size)] if size else [data]


def events(data: bytes, size: int) -> None:
    """Check that events do not depend on how the bytes are split, and that none exceeds the limit."""

    def decoded(blocks: list[bytes]) -> tuple[list[sse.Event], sse.Event | None, bool]:
        decoder = sse.Decoder(_LIMIT)
        found = [event for block in blocks for event in decoder.feed(block)]
        return found, decoder.finish(), decoder.overflow is not None

    whole = decoded([data])
    assert decoded(pieces(data, size)) == whole
    assert all(len(event.data) <= _LIMIT for event in whole[0])


def chunked(data: bytes, size: int) -> None:
    """Check that the payload does not depend on how the bytes are split, and is never longer than the input."""

    def decoded(blocks: list[bytes]) -> tuple[bytes | None, bool]:
        decoder, payload = ChunkedDecoder(), []
        try:
            for block in blocks:
                payload.append(decoder.feed(block))
        except MalformedChunkError:
            return None, False
        return b"".join(payload), decoder.ended

    data = data[:8000]  # a longer line is refused only while it is incomplete
    whole = decoded([data])
    assert decoded(pieces(data, size)) == whole
    assert len(whole[0] or b"") <= len(data)


def _stream(parser: EventParser, data: bytes, size: int, accumulator: ChatAccumulator | None = None) -> None:
    response = _Response(pieces(data, size))
    stream = ChatStream(response, parser, accumulator)
    seen = ""
    try:
        for chunk in stream:
            seen += chunk.text
    except GigaClientError as error:
        failure = error
        assert failure.text == stream.text
        assert len(str(failure)) < _LONGEST_MESSAGE
        assert response.closed
    assert stream.closed
    str(stream.completion)
    repr(stream)


def gigachat_stream(data: bytes, size: int) -> None:
    """Check that a stream of GigaChat ends well, or with our error that holds the text before it."""
    _stream(ChunkParser("id"), data, size)


def fakegpt_stream(data: bytes, size: int) -> None:
    """Check that a stream of FakeGpt ends well, or with our error that holds the text before it."""
    parser = SnapshotParser("id")
    _stream(parser, data, size, SnapshotAccumulator(parser))


def token_answer(data: bytes, size: int) -> None:
    """Check that the token fits a header, or that the error does not show the response."""
    found = read_token(data, {"date": "Sat, 21 Nov 2026 04:00:00 GMT"}, wall=1.8e9, monotonic=5.0)
    if isinstance(found, Credential):
        token = found.value.reveal()
        assert token
        assert token.isascii()
        assert token.isprintable()
        assert found.expires_at > 5.0
        assert 0 < found.margin <= 60
    else:
        assert isinstance(found, InvalidResponseError)
        assert len(str(found)) < _LONGEST_MESSAGE


def error_body(data: bytes, size: int) -> None:
    """Check that any body of an error response becomes a readable error."""
    for status in (302, 400, 403, 429, 500):
        headers = {"content-type": "text/html", "retry-after": data[:40].decode("latin-1"), "location": "https://a/?b"}
        error = status_error(status, data, headers, request_id="id", now=1.8e9)
        assert error.status_code == status
        assert len(str(error)) < _LONGEST_MESSAGE + 2 * len(data)
        assert error.retry_after is None or error.retry_after >= 0


def answer(data: bytes, size: int) -> None:
    """Check that a completion matches the API's promise, or that our error is raised."""
    response: Any = SimpleNamespace(
        body=data,
        status=200,
        headers={"content-type": "application/json"},
        request_id="id",
        mask_echo=lambda error: error,
    )
    try:
        found = decode(response, _completion)
    except GigaClientError as error:
        failure = error
        assert len(str(failure)) < _LONGEST_MESSAGE + 2 * len(data)
    else:
        repr(found)
        str(found)


def token_cache(data: bytes, size: int) -> None:
    """Check that a login works whatever the token store contains."""

    def login(deadline: Deadline) -> Credential:
        raise LookupError

    class Store(FileTokenStore):
        def load(self, key: str) -> Any:
            return self._entries(data).get(key)

        def lock(self, key: str, deadline: Deadline) -> Any:
            raise StoreUnusable("there is no lock")

    source = SharedSource(login, Store("fuzz"), lambda: "a", wall=lambda: 1.8e9, monotonic=lambda: 5.0)
    try:
        token = source(Deadline(Timeouts())).value.reveal()
    except LookupError:
        return
    assert token
    assert token.isascii()
    assert token.isprintable()


class _Plan(msgspec.Struct):
    todos: list[dict[str, int]]
    note: str | None = None


_plan = type_schema_of(_Plan)


def untidy_json(data: bytes, size: int) -> None:
    """Check that each document found in a text is strict JSON, and that a value fits its type or is refused."""
    try:
        text = data.decode("utf-8", "surrogatepass" if size else "replace")
    except UnicodeDecodeError:
        return
    documents = find_documents(text)
    for document in documents:
        msgspec.json.decode(document.data)
    # A control character of one byte becomes an escape of six.
    assert sum(len(document.data) for document in documents) <= 6 * len(data) + 16
    try:
        value, repaired = read_value(_plan, text, repair=True)
    except ValidationFailed:
        return
    assert isinstance(value, _Plan)
    assert all(isinstance(sentence, str) for sentence in repaired)
    msgspec.json.encode(value)


def _plan_day(todos: list[dict[str, int]], note: str = "") -> str:
    return note


def tool_loop(data: bytes, size: int) -> None:
    """Check that any call of a model gets a result as a JSON object, and the same mistake never the same answer."""
    client: Any = SimpleNamespace(
        _settings=SimpleNamespace(session_id="s"),
        _executor=SimpleNamespace(hooks=None),
        _with_attachments=lambda messages, options: (messages, options),
    )
    loop: Any = ToolLoop(
        V1(client),
        "Hello",
        [_plan_day],
        max_steps=3,
        on_error="tell",
        on_step=None,
        on_result=None,
        repair=size % 2 == 0,
        options={},
    )
    text = data.decode("utf-8", "replace")
    try:
        arguments = msgspec.json.decode(data) if size % 3 == 0 else text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        arguments = text
    name = "_plan_day" if size % 5 else text[:20] or "x"
    choice = Choice(message=Message(role="assistant", content="", function_call=FunctionCall(name, arguments)))
    for _ in range(3):
        for call in loop.take(ChatCompletion(choices=[choice])):
            step = loop.call(call)
            assert isinstance(step.result, dict)
        loop.end_turn()
    errors = [step.error for step in loop.so_far().steps if step.error is not None]
    assert len(errors) in (0, 3)
    assert len(set(errors)) == len(errors)
    messages, options = loop.request()
    chat_body(messages, options, {}, stream=False)


TARGETS: tuple[Callable[[bytes, int], None], ...] = (
    events,
    chunked,
    gigachat_stream,
    fakegpt_stream,
    token_answer,
    error_body,
    answer,
    token_cache,
    untidy_json,
    tool_loop,
)


def one_input(data: bytes) -> None:
    """Run one input of a fuzzer."""
    if len(data) > 2:
        TARGETS[data[0] % len(TARGETS)](data[2:], data[1])


def seeds() -> Iterator[bytes]:
    """Return the first inputs: responses of real servers, for each target that may receive them."""
    import gigaclient.testing.recordings

    folder = Path(gigaclient.testing.recordings.__file__).parent
    recorded = [path.read_bytes()[:2048] for path in sorted(folder.iterdir()) if path.suffix in (".json", ".sse")]
    for number, target in enumerate(TARGETS):
        for body in (*recorded, *_BY_HAND.get(target, ())):
            for size in (0, 1, 7):
                yield bytes([number, size]) + body


_SNAPSHOT = (
    b'data: {"message": {"id": "1", "author": {"role": "assistant"}, "content": {"content_type": "text", "parts": '
    b'["Hel"]}, "end_turn": false, "recipient": "all"}, "conversation_id": "2", "error": null}\n\n'
)
_BY_HAND: dict[Callable[[bytes, int], None], tuple[bytes, ...]] = {
    chunked: (
        b"5\r\nhello\r\n0\r\n\r\n",
        b"a;x=y\r\n0123456789\r\n00\r\nTrailer: 1\r\n\r\n",
        b"-1\r\n",
        b"fffffffffffffff\r\n",
    ),
    events: (b"\xef\xbb\xbfdata: a\r\rid: 1\nevent: x\ndata\ndata:b\r\n\r\n: c\n", b"data: " + b"x" * 5000),
    fakegpt_stream: (_SNAPSHOT + _SNAPSHOT.replace(b"Hel", b"Hello") + b"data: [DONE]\n\n",),
    token_answer: (b'{"access_token":"a.b","expires_at":1800000000000}', b'{"tok":"a","exp":1800001800}'),
    error_body: (
        b"<html><title>502 Bad Gateway</title>",
        b'{"code":7,"message":"no"}',
        b'{"error":{"message":"m","code":"c"}}',
    ),
    untidy_json: (
        b"Sure: {'todos': [{'a': 1,},], note: NaN} Bye",
        b'```json\n{"todos": "[{\\"a\\": 1}]"}\n```',
        b'<think>{"todos": 1}</think>{"todos": [{"a": "1"}], "note": "x\ny\\ud83d"}',
    ),
    tool_loop: (b'{"todos": [{"a": 1}]}', b'{"todos": "[{\\"a\\": 1}]"}', b"{'todos': []}", b'{"note": 5}', b"[1]"),
    token_cache: (
        b'{"gigaclient tokens":1,"entries":{"a":{"token":"t","until":1800000900.5,"margin":60.0,"expires_at_ms":9}}}',
    ),
}
