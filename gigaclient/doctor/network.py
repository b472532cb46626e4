"""Check the path to one host: its address, the connection or the proxy's tunnel, and TLS. Nothing else is sent."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.doctor.probe_socket import (
    Address,
    HandshakeResult,
    ProbeError,
    ProbeSocket,
    ProbeStream,
    ProbeTimeout,
    Tls,
    connect,
    handshake,
    resolve,
    tunnel,
    within,
)
from gigaclient.doctor.report import Diagnosis, Outcome
from gigaclient.doctor.trust_store import (
    Alternative,
    alternatives,
    describe_verified,
    explain_refusal,
    unverified_context,
)
from gigaclient.errors import ConfigError
from gigaclient.transport.adapter import TrustAdapter
from gigaclient.transport.proxies import without_password
from gigaclient.transport.tls import Trust, system_context

__all__ = ["Endpoint", "Host", "HostCheck", "ProxyRoute", "examine_proxies"]

T = TypeVar("T")

_SLOW_LOOKUP_SECONDS = 3.0
_DEFAULT_PORTS = {"https": 443, "http": 80}
_PUBLIC_NAMES = ("giga.chat", "sberbank.ru")


class Host(FrozenStruct, frozen=True, kw_only=True):
    """A server that the client talks to.

    Attributes:
        id: ``api``, ``auth`` or ``v2``.
        title: the same for people.
        origin: ``scheme://host[:port]``.
        setting: the setting that holds its address; empty for the default.
    """

    id: str
    title: str
    origin: str
    setting: str

    @property
    def name(self) -> str:
        """The host name."""
        return urlsplit(self.origin).hostname or ""

    @property
    def port(self) -> int:
        """The port, also when the origin leaves it out."""
        parts = urlsplit(self.origin)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def is_tls(self) -> bool:
        """True for ``https://``."""
        return self.origin.startswith("https:")


class ProxyRoute(FrozenStruct, frozen=True, kw_only=True):
    """The proxy between this machine and a host.

    Attributes:
        proxy: its address; None for no proxy.
        source: the setting that selects it.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"proxy"})

    proxy: Secret | None = None
    source: str = ""

    @property
    def shown(self) -> str:
        """The proxy's address without user and password."""
        return without_password(self.proxy.reveal()) if self.proxy is not None else ""

    @property
    def address(self) -> tuple[str, int]:
        """The proxy's host and port."""
        parts = urlsplit(self.proxy.reveal() if self.proxy is not None else "")
        return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)

    @property
    def is_tls(self) -> bool:
        """True when the connection to the proxy itself uses TLS."""
        return self.proxy is not None and self.proxy.reveal().lower().startswith("https:")

    def authorization(self) -> Secret | None:
        """Return the ``Proxy-Authorization`` header that the client would send; None without a user."""
        if self.proxy is None:
            return None
        headers: Any = TrustAdapter(Trust()).proxy_headers(self.proxy.reveal())
        result = headers.get("Proxy-Authorization")
        return Secret(result) if result is not None else None


