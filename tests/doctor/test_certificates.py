"""The reader of unverified certificates, the trust settings, and the causes of refusals. No network."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doctor_tools import made_certificate

from gigaclient.doctor import trust_store, versions
from gigaclient.doctor.certificates import read_certificate
from gigaclient.doctor.probe_socket import HandshakeResult, ProbeError
from gigaclient.doctor.report import Diagnosis
from gigaclient.doctor.trust_store import examine_trust, explain_refusal
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.tls import Trust, read_bundle, shipped_root

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 6, 1, tzinfo=UTC)
# -- reading ---------------------------------------------------------------------------------------------------------


def test_names_and_dates_are_read() -> None:
    ends = datetime.datetime(2051, 5, 6, 7, 8, 9, tzinfo=UTC)  # from 2050 on, dates have another format
    found = read_certificate(
        made_certificate("api.example", "Пример CA", ends=ends, names=("api.example", "*.example"))
    )
    assert found is not None
    assert (found.subject, found.issuer) == ("CN=api.example", "CN=Пример CA")
    assert (found.not_before, found.not_after) == (datetime.datetime(2026, 1, 1, tzinfo=UTC), ends)
    assert found.names == ("api.example", "*.example")
    assert not found.is_self_issued


def test_the_root_that_ships_is_read() -> None:
    found = read_certificate(ssl.PEM_cert_to_DER_cert(shipped_root()))
    assert found is not None
    assert found.is_self_issued
    assert found.not_after == datetime.datetime(2032, 2, 27, 21, 4, 15, tzinfo=UTC)


@given(st.binary(max_size=200))
def test_random_bytes_do_not_make_the_reader_fail(data: bytes) -> None:
    assert read_certificate(data) is None


@given(st.data())
def test_damage_does_not_make_the_reader_fail(data: st.DataObject) -> None:
    der = bytearray(_SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    read_certificate(bytes(der[: data.draw(st.integers(0, len(der)))]))


_SAMPLE = made_certificate("api.example", "Example CA", names=("api.example",))


# -- trust settings --------------------------------------------------------------------------------------------------


def settings(trust: Trust) -> GigaChatSettings:
    return GigaChatSettings(base_url="https://api.example", model="x", trust=trust)


@pytest.mark.parametrize(
    ("now", "outcome", "step"),
    [
        (datetime.datetime(2026, 6, 1, tzinfo=UTC), "ok", ""),
        (datetime.datetime(2031, 9, 1, tzinfo=UTC), "warning", "179 days are left: install a newer gigaclient"),
        (datetime.datetime(2032, 3, 1, tzinfo=UTC), "failure", "set this machine's clock"),
        (datetime.datetime(2020, 1, 1, tzinfo=UTC), "failure", "set this machine's clock"),
    ],
    ids=["now", "months before", "expired", "a clock that is behind"],
)
def test_the_expiry_of_the_shipped_root_is_reported_in_advance(now: datetime.datetime, outcome: str, step: str) -> None:
    found = examine_trust(settings(Trust()), now)
    assert found.outcome == outcome
    assert step in found.next_step
    assert "2032-02-27" in found.detail or "2022-03-01" in found.detail


def test_a_bundle_of_the_user_is_named_and_its_expiry_reported_in_advance(tmp_path: Path) -> None:
    path = tmp_path / "company.pem"
    der = made_certificate("Company Root", "Company Root", ends=datetime.datetime(2026, 9, 1, tzinfo=UTC))
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    found = examine_trust(settings(Trust(authorities=read_bundle(path), source=str(path))), NOW)
    assert found.outcome == "warning"
    assert str(path) in found.detail
    assert "CN=Company Root, valid until 2026-09-01" in found.detail
    assert "get the authority's next certificate" in found.next_step
    assert "not used: the root certificate that ships with gigaclient, valid until 2032-02-27" in found.detail


# -- refusals --------------------------------------------------------------------------------------------------------


def refusal(code: int, *chain: bytes, through_proxy: bool = False) -> Diagnosis:
    return explain_refusal(
        "api.giga.chat",
        ProbeError("certificate", "it is not trusted", code),
        HandshakeResult("TLSv1.3", chain) if chain else None,
        None,
        trust=Trust(),
        through_proxy=through_proxy,
        now=NOW,
    )


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        ("Kaspersky Anti-Virus Personal Root Certificate", "an antivirus on this machine responds"),
        ("ESET SSL Filter CA", "an antivirus on this machine responds"),
        ("Zscaler Intermediate Root CA", "a company's proxy responds"),
        ("FortiGate CA", "a company's firewall responds"),
        ("mitmproxy", "a debugging proxy responds"),
        ("Romashka LLC Root CA", "a company's proxy or an antivirus responds"),
    ],
)
def test_known_interceptors_are_recognised_by_the_issuer(issuer: str, expected: str) -> None:
    found = refusal(20, made_certificate("api.giga.chat", issuer))
    assert found.outcome == "failure"
    assert f"issuer: CN={issuer}" in found.detail
    assert f"most likely {expected} in the server's place" in found.next_step
    assert f"root certificate of CN={issuer}" in found.next_step
    assert "ca_bundle_file" in found.next_step


def test_the_advice_names_the_root_of_the_chain() -> None:
    leaf, above = made_certificate("api.giga.chat", "Company Sub"), made_certificate("Company Sub", "Company Root")
    root = made_certificate("Company Root", "Company Root")
    for chain in ((leaf, above), (leaf, above, root)):
        found = refusal(19, *chain)
        assert "root certificate of CN=Company Root " in found.next_step
        assert "signed by: CN=Company Sub" in found.detail


def test_a_missing_intermediate_certificate_is_detected() -> None:
    found = refusal(20, made_certificate("*.giga.chat", "Russian Trusted Sub CA"))
    assert "does not send the certificate of CN=Russian Trusted Sub CA" in found.next_step
    whole = refusal(
        20,
        made_certificate("*.giga.chat", "Russian Trusted Sub CA"),
        made_certificate("Russian Trusted Sub CA", "Somebody"),
    )
    assert "does not send" not in whole.next_step


@pytest.mark.parametrize("code", [9, 10])
def test_dates_point_at_the_clock_and_not_at_verification(code: int) -> None:
    found = refusal(code, made_certificate("*.giga.chat", "Russian Trusted Sub CA"))
    assert "the time here is 2026-06-01 00:00 UTC" in found.next_step
    assert "Do not switch verification off" in found.next_step


def test_a_chain_that_could_not_be_read_is_reported() -> None:
    found = refusal(20)
    assert "issuer: could not be read" in found.detail
    assert found.next_step


def test_the_alternatives_depend_on_the_trust_settings() -> None:
    def names(trust: Trust) -> list[str]:
        return [one.name for one in trust_store.alternatives(trust)]

    assert not any("ships with gigaclient" in name for name in names(Trust()))
    assert "ships with gigaclient" in names(Trust(authorities=shipped_root(), source="x"))[0]
    assert not any("public" in name for name in names(Trust(mode="system")))
    for alternative in trust_store.alternatives(Trust()):
        assert alternative.make().verify_mode is ssl.CERT_REQUIRED


# -- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "outcome", "expected"),
    [
        ({"urllib3": "2.4.0"}, "failure", "older than 2.5.0"),
        ({"requests": "2.31.0"}, "failure", "older than 2.32.3"),
        ({"urllib3": "2.5.0"}, "warning", "CVE-2025-66471"),
        ({"certifi": "2024.2.2"}, "warning", "CVE-2024-39689"),
        ({}, "ok", "msgspec 0.22.0"),
        ({"certifi": None}, "ok", "certifi missing"),
    ],
    ids=str,
)
def test_versions_that_are_too_old_are_reported(
    changed: dict[str, str | None], outcome: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: dict[str, str | None] = {"requests": "2.34.2", "urllib3": "2.8.0", "msgspec": "0.22.0"}
    installed["certifi"] = datetime.date.today().strftime("%Y.%m.%d")
    installed.update(changed)
    monkeypatch.setattr(versions, "_version", installed.get)
    monkeypatch.setattr(ssl, "OPENSSL_VERSION", "OpenSSL 3.0.19 27 Jan 2026")
    found = versions.examine_versions()
    assert found.outcome == outcome
    assert expected in found.detail
    assert found.next_step == ("" if outcome == "ok" else f"pip install -U {next(iter(changed))}")


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("OpenSSL 1.1.1w  11 Sep 2023", "warning"),
        ("OpenSSL 3.0.5 5 Jul 2022", "warning"),
        ("OpenSSL 3.0.19 27 Jan 2026", "ok"),
        ("OpenSSL 3.5.0 8 Apr 2025", "ok"),
        ("LibreSSL 2.8.3", "warning"),
    ],
)
def test_a_tls_library_with_known_faults_is_reported(
    version: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"requests": "9", "urllib3": "9", "msgspec": "9", "certifi": datetime.date.today().strftime("%Y.%m.%d")}
    monkeypatch.setattr(versions, "_version", new.get)
    monkeypatch.setattr(ssl, "OPENSSL_VERSION", version)
    found = versions.examine_versions()
    assert found.outcome == outcome
    assert " ".join(version.split()[:2]) in found.detail
