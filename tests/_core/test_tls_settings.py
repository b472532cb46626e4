"""The TLS settings with real TLS servers: the pin, the other choices, and the errors."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from cryptography import x509
from support.certificates import PlainAuthority
from support.reliability_tools import run_python
from support.socket_tools import (
    ConnectProxy,
    ask,
    at_localhost,
    recorded_warnings,
    send,
    transport_to,
    trust_in,
)

from gigaclient import ConfigError, FakeGpt, GigaChat, TLSError
from gigaclient.errors import APIConnectionError
from gigaclient.testing import Answer, Authority, GigaChatEmulator, Server
from gigaclient.transport import Transport, origin_of
from gigaclient.transport.http import TrustAdapter
from gigaclient.transport.tls import Trust, pinned_context, shipped_root

ENVIRONMENT = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(lambda request: Answer(body="ours"), tls=authority) as server:
        yield server


@pytest.fixture(scope="module")
def foreign_server(foreign: Authority) -> Iterator[Server]:
    with Server(lambda request: Answer(body="foreign"), tls=foreign) as server:
        yield server


@pytest.fixture(scope="module")
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as proxy:
        yield proxy


@pytest.fixture
def foreign_environment(foreign: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, foreign.ca_file)


@pytest.fixture
def our_environment(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, authority.ca_file)


def refused(transport: Transport, server: Server, url: str = "") -> TLSError:
    """Return the TLSError of a request, and check that the server did not receive the request."""
    before = len(server.requests)
    with pytest.raises(TLSError) as caught:
        ask(transport, (url or server.url) + "/")
    assert len(server.requests) == before
    assert caught.value.sent is False
    return caught.value


# -- the pin -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize("through_proxy", [False, True], ids=["directly", "through a proxy"])
def test_a_bundle_is_trusted_and_the_environment_is_not(
    authority: Authority, server: Server, foreign_server: Server, proxy: ConnectProxy, through_proxy: bool
) -> None:
    address = proxy.url if through_proxy else None
    tunnels = len(proxy.targets)
    with transport_to(server.url, foreign_server.url, trust=trust_in(authority.ca_file), proxy=address) as transport:
        assert ask(transport, server.url + "/") == b"ours"
        refused(transport, foreign_server)
        assert ask(transport, server.url + "/again") == b"ours"
    assert (len(proxy.targets) > tunnels) is through_proxy


@pytest.mark.usefixtures("our_environment")
@pytest.mark.parametrize("through_proxy", [False, True], ids=["directly", "through a proxy"])
def test_only_the_shipped_root_is_trusted_even_if_the_environment_names_the_servers_authority(
    server: Server, proxy: ConnectProxy, through_proxy: bool
) -> None:
    with transport_to(server.url, trust=Trust(), proxy=proxy.url if through_proxy else None) as transport:
        refused(transport, server)


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize("through_proxy", [False, True], ids=["directly", "through a proxy"])
def test_a_context_of_the_user_is_trusted_and_nothing_is_added_to_it(
    authority: Authority, server: Server, foreign_server: Server, proxy: ConnectProxy, through_proxy: bool
) -> None:
    context = ssl.create_default_context(cafile=authority.ca_file)
    trust = Trust(mode="context", ssl_context=context)
    address = proxy.url if through_proxy else None
    with transport_to(server.url, foreign_server.url, trust=trust, proxy=address) as transport:
        assert ask(transport, server.url + "/") == b"ours"
        refused(transport, foreign_server)
    assert context.cert_store_stats()["x509"] == 1


@pytest.mark.usefixtures("foreign_environment")
def test_the_pinned_context_holds_one_authority_before_and_after_requests(
    authority: Authority, server: Server, foreign_server: Server, proxy: ConnectProxy
) -> None:
    for address in (None, proxy.url):
        with transport_to(
            server.url, foreign_server.url, trust=trust_in(authority.ca_file), proxy=address
        ) as transport:
            context = transport._context
            assert context.cert_store_stats()["x509"] == 1
            ask(transport, server.url + "/")
            refused(transport, foreign_server)
            ask(transport, server.url + "/")
            assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname is True


def test_the_default_trust_holds_exactly_the_shipped_root() -> None:
    (certificate,) = Trust().make_context().get_ca_certs(binary_form=True)
    assert certificate == ssl.PEM_cert_to_DER_cert(shipped_root())


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize("right_environment", [False, True], ids=["foreign bundle", "no bundle"])
def test_a_client_by_default_trusts_the_shipped_root_for_both_of_its_origins(
    right_environment: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    if right_environment:
        for name in ENVIRONMENT:
            monkeypatch.setenv(name, authority.ca_file)
    with GigaChat(credentials="MTox") as giga:
        adapters = giga._executor.transport._session.adapters
        assert list(adapters) == ["https://ngw.devices.sberbank.ru:9443/", "https://api.giga.chat/"]
        for adapter in adapters.values():
            assert isinstance(adapter, TrustAdapter)
            (certificate,) = adapter._context.get_ca_certs(binary_form=True)
            assert certificate == ssl.PEM_cert_to_DER_cert(shipped_root())


def test_the_pin_holds_for_no_other_host_not_even_one_whose_name_begins_alike() -> None:
    with transport_to("https://api.giga.chat/v1") as transport:
        for url in ("https://api.giga.chat.evil.example/", "https://evil.example/", "http://api.giga.chat/"):
            with pytest.raises(requests.exceptions.InvalidSchema):
                transport._session.get_adapter(url)
        assert isinstance(transport._session.get_adapter("https://api.giga.chat/v1/models"), TrustAdapter)


def test_on_a_session_of_the_users_own_other_hosts_keep_their_adapters() -> None:
    with requests.Session() as session:
        before = session.get_adapter("https://api.giga.chat.evil.example/")
        with transport_to("https://api.giga.chat/v1", session=session):
            assert session.get_adapter("https://api.giga.chat.evil.example/") is before
            assert session.get_adapter("https://api.giga.chat:444/") is before
            assert isinstance(session.get_adapter("https://API.giga.chat/v1"), TrustAdapter)


def test_keys_of_connections_are_written_to_the_file_that_the_environment_names(
    authority: Authority, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transport_to(server.url, trust=trust_in(authority.ca_file)) as transport:
        ask(transport, server.url + "/")
    assert not (tmp_path / "keys").exists()
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with transport_to(server.url, trust=trust_in(authority.ca_file)) as transport:
        ask(transport, server.url + "/")
    assert "CLIENT_" in (tmp_path / "keys").read_text()


@pytest.mark.parametrize(
    "make",
    [lambda path: GigaChat(access_token="token", ca_bundle_file=path), lambda path: FakeGpt(access_token="token")],
)
def test_a_file_for_keys_that_cannot_be_written_is_named(
    make: Callable[[str], object], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "missing" / "keys")
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    with pytest.raises(ConfigError, match=r"^the environment variable SSLKEYLOGFILE names") as caught:
        make(authority.ca_file)
    assert path in str(caught.value) and "unset it" in str(caught.value)


# -- through an HTTPS proxy ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_proxy(foreign: Authority) -> Iterator[ConnectProxy]:
    """A proxy that itself speaks TLS, with a certificate that the pinned authority did not sign."""
    with ConnectProxy(tls=foreign.server_context()) as proxy:
        yield proxy


def test_an_https_proxy_is_checked_by_the_systems_authorities_and_the_server_by_the_pin(
    authority: Authority,
    foreign: Authority,
    server: Server,
    foreign_server: Server,
    tls_proxy: ConnectProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign.ca_file)
    trust = trust_in(authority.ca_file)
    with transport_to(server.url, foreign_server.url, trust=trust, proxy=tls_proxy.url) as transport:
        assert ask(transport, server.url + "/") == b"ours"
        error = refused(transport, foreign_server)
        assert error.issuer == "O=gigaclient emulator"
        assert transport._context.cert_store_stats()["x509"] == 1


def test_the_error_names_an_https_proxy_that_is_not_trusted(
    authority: Authority, server: Server, tls_proxy: ConnectProxy
) -> None:
    tunnels = len(tls_proxy.targets)
    with transport_to(server.url, trust=trust_in(authority.ca_file), proxy=tls_proxy.url) as transport:
        error = refused(transport, server)
    assert "the certificate of the proxy " + tls_proxy.url in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert error.host == "127.0.0.1"
    assert len(tls_proxy.targets) == tunnels


def test_insecure_trust_does_not_extend_to_an_https_proxy(
    foreign: Authority, foreign_server: Server, tls_proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transport_to(foreign_server.url, trust=Trust(mode="insecure"), proxy=tls_proxy.url) as transport:
        assert "the proxy" in str(refused(transport, foreign_server))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign.ca_file)
    with transport_to(foreign_server.url, trust=Trust(mode="insecure"), proxy=tls_proxy.url) as transport:
        assert ask(transport, foreign_server.url + "/") == b"foreign"


def test_the_pin_does_not_extend_to_an_https_proxy(authority: Authority, server: Server) -> None:
    with (
        ConnectProxy(tls=authority.server_context()) as proxy,
        transport_to(server.url, trust=trust_in(authority.ca_file), proxy=proxy.url) as transport,
    ):
        assert "the proxy" in str(refused(transport, server))


# -- names and dates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expired", "said"),
    [(("other.example",), False, ("127.0.0.1", "another host")), ((), True, ("expired", "clock"))],
)
def test_a_certificate_for_another_host_or_another_time_is_refused(
    authority: Authority, names: tuple[str, ...], expired: bool, said: tuple[str, str]
) -> None:
    with (
        Server(lambda request: Answer(), tls=authority.server_context(*names, expired=expired)) as server,
        transport_to(server.url, trust=trust_in(authority.ca_file)) as transport,
    ):
        error = refused(transport, server)
    assert all(words in str(error) for words in said)


def test_a_name_that_urllib3_itself_compares_is_refused_as_ours(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca_file)
    context.check_hostname = False
    with (
        Server(lambda request: Answer(), tls=authority.server_context("other.example")) as server,
        transport_to(server.url, trust=Trust(mode="context", ssl_context=context)) as transport,
    ):
        error = refused(transport, server)
    assert "what your ssl_context holds" in str(error)


# -- the text of the error -----------------------------------------------------------------------------


@pytest.mark.parametrize("through_proxy", [False, True], ids=["directly", "through a proxy"])
def test_a_refusal_names_the_host_the_issuer_met_and_the_options(
    foreign_server: Server, proxy: ConnectProxy, through_proxy: bool
) -> None:
    url = at_localhost(foreign_server.url)
    with transport_to(url, proxy=proxy.url if through_proxy else None) as transport:
        error = refused(transport, foreign_server, url)
    assert error.host == "localhost"
    assert error.issuer == "O=gigaclient emulator"
    text = str(error)
    for part in ("localhost", "O=gigaclient emulator", "Russian Trusted Root CA", 'trust="system"', "ca_bundle_file"):
        assert part in text
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_refusal_says_which_bundle_was_trusted(authority: Authority, foreign_server: Server) -> None:
    with transport_to(foreign_server.url, trust=trust_in(authority.ca_file)) as transport:
        assert f"exactly the certificates in {authority.ca_file!r}" in str(refused(transport, foreign_server))


def test_nothing_is_sent_to_read_the_issuer(foreign_server: Server) -> None:
    before = len(foreign_server.requests)
    with transport_to(foreign_server.url) as transport, pytest.raises(TLSError):
        ask(transport, foreign_server.url + "/", headers={"Authorization": "Bearer secret"})
    assert len(foreign_server.requests) == before


def test_an_issuer_that_cannot_be_read_does_not_hide_the_refusal(
    authority: Authority, foreign_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: TrustAdapter, url: str, proxy: str | None) -> bytes:
        raise ValueError("no")

    monkeypatch.setattr(TrustAdapter, "presented_certificate", broken)
    with transport_to(foreign_server.url, trust=trust_in(authority.ca_file)) as transport:
        error = refused(transport, foreign_server)
    assert error.issuer is None
    assert "could not be read" in str(error)


def test_strict_python_says_why_an_old_company_authority_is_refused(tmp_path: Path) -> None:
    old = PlainAuthority(tmp_path)
    with Server(lambda request: Answer(body="old"), tls=old.server_context()) as server:
        url = at_localhost(server.url)
        with transport_to(url, trust=trust_in(old.ca_file)) as transport:
            if sys.version_info < (3, 13):
                assert ask(transport, url + "/") == b"old"
            else:
                error = refused(transport, server, url)
                assert "VERIFY_X509_STRICT" in str(error)
                assert "CN=Old Company CA" in str(error)
        lenient = pinned_context(Path(old.ca_file).read_text("ascii"))
        lenient.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with transport_to(url, trust=Trust(mode="context", ssl_context=lenient)) as transport:
            assert ask(transport, url + "/") == b"old"


# -- the choices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_system_trust_is_that_of_requests(
    variable: str, foreign: Authority, server: Server, foreign_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, foreign.ca_file)
    with transport_to(server.url, foreign_server.url, trust=Trust(mode="system")) as transport:
        assert ask(transport, foreign_server.url + "/") == b"foreign"
        assert "public authorities" in str(refused(transport, server))


def test_the_system_takes_a_folder_of_authorities_as_well(
    authority: Authority, server: Server, foreign_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / openssl_name(authority.ca_pem)).write_bytes(authority.ca_pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with transport_to(server.url, foreign_server.url, trust=Trust(mode="system")) as transport:
        assert ask(transport, server.url + "/") == b"ours"
        refused(transport, foreign_server)


def openssl_name(pem: bytes) -> str:
    """Return the file name under which OpenSSL finds a certificate: a hash of its subject in canonical form."""
    canonical = b""
    for attribute in x509.load_pem_x509_certificate(pem).subject:
        value = str(attribute.value).lower().encode()
        oid = {"2.5.4.10": b"\x55\x04\x0a", "2.5.4.11": b"\x55\x04\x0b"}[attribute.oid.dotted_string]
        pair = b"\x06\x03" + oid + bytes([0x0C, len(value)]) + value
        item = bytes([0x30, len(pair)]) + pair
        canonical += bytes([0x31, len(item)]) + item
    return f"{int.from_bytes(hashlib.sha1(canonical).digest()[:4], 'little'):08x}.0"


def client_options(emulator: GigaChatEmulator, **changed: object) -> dict[str, object]:
    """Return the emulator's options without ``ca_bundle_file``."""
    options = {name: value for name, value in emulator.client_options.items() if name != "ca_bundle_file"}
    return {**options, **changed}


