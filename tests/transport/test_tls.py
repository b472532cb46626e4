"""Tests of TLS contexts, certificate bundles and messages about refused certificates, without a network."""

from __future__ import annotations

import base64
import datetime
import os
import pickle
import re
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError
from gigaclient.testing import Authority
from gigaclient.transport.der import issuer_of
from gigaclient.transport.tls import (
    Trust,
    insecure_context,
    pinned_context,
    read_bundle,
    shipped_root,
    system_context,
)


def loaded_certificates(pem: str) -> list[bytes]:
    """Return the certificates of a bundle that a context has loaded."""
    return pinned_context(pem).get_ca_certs(binary_form=True)


# -- bundles -------------------------------------------------------------------------------------------


def forms(pem: bytes) -> dict[str, bytes]:
    """Return one certificate in each supported file format."""
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    frame = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    return {
        "PEM": pem,
        "DER": der,
        "PEM in PEM": frame % base64.encodebytes(pem),
        "PEM in PEM in PEM": frame % base64.encodebytes(frame % base64.encodebytes(pem)),
        "PEM on one line": frame % (base64.b64encode(der) + b"\n"),
        "PEM with text around it": b"subject=CN = \xd0\xa1\n\n" + pem + b"\ntrailing words\n",
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "PEM with a BOM": b"\xef\xbb\xbf" + pem,
        "TRUSTED CERTIFICATE": pem.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE"),
    }


