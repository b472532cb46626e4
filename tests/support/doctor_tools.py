"""Helpers of the doctor tests: reports on emulators and peers, and a check that they contain no secrets."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import threading
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support.socket_tools import Peer

from gigaclient.doctor import Report, examine
from gigaclient.testing import Answer, GigaChatEmulator, RecordedRequest, Server

ALL_WELL = ("ok", "not_checked")


def report_on(emulator: GigaChatEmulator, *, chat: bool = False, check_seconds: float = 10.0, **changes: Any) -> Report:
    """Return the report on an emulator. ``changes`` override its client options; None removes one."""
    options = {**emulator.client_options, **changes}
    options = {name: value for name, value in options.items() if value is not None}
    report = examine(chat=chat, check_seconds=check_seconds, **options)
    assert_no_secrets(report, emulator.credentials, *decoded(emulator.credentials))
    return report


def decoded(key: str) -> list[str]:
    """Return the client id and the secret in a key."""
    return base64.b64decode(key).decode().split(":")


def assert_no_secrets(report: Report, *secrets: str) -> None:
    """Assert that no form of the report contains one of ``secrets``."""
    forms = [str(report), repr(report), report.as_text(ascii_symbols=True), json.dumps(report.as_dict())]
    for secret in secrets:
        assert len(secret) > 3
        assert not any(secret in form for form in forms), "a secret is in the report"


def outcomes(report: Report) -> dict[str, str]:
    """Return the outcome of each check by its id."""
    return {check.id: check.outcome for check in report.checks}


def failed(report: Report) -> list[str]:
    """Return the ids of the failed checks in order."""
    return [check.id for check in report.failures]


class Listener:
    """A TLS server that only receives.

    Attributes:
        heard: The data received after the handshakes.
        shown: The certificates of the clients, None for a client without one.
    """

    def __init__(self, tls: Any) -> None:
        self.heard: list[bytes] = []
        self.shown: list[Any] = []
        self._peer = Peer(self._listen, tls=tls)
        self.url = self._peer.url

    def _listen(self, sock: Any) -> None:
        self.shown.append(sock.getpeercert() or None)
        while True:
            data = sock.recv(65536)
            if not data:
                return
            self.heard.append(data)

    @property
    def connections(self) -> int:
        return self._peer.accepted

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._peer.close()


@contextlib.contextmanager
def answering(answer: Answer, tls: Any) -> Iterator[Server]:
    """Start a server that sends ``answer`` to every request."""

    def handler(request: RecordedRequest) -> Answer:
        return answer

    with Server(handler, tls=tls) as server:
        yield server


@contextlib.contextmanager
def doctors_threads_end() -> Iterator[None]:
    """Assert at the end that all threads of the doctor have ended."""
    yield
    for thread in threading.enumerate():
        if thread.name == "gigaclient-doctor":
            thread.join(20)
            assert not thread.is_alive(), "a thread of the doctor is still running"


_UTC = datetime.timezone.utc
_KEY = ec.generate_private_key(ec.SECP256R1())


def made_certificate(
    subject: str,
    issuer: str,
    *,
    begins: datetime.datetime = datetime.datetime(2026, 1, 1, tzinfo=_UTC),
    ends: datetime.datetime = datetime.datetime(2027, 1, 1, tzinfo=_UTC),
    names: tuple[str, ...] = (),
) -> bytes:
    """Return a certificate (DER) with these fields, signed by a throw-away key."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(_KEY.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(alternative, critical=True)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(Encoding.DER)