class Endpoint:
    """The address that connections are made to: of a host, or of the proxy in front of it.

    Args:
        name: the host name.
        port: the port.
        setting: the setting that holds the address; empty for the default.
        seconds: the limit of each step.
    """

    def __init__(self, name: str, port: int, setting: str, seconds: float) -> None:
        self.name = name
        self.port = port
        self.setting = setting
        self.seconds = seconds
        self._addresses: list[Address] = []
        self._reached: Address | None = None

    def resolve(self) -> Diagnosis:
        """Resolve the name, and warn about slow or unexpected results."""
        began = time.monotonic()
        try:
            self._addresses = within(self.seconds, lambda: resolve(self.name, self.port))
        except ProbeTimeout:
            return Diagnosis(
                outcome="failure",
                detail=f"{self.name}: no response within {self.seconds:g} s",
                next_step="the name servers of this machine do not respond: check the network, the VPN and the "
                "system's DNS settings",
            )
        except ProbeError as error:
            step = (
                "the name does not resolve: the network is not connected, a VPN is missing, a filter hides the name, "
            )
            step += "or only a proxy can resolve it (HTTPS_PROXY)"
            if self.setting:
                step = f"check {self.setting} for a typing error; if it is right, {step}"
            if error.cause == "lookup_failed":
                step = "the name servers of this machine fail: check the network, the VPN and the DNS settings"
            return Diagnosis(outcome="failure", detail=f"{self.name}: {error.reason}", next_step=step)
        ips = list(dict.fromkeys(address.ip for address in self._addresses))
        if ips == [self.name]:
            return Diagnosis(detail=f"{self.name} needs no DNS")
        detail = f"{self.name}: {', '.join(ips[:4])}" + (f" and {len(ips) - 4} more" if len(ips) > 4 else "")
        unexpected = [ip for ip in ips if _is_unexpected(self.name, ip)]
        if unexpected:
            return Diagnosis(
                outcome="warning",
                detail=detail,
                next_step=f"{unexpected[0]} is not a public address: a hosts file, a VPN or a filter changes it",
            )
        if time.monotonic() - began > _SLOW_LOOKUP_SECONDS:
            return Diagnosis(
                outcome="warning",
                detail=detail,
                next_step="resolving a name takes this long before each new connection: check the name servers",
            )
        return Diagnosis(detail=detail)

    def try_connect(self) -> tuple[list[str], ProbeError | None]:
        """Try each address; return the errors before the first that works, and the last one if all failed."""
        deadline = time.monotonic() + self.seconds
        failures: list[str] = []
        last_error: ProbeError | None = None
        for index, address in enumerate(self._addresses):
            # Like the client, which divides the remaining time between the addresses.
            seconds = (deadline - time.monotonic()) / (len(self._addresses) - index)
            try:
                with connect(address, max(seconds, 0.01)):
                    self._reached = address
                    return failures, None
            except ProbeError as error:
                last_error = error
                failures.append(f"{address.ip}: {error.reason}")
        return failures, last_error

    @property
    def ip(self) -> str:
        """The address that accepted a connection."""
        return self._reached.ip if self._reached is not None else ""

    def open(self, deadline: float) -> ProbeSocket:
        """Connect to the address that responded. The connection is usable until ``deadline`` (monotonic clock).

        Raises:
            ProbeError: the connection failed.
        """
        if self._reached is None:
            raise ProbeError("unreachable", "none of its addresses responds")
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProbeError("timeout", "timed out")
        return connect(self._reached, left)