@pytest.mark.parametrize("form", sorted(forms(shipped_root().encode())))
@pytest.mark.parametrize("name", ["root.pem", "root.cer"])
def test_a_certificate_is_recognised_by_its_content(form: str, name: str, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(forms(authority.ca_pem)[form])
    assert loaded_certificates(read_bundle(path)) == [ssl.PEM_cert_to_DER_cert(authority.ca_pem.decode())]


def test_every_certificate_of_a_bundle_is_read(authority: Authority, foreign: Authority, tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(authority.ca_pem + b"# and\n" + forms(foreign.ca_pem)["PEM in PEM"])
    assert len(loaded_certificates(read_bundle(path))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key; that belongs into key_file"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n", "certificate request"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "download it again"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "download it again"),
        (b"\n<!DOCTYPE html><html></html>", "page of HTML"),
        (b"hello", "neither PEM nor DER"),
        (b"0\x03abc", "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bundle_without_a_certificate_is_refused_with_a_description(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        read_bundle(path)
    assert message in str(caught.value)
    assert caught.value.__context__ is None


def test_a_bundle_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        read_bundle(tmp_path / "missing.pem")
    assert "missing.pem" in str(caught.value)
    assert caught.value.__context__ is None


@given(st.binary(max_size=300))
def test_no_content_makes_the_reader_fail_in_another_way(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bundle")
        Path(path).write_bytes(content)
        with pytest.raises(ConfigError):
            read_bundle(path)


# -- contexts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pinned", "system"])
def test_a_verifying_context_checks_chains_and_names_and_refuses_old_tls(kind: str) -> None:
    context = Trust(mode=kind).make_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert bool(context.verify_flags & ssl.VERIFY_X509_STRICT) is (sys.version_info >= (3, 13))


def test_each_insecure_context_is_a_new_object() -> None:
    one, two = insecure_context(), insecure_context()
    assert one is not two
    assert one.verify_mode is ssl.CERT_NONE
    assert one.check_hostname is False


@pytest.mark.parametrize("authorities", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""])
def test_a_pin_without_a_certificate_is_refused(authorities: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        pinned_context(authorities)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_system_context_trusts_only_the_bundle_of_the_environment(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, authority.ca_file)
    assert system_context().cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_the_environment_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/no/such/bundle.pem")
    with pytest.raises(ConfigError, match=name) as caught:
        system_context()
    assert "/no/such/bundle.pem" in str(caught.value)
    assert caught.value.__context__ is None


def test_the_system_context_trusts_public_authorities_otherwise() -> None:
    assert system_context().cert_store_stats()["x509"] > 50


def test_a_pickled_trust_makes_the_same_context(authority: Authority) -> None:
    issued = authority.issue_client(password="s3cret")
    trust = Trust(
        authorities=authority.ca_pem.decode(),
        source="x",
        cert_file=issued.cert_file,
        key_file=issued.key_file,
        key_file_password=Secret("s3cret"),
    )
    other = pickle.loads(pickle.dumps(trust))
    assert other == trust
    assert other.make_context().get_ca_certs() == trust.make_context().get_ca_certs()


def test_a_trust_shows_no_password(authority: Authority) -> None:
    assert "s3cret" not in repr(Trust(key_file_password=Secret("s3cret")))


# -- client certificates -------------------------------------------------------------------------------


def with_client_certificate(cert_file: str, key_file: str | None, password: str | None) -> ssl.SSLContext:
    return Trust(
        cert_file=cert_file, key_file=key_file, key_file_password=Secret(password) if password is not None else None
    ).make_context()


@pytest.mark.parametrize("password", [None, "correct horse"])
def test_a_client_certificate_can_be_used_with_the_pin(password: str | None, authority: Authority) -> None:
    issued = authority.issue_client(password=password)
    context = with_client_certificate(issued.cert_file, issued.key_file, password)
    assert context.cert_store_stats()["x509"] == 1


def test_one_file_may_hold_certificate_and_key(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue_client()
    both = tmp_path / "both.pem"
    both.write_bytes(Path(issued.cert_file).read_bytes() + Path(issued.key_file).read_bytes())
    with_client_certificate(str(both), None, None)


def test_wrong_and_missing_passwords_have_different_errors_that_show_none(authority: Authority) -> None:
    issued = authority.issue_client(password="correct horse")
    with pytest.raises(ConfigError, match="does not fit") as wrong:
        with_client_certificate(issued.cert_file, issued.key_file, "wrong pony")
    for password in (None, ""):
        with pytest.raises(ConfigError, match="pass key_file_password") as missing:
            with_client_certificate(issued.cert_file, issued.key_file, password)
        assert missing.value.__context__ is None
    assert wrong.value.__context__ is None
    assert "pony" not in str(wrong.value)


def test_files_that_do_not_belong_together_are_refused(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue_client(), authority.issue_client()
    with pytest.raises(ConfigError, match="belong together"):
        with_client_certificate(one.cert_file, two.key_file, None)
    with pytest.raises(ConfigError, match="key_file may be left out only when"):
        with_client_certificate(one.cert_file, None, None)
    with pytest.raises(ConfigError, match=r"cert_file: there is no file .*missing"):
        with_client_certificate(str(tmp_path / "missing.pem"), one.key_file, None)
    with pytest.raises(ConfigError, match=r"key_file: there is no file .*missing"):
        with_client_certificate(one.cert_file, str(tmp_path / "missing.key"), None)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no controlling terminal to ask on")
def test_there_is_no_password_prompt_on_the_terminal(authority: Authority) -> None:
    import pty

    issued = authority.issue_client(password="correct horse")
    code = f"""
        import fcntl, termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        from gigaclient.errors import ConfigError
        from gigaclient.transport.tls import Trust
        try:
            Trust(cert_file={issued.cert_file!r}, key_file={issued.key_file!r}).make_context()
        except ConfigError:
            print("refused")
    """
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        try:
            assert child.wait(30) == 0
        finally:
            child.kill()
            child.wait(30)
        shown = os.read(master, 65536)
    finally:
        os.close(master)
        os.close(slave)
    assert shown.strip() == b"refused"


# -- the issuer, read without trusting -----------------------------------------------------------------


def certificate_issued_by(*attributes: x509.NameAttribute[str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]))
        .issuer_name(x509.Name(attributes))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def attribute(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value)


def test_the_issuer_is_read_with_its_name_and_organisation() -> None:
    der = certificate_issued_by(
        attribute(NameOID.COUNTRY_NAME, "RU"),
        attribute(NameOID.ORGANIZATION_NAME, "Минцифры России"),
        attribute(NameOID.COMMON_NAME, "Russian Trusted Sub CA"),
    )
    assert issuer_of(der) == "CN=Russian Trusted Sub CA, O=Минцифры России"


def test_an_issuer_in_utf_16_is_read() -> None:
    der = certificate_issued_by(x509.NameAttribute(NameOID.COMMON_NAME, "Корень", _type=x509.name._ASN1Type.BMPString))
    assert issuer_of(der) == "CN=Корень"


def test_an_issuer_cannot_smuggle_control_characters_or_pages_of_text_into_a_message() -> None:
    der = certificate_issued_by(
        attribute(NameOID.COMMON_NAME, "evil\n\x1b[31mred"), attribute(NameOID.ORGANIZATION_NAME, "x" * 64)
    )
    assert issuer_of(der) == "CN=evil??[31mred, O=" + "x" * 64


def test_the_issuer_of_the_shipped_root_is_itself() -> None:
    name = issuer_of(ssl.PEM_cert_to_DER_cert(shipped_root()))
    assert name is not None
    assert "CN=Russian Trusted Root CA" in name


def test_an_issuer_without_a_name_is_none() -> None:
    assert issuer_of(certificate_issued_by(attribute(NameOID.COUNTRY_NAME, "RU"))) is None


@given(st.data())
def test_a_certificate_that_is_damaged_anywhere_gives_a_name_or_none(data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(shipped_root()))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    name = issuer_of(bytes(der[:cut]))
    assert name is None or name.isprintable()


# -- messages about refused certificates -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "reason", "message"),
    [
        (Trust(), "unable to get local issuer certificate", "exactly the Russian Trusted Root CA that ships"),
        (Trust(authorities="x", source="a.pem"), "self-signed certificate", "exactly the certificates in 'a.pem'"),
        (Trust(mode="system"), "self-signed certificate", "the public authorities of this system"),
        (Trust(mode="context"), "self-signed certificate", "what your ssl_context holds"),
        (Trust(), "self-signed certificate", 'trust="system"'),
        (Trust(), "certificate has expired", "has to renew it"),
        (Trust(), "certificate is not yet valid", "has to renew it"),
        (Trust(), "Hostname mismatch, certificate is not valid for 'h'.", "another host"),
        (Trust(), "hostname 'h' doesn't match 'other'", "another host"),
        (Trust(), "Missing Authority Key Identifier", "VERIFY_X509_STRICT"),
        (Trust(), "Basic Constraints of CA cert not marked critical", "VERIFY_X509_STRICT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_says_which_certificates_were_trusted_and_what_to_do(trust: Trust, reason: str, message: str) -> None:
    text = trust.explain("api.example", reason, "CN=Somebody")
    for part in ("api.example", reason, "CN=Somebody", message):
        assert part in text
