"""The shipped certificate is the right one, is valid long enough, and its README describes it correctly."""

from __future__ import annotations

import hashlib
import importlib.resources
import re
import ssl
import time
from pathlib import Path

import pytest

from gigaclient import ConfigError, GigaChat

SHA256 = "d26d2d0231b7c39f92cc738512ba54103519e4405d68b5bd703e9788ca8ecf31"
FILE_NAME = "russian_trusted_root_ca.pem"
SOURCE = Path(__file__).resolve().parent.parent / "certs"
YEAR_S = 365 * 24 * 3600


@pytest.fixture(scope="module")
def pem() -> str:
    """The certificate in the installed package."""
    return importlib.resources.files("gigaclient.certs").joinpath(FILE_NAME).read_text("ascii")


@pytest.fixture(scope="module")
def facts(pem: str) -> dict[str, object]:
    """The certificate as OpenSSL reads it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    (found,) = context.get_ca_certs()
    return found


def test_it_is_the_russian_trusted_root_ca(pem: str) -> None:
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == SHA256


def test_the_file_holds_that_certificate_and_nothing_else(pem: str) -> None:
    assert re.findall(r"-----(BEGIN|END) ([A-Z ]+)-----", pem) == [("BEGIN", "CERTIFICATE"), ("END", "CERTIFICATE")]
    assert pem.startswith("-----BEGIN")
    assert pem.rstrip("\n").endswith("-----")


def test_the_installed_file_is_the_checked_in_one_byte_for_byte() -> None:
    installed = importlib.resources.files("gigaclient.certs").joinpath(FILE_NAME).read_bytes()
    assert installed == (SOURCE / FILE_NAME).read_bytes()


def test_openssl_takes_it_as_an_authority_that_signed_itself(facts: dict[str, object]) -> None:
    assert facts["subject"] == facts["issuer"]
    assert (("commonName", "Russian Trusted Root CA"),) in facts["subject"]  # type: ignore[operator]


def test_it_has_at_least_a_year_to_live(facts: dict[str, object]) -> None:
    left_s = ssl.cert_time_to_seconds(str(facts["notAfter"])) - time.time()
    assert left_s > YEAR_S, f"{FILE_NAME} expires in {left_s / 86400:.0f} days; certs/README.md says how it is replaced"


def test_it_is_valid_already(facts: dict[str, object]) -> None:
    assert ssl.cert_time_to_seconds(str(facts["notBefore"])) < time.time()


@pytest.fixture(scope="module")
def readme_table() -> dict[str, str]:
    """The table of certs/README.md."""
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", (SOURCE / "README.md").read_text("utf-8"), re.MULTILINE)
    return {name: value.strip("`") for name, value in rows}


def test_the_readme_gives_the_fingerprints(readme_table: dict[str, str], pem: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert readme_table["SHA-256 of the DER"] == hashlib.sha256(der).hexdigest()
    assert readme_table["SHA-1 of the DER"] == hashlib.sha1(der).hexdigest()


@pytest.mark.parametrize(("row", "field"), [("not valid before", "notBefore"), ("not valid after", "notAfter")])
def test_the_readme_gives_the_dates(
    readme_table: dict[str, str], facts: dict[str, object], row: str, field: str
) -> None:
    moment = time.gmtime(ssl.cert_time_to_seconds(str(facts[field])))
    assert readme_table[row] == time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)


def test_the_readme_gives_the_name_and_the_number(readme_table: dict[str, str], facts: dict[str, object]) -> None:
    short = {"countryName": "C", "organizationName": "O", "commonName": "CN"}
    name = ", ".join(f"{short[key]}={value}" for ((key, value),) in facts["subject"])  # type: ignore[attr-defined]
    assert readme_table["subject and issuer"] == name
    assert int(readme_table["serial number"], 16) == int(str(facts["serialNumber"]), 16)


def test_the_readme_names_its_source(readme_table: dict[str, str]) -> None:
    assert "gosuslugi.ru/crt" in readme_table["source"]


def test_a_missing_certificate_is_our_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(ConfigError, match="ca_bundle_file") as caught:
        GigaChat(access_token="token")
    assert FILE_NAME in str(caught.value)
    assert caught.value.__cause__ is None