class HostCheck:
    """The checks of one host. Each needs the success of the one before.

    Args:
        host: the host.
        route: the proxy to use.
        endpoint: the address of the host, or of the proxy.
        trust: the trust settings of the client.
        now: this machine's time, for dates of certificates.
    """

    def __init__(self, host: Host, route: ProxyRoute, endpoint: Endpoint, trust: Trust, now: datetime.datetime) -> None:
        self.host = host
        self.route = route
        self.endpoint = endpoint
        self._trust = trust
        self._now = now
        self._deadline = 0.0

    def resolve(self) -> Diagnosis:
        """Resolve the host's name, unless the proxy does it."""
        if self.route.proxy is not None:
            return Diagnosis(outcome="not_checked", detail=f"{self.host.name}: the proxy resolves it")
        return self.endpoint.resolve()

    # -- the connection --------------------------------------------------------------------------------------------

    def check_connection(self) -> Diagnosis:
        """Connect to the host, or open a tunnel to it."""
        if self.route.proxy is not None:
            return self._check_tunnel()
        failures, error = self.endpoint.try_connect()
        target = f"port {self.host.port}"
        if error is not None:
            return Diagnosis(
                outcome="failure", detail=f"{target}: {'; '.join(failures)}", next_step=self._connection_advice(error)
            )
        detail = f"{target} of {self.endpoint.ip} accepts connections"
        if not failures:
            return Diagnosis(detail=detail)
        return Diagnosis(
            outcome="warning",
            detail=f"{detail}; {'; '.join(failures)}",
            next_step="an address that does not respond delays each new connection: if it contains colons, IPv6 is "
            "configured on this machine and does not work",
        )

    def _connection_advice(self, error: ProbeError) -> str:
        if error.cause == "refused":
            if self.host.setting:
                return f"no program listens on it: check the port in {self.host.setting}"
            return (
                f"most likely a firewall refuses it: have port {self.host.port} of {self.host.name} opened, or set "
                "HTTPS_PROXY if this network has a proxy"
            )
        if error.cause == "timeout":
            return (
                f"most likely a firewall drops connections to port {self.host.port}: have it opened for "
                f"{self.host.name}, or set HTTPS_PROXY if this network has a proxy"
            )
        return "there is no route to it: check the network, the VPN, and whether a proxy is needed (HTTPS_PROXY)"

    def _check_tunnel(self) -> Diagnosis:
        target = f"{self.host.name}:{self.host.port} through {self.route.shown}"
        self._start_clock()
        try:
            with self._connection():
                return Diagnosis(detail=target)
        except ProbeError as error:
            return Diagnosis(
                outcome="failure", detail=f"{target}: {error.reason}", next_step=self._tunnel_advice(error)
            )
        except ConfigError as error:  # the trust settings for the proxy's own certificate
            return Diagnosis(outcome="failure", detail=f"{target}: {error.message}", next_step="fix that variable")

    def _tunnel_advice(self, error: ProbeError) -> str:
        if error.cause == "proxy_login":
            return (
                f"the proxy rejects the login: put user and password into {self.route.source}, as "
                "http://user:password@host:port, with special characters percent-encoded; NTLM and Kerberos are not "
                "supported"
            )
        if error.cause == "proxy_refused":
            return (
                f"the proxy does not allow a tunnel: have its administrator allow CONNECT to "
                f"{self.host.name}:{self.host.port}"
            )
        if error.cause == "not_http":
            return f"that is not an HTTP proxy: check the address in {self.route.source}"
        if error.cause == "certificate":
            return (
                "the proxy's own certificate is checked against the public authorities, or the file that "
                "REQUESTS_CA_BUNDLE names: set that variable; or write http:// in the proxy's address, as most "
                "proxies need"
            )
        if error.cause == "not_tls":
            return f"the proxy itself does not use TLS: write http:// in its address ({self.route.source})"
        return f"the proxy opened no tunnel: ask its administrator about {self.host.name}:{self.host.port}"

    def _start_clock(self) -> None:
        """Start the time limit that the connections from now on share."""
        self._deadline = time.monotonic() + self.endpoint.seconds

    @contextmanager
    def _connection(self) -> Iterator[ProbeStream]:
        """Connect to the host, through the tunnel if there is one."""
        with self.endpoint.open(self._deadline) as connection:
            stream: ProbeStream = connection
            if self.route.proxy is not None:
                if self.route.is_tls:
                    stream = Tls(connection, system_context(), self.endpoint.name)
                tunnel(stream, self.host.name, self.host.port, self.route.authorization())
            yield stream

    # -- TLS ---------------------------------------------------------------------------------------------------------

    def check_tls(self) -> Diagnosis:
        """Do a handshake with the client's trust; after a failure, spend as much time again to find the cause."""
        if not self.host.is_tls:
            return Diagnosis(outcome="not_checked", detail="http:// has no TLS")
        self._start_clock()
        try:
            result = self._handshake(self._trust.make_context())
        except ProbeError as error:
            failure = error
        else:
            return (
                self._warn_unverified(result)
                if self._trust.kind == "insecure"
                else describe_verified(result, self._now)
            )
        if failure.cause != "certificate":
            return Diagnosis(
                outcome="failure",
                detail=f"the handshake with {self.host.name} failed: {failure.reason}",
                next_step=self._handshake_advice(failure),
            )
        self._start_clock()
        return explain_refusal(
            self.host.name,
            failure,
            self._attempt(self._unverified_handshake),
            self._find_alternative(),
            trust=self._trust,
            through_proxy=self.route.proxy is not None,
            now=self._now,
        )

    def _handshake(self, context: ssl.SSLContext) -> HandshakeResult:
        with self._connection() as stream:
            return handshake(stream, context, self.host.name)

    def _unverified_handshake(self) -> HandshakeResult:
        """Read the chain without verification. Only the handshake goes over this connection."""
        return self._handshake(unverified_context())

    def _warn_unverified(self, result: HandshakeResult) -> Diagnosis:
        self._start_clock()
        alternative = self._find_alternative()
        step = (
            f"certificates can be checked here: {alternative.advice}"
            if alternative is not None
            else "find out which authority signs here, and pass its root certificate as ca_bundle_file"
        )
        described = describe_verified(result, self._now)
        return Diagnosis(
            outcome="warning", detail=described.detail.replace("verified", "not verified", 1), next_step=step
        )

    def _find_alternative(self) -> Alternative | None:
        for alternative in alternatives(self._trust):
            if self._attempt(lambda make=alternative.make: self._handshake(make())) is not None:  # type: ignore[misc]
                return alternative
        return None

    @staticmethod
    def _attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (ProbeError, ConfigError, OSError):  # an authority that cannot be loaded verifies nothing
            return None

    def _handshake_advice(self, error: ProbeError) -> str:
        if error.cause == "client_certificate":
            return "the server requires a client certificate, or rejects this one: pass cert_file and key_file"
        if error.cause == "not_tls":
            return f"that port does not use TLS: check {self.host.setting or 'what is between it and this machine'}"
        if error.cause == "old_tls":
            return "the server supports only versions of TLS older than 1.2, which are not safe: update it"
        if error.cause == "closed":
            return (
                "a device on the network closes the connection when it sees the name: a filter of the network or the "
                "provider. Try another network, or a proxy (HTTPS_PROXY)"
            )
        if error.cause == "timeout":
            return (
                "the connection is open, but the handshake gets no response: a firewall or a filter blocks it, or the "
                "server is overloaded. Try again, and from another network"
            )
        return "try from another network; if it fails there too, contact the server's operator"


