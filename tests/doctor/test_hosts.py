"""The checks of the hosts: refused certificates, names, ports, and servers that do not respond."""

from __future__ import annotations

import ssl
import threading
import time
from typing import Any

import pytest
from support.doctor_tools import Listener, answering, failed, outcomes, report_on
from support.socket_tools import Peer, eventually, silent

from gigaclient.doctor import examine
from gigaclient.testing import Answer, Authority, Fault, GigaChatEmulator

# -- certificates ----------------------------------------------------------------------------------------------------


def test_a_foreign_authority_is_named_and_no_key_is_sent(emulator: GigaChatEmulator, foreign: Authority) -> None:
    report = report_on(emulator, ca_bundle_file=foreign.ca_file)
    assert failed(report) == ["api.tls", "auth.tls"]
    check = report["auth.tls"]
    assert "issuer: " in check.detail
    assert "gigaclient emulator" in check.detail
    assert foreign.ca_file in check.detail
    assert "ca_bundle_file" in check.next_step
    assert "proxy or an antivirus" in check.next_step
    for id in ("token", "models", "balance"):
        assert report[id].detail == "not checked: no TLS"
    assert emulator.oauth_requests == emulator.requests == []
    # The server receives the TLS alert, as from any client.
    assert eventually(lambda: any("ALERT_UNKNOWN_CA" in one for one in emulator.api_server.handshake_errors))
    assert "same as for API: TLS" in str(report)


def test_with_the_defaults_only_the_russian_root_is_trusted(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, ca_bundle_file=None)
    assert failed(report) == ["api.tls", "auth.tls"]
    assert "Russian Trusted Root CA" in report["trust"].detail
    assert "2032-02-27" in report["trust"].detail
    assert "the Russian Trusted Root CA that ships with gigaclient" in report["api.tls"].detail


def test_only_the_handshake_goes_over_a_connection_that_is_not_trusted(
    authority: Authority, foreign: Authority, emulator: GigaChatEmulator
) -> None:
    with Listener(foreign.server_context()) as listener:
        report = report_on(emulator, base_url=f"{listener.url}/v1", auth_url=f"{listener.url}/oauth", check_seconds=5)
        assert listener.connections >= 3  # the port, the refused handshake, the unverified handshake
    assert failed(report) == ["api.tls"]  # both addresses are the same host
    assert "issuer: " in report["api.tls"].detail
    assert listener.heard == []


def test_an_expired_certificate_is_reported_with_the_time_of_this_machine(authority: Authority) -> None:
    with Listener(authority.server_context(expired=True)) as listener:
        report = examine(access_token="a-token", base_url=listener.url, ca_bundle_file=authority.ca_file)
    assert failed(report) == ["api.tls"]
    assert "expired" in report["api.tls"].detail
    assert "set this machine's clock" in report["api.tls"].next_step
    assert "verify_ssl_certs" not in report["api.tls"].next_step


def test_a_certificate_for_another_host_is_reported_with_its_names(authority: Authority) -> None:
    with Listener(authority.server_context("proxy.example")) as listener:
        report = examine(access_token="a-token", base_url=listener.url, ca_bundle_file=authority.ca_file)
    assert failed(report) == ["api.tls"]
    assert "issued for another host" in report["api.tls"].next_step
    assert "proxy.example" in report["api.tls"].next_step


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment_that_accepts_the_server_is_named(
    name: str, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, emulator.ca_file)
    report = report_on(emulator, ca_bundle_file=None)
    assert f"ignored: {name}" in report["environment"].detail
    assert f"the bundle that {name} names" in report["api.tls"].detail
    assert f'pass ca_bundle_file="{emulator.ca_file}"' in report["api.tls"].next_step


def test_with_the_systems_trust_the_bundle_of_the_environment_is_used(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca_file)
    report = report_on(emulator, ca_bundle_file=None, trust="system")
    assert report.healthy
    assert "REQUESTS_CA_BUNDLE" in report["environment"].detail
    assert "used" in report["environment"].detail
    assert "only the file of REQUESTS_CA_BUNDLE" in report["trust"].detail


def test_verification_switched_off_is_a_warning_that_says_how_to_switch_it_on(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca_file)
    report = report_on(emulator, ca_bundle_file=None, verify_ssl_certs=False)
    assert report.healthy
    assert report["trust"].outcome == "warning"
    assert "delete verify_ssl_certs=False" in report["trust"].next_step
    assert report["api.tls"].outcome == "warning"
    assert "not verified" in report["api.tls"].detail
    assert "ca_bundle_file" in report["api.tls"].next_step
    assert report["models"].outcome == "ok"


def test_an_ssl_context_of_the_user_is_used(emulator: GigaChatEmulator) -> None:
    context = ssl.create_default_context(cafile=emulator.ca_file)
    report = report_on(emulator, ca_bundle_file=None, ssl_context=context)
    assert report.healthy
    assert "the certificates of your ssl_context" in report["trust"].detail


def test_a_client_certificate_is_reported(authority: Authority) -> None:
    issued = authority.issue_client("me.example")
    with GigaChatEmulator(authority=authority, client_ca=authority) as emulator:
        report = report_on(emulator, cert_file=issued.cert_file, key_file=issued.key_file, credentials=None)
        assert report.healthy
        assert "CN=me.example" in report["trust"].detail
        assert report["token"].outcome == "not_checked"
        without = report_on(emulator, credentials=None, access_token="a-token")
    assert "models" in failed(without)
    assert "client certificate" in without["models"].detail + without["models"].next_step


