"""TLS contexts with the trusted certificates, and messages about refused certificates.

*Pinned* is the default for GigaChat. It trusts exactly the shipped Russian Trusted Root CA, or exactly the user's
bundle; nothing from certifi, the system or the environment. *System* trusts what ``requests`` trusts, for FakeGpt and
for gateways with a public certificate. *Insecure* trusts every certificate; it eases migration from other clients.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import sys
from pathlib import Path
from typing import ClassVar

from gigaclient._primitives.fork_safety import steps
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError
from gigaclient.transport.monkey_patches import check_patches
from gigaclient.transport.tls_handshake import Context

__all__ = [
    "ROOT_FILE",
    "Trust",
    "insecure_context",
    "pinned_context",
    "read_bundle",
    "shipped_root",
    "system_context",
]

ROOT_FILE = "russian_trusted_root_ca.pem"

# Runs without a hyphen are skipped at once: the public roots are 200 KB.
_PEM_BLOCK = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([^-]*(?:-(?!----END)[^-]*)*)-----END (?:TRUSTED )?CERTIFICATE-----"
)


def shipped_root() -> str:
    """Return the Russian Trusted Root CA that ships with the package, as PEM text.

    Raises:
        ConfigError: the file is missing.
    """
    from importlib import resources  # imports tempfile and a dozen more modules, which a user's bundle does not need

    try:
        return resources.files("gigaclient.certs").joinpath(ROOT_FILE).read_text("ascii")
    except (ModuleNotFoundError, OSError):
        # In an editable install by tools that ignore package_dir, the folder is next to the package.
        path = Path(__file__).parents[2] / "certs" / ROOT_FILE
    try:
        return path.read_text("ascii")
    except OSError:
        raise ConfigError(
            f"the certificate gigaclient/certs/{ROOT_FILE} is missing from this installation: install the package "
            "again, tell the tool that froze this program to take it along, or pass ca_bundle_file="
        ) from None


class Bundle(str):
    """Certificates as PEM text, with the context that has read them, for the first connection pool that needs one.

    OpenSSL takes a quarter of a millisecond for each certificate, so it reads a bundle once. Equal to its text, and
    pickled as it.
    """

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


@steps
def pinned_context(authorities: str | bytes) -> ssl.SSLContext:
    """Return a context that trusts only ``authorities`` (PEM text or DER bytes); host names and dates are checked.

    Raises:
        ConfigError: it has no certificate that OpenSSL can read.
    """
    if isinstance(authorities, Bundle):
        ready: ssl.SSLContext | None = authorities.__dict__.pop("context", None)  # atomic: no two pools get it
        if ready is not None:
            return ready
    context = _client_context()
    problem = _load(context, authorities)
    if problem:
        raise ConfigError(f"the certificates in the bundle {problem}")
    return context


def _load(context: ssl.SSLContext, authorities: str | bytes) -> str:
    """Let ``context`` trust ``authorities``, and return what is wrong with them, or nothing."""
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        return f"cannot be read: {error}"
    return ""


@steps
def system_context() -> ssl.SSLContext:
    """Return a context that trusts what ``requests`` trusts.

    That is ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE`` if set, otherwise the authorities of certifi and of the
    operating system.

    Raises:
        ConfigError: the environment names a bundle that does not exist or cannot be read.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path:
            context = _client_context()
            try:
                if os.path.isdir(path):
                    context.load_verify_locations(capath=path)
                else:
                    context.load_verify_locations(cafile=path)
            except (OSError, ssl.SSLError) as error:
                reason = str(error)
            else:
                return context
            raise ConfigError(f"the environment variable {name} names {path!r}, which cannot be read: {reason}")
    import certifi  # a dependency of requests, which takes its authorities from it

    context = _client_context()
    context.load_default_certs()
    context.load_verify_locations(cafile=certifi.where())
    return context


@steps
def insecure_context() -> ssl.SSLContext:
    """Return a context that trusts every certificate. A man in the middle can read the key, prompts and responses."""
    context = _client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _client_context() -> ssl.SSLContext:
    check_patches()
    context = Context(ssl.PROTOCOL_TLS_CLIENT)  # checks host names and requires certificates
    _log_keys(context)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False  # RFC 9525: only subjectAltName names a host
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate in a bundle is trusted like a root
    if sys.version_info >= (3, 13):  # Python's own default since 3.13
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _log_keys(context: ssl.SSLContext) -> None:
    """Write the keys of connections to the file that ``SSLKEYLOGFILE`` names, as Python's default context does."""
    path = os.environ.get("SSLKEYLOGFILE")
    if not path or sys.flags.ignore_environment:
        return
    try:
        context.keylog_filename = path
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ConfigError(
        f"the environment variable SSLKEYLOGFILE names {path!r}, which cannot be written ({reason}): unset it, or name "
        "a file that this program may write"
    )


@steps
def add_client_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None, key_file_password: Secret | None
) -> None:
    """Add a client certificate (mTLS) to ``context``.

    Raises:
        ConfigError: a file is missing or has the wrong content, or the password is missing or wrong.
    """
    for name, path in (("cert_file", cert_file), ("key_file", key_file)):
        if path is not None and not os.path.isfile(path):
            raise ConfigError(f"{name}: there is no file {str(path)!r}")
    password_requests = []

    def password() -> str:
        # Without this callback OpenSSL would block and prompt on the terminal.
        password_requests.append(True)
        return key_file_password.reveal() if key_file_password else ""

    try:
        context.load_cert_chain(cert_file, key_file, password)
    except (ssl.SSLError, OSError, ValueError):
        if password_requests and not key_file_password:
            reason = "the private key is encrypted: pass key_file_password"
        elif password_requests:
            reason = "the private key could not be decrypted: key_file_password does not fit"
        else:
            reason = (
                "the certificate and the key cannot be loaded: both must be PEM, belong together, and "
                "key_file may be left out only when cert_file holds the key as well"
            )
    else:
        return
    raise ConfigError(reason)


