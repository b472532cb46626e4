"""A temporary certificate authority for the emulators.

Its keys exist in memory only. Keys that a client must read are files in a temporary directory that only this user can
open. :meth:`Authority.close` removes the directory.
"""

from __future__ import annotations

import datetime
import itertools
import os
import ssl
import tempfile
from dataclasses import dataclass
from types import TracebackType

from gigaclient._primitives.extras import extra_is_missing

try:
    import trustme
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )
except ImportError as error:
    raise ImportError(extra_is_missing("gigaclient.testing", error.name, "testing"), name=error.name) from error

__all__ = ["Authority", "ClientCertificate"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ClientCertificate:
    """The paths of a client's certificate and its key (PEM files)."""

    cert_file: str
    key_file: str


class Authority:
    """Signs the emulator's certificates. A context manager.

    Attributes:
        ca_file: The path of a PEM file with the certificate that a client has to trust.
    """

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="gigaclient emulator")
        self._directory = tempfile.TemporaryDirectory(prefix="gigaclient-emulator-")
        self._serial = itertools.count(1)
        self.ca_file = os.path.join(self._directory.name, "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate as PEM."""
        return self._ca.cert_pem.bytes()

    def server_context(
        self, *names: str, expired: bool = False, client_ca: Authority | str | None = None
    ) -> ssl.SSLContext:
        """Return a server's TLS context with a new leaf certificate.

        Args:
            names: Host names and addresses in the certificate; by default 127.0.0.1, localhost and ::1.
            expired: The certificate expired yesterday.
            client_ca: The authority that signs the clients' certificates, or the path of its PEM. With it, the
                handshake refuses a client without such a certificate.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        leaf = self._ca.issue_cert(
            *(names or _LOOPBACK),
            not_before=now - 30 * day if expired else None,
            not_after=now - day if expired else None,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca.ca_file if isinstance(client_ca, Authority) else client_ca)
        return context

    def issue_client(self, name: str = "client.example", *, password: str | None = None) -> ClientCertificate:
        """Issue a client certificate and its key as PEM files; ``password`` encrypts the key."""
        leaf = self._ca.issue_cert(name, common_name=name)
        path_stem = os.path.join(self._directory.name, f"client-{next(self._serial)}")
        issued = ClientCertificate(cert_file=f"{path_stem}.pem", key_file=f"{path_stem}.key")
        for number, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(issued.cert_file, append=number > 0)
        key = leaf.private_key_pem.bytes()
        if password is not None:
            key = load_pem_private_key(key, password=None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
            )
        with open(issued.key_file, "wb") as file:
            file.write(key)
        return issued

    def close(self) -> None:
        """Remove the files. TLS contexts that loaded them still work. Safe to call twice."""
        self._directory.cleanup()

    def __enter__(self) -> Authority:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Authority(ca_file={self.ca_file!r})"
