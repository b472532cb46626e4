"""Report the trusted certificate authorities, and explain the usual causes of a refused chain."""

from __future__ import annotations

import datetime
import os
import ssl
import sys
from collections.abc import Callable, Sequence

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.doctor.certificates import Certificate, read_certificate
from gigaclient.doctor.probe_socket import HandshakeResult, ProbeError
from gigaclient.doctor.report import Diagnosis, Outcome
from gigaclient.errors import ConfigError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.tls import Trust, read_bundle, shipped_root

__all__ = [
    "Alternative",
    "alternatives",
    "bundle_variable",
    "describe_trust",
    "describe_verified",
    "examine_trust",
    "explain_refusal",
]

_WARN_DAYS = 365
_LEAF_WARN_DAYS = 7
_MAX_ROOTS = 4

# OpenSSL's numbers, from its x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_NO_ISSUER, _NO_ISSUER_OF_LEAF = 20, 21
_HOST_MISMATCH, _ADDRESS_MISMATCH = 62, 64

_RUSSIAN = "Russian Trusted"

# Products that intercept TLS, and words in the names of their authorities.
_INTERCEPTORS = {
    "an ad blocker on this machine": ("adguard",),
    "an antivirus on this machine": ("avast", "avg", "bitdefender", "doctor web", "dr.web", "eset", "kaspersky"),
    "a company's proxy": ("blue coat", "cisco umbrella", "forcepoint", "netskope", "squid", "zscaler"),
    "a company's firewall": ("check point", "fortigate", "fortinet", "palo alto", "sophos", "usergate"),
    "a debugging proxy": ("burp", "charles proxy", "fiddler", "mitmproxy", "portswigger", "proxyman"),
}


def _day(moment: datetime.datetime) -> str:
    """Format a date for the report."""
    return moment.strftime("%Y-%m-%d")


def describe_trust(trust: Trust) -> str:
    """Describe the authorities that ``trust`` accepts."""
    if trust.mode == "context":
        return "the certificates of your ssl_context"
    if trust.mode == "insecure":
        return "any certificate (verify_ssl_certs=False)"
    if trust.mode == "system":
        variable = bundle_variable()
        return f"only the file of {variable}" if variable else "the public authorities of certifi and this system"
    if trust.source:
        return f"exactly the certificates in {trust.source}"
    return "exactly the Russian Trusted Root CA that ships with gigaclient"


def bundle_variable() -> str | None:
    """Return the variable that names the certificate bundle of requests; None if neither is set."""
    return next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)


# -- the authorities themselves --------------------------------------------------------------------------------------


def examine_trust(settings: GigaChatSettings, now: datetime.datetime) -> Diagnosis:
    """Report the trusted authorities and their expiry dates, and the one of the shipped certificate."""
    trust = settings.trust
    lines = [f"trusted: {describe_trust(trust)}"]
    outcome: Outcome = "ok"
    steps: list[str] = []
    if trust.mode == "insecure":
        outcome = "warning"
        steps.append(
            "delete verify_ssl_certs=False (GIGACHAT_VERIFY_SSL_CERTS): anyone on the network can read the key, and "
            "the certificate that GigaChat needs ships with gigaclient"
        )
    for certificate, is_shipped in _roots(trust):
        days = (certificate.not_after - now).days
        name = certificate.subject or "a certificate without a name"
        if certificate.not_before > now:
            outcome = "failure"
            lines.append(f"{name} is not valid before {_day(certificate.not_before)}, and the date here is {_day(now)}")
            steps.append("set this machine's clock")
        elif days < 0:
            outcome = "failure"
            lines.append(f"{name} expired on {_day(certificate.not_after)}, and the date here is {_day(now)}")
            steps.append(
                "set this machine's clock if that date is wrong; otherwise "
                + ("install a newer gigaclient" if is_shipped else "get the authority's new certificate")
            )
        else:
            lines.append(f"{name}, valid until {_day(certificate.not_after)}")
            if days < _WARN_DAYS:
                outcome = "warning" if outcome == "ok" else outcome
                steps.append(
                    f"{days} days are left: "
                    + ("install a newer gigaclient in time" if is_shipped else "get the authority's next certificate")
                )
    if trust.mode != "pinned" or trust.authorities is not None:
        shipped = read_certificate(_split_pem(shipped_root())[0])
        until = _day(shipped.not_after) if shipped is not None else "?"
        lines.append(f"not used: the root certificate that ships with gigaclient, valid until {until}")
    if trust.cert_file is not None:
        lines.append(f"client certificate: {trust.cert_file}")
        outcome, steps = _check_client_certificate(trust.cert_file, now, lines, outcome, steps)
    return Diagnosis(outcome=outcome, detail="\n".join(lines), next_step="; ".join(dict.fromkeys(steps)))


