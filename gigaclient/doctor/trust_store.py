"""Whom the client believes, and what a chain that it does not believe looks like to one who knows the usual causes."""

from __future__ import annotations

import datetime
import os
import ssl
import sys
from collections.abc import Callable, Sequence

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.doctor.certificates import Certificate, read_certificate
from gigaclient.doctor.probe_socket import ProbeError, SettingSource
from gigaclient.doctor.report import Diagnosis, Outcome
from gigaclient.errors import ConfigError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.tls import Trust, insecure_context, read_bundle, shipped_root

__all__ = [
    "Alternative",
    "alternatives",
    "believed",
    "describe_verified",
    "examine_trust",
    "explain_refusal",
    "unverified_context",
]

_WARN_DAYS = 365
_LEAF_WARN_DAYS = 7
_MOST_ROOTS = 4

# OpenSSL's numbers, from its x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_NO_ISSUER, _NO_ISSUER_OF_LEAF = 20, 21
_HOST_MISMATCH, _ADDRESS_MISMATCH = 62, 64

_RUSSIAN = "Russian Trusted"

# Words in the names of authorities that stand between a program and its server, and what they are.
_INTERCEPTORS = {
    "adguard": "an ad blocker on this machine",
    "avast": "an antivirus on this machine",
    "avg": "an antivirus on this machine",
    "bitdefender": "an antivirus on this machine",
    "blue coat": "a company's proxy",
    "burp": "a debugging proxy",
    "charles proxy": "a debugging proxy",
    "check point": "a company's firewall",
    "cisco umbrella": "a company's proxy",
    "doctor web": "an antivirus on this machine",
    "dr.web": "an antivirus on this machine",
    "eset": "an antivirus on this machine",
    "fiddler": "a debugging proxy",
    "forcepoint": "a company's proxy",
    "fortigate": "a company's firewall",
    "fortinet": "a company's firewall",
    "kaspersky": "an antivirus on this machine",
    "mitmproxy": "a debugging proxy",
    "netskope": "a company's proxy",
    "palo alto": "a company's firewall",
    "portswigger": "a debugging proxy",
    "proxyman": "a debugging proxy",
    "sophos": "a company's firewall",
    "squid": "a company's proxy",
    "usergate": "a company's firewall",
    "zscaler": "a company's proxy",
}


def _day(moment: datetime.datetime) -> str:
    """A date as the report writes it."""
    return moment.strftime("%Y-%m-%d")


def believed(trust: Trust) -> str:
    """Whom ``trust`` believes, in words."""
    if trust.kind == "context":
        return "what your ssl_context holds"
    if trust.kind == "insecure":
        return "anybody (verify_ssl_certs=False)"
    if trust.kind == "system":
        variable = _bundle_variable()
        return f"the file of {variable} alone" if variable else "the public authorities of certifi and this system"
    if trust.source:
        return f"exactly the certificates in {trust.source}"
    return "exactly the Russian Trusted Root CA that ships with gigaclient"


def _bundle_variable() -> str | None:
    return next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)


# -- the authorities themselves --------------------------------------------------------------------------------------


def examine_trust(settings: GigaChatSettings, now: datetime.datetime) -> Diagnosis:
    """Whom the settings believe, and until when; and whether the certificate that ships is still good."""
    trust = settings.trust
    lines = [f"believed: {believed(trust)}"]
    outcome: Outcome = "ok"
    steps: list[str] = []
    if trust.kind == "insecure":
        outcome = "warning"
        steps.append(
            "delete verify_ssl_certs=False (GIGACHAT_VERIFY_SSL_CERTS): anybody on the line can read the key, and "
            "the certificate that GigaChat needs ships with gigaclient"
        )
    for certificate, is_shipped in _roots(trust):
        days = (certificate.not_after - now).days
        named = certificate.subject or "a certificate without a name"
        if certificate.not_before > now:
            outcome = "failure"
            lines.append(f"{named} is not good before {_day(certificate.not_before)}, and here it is {_day(now)}")
            steps.append("set this machine's clock")
        elif days < 0:
            outcome = "failure"
            lines.append(f"{named} expired on {_day(certificate.not_after)}, and here it is {_day(now)}")
            steps.append(
                "set this machine's clock if that date is wrong; otherwise "
                + ("pip install -U gigaclient" if is_shipped else "get the authority's new certificate")
            )
        else:
            lines.append(f"{named}, good until {_day(certificate.not_after)}")
            if days < _WARN_DAYS:
                outcome = "warning" if outcome == "ok" else outcome
                steps.append(
                    f"{days} days are left: "
                    + ("pip install -U gigaclient in time" if is_shipped else "get the authority's next certificate")
                )
    if trust.kind != "pinned" or trust.authorities is not None:
        shipped = read_certificate(_ders(shipped_root())[0])
        until = _day(shipped.not_after) if shipped is not None else "?"
        lines.append(f"not asked: the root certificate that ships with gigaclient, good until {until}")
    if trust.cert_file is not None:
        lines.append(f"client certificate: {trust.cert_file}")
        outcome, steps = _about_client_certificate(trust.cert_file, now, lines, outcome, steps)
    return Diagnosis(outcome=outcome, detail="\n".join(lines), next_step="; ".join(dict.fromkeys(steps)))


