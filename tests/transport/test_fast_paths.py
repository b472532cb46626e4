"""Tests that the fast paths for headers, bodies and imports give the same results as the libraries."""

from __future__ import annotations

import http.client
import io
import json
import pickle
import re
import subprocess
import sys
from datetime import timedelta
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from support.socket_tools import Peer, ask, read_request, send, transport_to
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import SKIP_HEADER

from gigaclient import GigaChat, GigaClientError, InvalidResponseError
from gigaclient._core.request_options import RequestOptions, call_options
from gigaclient._core.retry import RetryPolicy
from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.context import trace_id_cvar
from gigaclient.testing import GigaChatEmulator
from gigaclient.transport.connection import DeadlineHTTPConnection, HeadResponse, header_block
from gigaclient.transport.framing import MalformedChunkError, MalformedHeadError
from gigaclient.transport.request import Request
from gigaclient.transport.response import HeaderDict

# -- response headers --------------------------------------------------------------------------------------------------


class FakeSocket:
    """A socket whose peer has sent ``content``, in pieces of ``at_once`` bytes."""

    def __init__(self, content: bytes, at_once: int = 16 * 1024) -> None:
        self._content = content
        self._at_once = at_once

    def makefile(self, mode: str) -> io.BufferedReader:
        source, at_once = io.BytesIO(self._content), self._at_once

        class Raw(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                piece = source.read(min(at_once, len(buffer)))
                buffer[: len(piece)] = piece
                return len(piece)

        return io.BufferedReader(Raw(), 16 * 1024)


def read_by(
    class_: type[http.client.HTTPResponse], content: bytes, method: str = "POST", at_once: int = 16 * 1024
) -> Any:
    """Return what ``class_`` parses, or the type of its exception."""
    response: Any = class_(FakeSocket(content, at_once), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        parsed = {name: getattr(response, name) for name in ("version", "status", "reason", "chunked", "chunk_left")}
        parsed.update({name: getattr(response, name) for name in ("length", "will_close", "code")})
        # Without the blanks around a value; a folded line is continued after one blank.
        headers = response.msg.items()
        parsed["headers"] = [(name, re.sub("[ \t\r\n]+", " ", value).strip(" ")) for name, value in headers]
        parsed["body"] = response.read()
    except (http.client.HTTPException, ValueError) as error:
        return type(error)
    return parsed


VALID = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200\r\nContent-Length:2\r\n\r\nok",
    b"HTTP/1.1 404  Not Found \r\nContent-Length: \t 2\r\nX: \r\nX:y \r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Weg \xe9\r\nX-Bytes: \xe9\xff: \x01\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2 \r\n\r\nok",
    b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 70 + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    b"\x16\x03\x01\x00",
    b"",
]
# What http.client takes, or gives another name.
REFUSED = [
    (MalformedHeadError, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7\r\n\r\n"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nok"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"Content-Length: 2\r\n\r\nok"),
    (MalformedHeadError, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"),
    (BadStatusLine, b"HTTP/2 200\r\n\r\n"),
    (RemoteDisconnected, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    (IncompleteRead, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
    (IncompleteRead, b"HTTP/1.1 200 OK\r\nContent-Le"),
    (IncompleteRead, b"HTTP/1.1 2"),
]


@pytest.mark.parametrize("at_once", [1, 7, 30, 16 * 1024])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("content", VALID)
def test_valid_headers_are_parsed_as_the_library_does(content: bytes, method: str, at_once: int) -> None:
    found = read_by(HeadResponse, content, method, at_once)
    expected = read_by(http.client.HTTPResponse, content, method)
    if isinstance(expected, dict) and method == "HEAD":
        expected.update(chunked=False, chunk_left="UNKNOWN")  # the library waits for chunks
    assert found == expected


@pytest.mark.parametrize("at_once", [1, 30, 16 * 1024])
@pytest.mark.parametrize(("error", "content"), REFUSED)
def test_headers_that_the_library_takes_and_that_are_malformed_are_refused(
    error: type[Exception], content: bytes, at_once: int
) -> None:
    assert read_by(HeadResponse, content, at_once=at_once) is error


@pytest.mark.parametrize("content", [VALID[0], VALID[1], VALID[7]])
def test_a_head_that_arrives_completely_is_not_read_line_by_line(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("gigaclient.transport.connection._read_head")
    assert read_by(HeadResponse, content)["status"] in (200, 204)


LINES = st.lists(
    st.sampled_from(
        [b"Content-Length: 2", b"content-length: 3", b"Transfer-Encoding: chunked", b"Connection: close", b" folded"]
    )
    | st.sampled_from(
        [
            b"X: \x0b\x1c\x85y",
            b"A:b:c",
            b"",
            b"Keep-Alive: 5",
            b"no",
            b"A\t: b",
            b"Set-Cookie: a=b",
            b"X: \r",
            b"\tX: y",
        ]
    )
    | st.binary(max_size=12),
    max_size=6,
)


@given(
    status=st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 ", b"HTTP/1.1 99 X", b"HTTP/1.1 500", b"HTTP/1.0 200 OK"]
    ),
    lines=LINES,
    end=st.sampled_from([b"\r\n", b"\n"]),
    body=st.sampled_from([b"", b"ok", b"2\r\nok\r\n0\r\n\r\n"]),
)
def test_any_headers_are_parsed_as_the_library_does_or_refused(
    status: bytes, lines: list[bytes], end: bytes, body: bytes
) -> None:
    content = end.join([status, *lines, b"", body])
    found = read_by(HeadResponse, content)
    if isinstance(found, dict) and found["status"] == 204:
        assert found["body"] == b""  # the library waits for chunks if the headers announce them
    elif isinstance(found, dict):
        assert found == read_by(http.client.HTTPResponse, content)
    else:
        assert issubclass(found, (http.client.HTTPException, MalformedChunkError))


# -- request headers ---------------------------------------------------------------------------------------------------


def written_request(headers: dict[str, Any], url: str = "/v1/x?y=z", body: bytes | None = b"{}") -> bytes:
    """Return the bytes that our connection writes for a request."""
    written: list[bytes] = []

    class Sock:
        def sendall(self, data: bytes) -> None:
            written.append(data)

        def settimeout(self, seconds: float | None) -> None: ...

        def close(self) -> None: ...

    connection: Any = DeadlineHTTPConnection("127.0.0.1", 1)
    connection.sock = Sock()
    connection.request("POST", url, body=body, headers=headers)
    return b"".join(written)


HEADERS: list[dict[str, Any]] = [
    {"User-Agent": "x", "Accept": "a/b", "Content-Length": "2", "Authorization": Secret("Bearer s3cret")},
    {"x-lower": "1", "X-Empty": "", "X-Tab": "a\tb"},
    {"X-Latin": "caf\xe9", "Content-Length": "2"},
    {"Host": "elsewhere", "Accept-Encoding": "gzip", "Content-Length": "2"},
    {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER, "Host": SKIP_HEADER},
    {"X-Bytes": b"bytes", "Content-Length": "2"},
    {"X-Folded": "a\r\n b"},
    {},
]


@pytest.mark.parametrize("body", [b"{}", b"", None])
@pytest.mark.parametrize("headers", HEADERS)
def test_headers_written_in_one_block_are_those_that_urllib3_writes(
    headers: dict[str, Any], body: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = written_request(headers, body=body)
    monkeypatch.setattr("gigaclient.transport.connection.header_block", lambda headers: None)
    assert found == written_request(headers, body=body)
    assert b"***" not in found


def test_most_headers_are_written_in_one_block() -> None:
    block = header_block({"A": "1", "Authorization": Secret("Bearer s3cret")})
    assert block == b"A: 1\r\nAuthorization: Bearer s3cret"


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nEvil: 1"}, {"X": "a\nEvil: 1"}, {"X": "a\rEvil: 1"}, {"X": "a\r\n\r\nGET / HTTP/1.1"},
        {"X\r\nEvil": "1"}, {"X\nEvil": "1"}, {"X: a\r\nEvil": "1"}, {"X:Evil": "1"},
        {"": "1"}, {"X ": "1"}, {" X": "1"},
        {"\u042f": "1"}, {"X": "\u042f"}, {"X": 7}, {"X": b"1"}, {b"X": "1"}, {"X": None}, {"X": "a\0b"},
    ],
)  # fmt: skip
def test_headers_that_could_start_another_line_are_never_written_in_a_block(headers: dict[Any, Any]) -> None:
    assert header_block({"Accept": "a/b", **headers, "Z": "z"}) is None


@pytest.mark.parametrize("headers", [{"X": "a\r\nEvil: 1"}, {"X": "a\nEvil: 1"}, {"X\r\nEvil": "1"}, {"X:Evil": "1"}])
def test_an_injected_header_is_refused_and_nothing_is_sent(headers: dict[str, str]) -> None:
    with Peer(lambda sock: None) as peer, transport_to(peer.url) as transport:
        with pytest.raises(GigaClientError) as caught:
            ask(transport, peer.url + "/", headers=headers)
        assert "Evil" not in str(caught.value)
    with pytest.raises(ValueError, match="header"):
        written_request(headers)


@pytest.mark.parametrize("url", ["/a\r\nEvil: 1", "/a b", "/\x7f"])
def test_an_injected_path_is_refused(url: str) -> None:
    with pytest.raises(http.client.InvalidURL):
        written_request({"Content-Length": "2"}, url)


def test_headers_are_a_case_insensitive_dict_like_any_other() -> None:
    pairs = [("Content-Type", "a"), ("X", "1"), ("x", "2")]
    ours, theirs = HeaderDict(pairs), CaseInsensitiveDict(pairs)
    for headers in (ours, theirs):
        headers["ACCEPT"] = "b"
        headers["accept"] = "c"
        del headers["content-TYPE"]
        headers.update({"New": "n"})
        headers.setdefault("nEW", "m")
    assert ours == theirs
    assert list(ours) == list(theirs) == ["x", "accept", "New"]
    assert list(ours.items()) == list(theirs.items())
    assert list(ours.lower_items()) == list(theirs.lower_items())
    assert (len(ours), "X" in ours, "y" in ours, repr(ours)) == (len(theirs), True, False, repr(theirs))
    copy, unpickled = ours.copy(), pickle.loads(pickle.dumps(ours))
    copy["X"] = "changed"
    assert ours["x"] == unpickled["X"] == "2"
    assert isinstance(ours, CaseInsensitiveDict)
    with pytest.raises(KeyError):
        ours["gone"]


# -- bodies ------------------------------------------------------------------------------------------------------------


def test_bytes_after_the_announced_length_are_dropped_and_end_the_connection() -> None:
    served = []

    def talk(sock: Any) -> None:
        while read_request(sock):
            served.append(1)
            sock.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            )

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert [ask(transport, peer.url + "/") for _ in range(3)] == [b"ok"] * 3
        assert transport.connections_opened == 3
    assert len(served) == 3


@pytest.mark.parametrize(
    ("answer", "method", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "POST", b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "POST", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, "GET", b"x" * 100_000),
    ],
)
def test_a_body_of_announced_length_leaves_the_connection_for_the_next_call(
    answer: bytes, method: str, body: bytes
) -> None:
    def talk(sock: Any) -> None:
        while read_request(sock):
            sock.sendall(answer)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert [send(transport, peer.url + "/", method=method).read(10**6) for _ in range(3)] == [body] * 3
        assert transport.connections_opened == 1


def test_lengths_that_contradict_each_other_are_refused() -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")

    with Peer(talk) as peer, transport_to(peer.url) as transport, pytest.raises(InvalidResponseError):
        ask(transport, peer.url + "/")


# -- hooks, adapters and recorders -------------------------------------------------------------------------------------


def client(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    return GigaChat(
        base_url=emulator.base_url,
        auth_url=emulator.auth_url,
        credentials=emulator.credentials,
        ca_bundle_file=emulator.ca_file,
        **options,
    )


def test_a_hook_of_the_users_session_sees_a_whole_response_and_the_client_the_same(
    shared_emulator: GigaChatEmulator,
) -> None:
    seen: list[Any] = []

    def hook(response: requests.Response, **options: Any) -> None:
        assert response.request.headers["User-Agent"].startswith("gigaclient/")
        assert response.elapsed > timedelta(0)
        assert response.encoding == ("utf-8" if "charset" in response.headers["content-type"] else response.encoding)
        assert (response.ok, response.is_redirect, response.history) == (True, False, [])
        assert not response.cookies
        seen.append((response.headers["CONTENT-TYPE"].partition(";")[0], response.text))
        if response.headers["Content-Type"].startswith("application/json"):
            assert response.json() == json.loads(response.text)
        response.request.hooks.clear()  # a local function cannot be pickled
        unpickled = pickle.loads(pickle.dumps(response))
        assert (unpickled.text, unpickled.headers) == (response.text, response.headers)

    with requests.Session() as session:
        session.hooks["response"].append(hook)
        with client(shared_emulator, session=session) as giga:
            answer = giga.chat("hello").text
            streamed = "".join(giga.generate("Count from 1 to 3"))
    assert [media_type for media_type, _ in seen] == ["application/json", "application/json", "text/event-stream"]
    assert json.loads(seen[1][1])["choices"][0]["message"]["content"] == answer
    assert (streamed, "data: [DONE]" in seen[2][1]) == ("1, 2, 3", True)


def test_a_hook_that_reads_nothing_leaves_the_stream_alive(shared_emulator: GigaChatEmulator) -> None:
    statuses: list[int] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **options: statuses.append(response.status_code))
        with client(shared_emulator, session=session) as giga:
            assert [chunk.text for chunk in giga.stream("Count from 1 to 3") if chunk.text]
    assert statuses == [200, 200]


def test_cookies_and_redirects_are_available() -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    responses: list[requests.Response] = []

    def talk(sock: Any) -> None:
        while read_request(sock):
            sock.sendall(answer)

    with Peer(talk) as peer, requests.Session() as session:
        session.hooks["response"].append(lambda response, **options: responses.append(response))
        with transport_to(peer.url, session=session) as transport:
            response = send(transport, peer.url + "/")
            assert response.read(10) == b""
    assert dict(response.original.cookies) == {"a": "1", "b": "2"}
    assert dict(responses[0].cookies) == {"a": "1", "b": "2"}
    assert "set-cookie" not in response.headers
    assert responses[0].headers["set-cookie"] == "a=1, b=2; Path=/"
    assert responses[0].encoding is None
    with pytest.raises(AttributeError):
        responses[0].nothing_of_that_name  # noqa: B018


def test_a_response_has_all_attributes_of_this_version_of_requests(shared_emulator: GigaChatEmulator) -> None:
    found: list[requests.Response] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **options: found.append(response))
        with client(shared_emulator, session=session) as giga:
            giga.chat("hello")
    for name in vars(requests.Response()):
        assert hasattr(found[0], name), name
    assert found[0].history is not found[1].history