def _roots(trust: Trust) -> list[tuple[Certificate, bool]]:
    if trust.mode != "pinned":
        return []
    pem = trust.authorities if trust.authorities is not None else shipped_root()
    read = (read_certificate(der) for der in _split_pem(pem))
    # A bundle of the system has more roots than the report can show.
    certificates = [certificate for certificate in read if certificate is not None]
    return [(one, trust.authorities is None) for one in certificates[:_MAX_ROOTS]]


def _split_pem(pem: str) -> list[bytes]:
    end = "-----END CERTIFICATE-----"
    return [ssl.PEM_cert_to_DER_cert(part.strip() + "\n" + end) for part in pem.split(end) if part.strip()]


def _check_client_certificate(
    path: str, now: datetime.datetime, lines: list[str], outcome: Outcome, steps: list[str]
) -> tuple[Outcome, list[str]]:
    try:
        der = next(iter(_split_pem(read_bundle(path))), b"")
    except ConfigError:
        return outcome, steps
    certificate = read_certificate(der)
    if certificate is None:
        return outcome, steps
    lines.append(f"  {certificate.subject}, issued by {certificate.issuer}, valid until {_day(certificate.not_after)}")
    if certificate.not_after < now:
        return "failure", [*steps, "the client certificate has expired: get a new one"]
    return outcome, steps


# -- a chain that was refused ----------------------------------------------------------------------------------------


class Alternative(FrozenStruct, frozen=True, kw_only=True):
    """Another trust setting that may accept a server.

    Attributes:
        name: a description.
        advice: the next step if this setting accepts the server.
        make: makes the context.
    """

    name: str
    advice: str
    make: Callable[[], ssl.SSLContext]


