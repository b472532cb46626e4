"""Tests of proxies: which one is used, how it is shown, how it fails; ``.netrc`` and redirects are ignored."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from support.socket_tools import (
    ConnectProxy,
    Peer,
    Stopwatch,
    ask,
    deadline,
    recorded_warnings,
    send,
    silent,
    transport_to,
    trust_in,
    with_login,
)

from gigaclient import APIConnectionError, APIStatusError, APITimeoutError, ConfigError, FakeGpt, GigaChat
from gigaclient._primitives.secret import Secret
from gigaclient.testing import Answer, Authority, FakeGptEmulator, GigaChatEmulator, RecordedRequest, Server
from gigaclient.transport import Transport
from gigaclient.transport.proxies import proxy_for, without_password
from gigaclient.transport.tls import Trust

PASSWORD = "s3cret-passw0rd"
LOGIN = f"alice:{PASSWORD}"


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(lambda request: Answer(body="hello"), tls=authority) as server:
        yield server


# -- which proxy is used ---------------------------------------------------------------------------------


def test_the_proxy_argument_counts_for_every_origin(server: Server, trust: Trust) -> None:
    with ConnectProxy() as proxy, transport_to(server.url, trust=trust, proxy=proxy.url) as transport:
        assert [ask(transport, server.url + "/") for _ in range(3)] == [b"hello"] * 3
        assert proxy.targets == [server.url.removeprefix("https://")]  # one tunnel, used three times


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_environments_proxy_counts_without_one(
    name: str, server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv(name, proxy.url)
        with transport_to(server.url, trust=trust) as transport:
            assert ask(transport, server.url + "/") == b"hello"
        assert len(proxy.targets) == 1


def test_an_address_without_a_scheme_is_an_http_proxy(server: Server, trust: Trust) -> None:
    with ConnectProxy() as proxy, transport_to(server.url, trust=trust, proxy=proxy.address) as transport:
        assert ask(transport, server.url + "/") == b"hello"
        assert len(proxy.targets) == 1


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("value", ["127.0.0.1", "*", "localhost,127.0.0.0/8"])
def test_no_proxy_leads_past_the_environments_proxy(
    name: str, value: str, server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv(name, value)
        with transport_to(server.url, trust=trust) as transport:
            assert ask(transport, server.url + "/") == b"hello"
        assert proxy.connections == 0


def test_no_proxy_does_not_lead_past_the_argument(
    server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with ConnectProxy() as proxy, transport_to(server.url, trust=trust, proxy=proxy.url) as transport:
        ask(transport, server.url + "/")
        assert len(proxy.targets) == 1


def test_an_empty_argument_means_no_proxy_at_all(server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with transport_to(server.url, trust=trust, proxy="") as transport:
        assert ask(transport, server.url + "/") == b"hello"


@pytest.mark.parametrize("no", [False, "false"])
def test_a_client_with_proxy_false_has_no_proxy(no: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GIGACHAT_PROXY", "http://127.0.0.1:9")
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, proxy=no) as giga:
        assert giga.with_options(timeout=30).chat("hello").text
        with pickle.loads(pickle.dumps(giga)) as copied:
            assert copied.chat("hello").text
    with FakeGptEmulator() as emulator, FakeGpt(**emulator.client_options, proxy=no) as fake:
        assert fake.chat("hello").text


def test_the_environment_may_say_that_there_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GIGACHAT_PROXY", "off")
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options) as giga:
        assert giga.chat("hello").text


def test_one_call_with_proxy_false_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with GigaChatEmulator() as emulator:
        options = {**emulator.client_options, "api_key": emulator.client_options["credentials"]}
        del options["credentials"]
        assert "".join(GigaChat.create_generator(None, "Count from 1 to 3", proxy=False, **options)) == "1, 2, 3"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("sessions", ["own", "the user's"])
def test_plain_http_never_goes_through_a_proxy_of_the_environment(
    name: str, sessions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Server(lambda request: Answer(body="hello"), tls=None) as plain,
        ConnectProxy() as proxy,
        requests.Session() as session,
    ):
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv(name, proxy.url)
        options = {"session": session} if sessions == "the user's" else {}
        with transport_to(plain.url, **options) as transport:
            assert ask(transport, plain.url + "/", headers={"Authorization": "Bearer token"}) == b"hello"
        assert proxy.connections == 0


def test_the_environment_is_read_once(server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    with transport_to(server.url, trust=trust) as transport:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        assert ask(transport, server.url + "/") == b"hello"


def test_the_proxies_of_the_users_session_come_before_the_environments(
    server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with ConnectProxy() as proxy, requests.Session() as session:
        session.proxies = {"https": proxy.url}
        with transport_to(server.url, trust=trust, session=session) as transport:
            assert ask(transport, server.url + "/") == b"hello"
        assert len(proxy.targets) == 1


def test_a_session_that_does_not_trust_the_environment_gets_no_proxy_from_it(
    server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with requests.Session() as session:
        session.trust_env = False
        with transport_to(server.url, trust=trust, session=session) as transport:
            assert ask(transport, server.url + "/") == b"hello"


# -- invalid proxies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ftp", "socks", "socks6"])
def test_another_scheme_is_refused_with_a_clear_message_without_the_password(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{scheme}://{LOGIN}@127.0.0.1:1080"
    with pytest.raises(ConfigError, match=f"{scheme}:// is not supported") as caught:
        proxy_for("https://api.example", Secret(address))
    assert_shows_no_password(caught.value)
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(ConfigError, match=rf"ALL_PROXY: {scheme}://\*\*\*@127.0.0.1:1080 must be") as caught:
        Transport(Trust(), ("https://api.example",))
    assert_shows_no_password(caught.value)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('"{}"', "there are quotes around {}: remove them"),
        ("'{}'", "there are quotes around {}: remove them"),
        ("{}\r", "{} is followed by, or has, a space or a line break"),
        ("{}\n", "{} is followed by, or has, a space or a line break"),
        ("{} #comment", "a space or a line break"),
    ],
    ids=["double", "single", "CR", "LF", "comment"],
)
def test_an_address_with_more_around_it_is_refused_and_named(
    written: str, problem: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = written.format(f"{scheme}://{LOGIN}@proxy.example:3128")
    expected = problem.format(f"{scheme}://***@proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", address)
    for source, proxy in (("proxy: ", Secret(address)), ("HTTPS_PROXY: ", None)):
        with pytest.raises(ConfigError) as caught:
            proxy_for("https://api.example", proxy)
        assert str(caught.value).startswith(source)
        assert expected in str(caught.value)
        assert_shows_no_password(caught.value)


@pytest.mark.parametrize("password", ["пароль", quote("пароль")], ids=["letters", "quoted"])
def test_a_cyrillic_password_of_an_http_proxy_is_refused(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://alice:{password}@proxy.example:3128")
    with pytest.raises(
        ConfigError, match=r"https_proxy: the user or .* http://\*\*\*@proxy.example:3128 has"
    ) as caught:
        proxy_for("https://api.example", None)
    assert password not in str(caught.value)


def test_a_password_in_the_place_of_the_port_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="not an address like") as caught:
        proxy_for("https://api.example", Secret(f"http://{LOGIN}"))
    assert_shows_no_password(caught.value)


@pytest.mark.parametrize(
    "rest",
    ["127.0.0.1:port", "127.0.0.1:70000", "[::1", "", ":8080", "127.0.0.1:0"],
    ids=lambda rest: rest or "nothing",
)
def test_an_invalid_address_is_refused_without_the_password(rest: str) -> None:
    with pytest.raises(ConfigError, match="not an address like") as caught:
        Transport(Trust(), ("https://api.example",), proxy=f"http://{LOGIN}@{rest}")
    assert_shows_no_password(caught.value)


def assert_shows_no_password(error: BaseException) -> None:
    """Check that no password is in the text of the error or in the local variables of our frames."""
    exception = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [str(frame.locals) for frame in exception.stack if "/tests/" not in frame.filename]
    assert frames
    assert PASSWORD not in "".join(frames) + str(error) + repr(error)
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        (f"http://{LOGIN}@proxy:3128/", "http://***@proxy:3128/"),
        ("http://a:p%40ss@w0rd@proxy", "http://***@proxy"),
        ("https://token@proxy?key=s3cret", "https://***@proxy"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


# -- user and password -------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [PASSWORD, "p@ss:w/rd%"], ids=["plain", "quoted"])
def test_user_and_password_reach_the_proxy_and_not_the_server(password: str, server: Server, trust: Trust) -> None:
    before = len(server.requests)
    quoted = quote(password, safe="")
    with (
        ConnectProxy(login=f"alice:{password}") as proxy,
        transport_to(server.url, trust=trust, proxy=with_login(proxy.url, f"alice:{quoted}")) as transport,
    ):
        assert ask(transport, server.url + "/", headers={"Authorization": "Bearer token"}) == b"hello"
    (request,) = server.requests[before:]
    assert "proxy-authorization" not in request.headers
    assert b"token" not in proxy.heads[0]


@pytest.mark.parametrize("login", ["", "alice:wrong-s3cret"])
def test_407_says_what_to_do_about_the_password_and_does_not_show_it(login: str, server: Server, trust: Trust) -> None:
    with ConnectProxy(login=LOGIN) as proxy:
        address = with_login(proxy.url, login) if login else proxy.url
        with (
            transport_to(server.url, trust=trust, proxy=address) as transport,
            pytest.raises(APIConnectionError, match="407") as caught,
        ):
            ask(transport, server.url + "/")
        advice = "correct them" if login else 'pass proxy="http://user:password@host:port"'
        assert advice in str(caught.value)
        assert proxy.address in str(caught.value)
        assert "wrong" not in str(caught.value)
        assert caught.value.sent is False


@pytest.mark.parametrize("login", ["", "alice:wrong-s3cret"])
def test_407_is_not_retried(login: str) -> None:
    with GigaChatEmulator() as emulator, ConnectProxy(login=LOGIN) as proxy:
        address = with_login(proxy.url, login) if login else proxy.url
        with (
            GigaChat(**emulator.client_options, proxy=address, retry_backoff_factor=0.0) as giga,
            pytest.raises(APIConnectionError, match="407") as caught,
        ):
            giga.chat("hello")
        assert proxy.connections == 1
    assert not pickle.loads(pickle.dumps(caught.value)).retryable


# -- proxies that fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "403"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
        (b"HTTP/1.1 20", ""),
    ],
    ids=["503", "403", "not HTTP", "cut"],
)
def test_a_proxy_that_does_not_tunnel_is_named_and_nothing_counts_as_sent(
    reply: bytes, message: str, server: Server, trust: Trust
) -> None:
    with ConnectProxy(instead=reply) as proxy:
        with (
            transport_to(server.url, trust=trust, proxy=proxy.url) as transport,
            pytest.raises(APIConnectionError) as caught,
        ):
            ask(transport, server.url + "/")
        assert type(caught.value) is APIConnectionError
        assert "proxy" in str(caught.value)
        assert proxy.address in str(caught.value)
        assert message in str(caught.value)
        assert caught.value.sent is False


@pytest.mark.parametrize("drip_s", [0.0, 0.001], ids=["in one packet", "byte by byte"])
@pytest.mark.parametrize(
    "established",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\n\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["interim", "a length", "an encoding", "HTTP/1.0", "204"],
)
def test_a_tunnel_opens_whatever_a_proxy_sends_around_its_answer(
    established: bytes, drip_s: float, server: Server, trust: Trust
) -> None:
    """RFC 9110, section 9.3.6: any 2xx opens the tunnel, and it has no body."""
    with (
        ConnectProxy(established=established, drip_s=drip_s) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url) as transport,
    ):
        assert ask(transport, server.url + "/") == b"hello"
        target = server.url.removeprefix("https://").encode()
        assert proxy.heads == [b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"]


@pytest.mark.parametrize(
    ("established", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a line is not a name, a colon and a value"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "data follows it"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "status 101"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 200, "interim responses"),
    ],
    ids=["malformed", "data", "101", "interim without end"],
)
def test_a_malformed_response_to_connect_opens_no_tunnel(
    established: bytes, message: str, server: Server, trust: Trust
) -> None:
    before = len(server.requests)
    with (
        ConnectProxy(established=established) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url) as transport,
        pytest.raises(APIConnectionError, match=f"the proxy {proxy.url} failed: .*{message}") as caught,
    ):
        ask(transport, server.url + "/")
    assert caught.value.sent is False
    assert len(server.requests) == before


def test_a_proxy_that_is_not_there_is_named(server: Server, trust: Trust) -> None:
    with Peer(silent) as gone:
        port = gone.port
    address = f"http://{LOGIN}@127.0.0.1:{port}"
    with (
        transport_to(server.url, trust=trust, proxy=address) as transport,
        pytest.raises(APIConnectionError, match=rf"the proxy http://\*\*\*@127.0.0.1:{port} failed") as caught,
    ):
        ask(transport, server.url + "/")
    assert not isinstance(caught.value, APITimeoutError)
    assert "refused" in str(caught.value)
    assert caught.value.sent is False


def test_a_silent_or_slow_proxy_costs_one_connect_timeout_in_all(server: Server, trust: Trust) -> None:
    for proxy in (ConnectProxy(instead=b""), ConnectProxy(drip_s=0.1)):
        with proxy, transport_to(server.url, trust=trust, proxy=proxy.url) as transport:
            with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
                ask(transport, server.url + "/", deadline(connect=0.6))
            assert caught.value.timeout_kind == "connect"
            assert caught.value.sent is False
            assert 0.5 < took.seconds < 3


def test_a_deadline_ends_a_slow_proxy(server: Server, trust: Trust) -> None:
    with ConnectProxy(drip_s=0.1) as proxy, transport_to(server.url, trust=trust, proxy=proxy.url) as transport:
        with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
            ask(transport, server.url + "/", deadline(deadline=0.5))
        assert caught.value.timeout_kind == "deadline"
        assert took.seconds < 4


def test_a_slow_tunnel_works_within_the_connect_timeout(server: Server, trust: Trust) -> None:
    with ConnectProxy(drip_s=0.005) as proxy, transport_to(server.url, trust=trust, proxy=proxy.url) as transport:
        assert ask(transport, server.url + "/", deadline(connect=20)) == b"hello"


def test_a_whole_client_works_through_a_proxy_with_streams_and_all() -> None:
    with GigaChatEmulator() as emulator, ConnectProxy(login=LOGIN) as proxy:
        with GigaChat(**emulator.client_options, proxy=with_login(proxy.url, LOGIN)) as giga:
            assert giga.chat("Count from 1 to 3").text == "1, 2, 3"
            assert "".join(giga.generate("Count from 1 to 3")) == "1, 2, 3"
            assert PASSWORD not in repr(giga)
        assert len(proxy.targets) == 2  # the API and the OAuth host


# -- .netrc ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["machine 127.0.0.1 login thief password pw", "default login thief password pw"])
@pytest.mark.parametrize("location", ["home", "NETRC"])
@pytest.mark.parametrize("sessions", ["own", "the user's"])
def test_netrc_never_replaces_the_authorization(
    entry: str, location: str, sessions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / (".netrc" if location == "home" else "secrets")
    file.write_text(entry)
    file.chmod(0o600)
    monkeypatch.setenv("HOME" if location == "home" else "NETRC", str(tmp_path if location == "home" else file))
    with GigaChatEmulator() as emulator, requests.Session() as session:
        options = {**emulator.client_options, "session": session if sessions == "the user's" else None}
        with GigaChat(**options) as giga:
            assert giga.chat("hello").text
            authorization = emulator.requests[-1].headers["authorization"]
            assert authorization.startswith("Bearer ")
            assert emulator.oauth_requests[-1].headers["authorization"].startswith("Basic ")
            assert "dGhpZWY6cHc=" not in authorization + emulator.oauth_requests[-1].headers["authorization"]
        if sessions == "the user's":
            # A session on its own would use the password of the file.
            assert session.trust_env
            assert requests.utils.get_netrc_auth(emulator.base_url) == ("thief", "pw")


# -- redirects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("sessions", ["own", "the user's"])
def test_a_redirect_is_an_error_and_neither_prompt_nor_token_goes_elsewhere(
    status: int, sessions: str, authority: Authority
) -> None:
    with Server(lambda request: Answer(), tls=authority) as elsewhere:

        def redirect(request: RecordedRequest) -> Answer:
            return Answer(status, {"Location": elsewhere.url + "/v1/chat/completions?x=1"}, "moved")

        with Server(redirect, tls=authority) as server, requests.Session() as session:
            with GigaChat(
                base_url=server.url,
                access_token="token",
                ca_bundle_file=authority.ca_file,
                session=session if sessions == "the user's" else None,
            ) as giga:
                with pytest.raises(APIStatusError) as caught:
                    giga.chat("the prompt", headers={"X-Authorization": "token"})
                assert caught.value.status_code == status
                assert "redirects are not followed" in str(caught.value)
                assert elsewhere.url in str(caught.value)
                with pytest.raises(APIStatusError):
                    list(giga.generate("the prompt"))
            assert elsewhere.connections == 0
            assert len(server.requests) == 2
            assert server.connections == 1


@pytest.mark.parametrize(
    "location", ["http://[::1", "//", "\xff\xfe", "javascript:alert(1)", "https://a b/", "/relative"]
)
def test_a_redirect_to_nonsense_is_the_same_error(location: str, authority: Authority) -> None:
    with (
        Server(lambda request: Answer(302, {"Location": location}), tls=authority) as server,
        transport_to(server.url, trust=trust_in(authority.ca_file)) as transport,
    ):
        response = send(transport, server.url + "/")
        assert response.status == 302
        assert response.read(100) == b""


def test_the_body_of_a_redirect_is_not_read_unasked(authority: Authority) -> None:
    def endless(request: RecordedRequest) -> Answer:
        def steps() -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        return Answer(302, {"Location": "https://other.example/"}, steps())

    with (
        Server(endless, tls=authority) as server,
        transport_to(server.url, trust=trust_in(authority.ca_file)) as transport,
    ):
        with Stopwatch() as took:
            response = send(transport, server.url + "/", deadline(read=20))
            assert len(response.read_some(1000)) == 1000
        assert took.seconds < 5


# -- cookies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", ["own", "the user's"])
def test_cookies_are_not_sent_back(sessions: str, authority: Authority) -> None:
    def bake(request: RecordedRequest) -> Answer:
        return Answer(200, [("Set-Cookie", "session=abc; Path=/"), ("Set-Cookie", "b=2")], "ok")

    with Server(bake, tls=authority) as server, requests.Session() as session:
        theirs = session if sessions == "the user's" else None
        with transport_to(server.url, trust=trust_in(authority.ca_file), session=theirs) as transport:
            replies = []
            for _ in range(2):
                response = send(transport, server.url + "/")
                response.read(100)
                replies.append(response)
            assert [request.headers.get("cookie") for request in server.requests] == [None, None]
            assert dict(replies[0].original.cookies) == {"session": "abc", "b": "2"}
            assert "set-cookie" not in replies[0].headers
            assert "abc" not in repr(replies[0].original)
            if theirs is None:
                assert not list(transport._session.cookies)


def test_nothing_of_this_warns(server: Server, trust: Trust) -> None:
    with (
        recorded_warnings() as warned,
        ConnectProxy() as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url) as transport,
    ):
        ask(transport, server.url + "/")
    assert warned == []
