"""Read the TLS settings of a client.

They are ``trust``, ``ca_bundle_file``, ``verify_ssl_certs``, ``ssl_context`` and the client certificate, and they must
not contradict each other.
"""

from __future__ import annotations

import ssl

import msgspec.structs

from gigaclient._core import settings
from gigaclient._core.settings import Reader
from gigaclient.errors import ConfigError
from gigaclient.transport.tls import Trust, read_bundle

__all__ = ["CLIENT_CERTIFICATE", "TRUST_SETTINGS", "read_trust"]

TRUST_SETTINGS = frozenset({"trust", "ca_bundle_file", "verify_ssl_certs", "ssl_context"})
"""A group for ``Reader``: one of these arguments hides the environment variables of all."""

CLIENT_CERTIFICATE = frozenset({"cert_file", "key_file", "key_file_password"})


def read_trust(
    read: Reader, ssl_context: ssl.SSLContext | None, *, shipped_root: bool, client_certificate: bool
) -> Trust:
    """Return the trust that the settings describe.

    Args:
        read: reads the settings.
        ssl_context: the user's own context; no other setting may go with it.
        shipped_root: True if the service's certificate is signed by the root that ships with this package. That root is
            then the default, otherwise the public authorities are.
        client_certificate: True if the provider has settings for a client certificate.

    Raises:
        ConfigError: two settings contradict each other, or a file cannot be used.
    """
    trust = read("trust", settings.file_path, None)
    bundle = read("ca_bundle_file", settings.file_path, None)
    verify = read("verify_ssl_certs", settings.flag, True)
    cert_file = key_file = password = None
    if client_certificate:
        cert_file = read("cert_file", settings.file_path, None)
        key_file = read("key_file", settings.file_path, None)
        password = read("key_file_password", settings.secret, None)
    if ssl_context is not None:
        if not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        if trust is not None or bundle is not None or cert_file is not None or not verify:
            raise ConfigError(
                "ssl_context replaces all other trust settings: load the authorities and the client certificate into "
                "it, and leave trust, ca_bundle_file, verify_ssl_certs and cert_file out"
            )
        return Trust(mode="context", ssl_context=ssl_context)
    if key_file is not None and cert_file is None:
        raise ConfigError("key_file needs cert_file")
    if not verify and (trust is not None or bundle is not None):
        raise ConfigError(
            "verify_ssl_certs=False accepts any certificate, trust= and ca_bundle_file= only some: "
            "leave verify_ssl_certs out to check certificates"
        )
    if trust is not None and bundle is not None:
        raise ConfigError("trust and ca_bundle_file both name the trusted authorities: pass one of them")
    trusted = _authorities(trust if bundle is None else bundle, shipped_root) if verify else Trust(mode="insecure")
    return msgspec.structs.replace(trusted, cert_file=cert_file, key_file=key_file, key_file_password=password)


def _authorities(trust: str | None, shipped_root: bool) -> Trust:
    if trust == "system" or (trust is None and not shipped_root):
        return Trust(mode="system")
    if trust is None or trust == "pinned":
        if not shipped_root:
            raise ConfigError(
                'trust="pinned" trusts only the root certificate that ships with this package, and no server of this '
                'service has a certificate of it: pass "system", or the path of a bundle'
            )
        return Trust()
    return Trust(authorities=read_bundle(trust), source=trust)
