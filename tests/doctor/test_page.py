"""The documentation of the doctor matches the code: checks, options, and the example of a refused certificate."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
from support.doctor_tools import made_certificate

from gigaclient.doctor import Check, Report
from gigaclient.doctor.command import _in_terms_of_the_terminal, _parser
from gigaclient.doctor.endpoints import Host
from gigaclient.doctor.probe_socket import HandshakeResult, ProbeError
from gigaclient.doctor.trust_store import explain_refusal
from gigaclient.testing import GigaChatEmulator
from gigaclient.transport.tls import Trust

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = ("docs/en/doctor.md", "docs/ru/doctor.md")


def page(name: str) -> str:
    return (CHECKOUT / name).read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_the_example_of_a_refused_certificate_is_what_is_printed(name: str) -> None:
    found = explain_refusal(
        Host(id="api", title="API", origin="https://api.giga.chat", setting="").name,
        ProbeError("certificate", "unable to get local issuer certificate", 20),
        HandshakeResult("TLSv1.3", (made_certificate("api.giga.chat", "Romashka Root CA", names=("api.giga.chat",)),)),
        None,
        trust=Trust(),
        through_proxy=False,
        now=datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc),
    )
    check = Check(id="api.tls", title="API: TLS", outcome=found.outcome, detail=found.detail, next_step=found.next_step)
    printed = _in_terms_of_the_terminal(Report(checks=(check,), examined_at="")).as_text().split("\n\n")[1]
    assert f"```text\n{printed}\n```" in page(name)


@pytest.mark.parametrize("name", PAGES)
def test_the_table_has_every_check(name: str) -> None:
    with GigaChatEmulator() as emulator:
        from gigaclient.doctor import examine

        report = examine(chat=True, **emulator.client_options)
    rows = re.findall(r"^\| (`.+?`) \|", page(name), re.MULTILINE)
    documented = {id for row in rows for id in re.findall(r"`([a-z.]+)`", row)}
    assert {check.id for check in report.checks} - documented == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_option_of_the_command_is_documented(name: str) -> None:
    options = {option for action in _parser()._actions for option in action.option_strings if option.startswith("--")}
    assert options - set(re.findall(r"--[a-z-]+", page(name))) == {"--help"}