def _roots(trust: Trust) -> list[tuple[Certificate, bool]]:
    if trust.kind != "pinned":
        return []
    pem = trust.authorities if trust.authorities is not None else shipped_root()
    read = (read_certificate(der) for der in _ders(pem))
    # A system's whole bundle would fill the screen, and most of it vouches for nobody here.
    certificates = [certificate for certificate in read if certificate is not None]
    return [(one, trust.authorities is None) for one in certificates[:_MOST_ROOTS]]


def _ders(pem: str) -> list[bytes]:
    end = "-----END CERTIFICATE-----"
    return [ssl.PEM_cert_to_DER_cert(part.strip() + "\n" + end) for part in pem.split(end) if part.strip()]


def _about_client_certificate(
    path: str, now: datetime.datetime, lines: list[str], outcome: Outcome, steps: list[str]
) -> tuple[Outcome, list[str]]:
    try:
        own = next(iter(_ders(read_bundle(path))), b"")
    except ConfigError:
        return outcome, steps
    certificate = read_certificate(own)
    if certificate is None:
        return outcome, steps
    lines.append(f"  {certificate.subject}, issued by {certificate.issuer}, good until {_day(certificate.not_after)}")
    if certificate.not_after < now:
        return "failure", [*steps, "the client certificate has expired: get a new one"]
    return outcome, steps


# -- a chain that was refused ----------------------------------------------------------------------------------------


class Alternative(FrozenStruct, frozen=True, kw_only=True):
    """Somebody else to believe.

    Attributes:
        name: in words.
        advice: what to do when this one vouches for the server.
        make: the context.
    """

    name: str
    advice: str
    make: Callable[[], ssl.SSLContext]


def alternatives(trust: Trust) -> list[Alternative]:
    """Who else may vouch for a server that ``trust`` does not believe, the most likely first."""
    found = []
    if trust.kind != "pinned" or trust.authorities is not None:
        found.append(
            Alternative(
                name="the Russian root certificate that ships with gigaclient",
                advice="leave trust, ca_bundle_file and verify_ssl_certs out (GIGACHAT_TRUST, "
                "GIGACHAT_CA_BUNDLE_FILE, GIGACHAT_VERIFY_SSL_CERTS)",
                make=Trust().make_context,
            )
        )
    if trust.kind != "system":
        found.append(
            Alternative(
                name="a public authority",
                advice='pass trust="system" (GIGACHAT_TRUST=system), if this address is meant to have a public '
                "certificate: a gateway of your own, say",
                make=_public_context,
            )
        )
    bundles = {os.environ.get(name, ""): name for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")}
    for path, variable in reversed(bundles.items()):
        if os.path.isfile(path) and path != trust.source:
            found.append(
                Alternative(
                    name=f"the bundle that {variable} names, which is not asked",
                    advice=f'pass ca_bundle_file="{path}" (GIGACHAT_CA_BUNDLE_FILE), if whoever made that bundle may '
                    "read your traffic",
                    make=_bundle_context(path),
                )
            )
    if trust.kind != "system":
        found.append(
            Alternative(
                name="an authority that was added to this system: a company's, or an antivirus's",
                advice='pass trust="system" (GIGACHAT_TRUST=system), or that root certificate as ca_bundle_file, if '
                "whoever added it may read your traffic",
                make=_system_store_context,
            )
        )
    if sys.version_info >= (3, 13) and trust.kind != "context":
        found.append(
            Alternative(
                name="the same as before, without the strictness of Python 3.13",
                advice="have the authority issue its certificates again as RFC 5280 wants them (an Authority Key "
                "Identifier, critical Basic Constraints); until then pass an ssl_context without VERIFY_X509_STRICT",
                make=lambda: _without_strictness(trust),
            )
        )
    return found


def _bundle_context(path: str) -> Callable[[], ssl.SSLContext]:
    return lambda: Trust(authorities=read_bundle(path), source=path).make_context()


def _public_context() -> ssl.SSLContext:
    import certifi  # the one module that requests, which depends on it, would take its authorities from

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
    trouble: ProbeError,
    shown: SettingSource | None,
    vouching: Alternative | None,
    *,
    trust: Trust,
    through_proxy: bool,
    now: datetime.datetime,
) -> Diagnosis:
    """Why a server's certificate was refused, and what to do.

    Args:
        host: the name that was asked for.
        trouble: the refusal.
        shown: the chain that the server showed to somebody who believes anybody; None when it could not be had.
        vouching: who would have believed it; None when nobody would.
        trust: whom the client believes.
        through_proxy: whether the way leads through a proxy.
        now: this machine's time.
    """
    chain = [found for found in map(read_certificate, shown.chain if shown else ()) if found is not None]
    lines = [f"certificate refused: {trouble.reason}", *_chain_lines(chain), f"believed: {believed(trust)}"]
    if vouching is not None:
        lines.append(f"it would be believed with: {vouching.name}")
    step = _next_step(host, trouble.code, chain, vouching, through_proxy, now)
    return Diagnosis(outcome="failure", detail="\n".join(lines), next_step=step)