@pytest.mark.parametrize("argument", ["trust", "ca_bundle_file"])
def test_trust_with_a_path_and_ca_bundle_file_mean_the_same(argument: str) -> None:
    with GigaChatEmulator() as emulator:
        with GigaChat(**client_options(emulator, **{argument: emulator.ca_file})) as giga:  # type: ignore[arg-type]
            assert giga.chat("hello").text
        with GigaChat(**client_options(emulator)) as giga, pytest.raises(TLSError):  # type: ignore[arg-type]
            giga.chat("hello")


@pytest.mark.parametrize(
    "contradiction",
    [
        {"verify_ssl_certs": False, "ca_bundle_file": "BUNDLE"},
        {"verify_ssl_certs": False, "trust": "pinned"},
        {"trust": "system", "ca_bundle_file": "BUNDLE"},
        {"ssl_context": "CONTEXT", "ca_bundle_file": "BUNDLE"},
        {"ssl_context": "CONTEXT", "trust": "system"},
        {"ssl_context": "CONTEXT", "verify_ssl_certs": False},
        {"ssl_context": "CONTEXT", "cert_file": "BUNDLE"},
        {"trust": "/no/such/bundle.pem"},
        {"ca_bundle_file": "EMPTY"},
        {"key_file": "BUNDLE"},
    ],
    ids=str,
)
def test_contradicting_trust_settings_are_refused(
    contradiction: dict[str, object], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    stands_for = {
        "BUNDLE": authority.ca_file,
        "CONTEXT": ssl.create_default_context(cafile=authority.ca_file),
        "EMPTY": str(tmp_path / "empty.pem"),
    }
    arguments = {name: stands_for.get(str(value), value) for name, value in contradiction.items()}
    with pytest.raises(ConfigError):
        GigaChat(credentials="MTox", **arguments)  # type: ignore[arg-type]


def test_insecure_trust_warns_once_and_uses_a_separate_adapter() -> None:
    with GigaChatEmulator() as emulator:
        careful_options = client_options(emulator, ca_bundle_file=emulator.ca_file)
        with GigaChat(**careful_options) as careful:  # type: ignore[arg-type]
            with recorded_warnings() as warned:
                careless = GigaChat(**client_options(emulator, verify_ssl_certs=False))  # type: ignore[arg-type]
                with careless:
                    for _ in range(3):
                        assert careless.chat("hello").text
                    assert list(careless.generate("hello"))
                    assert careless.chat("hello").text
                    assert careful.chat("hello").text
            assert [warning.category for warning in warned] == [UserWarning]
            assert "verify_ssl_certs=False" in str(warned[0].message)
            assert warned[0].filename == __file__
            context = careful._executor.transport._context
            assert context is not careless._executor.transport._context
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname is True


def test_a_context_that_checks_nothing_warns_too(authority: Authority) -> None:
    lenient = ssl.create_default_context()
    lenient.check_hostname, lenient.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(UserWarning, match="ssl_context checks no certificate"):
        GigaChat(credentials="MTox", ssl_context=lenient).close()
    GigaChat(credentials="MTox", ssl_context=ssl.create_default_context(cafile=authority.ca_file)).close()


def test_a_certificate_with_a_common_name_alone_is_refused(tmp_path: Path) -> None:
    for name in ("localhost", None):
        folder = tmp_path / str(name)
        folder.mkdir()
        authority = PlainAuthority(folder, alternative_name=name)
        context = pinned_context(Path(authority.ca_file).read_text())
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # this authority lacks an extension
        with Server(lambda request: Answer(body="hello"), tls=authority.server_context()) as server:
            url = at_localhost(server.url)
            with transport_to(url, trust=Trust(mode="context", ssl_context=context)) as transport:
                if name is None:
                    with pytest.raises(TLSError, match=r"mismatch|doesn't match"):
                        ask(transport, url + "/")
                else:
                    assert ask(transport, url + "/") == b"hello"


def test_a_client_still_checks_certificates_next_to_an_insecure_one(foreign_server: Server) -> None:
    with (
        transport_to(foreign_server.url, trust=Trust(mode="insecure")) as careless,
        transport_to(foreign_server.url) as careful,
    ):
        assert ask(careless, foreign_server.url + "/") == b"foreign"
        refused(careful, foreign_server)
        assert ask(careless, foreign_server.url + "/") == b"foreign"
        refused(careful, foreign_server)


def test_a_bundle_is_parsed_once_for_a_client_and_again_for_the_next_context(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *args: Any, **options: Any) -> None:
        parsed.append(context)
        load(context, *args, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with GigaChat(access_token="token", ca_bundle_file=authority.ca_file) as giga:
        trust = giga._settings.trust
        assert len(parsed) == 1
    copied = pickle.loads(pickle.dumps(trust))
    assert (copied, type(copied.authorities)) == (trust, str)
    contexts = [one.make_context() for one in (trust, trust, copied)]
    assert len(set(map(id, contexts))) == 3
    assert {context.cert_store_stats()["x509"] for context in contexts} == {1}


def test_an_intermediate_in_the_bundle_is_trusted_like_a_root(tmp_path: Path) -> None:
    root = trustme.CA()
    middle = root.create_child_ca()
    leaf = middle.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    bundle = tmp_path / "middle.pem"
    middle.cert_pem.write_to_path(str(bundle))
    with (
        Server(lambda request: Answer(body="pinned"), tls=context) as server,
        transport_to(server.url, trust=trust_in(str(bundle))) as transport,
    ):
        assert ask(transport, server.url + "/") == b"pinned"


# -- mTLS ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
class TestClientCertificates:
    @pytest.fixture
    def careful_server(self, version: ssl.TLSVersion, authority: Authority, foreign: Authority) -> Iterator[Server]:
        """A server of our authority that requires a client certificate of the foreign one."""
        context = authority.server_context(client_ca=foreign)
        context.minimum_version = context.maximum_version = version
        with Server(lambda request: Answer(body=request.client_certificate or ""), tls=context) as server:
            yield server

    @pytest.mark.parametrize("password", [None, "correct horse"])
    def test_a_client_shows_its_certificate_and_keeps_the_pin(
        self,
        careful_server: Server,
        authority: Authority,
        foreign: Authority,
        foreign_server: Server,
        password: str | None,
    ) -> None:
        issued = foreign.issue_client("client.example", password=password)
        with GigaChat(
            base_url=careful_server.url,
            auth_url=foreign_server.url,
            ca_bundle_file=authority.ca_file,
            cert_file=issued.cert_file,
            key_file=issued.key_file,
            key_file_password=password,
        ) as giga:
            transport = giga._executor.transport
            assert ask(transport, careful_server.url + "/") == b"client.example"
            refused(transport, foreign_server)

    def test_without_one_the_error_says_which_arguments_are_missing(
        self, careful_server: Server, authority: Authority
    ) -> None:
        with (
            transport_to(careful_server.url, trust=trust_in(authority.ca_file)) as transport,
            pytest.raises(TLSError, match="pass cert_file and key_file") as caught,
        ):
            ask(transport, careful_server.url + "/")
        assert caught.value.host == "127.0.0.1"
        assert careful_server.requests == []

    def test_with_one_of_another_authority_the_error_says_so(
        self, careful_server: Server, authority: Authority
    ) -> None:
        issued = authority.issue_client()
        trust = Trust(authorities=authority.ca_pem.decode(), cert_file=issued.cert_file, key_file=issued.key_file)
        with (
            transport_to(careful_server.url, trust=trust) as transport,
            pytest.raises(TLSError, match="does not accept the one that it got"),
        ):
            ask(transport, careful_server.url + "/")


# -- the user's session --------------------------------------------------------------------------------


def test_verify_false_on_the_users_session_is_refused_for_our_origins(authority: Authority, server: Server) -> None:
    with requests.Session() as session, transport_to(server.url, trust=trust_in(authority.ca_file), session=session):
        with pytest.raises(ConfigError, match="verify=False"):
            session.get(server.url + "/", verify=False, timeout=10)
        session.verify = False
        with pytest.raises(ConfigError, match="verify=False"):
            session.get(server.url + "/", timeout=10)
        with pytest.raises(ConfigError, match=r"session\.verify"):
            Transport(trust_in(authority.ca_file), ("https://other.example",), session=session)


@pytest.mark.usefixtures("foreign_environment")
def test_the_users_own_requests_to_our_origins_are_pinned_too(
    authority: Authority, server: Server, foreign_server: Server
) -> None:
    with (
        requests.Session() as session,
        transport_to(server.url, foreign_server.url, trust=trust_in(authority.ca_file), session=session) as transport,
    ):
        assert session.get(server.url + "/", timeout=10).text == "ours"
        with pytest.raises(requests.exceptions.SSLError):
            session.get(foreign_server.url + "/", timeout=10)
        assert ask(transport, server.url + "/") == b"ours"
        assert transport._context.cert_store_stats()["x509"] == 1


def test_two_clients_with_different_trust_on_one_session_are_refused(authority: Authority) -> None:
    with (
        requests.Session() as session,
        transport_to("https://a.example", trust=trust_in(authority.ca_file), session=session),
    ):
        with pytest.raises(ConfigError, match="two sessions"):
            Transport(Trust(), ("https://a.example",), session=session)
        with transport_to("https://a.example", trust=trust_in(authority.ca_file), session=session):
            assert sum(isinstance(adapter, TrustAdapter) for adapter in session.adapters.values()) == 1


# -- copies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pickle", "copy", "deepcopy"])
@pytest.mark.usefixtures("foreign_environment")
def test_an_adapter_comes_back_from_pickle_and_copy_with_its_pin(
    method: str, authority: Authority, server: Server, foreign_server: Server
) -> None:
    functions = {
        "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
    }
    adapter = TrustAdapter(trust_in(authority.ca_file))
    other = functions[method](adapter)
    assert other is not adapter
    assert other.poolmanager is not adapter.poolmanager
    with requests.Session() as session:
        session.mount("https://", other)
        assert session.get(server.url + "/", timeout=10).text == "ours"
        with pytest.raises(requests.exceptions.SSLError):
            session.get(foreign_server.url + "/", timeout=10)
    assert other._context.cert_store_stats()["x509"] == 1


def test_an_adapter_with_a_context_of_the_user_cannot_be_pickled(authority: Authority) -> None:
    adapter = TrustAdapter(Trust(mode="context", ssl_context=ssl.create_default_context(cafile=authority.ca_file)))
    with pytest.raises(ConfigError, match="cannot be pickled"):
        pickle.dumps(adapter)


# -- errors without a certificate ----------------------------------------------------------------------


def test_a_port_without_tls_is_distinguished_from_a_bad_certificate() -> None:
    with Server(lambda request: Answer()) as plain:
        url = plain.url.replace("http:", "https:")
        with (
            transport_to(url) as transport,
            pytest.raises(APIConnectionError, match=r"(?i)TLS") as caught,
        ):
            ask(transport, url + "/")
    assert "certificate" not in str(caught.value)
    assert caught.value.sent is False


def test_plain_http_needs_no_trust(server: Server) -> None:
    with Server(lambda request: Answer(body="plain")) as plain, warnings.catch_warnings():
        warnings.simplefilter("error")
        with transport_to(plain.url) as transport:
            assert send(transport, plain.url + "/").read(100) == b"plain"


def test_the_environment_is_read_when_the_client_is_made_and_not_later(
    foreign: Authority, foreign_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign.ca_file)
    with transport_to(foreign_server.url, trust=Trust(mode="system")) as transport:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        assert ask(transport, foreign_server.url + "/") == b"foreign"
    assert origin_of(foreign_server.url + "/x?y") == foreign_server.url


# -- the settings of OpenSSL -----------------------------------------------------------------------

# A demand for FIPS without its provider, and no provider at all: OpenSSL then has no cipher.
NO_CIPHERS = {
    "FIPS": "alg_section = demands\n[demands]\ndefault_properties = fips=yes\n",
    "no provider": "providers = list\n[list]\nnull = null_provider\n[null_provider]\nactivate = 1\n",
}
NO_PROTOCOL = "ssl_conf = ssl\n[ssl]\nsystem_default = defaults\n[defaults]\nMaxProtocol = TLSv1.1\n"
CLIENTS = """
from gigaclient import FakeGpt, GigaChat

url = parameters["base_url"]
makers = {
    "bundle": lambda: GigaChat(**parameters),
    "shipped root": lambda: GigaChat(access_token="t", base_url=url),
    "system": lambda: FakeGpt(url, access_token="t"),
    "no checks": lambda: FakeGpt(url, access_token="t", verify_ssl_certs=False),
}
for name, make in makers.items():
    try:
        make().chat("hello", max_retries=0)
    except Exception as error:
        print(f"{name}: {type(error).__module__}.{type(error).__name__}: {error}")
"""


@pytest.fixture
def set_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that gives these settings of OpenSSL to the programs that the test starts."""

    def apply(settings: str) -> None:
        file = tmp_path / "openssl.cnf"
        file.write_text("openssl_conf = init\n[init]\n" + settings)
        monkeypatch.setenv("OPENSSL_CONF", str(file))

    return apply


@pytest.fixture
def errors_with(set_openssl: Callable[[str], None], gigachat_emulator: GigaChatEmulator) -> Callable[[str], list[str]]:
    """Return a function that returns the error of each client of a program with these settings of OpenSSL."""

    def run(settings: str) -> list[str]:
        set_openssl(settings)
        return run_python(CLIENTS, gigachat_emulator.client_options, flags=("-W", "ignore"), timeout=60).splitlines()

    return run


@pytest.mark.parametrize("settings", NO_CIPHERS)
def test_settings_of_openssl_without_ciphers_are_an_error_of_ours(
    settings: str, errors_with: Callable[[str], list[str]]
) -> None:
    errors = errors_with(NO_CIPHERS[settings])
    assert [error.partition(":")[0] for error in errors] == ["bundle", "shipped root", "system", "no checks"]
    for error in errors:
        assert (
            "gigaclient.errors.ConfigError: OpenSSL cannot set up TLS on this machine (library has no ciphers)" in error
        )
        assert "OPENSSL_CONF" in error


@pytest.mark.parametrize("settings", NO_CIPHERS)
def test_the_doctor_names_settings_of_openssl_without_ciphers(
    settings: str, set_openssl: Callable[[str], None], tmp_path: Path
) -> None:
    """With requests 2.32.3 too, which cannot be imported then."""
    set_openssl(NO_CIPHERS[settings])
    command = [sys.executable, "-m", "gigaclient", "doctor"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    printed = " ".join(ran.stderr.split())
    assert printed.startswith("gigaclient doctor: OpenSSL cannot set up TLS on this machine (library has no ciphers): ")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "OPENSSL_CONF" in printed and "Traceback" not in printed


def test_settings_of_openssl_without_a_protocol_are_an_error_of_ours(errors_with: Callable[[str], list[str]]) -> None:
    errors = errors_with(NO_PROTOCOL)
    assert len(errors) == 4
    for error in errors:
        assert "gigaclient.errors.TLSError: the TLS handshake with 127.0.0.1 failed (no protocols available)" in error
        assert "the settings of OpenSSL on this machine" in error