def alternatives(trust: Trust) -> list[Alternative]:
    """List other settings that may accept a server that ``trust`` refuses, the most likely first."""
    found = []
    if trust.mode != "pinned" or trust.authorities is not None:
        found.append(
            Alternative(
                name="the Russian root certificate that ships with gigaclient",
                advice="remove trust, ca_bundle_file and verify_ssl_certs (GIGACHAT_TRUST, "
                "GIGACHAT_CA_BUNDLE_FILE, GIGACHAT_VERIFY_SSL_CERTS)",
                make=Trust().make_context,
            )
        )
    if trust.mode != "system":
        found.append(
            Alternative(
                name="a public authority",
                advice='pass trust="system" (GIGACHAT_TRUST=system), if this address is meant to have a public '
                "certificate, such as your own gateway",
                make=_public_context,
            )
        )
    bundles = {os.environ.get(name, ""): name for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")}
    for path, variable in reversed(bundles.items()):
        if os.path.isfile(path) and path != trust.source:
            found.append(
                Alternative(
                    name=f"the bundle that {variable} names, which is not used",
                    advice=f'pass ca_bundle_file="{path}" (GIGACHAT_CA_BUNDLE_FILE), if its owner may '
                    "read your traffic",
                    make=_bundle_context(path),
                )
            )
    if trust.mode != "system":
        found.append(
            Alternative(
                name="an authority that was added to this system, by a company or an antivirus",
                advice='pass trust="system" (GIGACHAT_TRUST=system), or that root certificate as ca_bundle_file, if '
                "its owner may read your traffic",
                make=_system_store_context,
            )
        )
    if sys.version_info >= (3, 13) and trust.mode != "context":
        found.append(
            Alternative(
                name="the same settings, without the strict checks of Python 3.13",
                advice="have the authority issue its certificates again by the rules of RFC 5280 (an Authority Key "
                "Identifier, critical Basic Constraints); until then pass an ssl_context without VERIFY_X509_STRICT",
                make=lambda: _without_strictness(trust),
            )
        )
    return found


def _bundle_context(path: str) -> Callable[[], ssl.SSLContext]:
    return lambda: Trust(authorities=read_bundle(path), source=path).make_context()


def _public_context() -> ssl.SSLContext:
    import certifi  # requests depends on it, and takes its authorities from it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=certifi.where())
    return context


def _system_store_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _without_strictness(trust: Trust) -> ssl.SSLContext:
    context = trust.make_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def explain_refusal(
    host: str,
    refusal: ProbeError,
    handshake: HandshakeResult | None,
    alternative: Alternative | None,
    *,
    trust: Trust,
    through_proxy: bool,
    now: datetime.datetime,
) -> Diagnosis:
    """Explain why a server's certificate was refused, and what to do.

    Args:
        host: the requested host name.
        refusal: the refusal.
        handshake: the result of an unverified handshake; None when it failed.
        alternative: the setting that would accept the certificate; None when there is none.
        trust: the trust settings of the client.
        through_proxy: True when the connection uses a proxy.
        now: this machine's time.
    """
    chain = [found for found in map(read_certificate, handshake.chain if handshake else ()) if found is not None]
    lines = [f"certificate refused: {refusal.reason}", *_chain_lines(chain), f"trusted: {describe_trust(trust)}"]
    if alternative is not None:
        lines.append(f"it would be trusted with: {alternative.name}")
    step = _next_step(host, refusal.code, chain, alternative, through_proxy, now)
    return Diagnosis.failure("\n".join(lines), step)


def _chain_lines(chain: Sequence[Certificate]) -> list[str]:
    if not chain:
        return ["issuer: could not be read"]
    leaf = chain[0]
    lines = [
        f"issuer: {leaf.issuer or 'without a name'}",
        f"issued for: {', '.join(leaf.names[:4]) or leaf.subject or 'no name'}; "
        f"valid {_day(leaf.not_before)} to {_day(leaf.not_after)}",
    ]
    if len(chain) > 1:
        lines.append("signed by: " + " < ".join(one.subject or "without a name" for one in chain[1:4]))
    return lines


def _next_step(
    host: str,
    code: int,
    chain: Sequence[Certificate],
    alternative: Alternative | None,
    through_proxy: bool,
    now: datetime.datetime,
) -> str:
    leaf = chain[0] if chain else None
    if code in (_EXPIRED, _NOT_YET_VALID):
        return (
            f"the time here is {now.strftime('%Y-%m-%d %H:%M')} UTC: if that is wrong, set this machine's clock; if it "
            "is right, the server's operator has to renew its certificate. Do not switch verification off"
        )
    if code in (_HOST_MISMATCH, _ADDRESS_MISMATCH):
        return (
            f"the certificate was issued for another host than {host}: check the address"
            + (", and what the proxy does with it" if through_proxy else "")
            + (f"; it is valid for {', '.join(leaf.names[:3])}" if leaf is not None and leaf.names else "")
        )
    if alternative is not None:
        return alternative.advice
    if leaf is None:
        return "run the doctor again; if the certificate still cannot be read, ask the network's administrator"
    if _misses_intermediate(code, chain):
        return (
            f"the server does not send the certificate of {leaf.issuer}, so its own cannot be verified: the operator "
            "has to send the whole chain; until then put that certificate and its root into one file and "
            "pass it as ca_bundle_file"
        )
    names = " ".join((*(one.issuer for one in chain), *(one.subject for one in chain))).lower()
    known_product = next(
        (product for product, words in _INTERCEPTORS.items() if any(word in names for word in words)), None
    )
    root = chain[-1].issuer if not chain[-1].is_self_issued else chain[-1].subject
    interceptor = known_product or ("the proxy" if through_proxy else "a company's proxy or an antivirus")
    return (
        f"most likely {interceptor} responds in the server's place. Get the root certificate of "
        f"{root or 'that authority'} from the administrator, or from the browser's view of the certificate, and pass "
        "its file as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE), or have this host excluded from inspection. If you do "
        "not know that name, someone may be intercepting your traffic"
    )


def _misses_intermediate(code: int, chain: Sequence[Certificate]) -> bool:
    if code not in (_NO_ISSUER, _NO_ISSUER_OF_LEAF):
        return False
    return _RUSSIAN in chain[0].issuer and chain[0].issuer not in [one.subject for one in chain[1:]]


def describe_verified(handshake: HandshakeResult, now: datetime.datetime) -> Diagnosis:
    """Describe a verified chain; warn when it expires soon."""
    chain = [found for found in map(read_certificate, handshake.chain) if found is not None]
    if not chain:
        return Diagnosis(detail=f"verified, {handshake.version}")
    leaf = chain[0]
    detail = (
        f"verified, {handshake.version}, valid until {_day(leaf.not_after)}\nissuer: {leaf.issuer or 'without a name'}"
    )
    days = (leaf.not_after - now).days
    if days < _LEAF_WARN_DAYS:
        return Diagnosis.warning(
            detail, f"the server's certificate expires in {days} days: its operator has to renew it"
        )
    return Diagnosis(detail=detail)
