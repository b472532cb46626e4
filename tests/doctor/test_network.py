"""The steps to a host: names, addresses, proxies. Each failure is reported, and no step exceeds its limit."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.certificates import PlainAuthority
from support.doctor_tools import assert_no_secrets, doctors_threads_end, failed, report_on
from support.socket_tools import ConnectProxy, Peer, at_localhost, silent, with_login
from support.socks_server import SocksServer

from gigaclient.doctor import examine
from gigaclient.doctor.endpoints import Endpoint
from gigaclient.doctor.probe_socket import ProbeError, ProbeSocket, ProbeTimeout, within
from gigaclient.testing import Answer, Authority, GigaChatEmulator, Server

PASSWORD = "s3cret-passw0rd"
LOGIN = f"alice:{PASSWORD}"


# -- proxies ---------------------------------------------------------------------------------------------------------


def test_everything_goes_through_the_proxy_of_the_environment(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(login=LOGIN) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", with_login(proxy.url, LOGIN))
        report = report_on(shared_emulator)
        assert report.healthy
        assert f"http://***@{proxy.address} from HTTPS_PROXY" in report["proxy"].detail
        assert f"127.0.0.1:{shared_emulator.api_server.port} through" in report["api.connection"].detail
        assert report["api.address"].outcome == "not_checked"
        assert report["api.tls"].outcome == "ok"
        assert set(proxy.targets) == {
            f"127.0.0.1:{shared_emulator.api_server.port}",
            f"127.0.0.1:{shared_emulator.oauth_server.port}",
        }
    assert_no_secrets(report, PASSWORD, "alice")


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4"])
def test_everything_goes_through_a_socks_proxy(
    scheme: str, shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocksServer(login="alice" if scheme == "socks4" else LOGIN) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url(scheme, LOGIN))
        report = report_on(shared_emulator, chat=True)
        assert report.healthy
        assert f"{scheme}://***@{proxy.address} from ALL_PROXY" in report["proxy"].detail
        assert report["api.address"].outcome == ("not_checked" if scheme == "socks5h" else "ok")
        assert report["api.tls"].outcome == "ok"
        assert len(set(proxy.targets)) == 2


def test_a_socks_proxy_that_asks_for_a_password_or_refuses_says_what_to_do(shared_emulator: GigaChatEmulator) -> None:
    with SocksServer(login=LOGIN) as proxy:
        report = report_on(shared_emulator, proxy=proxy.url(login="alice:wrong-passw0rd"))
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "as socks5h://***@host:port" in report["api.connection"].next_step
    assert_no_secrets(report, "wrong-passw0rd")
    with SocksServer(refuse=True) as proxy:
        report = report_on(shared_emulator, proxy=proxy.url())
    assert "connection refused" in report["api.connection"].detail
    assert "have its administrator allow 127.0.0.1" in report["api.connection"].next_step


def test_a_silent_socks_proxy_takes_no_longer_than_the_limit(shared_emulator: GigaChatEmulator) -> None:
    with SocksServer(silent_after=1) as proxy:
        report = report_on(shared_emulator, proxy=proxy.url(), check_seconds=0.5)
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "timed out" in report["api.connection"].detail


def test_a_proxy_that_asks_for_a_password_says_where_to_put_it(shared_emulator: GigaChatEmulator) -> None:
    with ConnectProxy(login=LOGIN) as proxy:
        report = report_on(shared_emulator, proxy=with_login(proxy.url, "alice:wrong-passw0rd"))
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "407" in report["api.connection"].detail
    assert "user and password into proxy= (argument)" in report["api.connection"].next_step
    assert report["token"].detail == "not checked: no connection"
    assert_no_secrets(report, "wrong-passw0rd")


def test_a_proxy_that_does_not_tunnel_to_a_host_says_which(shared_emulator: GigaChatEmulator) -> None:
    with ConnectProxy(instead=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        report = report_on(shared_emulator, proxy=proxy.url)
    assert report["proxy"].outcome == "ok"
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "403 Forbidden" in report["auth.connection"].detail
    assert f"allow CONNECT to 127.0.0.1:{shared_emulator.oauth_server.port}" in report["auth.connection"].next_step


@pytest.mark.parametrize("instead", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 20"], ids=["SSH", "cut"])
def test_a_server_that_is_not_a_proxy_is_reported(instead: bytes, shared_emulator: GigaChatEmulator) -> None:
    with ConnectProxy(instead=instead) as proxy:
        report = report_on(shared_emulator, proxy=proxy.url)
    assert failed(report) == ["api.connection", "auth.connection"]


def test_a_proxy_without_a_listener_is_reported_once_and_the_rest_is_skipped(shared_emulator: GigaChatEmulator) -> None:
    with Peer(silent) as gone:
        port = gone.port
    report = report_on(shared_emulator, proxy=f"http://{LOGIN}@127.0.0.1:{port}")
    assert failed(report) == ["proxy"]
    assert f"http://***@127.0.0.1:{port} from proxy= (argument)" in report["proxy"].detail
    assert "refused" in report["proxy"].detail
    for id in ("api.address", "api.connection", "auth.tls", "token", "models", "balance"):
        assert report[id].detail == "not checked: no connection through the proxy"
    assert_no_secrets(report, PASSWORD)


def test_a_proxy_that_says_nothing_takes_no_longer_than_the_limit(shared_emulator: GigaChatEmulator) -> None:
    with ConnectProxy(instead=b"") as proxy:
        began = time.monotonic()
        report = report_on(shared_emulator, proxy=proxy.url, check_seconds=2)
        assert time.monotonic() - began < 30
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "timed out" in report["api.connection"].detail


def test_an_unknown_name_of_a_proxy_is_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.invalid:3128")
    report = report_on(shared_emulator)
    assert failed(report) == ["proxy"]
    assert "https_proxy" in report["proxy"].next_step


@pytest.mark.parametrize("address", [f"ftp://{LOGIN}@127.0.0.1:1080", f"http://{LOGIN}@127.0.0.1:port"])
def test_an_address_that_is_not_a_proxy_is_reported_and_the_rest_is_checked_without_it(
    address: str, shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    report = report_on(shared_emulator)
    assert failed(report) == ["proxy"]
    assert report["proxy"].next_step.startswith("fix or unset ALL_PROXY:")
    assert "NO_PROXY=127.0.0.1" in report["proxy"].next_step
    assert report["api.tls"].outcome == "ok"
    assert report["token"].detail == "not checked: no connection through the proxy"  # the client could not be made
    assert_no_secrets(report, PASSWORD)


def test_no_proxy_bypasses_the_proxy_and_is_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    report = report_on(shared_emulator)
    assert report.healthy
    assert "NO_PROXY bypasses HTTPS_PROXY" in report["proxy"].detail


def test_a_plain_address_uses_no_proxy_of_the_environment(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    with Server(lambda request: Answer(), tls=None) as plain:
        report = report_on(shared_emulator, base_url=plain.url + "/v1", access_token="a-token", credentials=None)
    assert "none for 127.0.0.1: http:// never uses ALL_PROXY" in report["proxy"].detail


def test_a_proxy_for_plain_http_is_ignored_and_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    report = report_on(shared_emulator)
    assert report.healthy
    assert "HTTPS_PROXY is for these addresses" in report["environment"].detail


def test_a_proxy_that_speaks_tls_itself_is_checked_against_public_authorities(
    authority: Authority, shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(tls=authority.server_context(), login=LOGIN) as proxy:
        address = with_login(proxy.url, LOGIN)
        refused = report_on(shared_emulator, proxy=address)
        assert failed(refused) == ["api.connection", "auth.connection"]
        assert "REQUESTS_CA_BUNDLE" in refused["api.connection"].next_step
        assert proxy.heads == []  # no password goes to a proxy that is not trusted
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca_file)
        assert report_on(shared_emulator, proxy=address).healthy  # TLS inside TLS
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Path(authority.ca_file).with_name("gone.pem")))
        lost = report_on(shared_emulator, proxy=address)
    assert "REQUESTS_CA_BUNDLE" in lost["api.connection"].detail


def test_https_in_the_address_of_a_plain_proxy_is_reported(shared_emulator: GigaChatEmulator) -> None:
    def plain(sock: Any) -> None:
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(plain) as peer:
        report = report_on(shared_emulator, proxy=f"https://127.0.0.1:{peer.port}")
    assert "write http:// in its address" in report["api.connection"].next_step


def test_behind_a_proxy_that_reads_everything_its_authority_is_named(
    authority: Authority, shared_emulator: GigaChatEmulator
) -> None:
    with Authority() as company, GigaChatEmulator(authority=company) as intercepted:
        # A proxy that intercepts all connections.
        ports = {shared_emulator.api_server.port: intercepted.api_server.port}
        ports[shared_emulator.oauth_server.port] = intercepted.oauth_server.port
        with _Redirecting(ports) as proxy:
            report = report_on(shared_emulator, proxy=proxy.url)
    assert failed(report) == ["api.tls", "auth.tls"]
    assert "most likely the proxy responds in the server's place" in report["api.tls"].next_step
    assert intercepted.requests == intercepted.oauth_requests == []


class _Redirecting(ConnectProxy):
    """A proxy that tunnels to other ports than requested."""

    def __init__(self, ports: dict[int, int]) -> None:
        self._ports = ports
        super().__init__()

    def _talk(self, sock: Any) -> None:
        super()._talk(_Rewritten(sock, self._ports))


class _Rewritten:
    def __init__(self, sock: Any, ports: dict[int, int]) -> None:
        self._sock, self._ports, self._first = sock, ports, True

    def recv(self, size: int) -> bytes:
        data: bytes = self._sock.recv(size)
        if self._first:
            self._first = False
            for requested, actual in self._ports.items():
                data = data.replace(b"127.0.0.1:%d" % requested, b"127.0.0.1:%d" % actual)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


# -- names and addresses ---------------------------------------------------------------------------------------------


def test_a_look_up_that_hangs_takes_no_longer_than_the_limit_and_the_report_does_not_wait(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hanging(*arguments: Any, **options: Any) -> Any:
        released.wait(50)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with doctors_threads_end():
        monkeypatch.setattr(socket, "getaddrinfo", hanging)
        try:
            began = time.monotonic()
            report = report_on(shared_emulator, check_seconds=2)
            seconds = time.monotonic() - began
        finally:
            released.set()
    assert failed(report) == ["api.address", "auth.address"]
    assert "no response within 2 s" in report["api.address"].detail
    assert report["token"].detail == "not checked: no address"
    assert seconds < 30


def test_failing_name_servers_differ_from_unknown_names(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    report = report_on(shared_emulator)
    assert "Temporary failure" in report["api.address"].detail
    assert "name servers of this machine fail" in report["api.address"].next_step


def test_an_address_that_does_not_answer_is_a_warning_where_another_does(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Peer(silent) as gone:
        dead = gone.port
    port = shared_emulator.api_server.port
    getaddrinfo = socket.getaddrinfo

    def two(host: str, wanted: int, **options: Any) -> Any:
        found = getaddrinfo("127.0.0.1", wanted, **options)
        if wanted != port:
            return found
        family, type_, protocol, name, _ = found[0]
        return [(family, type_, protocol, name, ("127.0.0.1", dead)), *found]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    report = report_on(shared_emulator, base_url=at_localhost(shared_emulator.base_url))
    assert report.healthy
    assert report["api.connection"].outcome == "warning"
    assert "refused" in report["api.connection"].detail
    assert "accepts connections" in report["api.connection"].detail


@pytest.mark.parametrize(
    ("name", "ip", "outcome"),
    [
        ("api.giga.chat", "198.18.0.7", "warning"),  # as some VPNs do
        ("ngw.devices.sberbank.ru", "0.0.0.0", "warning"),
        ("api.giga.chat", "185.157.97.1", "ok"),
        ("gigachat.corp.example", "10.1.2.3", "ok"),  # a private gateway
    ],
)
def test_a_private_address_for_a_name_of_the_service_is_a_warning(
    name: str, ip: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    endpoint = Endpoint(name, 443, "base_url", 5.0)
    diagnosis = endpoint.resolve()
    assert diagnosis.outcome == outcome
    assert ip in diagnosis.detail


# -- strictness ------------------------------------------------------------------------------------------------------


def test_an_authority_that_only_python_3_13_refuses_is_reported(tmp_path: Path) -> None:
    import sys

    old = PlainAuthority(tmp_path)
    with Peer(lambda sock: sock.recv(100), tls=old.server_context()) as peer:
        report = examine(
            access_token="a-token",
            base_url=f"https://localhost:{peer.port}/v1",
            ca_bundle_file=old.ca_file,
            check_seconds=5,
        )
    if sys.version_info < (3, 13):
        assert report["api.tls"].outcome == "ok"
    else:
        assert report["api.tls"].outcome == "failure"
        assert "without the strict checks of Python 3.13" in report["api.tls"].detail
        assert "Authority Key Identifier" in report["api.tls"].next_step


# -- limits ----------------------------------------------------------------------------------------------------------


def test_work_within_its_limit_returns_its_result_or_raises_its_error() -> None:
    assert within(5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_work_beyond_its_limit_is_abandoned() -> None:
    released = threading.Event()
    with doctors_threads_end():
        with pytest.raises(ProbeTimeout):
            within(0.1, lambda: released.wait(50))
        assert not released.is_set()
        released.set()


def test_a_connection_past_its_deadline_does_not_wait() -> None:
    with Peer(silent) as peer, socket.create_connection(("127.0.0.1", peer.port), timeout=10) as sock:
        connection = ProbeSocket(sock, time.monotonic() - 1)
        for use in (connection.receive, lambda: connection.send(b"x")):
            with pytest.raises(ProbeError) as caught:
                use()
            assert caught.value.cause == "timeout"


def test_a_proxy_that_drips_takes_no_longer_than_the_limit(shared_emulator: GigaChatEmulator) -> None:
    with ConnectProxy(drip_s=0.1) as proxy:
        report = report_on(shared_emulator, proxy=proxy.url, check_seconds=2)
    assert failed(report) == ["api.connection", "auth.connection"]
    assert "timed out" in report["api.connection"].detail


def test_the_report_has_the_current_time() -> None:
    report = examine(base_url="https://api.example.invalid/v1", auth_url="https://oauth.example.invalid/x")
    made = datetime.datetime.strptime(report.examined_at, "%Y-%m-%d %H:%M").replace(tzinfo=datetime.timezone.utc)
    assert abs((datetime.datetime.now(datetime.timezone.utc) - made).total_seconds()) < 300
