"""Tests of SOCKS proxies: every version, who resolves the name, logins, failures, time limits."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.socket_tools import (
    HANG,
    InThread,
    Peer,
    Stopwatch,
    ask,
    at_localhost,
    deadline,
    eventually,
    silent,
    transport_to,
)
from support.socks_server import SocksServer

from gigaclient import APIConnectionError, APITimeoutError, ConfigError, FakeGpt, GigaChat, TLSError
from gigaclient.testing import Answer, Authority, FakeGptEmulator, GigaChatEmulator, Server
from gigaclient.transport.tls import Trust

PASSWORD = "s3cret-passw0rd"
LOGIN = f"alice:{PASSWORD}"
SCHEMES = ["socks4", "socks4a", "socks5", "socks5h"]


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(lambda request: Answer(body="hello"), tls=authority) as server:
        yield server


# -- which connections it makes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_whole_client_works_through_a_socks_proxy_with_streams_and_all(scheme: str) -> None:
    with GigaChatEmulator() as emulator, SocksServer() as proxy:
        with GigaChat(**emulator.client_options, proxy=proxy.url(scheme)) as giga:
            assert giga.chat("Count from 1 to 3").text == "1, 2, 3"
            assert "".join(giga.generate("Count from 1 to 3")) == "1, 2, 3"
        assert proxy.connections == 2  # the API and the OAuth host, each kept alive


def test_fakegpt_works_through_a_socks_proxy() -> None:
    with FakeGptEmulator() as emulator, SocksServer() as proxy:
        with FakeGpt(**emulator.client_options, proxy=proxy.url()) as fake:
            assert fake.chat("Count from 1 to 3").text
        assert proxy.connections


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "session.proxies"])
def test_the_environment_and_the_session_select_it(
    name: str, server: Server, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocksServer() as proxy, requests.Session() as session:
        options: dict[str, Any] = {}
        if name == "session.proxies":
            session.proxies = {"https": proxy.url()}
            options["session"] = session
        else:
            monkeypatch.setenv(name, proxy.url())
        with transport_to(server.url, trust=trust, **options) as transport:
            assert [ask(transport, server.url + "/") for _ in range(3)] == [b"hello"] * 3
        assert proxy.targets == [server.url.removeprefix("https://")]  # one tunnel, used three times


@pytest.mark.parametrize(
    ("scheme", "resolves"), [("socks4", False), ("socks4a", True), ("socks5", False), ("socks5h", True)]
)
def test_the_scheme_says_who_resolves_the_name(scheme: str, resolves: bool, server: Server, trust: Trust) -> None:
    url = at_localhost(server.url)
    with (
        SocksServer(names={"localhost": "127.0.0.1", "::1": "127.0.0.1"}) as proxy,
        transport_to(url, trust=trust, proxy=proxy.url(scheme)) as transport,
    ):
        assert ask(transport, url + "/") == b"hello"
        (target,) = proxy.targets
    assert target.startswith("localhost:") is resolves


def test_a_name_that_only_the_proxy_knows_works_with_socks5h(server: Server, trust: Trust) -> None:
    url = f"https://gateway.invalid:{server.port}"
    with SocksServer(names={"gateway.invalid": "127.0.0.1"}) as proxy:
        with transport_to(url, trust=trust, proxy=proxy.url()) as transport, pytest.raises(TLSError) as caught:
            ask(transport, url + "/")  # the handshake came through, and the certificate is for another name
        assert caught.value.host == "gateway.invalid"
        assert caught.value.issuer
        # A connection that fetches the refused certificate once more takes the same way.
        assert set(proxy.targets) == {f"gateway.invalid:{server.port}"}
        assert len(proxy.targets) == 2
        with (
            transport_to(url, trust=trust, proxy=proxy.url("socks5")) as transport,
            pytest.raises(APIConnectionError, match=r"'gateway\.invalid' could not be resolved"),
        ):
            ask(transport, url + "/")
        assert len(proxy.targets) == 2


def test_the_users_session_never_goes_past_the_proxy_when_it_is_used_alone(server: Server, trust: Trust) -> None:
    with SocksServer() as proxy, requests.Session() as session:
        session.proxies = {"https": proxy.url()}
        with transport_to(server.url, trust=trust, session=session):
            assert session.get(server.url + "/").content == b"hello"
        assert len(proxy.targets) == 1


# -- user and password ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [PASSWORD, "p%40ss%3Aw%2Frd%25", "пароль", "x" * 127])
def test_user_and_password_reach_the_proxy(password: str, server: Server, trust: Trust) -> None:
    login = f"alice:{requests.utils.unquote(password)}"
    with (
        SocksServer(login=login) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url(login=f"alice:{password}")) as transport,
    ):
        assert ask(transport, server.url + "/") == b"hello"
        assert proxy.logins == [login]


def test_socks4_sends_the_user(server: Server, trust: Trust) -> None:
    with (
        SocksServer(login="alice") as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url("socks4", "alice")) as transport,
    ):
        assert ask(transport, server.url + "/") == b"hello"
        assert proxy.logins == ["alice"]


@pytest.mark.parametrize(
    ("scheme", "login", "advice"),
    [
        ("socks5h", "", 'pass proxy="socks5h://user:password@host:port"'),
        ("socks5h", "alice:wrong-s3cret", "does not accept the user and the password of its address: correct them"),
        ("socks4", "bob", "does not accept the user and the password"),
    ],
)
def test_a_refused_login_is_not_repeated_and_the_advice_knows_whether_there_was_one(
    scheme: str, login: str, advice: str
) -> None:
    with GigaChatEmulator() as emulator, SocksServer(login=LOGIN) as proxy:
        with (
            GigaChat(**emulator.client_options, proxy=proxy.url(scheme, login), retry_backoff_factor=0.0) as giga,
            pytest.raises(APIConnectionError) as caught,
        ):
            giga.chat("hi")
        assert proxy.connections == 1
    assert advice in str(caught.value)
    assert proxy.address in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert caught.value.sent is False


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal to one thread")
def test_an_interrupt_in_the_handshake_shows_no_password(server: Server, trust: Trust) -> None:
    main = threading.get_ident()
    with (
        SocksServer(login=LOGIN, silent_after=2) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url(login=LOGIN)) as transport,
    ):
        interrupter = InThread(
            lambda: eventually(lambda: bool(proxy.logins)) and signal.pthread_kill(main, signal.SIGINT)
        )
        with pytest.raises(KeyboardInterrupt) as caught:
            ask(transport, server.url + "/")
        assert interrupter.outcome() is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename.endswith(("socks.py", "socks_tunnel.py", "dial.py"))]
    assert {"_SOCKS5_request", "open_tunnel"} <= {frame.name for frame in frames}
    assert PASSWORD not in "".join(str(frame.locals) for frame in frames)


# -- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_proxy_that_refuses_is_named_with_its_reason(scheme: str, server: Server, trust: Trust) -> None:
    with (
        SocksServer(refuse=True) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url(scheme, "alice:" + PASSWORD)) as transport,
    ):
        with pytest.raises(APIConnectionError) as caught:
            ask(transport, server.url + "/")
        assert f"the proxy {scheme}://***@{proxy.address} failed: 0x" in str(caught.value)
    assert ("refused" if "5" in scheme else "rejected") in str(caught.value)
    assert caught.value.sent is False


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05", b""], ids=["HTTP", "cut", "closed"])
def test_a_server_that_is_no_socks_proxy_is_named(reply: bytes, server: Server, trust: Trust) -> None:
    def talk(sock: Any) -> None:
        sock.recv(100)
        sock.sendall(reply)

    with Peer(talk) as peer:
        address = f"socks5h://127.0.0.1:{peer.port}"
        with (
            transport_to(server.url, trust=trust, proxy=address) as transport,
            pytest.raises(APIConnectionError, match=f"the proxy {address} failed: (socks5 proxy|connection)") as caught,
        ):
            ask(transport, server.url + "/")
    assert caught.value.sent is False


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
def test_a_proxy_that_is_not_there_is_named(host: str, server: Server, trust: Trust) -> None:
    with Peer(silent) as gone:
        address = f"socks5h://{LOGIN}@{host}:{gone.port}"
    with (
        transport_to(server.url, trust=trust, proxy=address) as transport,
        pytest.raises(APIConnectionError, match=rf"the proxy socks5h://\*\*\*@{host}:\d+ failed") as caught,
    ):
        ask(transport, server.url + "/")
    assert "gateway" not in str(caught.value)
    assert caught.value.sent is False


# -- time limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"silent_after": 1}, {"login": LOGIN, "silent_after": 2}, {"silent_after": 3}, {"drip_s": 0.1}],
    ids=["greeting", "login", "request", "drips"],
)
def test_a_silent_or_slow_proxy_costs_one_connect_timeout_in_all(
    options: dict[str, Any], server: Server, trust: Trust
) -> None:
    with (
        SocksServer(**options) as proxy,
        transport_to(server.url, trust=trust, proxy=proxy.url(login=LOGIN)) as transport,
    ):
        with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
            ask(transport, server.url + "/", deadline(connect=0.6))
        assert caught.value.timeout_kind == "connect"
        assert caught.value.sent is False
        assert 0.5 < took.seconds < 3


def test_a_deadline_ends_a_slow_proxy(server: Server, trust: Trust) -> None:
    with SocksServer(drip_s=0.1) as proxy, transport_to(server.url, trust=trust, proxy=proxy.url()) as transport:
        with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
            ask(transport, server.url + "/", deadline(deadline=0.5))
        assert caught.value.timeout_kind == "deadline"
        assert took.seconds < 4


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_closing_the_client_ends_the_wait_for_a_silent_proxy(scheme: str, server: Server, trust: Trust) -> None:
    url = at_localhost(server.url)  # a name, because a look-up uses the same way to be cancelled
    last_message = 1 if scheme == "socks4" else 3
    with (
        SocksServer(silent_after=last_message) as proxy,
        transport_to(url, trust=trust, proxy=proxy.url(scheme)) as transport,
    ):
        call = InThread(lambda: ask(transport, url + "/"))
        assert eventually(lambda: len(proxy.targets) == 1)
        with Stopwatch() as took:
            transport.close()
            error = call.outcome()
        assert isinstance(error, APIConnectionError)
        assert "ended by close()" in str(error)
        assert took.seconds < 5


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_look_up_on_this_machine_costs_no_more_than_the_connect_timeout(
    scheme: str, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, release = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.example":
            release.wait(HANG)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return system(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with (
        SocksServer() as proxy,
        transport_to("https://slow.example", trust=trust, proxy=proxy.url(scheme)) as transport,
    ):
        try:
            with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
                ask(transport, "https://slow.example/", deadline(connect=0.5))
        finally:
            release.set()
        assert caught.value.timeout_kind == "connect"
        assert took.seconds < 5


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_pysocks_the_error_names_the_variable_and_the_extra(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://{LOGIN}@proxy.example:1080")
    for provider in (GigaChat, FakeGpt):
        with pytest.raises(ConfigError) as caught:
            provider()
        assert str(caught.value).startswith(f"ALL_PROXY: {scheme}://***@proxy.example:1080 needs")
        assert "needs PySocks (the extra socks), which is not installed: pip install" in str(caught.value)


def test_a_password_that_pysocks_would_send_wrongly_is_refused() -> None:
    with pytest.raises(ConfigError, match="127 bytes"):
        GigaChat(proxy=f"socks5://alice:{'x' * 128}@proxy.example")
