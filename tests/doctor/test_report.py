"""The text of the report, and the redaction of secrets. No network."""

from __future__ import annotations

import base64
import io
import sys

import pytest

from gigaclient.doctor import Check, Report
from gigaclient.doctor.redaction import Redactor
from gigaclient.doctor.report import Diagnosis

KEY = base64.b64encode(b"b5a6f0c0-0a3c-4f2e-9d38-1d2f7b0c9e11:7c9e6679-7425-40de-944b-e07fc1f90ae7").decode()
CHECKS = (
    Check(id="versions", title="Versions", outcome="ok", detail="Python 3.13.0"),
    Check(id="trust", title="Certificates", outcome="warning", detail="one\ntwo", next_step="renew it"),
    Check(id="api.tls", title="API: TLS", outcome="failure", detail="refused", next_step="call " * 40, seconds=1.26),
    Check(id="auth.tls", title="OAuth: TLS", outcome="failure", detail="refused", next_step="call " * 40),
    Check(id="token", title="Token", outcome="not_checked", detail="not checked: no TLS"),
)
REPORT = Report(checks=CHECKS, examined_at="2026-03-01 12:00")


def test_the_text_has_a_row_for_each_check_and_never_more_columns_than_the_width() -> None:
    for width in (60, 80, 100):
        lines = REPORT.as_text(width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.startswith(("✓", "!", "✗", "–")) for line in lines) == len(CHECKS)


def test_the_lines_of_a_detail_and_the_next_step_are_aligned() -> None:
    lines = REPORT.as_text().splitlines()
    index = next(number for number, line in enumerate(lines) if "Certificates" in line)
    column = lines[index].index("one")
    assert lines[index + 1] == " " * column + "two"
    assert lines[index + 2] == " " * column + "→ renew it"


def test_a_next_step_is_printed_once() -> None:
    text = REPORT.as_text()
    assert text.count("→ call") == 1
    assert "→ same as for API: TLS" in text


def test_a_slow_check_shows_its_duration() -> None:
    assert "refused (1.3 s)" in REPORT.as_text()
    assert "Python 3.13.0 (" not in REPORT.as_text()


def test_the_last_line_names_the_first_failure() -> None:
    assert REPORT.as_text().endswith("2 of 5 checks failed, 1 warning. Begin with the first: API: TLS.")
    assert Report(checks=CHECKS[:1], examined_at="").as_text().endswith("\nNothing failed.")
    assert Report(checks=CHECKS[:2], examined_at="").as_text().endswith("\nNothing failed, 1 warning.")


def test_a_terminal_without_the_symbols_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1251"))
    text = str(REPORT)
    assert text.isascii()
    assert "FAIL API: TLS" in text
    assert "-> renew it" in text
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert "✗ API: TLS" in str(REPORT)
    monkeypatch.setattr(sys, "stdout", None)  # as under pythonw
    assert str(REPORT).isascii()


def test_a_report_is_healthy_unless_something_failed() -> None:
    assert not REPORT.healthy
    assert Report(checks=CHECKS[:2], examined_at="").healthy
    assert [check.id for check in REPORT.failures] == ["api.tls", "auth.tls"]
    assert [check.id for check in REPORT.warnings] == ["trust"]
    assert REPORT["token"] is CHECKS[-1]
    with pytest.raises(KeyError):
        REPORT["nothing"]


def test_a_diagnosis_is_ok_by_default() -> None:
    assert Diagnosis() == Diagnosis(outcome="ok", detail="", next_step="")


# -- redaction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"a key {KEY} here", "a key *** here"),
        (f"Basic {KEY}", "Basic ***"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("eyJhbGciOi.J9.abc-_def", "***"),
        ("http://alice:p@ss@w0rd@proxy:3128/x", "http://***@proxy:3128/x"),
        ("https://api.giga.chat/v1", "https://api.giga.chat/v1"),
        ("request 6f0b7c1e-0d53-4b0f-8f0e-1f4f4c1d2a3b", "request 6f0b7c1e-0d53-4b0f-8f0e-1f4f4c1d2a3b"),
        ("a letter to alice@example.org", "a letter to alice@example.org"),
        ("C:\\Users\\Alice\\ca.pem", "~\\ca.pem"),
        ("'/Users/alice/ca.pem'", "'~/ca.pem'"),
        ("the authorization key is the long base64 text", "the authorization key is the long base64 text"),
    ],
)
def test_text_that_looks_like_a_secret_or_a_name_is_removed(text: str, redacted: str) -> None:
    assert Redactor()(text) == redacted


def test_known_secrets_are_removed_everywhere() -> None:
    redact = Redactor(["hunter2", "hunter2-and-more", "abc", ""])
    assert redact("xhunter2-and-morex, hunter2; abc") == "x***x, ***; abc"
    assert "hunter2" not in repr(redact)


def test_the_home_folder_is_a_tilde_and_its_neighbours_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/alice")
    monkeypatch.setenv("USERPROFILE", "/srv/people/alice")
    assert Redactor()("/srv/people/alice/ca.pem /srv/people/alice") == "~/ca.pem ~"
    assert Redactor()("/srv/people/alice2/ca.pem") == "/srv/people/alice2/ca.pem"