def examine_proxies(checks: Sequence[HostCheck]) -> Diagnosis:
    """Connect to each proxy once, and list the hosts that need none."""
    lines: list[str] = []
    outcome: Outcome = "ok"
    steps: list[str] = []
    for endpoint, check in {check.endpoint: check for check in checks if check.route.proxy is not None}.items():
        result = _examine_proxy(endpoint, check.route)
        lines.append(result.detail)
        if result.outcome == "failure":
            outcome = "failure"
            steps.append(result.next_step)
    direct = [check for check in checks if check.route.proxy is None]
    if len(direct) == len(checks) and not any(check.route.source for check in direct):
        return Diagnosis(detail="none")
    lines += [
        f"none for {check.host.name}" + (f": {check.route.source}" if check.route.source else "") for check in direct
    ]
    return Diagnosis(outcome=outcome, detail="\n".join(lines), next_step="; ".join(steps))


def _examine_proxy(endpoint: Endpoint, route: ProxyRoute) -> Diagnosis:
    target = f"{route.shown} from {route.source}"
    result = endpoint.resolve()
    if result.outcome == "failure":
        return result
    failures, error = endpoint.try_connect()
    if error is None:
        return Diagnosis(detail=target)
    return Diagnosis(
        outcome="failure",
        detail=f"{target}: {'; '.join(failures)}",
        next_step=f"the proxy cannot be reached: check the address in {route.source}, or remove it if this network "
        "needs none",
    )


def _is_unexpected(name: str, ip: str) -> bool:
    """Return True when a name of the service resolves to an address of this machine or of a private network."""
    if not name.endswith(_PUBLIC_NAMES):
        return False
    address = ipaddress.ip_address(ip.partition("%")[0])
    return address.is_private or address.is_loopback or address.is_unspecified