def _chain_lines(chain: Sequence[Certificate]) -> list[str]:
    if not chain:
        return ["issuer met: could not be read"]
    leaf = chain[0]
    lines = [
        f"issuer met: {leaf.issuer or 'nameless'}",
        f"shown for: {', '.join(leaf.names[:4]) or leaf.subject or 'nobody'}; "
        f"good {_day(leaf.not_before)} to {_day(leaf.not_after)}",
    ]
    if len(chain) > 1:
        lines.append("above it: " + " < ".join(one.subject or "nameless" for one in chain[1:4]))
    return lines


def _next_step(
    host: str,
    code: int,
    chain: Sequence[Certificate],
    vouching: Alternative | None,
    through_proxy: bool,
    now: datetime.datetime,
) -> str:
    leaf = chain[0] if chain else None
    if code in (_EXPIRED, _NOT_YET_VALID):
        return (
            f"here it is {now.strftime('%Y-%m-%d %H:%M')} UTC: if that is wrong, set this machine's clock; if it is "
            "right, the server's operator has to renew its certificate. Switching verification off is no cure"
        )
    if code in (_HOST_MISMATCH, _ADDRESS_MISMATCH):
        return (
            f"the certificate was made for another host than {host}: check the address"
            + (", and what the proxy does with it" if through_proxy else "")
            + (f"; it is good for {', '.join(leaf.names[:3])}" if leaf is not None and leaf.names else "")
        )
    if vouching is not None:
        return vouching.advice
    if leaf is None:
        return "run the doctor again; if the certificate still cannot be had, ask the network's administrator"
    if _misses_intermediate(code, chain):
        return (
            f"the server leaves the certificate of {leaf.issuer} out, so nobody can tell who vouches for it: its "
            "operator has to send the whole chain; until then put that certificate and its root into one file and "
            "pass it as ca_bundle_file"
        )
    names = " ".join((*(one.issuer for one in chain), *(one.subject for one in chain))).lower()
    known = next((what for word, what in _INTERCEPTORS.items() if word in names), None)
    root = chain[-1].issuer if not chain[-1].is_self_issued else chain[-1].subject
    who = known or ("the proxy" if through_proxy else "a company's proxy or an antivirus")
    return (
        f"most likely {who} answers in the server's place. Get the root certificate of {root or 'that authority'} from "
        "the administrator, or from the browser's view of the certificate, and pass its file as ca_bundle_file "
        "(GIGACHAT_CA_BUNDLE_FILE), or have this host excepted from inspection. If that name means nothing to you, "
        "somebody may be listening"
    )


def _misses_intermediate(code: int, chain: Sequence[Certificate]) -> bool:
    if code not in (_NO_ISSUER, _NO_ISSUER_OF_LEAF):
        return False
    return _RUSSIAN in chain[0].issuer and chain[0].issuer not in [one.subject for one in chain[1:]]


def describe_verified(shown: SettingSource, now: datetime.datetime) -> Diagnosis:
    """A chain that was believed."""
    chain = [found for found in map(read_certificate, shown.chain) if found is not None]
    if not chain:
        return Diagnosis(detail=f"verified, {shown.version}")
    leaf = chain[0]
    detail = f"verified, {shown.version}, good until {_day(leaf.not_after)}\nissuer met: {leaf.issuer or 'nameless'}"
    days = (leaf.not_after - now).days
    if days < _LEAF_WARN_DAYS:
        return Diagnosis(
            outcome="warning",
            detail=detail,
            next_step=f"the server's certificate ends in {days} days: its operator has to renew it",
        )
    return Diagnosis(detail=detail)


def unverified_context() -> ssl.SSLContext:
    """For a look at a chain, on a line over which nothing is sent: it has no client certificate either."""
    return insecure_context()