def read_bundle(path: str | os.PathLike[str]) -> str:
    """Return the certificates in a bundle file, as PEM text.

    The format is recognised by the content: PEM, DER (often named ``.cer``), or PEM encoded a second time in base64
    between PEM markers.

    Raises:
        ConfigError: the file does not exist, or has no certificate; the message says what was found.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        content = b""
    else:
        reason = ""
    if reason:
        raise ConfigError(f"the CA bundle {str(path)!r} cannot be opened: {reason}")
    certificates = _certificates(content)
    if not certificates:
        raise ConfigError(f"the CA bundle {str(path)!r} holds no certificate: {_describe_content(content)}")
    bundle = Bundle("".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates))
    with steps:
        context = _client_context()
        problem = _load(context, bundle)
    if problem:
        raise ConfigError(f"the CA bundle {str(path)!r}: the certificates in it {problem}")
    bundle.__dict__["context"] = context
    return bundle


def _certificates(content: bytes) -> list[bytes]:
    if content[:1] == b"\x30":
        return [content]
    found: list[bytes] = []
    for block in _PEM_BLOCK.findall(content):
        try:
            der = base64.b64decode(b"".join(block.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        if der[:1] == b"\x30":
            found.append(der)
        elif b"-----BEGIN" in der:
            found.extend(_certificates(der))
    return found


def _describe_content(content: bytes) -> str:
    if not content.strip():
        return "it is empty"
    if b"PRIVATE KEY-----" in content:
        return "it holds a private key; that belongs into key_file"
    if b"-----BEGIN CERTIFICATE REQUEST" in content:
        return "it holds a certificate request, not a certificate"
    if b"-----BEGIN" in content:
        return "it has PEM markers, but what stands between them is not a certificate in base64; download it again"
    if content.lstrip()[:1] == b"<":
        return "it is a page of HTML; the download went wrong"
    return "neither PEM nor DER"


# -- the settings as a value ------------------------------------------------------------------------------------------


class Trust(FrozenStruct, frozen=True):
    """The TLS settings of a client: trusted certificates and client certificate. It can be pickled.

    Attributes:
        mode: ``"pinned"``, ``"system"``, ``"insecure"``, or ``"context"`` for the user's ``ssl.SSLContext``.
        authorities: for ``"pinned"``: the certificates, as PEM text.
        source: for ``"pinned"``: the origin of the certificates, for messages; None for the shipped root.
        cert_file, key_file, key_file_password: the client certificate of mTLS.
        ssl_context: for ``"context"``.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"authorities", "key_file_password", "ssl_context"})

    mode: str = "pinned"
    authorities: str | None = None
    source: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_file_password: Secret | None = None
    ssl_context: ssl.SSLContext | None = None

    @property
    def checks_nothing(self) -> bool:
        """True when any certificate is accepted."""
        context = self.ssl_context
        return self.mode == "insecure" or (context is not None and context.verify_mode == ssl.CERT_NONE)

    def make_context(self) -> ssl.SSLContext:
        """Return a TLS context with these settings.

        Raises:
            ConfigError: a file cannot be used.
        """
        if self.ssl_context is not None:
            return self.ssl_context
        if self.mode == "system":
            context = system_context()
        elif self.mode == "insecure":
            context = insecure_context()
        else:
            context = pinned_context(self.authorities if self.authorities is not None else shipped_root())
        if self.cert_file is not None:
            add_client_certificate(context, self.cert_file, self.key_file, self.key_file_password)
        return context

    def explain(self, host: str, reason: str, issuer: str | None) -> str:
        """Return the error message for a server's certificate that was refused."""
        if self.mode == "context":
            trusted = "what your ssl_context holds"
        elif self.mode == "system":
            trusted = "the public authorities of this system"
        elif self.source:
            trusted = f"exactly the certificates in {self.source!r}"
        else:
            trusted = "exactly the Russian Trusted Root CA that ships with gigaclient"
        text = f"the certificate of {host} was refused: {reason}; issuer met: {issuer or 'could not be read'}; "
        text += f"trusted here: {trusted}. "
        lowered = reason.lower()
        if "expired" in lowered or "not yet valid" in lowered:
            return text + "If the clock of this machine is right, the server's operator has to renew it."
        if "mismatch" in lowered or "doesn't match" in lowered:
            return text + "It was made for another host: check the address, and that no proxy answers in its place."
        if "missing authority key identifier" in lowered or "basic constraints" in lowered:
            return (
                text + "Python 3.13 and later check certificates strictly (RFC 5280): ask the authority to issue it "
                "again with that extension, or pass your own ssl_context without VERIFY_X509_STRICT."
            )
        return text + (
            "If that issuer is expected here (a company's proxy, or a new authority of the service), pass "
            'trust="system" for public authorities, or ca_bundle_file="…" (trust="…") with its root certificate. '
            "Otherwise somebody may be listening: nothing was sent."
        )
