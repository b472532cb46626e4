"""The emulator's certificates are valid for 127.0.0.1, and only for clients that trust the authority."""

from __future__ import annotations

import os
import ssl

import pytest
from testing.plain_client import Http, raw_socket, soon, trusting

from gigaclient.testing import Answer, Authority, RecordedRequest, Server


def hello(request: RecordedRequest) -> Answer:
    return Answer(body=request.client_certificate or "no certificate")


def test_a_client_that_trusts_the_authority_is_served() -> None:
    with Authority() as authority, Server(hello, tls=authority) as server:
        with Http(server.port, trusting(authority.ca_file)) as http_:
            assert http_.send("GET", "/").body == b"no certificate"
        assert server.url.startswith("https://127.0.0.1:")


def test_a_client_without_the_authority_refuses_and_the_server_records_it() -> None:
    with Authority() as authority, Authority() as other, Server(hello, tls=authority) as server:
        for context in (ssl.create_default_context(), trusting(other.ca_file)):
            with pytest.raises(ssl.SSLCertVerificationError):
                raw_socket(server.port, context)
        assert soon(lambda: len(server.handshake_errors) == 2)
        assert server.requests == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_names_the_loopback_address(name: str) -> None:
    with (
        Authority() as authority,
        Server(hello, tls=authority) as server,
        raw_socket(server.port, None) as plain,
        trusting(authority.ca_file).wrap_socket(plain, server_hostname=name) as sock,
    ):
        assert sock.version() in ("TLSv1.2", "TLSv1.3")


def test_a_certificate_for_another_name_is_refused_for_its_name() -> None:
    with (
        Authority() as authority,
        Server(hello, tls=authority.server_context("other.example")) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"),
    ):
        raw_socket(server.port, trusting(authority.ca_file))


def test_an_expired_certificate_is_refused_for_its_date() -> None:
    with (
        Authority() as authority,
        Server(hello, tls=authority.server_context(expired=True)) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        raw_socket(server.port, trusting(authority.ca_file))


def test_strict_verification_accepts_the_chain() -> None:
    with Authority() as authority, Server(hello, tls=authority) as server:
        context = trusting(authority.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with Http(server.port, context) as http_:
            assert http_.send("GET", "/").status == 200


@pytest.mark.parametrize("password", [None, "open sesame"])
def test_a_client_certificate_is_required_and_recognised(password: str | None) -> None:
    with Authority() as authority, Server(hello, tls=authority, client_ca=authority) as server:
        issued = authority.issue_client("anna.example", password=password)
        context = trusting(authority.ca_file)
        context.load_cert_chain(issued.cert_file, issued.key_file, password)
        with Http(server.port, context) as http_:
            assert http_.send("GET", "/").body == b"anna.example"


def test_a_client_without_a_certificate_or_with_another_authoritys_is_refused() -> None:
    with Authority() as authority, Authority() as other, Server(hello, tls=authority, client_ca=authority) as server:
        stranger = trusting(authority.ca_file)
        issued = other.issue_client()
        stranger.load_cert_chain(issued.cert_file, issued.key_file)
        for context in (trusting(authority.ca_file), stranger):
            with pytest.raises(OSError), Http(server.port, context) as http_:
                http_.send("GET", "/")
        assert soon(lambda: len(server.handshake_errors) == 2)
        assert server.requests == []


def test_an_encrypted_key_does_not_open_without_its_password() -> None:
    with Authority() as authority:
        issued = authority.issue_client(password="open sesame")
        with pytest.raises(ssl.SSLError):
            trusting(authority.ca_file).load_cert_chain(issued.cert_file, issued.key_file, "wrong")
        with open(issued.key_file, encoding="ascii") as file:
            assert "ENCRYPTED PRIVATE KEY" in file.read()


def test_the_files_are_private_and_gone_after_close() -> None:
    authority = Authority()
    issued = authority.issue_client()
    folder = os.path.dirname(authority.ca_file)
    if os.name == "posix":
        assert os.stat(folder).st_mode & 0o077 == 0
    with open(authority.ca_file, "rb") as file:
        assert file.read() == authority.ca_pem
    authority.close()
    authority.close()
    assert not os.path.exists(folder)
    assert not os.path.exists(issued.key_file)


def test_client_certificates_need_an_authority() -> None:
    with Authority() as authority, pytest.raises(ValueError, match="client_ca"):
        Server(hello, tls=authority.server_context(), client_ca=authority)


def test_plain_http_to_a_tls_port_is_recorded_and_gets_no_response() -> None:
    with Authority() as authority, Server(hello, tls=authority) as server, raw_socket(server.port, None) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert soon(lambda: len(server.handshake_errors) == 1)
        assert server.requests == []