def test_a_client_certificate_is_not_sent_to_a_server_that_is_not_trusted(
    authority: Authority, foreign: Authority
) -> None:
    issued = authority.issue_client("me.example")
    context = foreign.server_context(client_ca=authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    files = {"cert_file": issued.cert_file, "key_file": issued.key_file}
    with answering(Answer(body="{}"), context) as server:
        examine(base_url=server.url, ca_bundle_file=foreign.ca_file, **files)
        assert server.requests[-1].client_certificate == "me.example"  # a trusted server receives it
    with Listener(context) as listener:
        refused = examine(base_url=listener.url, ca_bundle_file=authority.ca_file, **files)
    assert failed(refused) == ["api.tls"]
    assert listener.shown
    assert not any(listener.shown)


# -- no connection ---------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_reported_and_the_checks_that_need_it_are_skipped(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, auth_url="https://oauth.example.invalid/api/v2/oauth")
    assert failed(report) == ["auth.address"]
    assert "auth_url" in report["auth.address"].next_step
    for id in ("auth.connection", "auth.tls", "token", "balance"):
        assert report[id].detail.startswith("not checked: no address")
    assert report["api.tls"].outcome == "ok"
    assert "the API responds" in report["models"].detail


def test_a_port_without_a_listener_is_reported(emulator: GigaChatEmulator) -> None:
    with Peer(silent) as gone:
        url = f"https://127.0.0.1:{gone.port}/v1"
    report = report_on(emulator, base_url=url)
    assert failed(report) == ["api.connection"]
    assert "refused" in report["api.connection"].detail
    assert "no program listens on it" in report["api.connection"].next_step
    assert report["api.tls"].detail == "not checked: no connection"
    assert report["token"].outcome == "ok"
    assert report["models"].detail == "not checked: no connection"


def test_a_silent_server_takes_no_longer_than_the_limit(emulator: GigaChatEmulator) -> None:
    with Peer(silent) as mute:
        began = time.monotonic()
        report = report_on(emulator, base_url=f"https://127.0.0.1:{mute.port}/v1", check_seconds=0.7)
        seconds = time.monotonic() - began
    assert "api.tls" in failed(report)
    assert "timed out" in report["api.tls"].detail
    assert "the handshake gets no response" in report["api.tls"].next_step
    assert report["api.tls"].seconds >= 0.6
    assert seconds < 30


def test_the_hosts_are_checked_in_parallel() -> None:
    both = threading.Barrier(2)
    met: list[bool] = []

    def handshake(sock: Any) -> None:
        if not sock.recv(100):
            return  # only a check of the port
        both.wait(25)
        met.append(True)

    with Peer(handshake) as one, Peer(handshake) as other:
        report = examine(
            credentials="bXktaWQ6bXktc2VjcmV0",
            base_url=f"https://127.0.0.1:{one.port}/v1",
            auth_url=f"https://127.0.0.1:{other.port}/oauth",
            check_seconds=20,
        )
    assert failed(report) == ["api.tls", "auth.tls"]
    assert len(met) == 2


@pytest.mark.parametrize(("path", "id"), [("/oauth", "token"), ("/models", "models")])
def test_a_service_that_accepts_and_never_responds_takes_no_longer_than_the_limit(
    path: str, id: str, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(before_s=float("inf")), path=path, times=None)
    began = time.monotonic()
    report = report_on(emulator, check_seconds=3)
    assert failed(report) == [id]
    assert "3 s" in report[id].detail
    assert "does not respond" in report[id].next_step
    assert time.monotonic() - began < 40


def test_a_port_without_tls_is_reported(emulator: GigaChatEmulator) -> None:
    def plain(sock: Any) -> None:
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(plain) as peer:
        report = report_on(emulator, base_url=f"https://127.0.0.1:{peer.port}/v1")
    assert failed(report) == ["api.tls"]
    assert "does not use TLS" in report["api.tls"].next_step


def test_a_connection_that_is_cut_in_the_handshake_points_at_a_filter(emulator: GigaChatEmulator) -> None:
    with Peer(lambda sock: sock.recv(100)) as peer:
        report = report_on(emulator, base_url=f"https://127.0.0.1:{peer.port}/v1")
    assert failed(report) == ["api.tls"]
    assert "filter" in report["api.tls"].next_step


def test_plain_http_to_this_machine_has_no_tls_check() -> None:
    listing = Answer(headers={"Content-Type": "application/json"}, body='{"data": [{"id": "GigaChat-2"}]}')
    with answering(listing, None) as server:
        report = examine(access_token="a-token", base_url=server.url + "/v1")
    assert report["api.tls"].outcome == "not_checked"
    assert report["models"].outcome == "ok"


def test_one_host_for_everything_is_checked_once(authority: Authority) -> None:
    with answering(Answer(body="{}"), authority) as server:
        report = examine(
            credentials="bXktaWQ6bXktc2VjcmV0",
            base_url=f"{server.url}/v1",
            auth_url=f"{server.url}/oauth",
            ca_bundle_file=authority.ca_file,
        )
    assert "auth.tls" not in outcomes(report)
    assert report["api.tls"].outcome == "ok"


def test_a_server_of_api_v2_with_a_separate_address_is_checked(emulator: GigaChatEmulator) -> None:
    with Peer(silent) as gone:
        url = f"https://127.0.0.1:{gone.port}/v2"
    report = report_on(emulator, v2_url=url)
    assert failed(report) == ["v2.connection"]
    assert "v2_url" in report["v2.connection"].next_step
    assert report["models"].outcome == "ok"