def test_an_adapter_of_the_users_own_may_answer_with_any_mapping_of_headers() -> None:
    class UserAdapter(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            response = requests.Response()
            response.status_code, response.raw = 200, io.BytesIO(b"ok")
            response.headers = {"Content-Type": "Text/Plain"}  # type: ignore[assignment]
            return response

    with requests.Session() as session:
        session.mount("https://api.example/", UserAdapter())
        with transport_to("https://api.example", session=session) as transport:
            response = send(transport, "https://api.example/")
            assert (response.media_type, response.read(10)) == ("text/plain", b"ok")


def test_a_recorder_that_replaces_the_librarys_connections_gets_ours_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Recording(HTTPConnectionPool.ConnectionCls):  # type: ignore[misc, name-defined]
        def connect(self) -> None:
            made.append(self)
            super().connect()

    def talk(sock: Any) -> None:
        while read_request(sock):
            sock.sendall(VALID[0])

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert ask(transport, peer.url + "/") == b"ok"
        with monkeypatch.context() as patch:
            patch.setattr(HTTPConnectionPool, "ConnectionCls", Recording)
            pool = transport._adapter._pools[peer.url]
            pool.close()
            transport._adapter._pools.clear()
            transport._adapter.poolmanager.clear()
            assert ask(transport, peer.url + "/") == b"ok"
        assert len(made) == 1
        assert transport._adapter._pools[peer.url].ConnectionCls is DeadlineHTTPConnection


# -- shared values and lazy imports ------------------------------------------------------------------------------------


def test_without_options_all_calls_share_one_value_and_context_variables_still_count() -> None:
    default = Timeouts()
    shared = call_options({}, default)
    assert call_options({"temperature": 1}, default) is shared
    assert shared == RequestOptions()
    token = trace_id_cvar.set("t-1")
    try:
        assert call_options({}, default).headers == {"X-Trace-ID": "t-1"}
    finally:
        trace_id_cvar.reset(token)
    assert call_options({}, default, "s-1").headers == {"X-Session-ID": "s-1"}
    assert call_options({"max_retries": 0}, default).max_retries == 0
    assert call_options({}, default) is shared
    assert dict(shared.headers) == {}


def test_values_hide_secrets_and_are_immutable() -> None:
    call = Request("POST", "/x", body=b"s3cret")
    options = RequestOptions(headers={"X": "s3cret"}, authorization=Secret("s3cret"), max_retries=1)
    assert "s3cret" not in repr((call, options, call.__rich_repr__(), options.__rich_repr__()))
    assert "max_retries=1" in repr(options)
    assert repr(RetryPolicy(3)).startswith("RetryPolicy(max_retries=3, ")
    assert (RetryPolicy(3), hash(RetryPolicy(3))) == (RetryPolicy(3), hash(RetryPolicy(3)))
    with pytest.raises(AttributeError):
        call.path = "/y"  # type: ignore[misc]


IMPORTED = """
import json, sys
{}
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(line: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after ``line``."""
    run = subprocess.run([sys.executable, "-c", IMPORTED.format(line)], capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_an_import_loads_neither_http_nor_rarely_used_modules() -> None:
    loaded = loaded_by("from gigaclient import GigaChat, ChatStream, Message, ConfigError")
    assert "gigaclient.gigachat.client" in loaded
    unwanted = {"requests", "urllib3", "http.client", "dataclasses", "inspect", "html", "gigaclient.auth.token_store"}
    assert loaded & unwanted - loaded_by("import msgspec") == set()
    assert not [name for name in loaded if name.startswith(("gigaclient.fakegpt", "gigaclient.testing"))]


def test_the_first_client_loads_http_and_no_other_service() -> None:
    loaded = loaded_by("from gigaclient import GigaChat; GigaChat(access_token='t')")
    assert {"requests", "gigaclient.transport.socket"} <= loaded
    assert "gigaclient.fakegpt.client" not in loaded


def test_lazy_names_are_available_like_the_others() -> None:
    assert "gigaclient.fakegpt.client" in loaded_by("from gigaclient import FakeGpt; FakeGpt")
    assert "gigaclient.fakegpt.client" in loaded_by("from gigaclient import *; FakeGpt")
    loaded_by("import gigaclient; assert 'FakeGpt' in dir(gigaclient) and not hasattr(gigaclient, 'Nonsense')")
    loaded_by("from gigaclient.transport import Session, Transport, Response, wait_failure, Request, origin_of")
    loaded_by("import typing, gigaclient; assert typing.get_type_hints(gigaclient.GigaChat.__init__)['session']")


def test_connections_derive_from_the_librarys_classes_even_under_a_recorder() -> None:
    loaded_by(
        "import urllib3.connection as c, urllib3.connectionpool as p\n"
        "own = c.HTTPSConnection\n"
        "class Recording(own): ...\n"
        "class Plain(c.HTTPConnection): ...\n"
        "c.HTTPConnection, c.HTTPSConnection = Plain, Recording\n"
        "p.HTTPConnectionPool.ConnectionCls, p.HTTPSConnectionPool.ConnectionCls = Plain, Recording\n"
        "from gigaclient.transport import connection\n"
        "assert issubclass(connection.DeadlineHTTPSConnection, own)\n"
        "assert not issubclass(connection.DeadlineHTTPSConnection, (Recording, Plain))\n"
        "assert connection.DeadlineHTTPSPool('h').ConnectionCls is Recording\n"
    )
