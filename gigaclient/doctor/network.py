"""Check the path to one host: its address, the connection or the proxy's tunnel, and TLS. Nothing else is sent."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from gigaclient.doctor.endpoints import Endpoint, Host, ProxyRoute
from gigaclient.doctor.probe_socket import (
    HandshakeResult,
    ProbeError,
    ProbeStream,
    Tls,
    handshake,
    tunnel,
)
from gigaclient.doctor.report import Diagnosis, Outcome
from gigaclient.doctor.trust_store import (
    Alternative,
    alternatives,
    describe_verified,
    explain_refusal,
)
from gigaclient.errors import ConfigError
from gigaclient.transport.proxies import is_socks, resolves_names
from gigaclient.transport.tls import Trust, insecure_context, system_context

__all__ = ["HostCheck", "examine_proxies"]

T = TypeVar("T")


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
        proxy = self.route.proxy
        if proxy is None:
            return self.endpoint.resolve()
        if resolves_names(proxy):
            return Diagnosis.not_checked(f"{self.host.name}: the proxy resolves it")
        return Endpoint(self.host.name, self.host.port, self.host.setting, self.endpoint.seconds).resolve()

    # -- the connection --------------------------------------------------------------------------------------------

    def check_connection(self) -> Diagnosis:
        """Connect to the host, or open a tunnel to it."""
        if self.route.proxy is not None:
            return self._check_tunnel()
        failures, error = self.endpoint.try_connect()
        target = f"port {self.host.port}"
        if error is not None:
            return Diagnosis.failure(f"{target}: {'; '.join(failures)}", self._connection_advice(error))
        detail = f"{target} of {self.endpoint.ip} accepts connections"
        if not failures:
            return Diagnosis(detail=detail)
        return Diagnosis.warning(
            f"{detail}; {'; '.join(failures)}",
            "an address that does not respond delays each new connection: if it contains colons, IPv6 is "
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
            return Diagnosis.failure(f"{target}: {error.reason}", self._tunnel_advice(error))
        except ConfigError as error:  # the trust settings for the proxy's own certificate
            return Diagnosis.failure(f"{target}: {error.message}", "fix that variable")

    def _tunnel_advice(self, error: ProbeError) -> str:
        target = f"{self.host.name}:{self.host.port}"
        scheme = self.route.shown.partition("://")[0]
        advice = {
            "proxy_login": f"the proxy rejects the login: put user and password into {self.route.source}, as "
            f"{scheme}://user:password@host:port, with special characters percent-encoded; NTLM and Kerberos are not "
            "supported",
            "proxy_refused": f"the proxy does not allow a tunnel: have its administrator allow "
            f"{'' if scheme.startswith('socks') else 'CONNECT to '}{target}",
            "not_http": f"that is not an HTTP proxy: check the address in {self.route.source}",
            "certificate": "the proxy's own certificate is checked against the public authorities, or the file that "
            "REQUESTS_CA_BUNDLE names: set that variable; or write http:// in the proxy's address, as most proxies "
            "need",
            "not_tls": f"the proxy itself does not use TLS: write http:// in its address ({self.route.source})",
        }
        return advice.get(error.cause, f"the proxy opened no tunnel: ask its administrator about {target}")

    def _start_clock(self) -> None:
        """Start the time limit that the connections from now on share."""
        self._deadline = time.monotonic() + self.endpoint.seconds

    @contextmanager
    def _connection(self) -> Iterator[ProbeStream]:
        """Connect to the host, through the tunnel if there is one."""
        with self.endpoint.open(self._deadline) as connection:
            stream: ProbeStream = connection
            proxy = self.route.proxy
            if proxy is not None and is_socks(proxy):
                connection.open_socks_tunnel(proxy, self.host.name, self.host.port)
            elif proxy is not None:
                if self.route.is_tls:
                    stream = Tls(connection, system_context(), self.endpoint.name)
                tunnel(stream, self.host.name, self.host.port, self.route.authorization())
            yield stream

    # -- TLS ---------------------------------------------------------------------------------------------------------

    def check_tls(self) -> Diagnosis:
        """Do a handshake with the client's trust; after a failure, spend as much time again to find the cause."""
        if not self.host.is_tls:
            return Diagnosis.not_checked("http:// has no TLS")
        self._start_clock()
        try:
            result = self._handshake(self._trust.make_context())
        except ProbeError as error:
            failure = error
        else:
            return (
                self._warn_unverified(result)
                if self._trust.mode == "insecure"
                else describe_verified(result, self._now)
            )
        if failure.cause != "certificate":
            return Diagnosis.failure(
                f"the handshake with {self.host.name} failed: {failure.reason}", self._handshake_advice(failure)
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
        """Read the chain without verification and without a client certificate. Only the handshake is sent."""
        return self._handshake(insecure_context())

    def _warn_unverified(self, result: HandshakeResult) -> Diagnosis:
        self._start_clock()
        alternative = self._find_alternative()
        step = (
            f"certificates can be checked here: {alternative.advice}"
            if alternative is not None
            else "find out which authority signs here, and pass its root certificate as ca_bundle_file"
        )
        described = describe_verified(result, self._now)
        return Diagnosis.warning(described.detail.replace("verified", "not verified", 1), step)

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
        advice = {
            "client_certificate": "the server requires a client certificate, or rejects this one: pass cert_file and "
            "key_file",
            "not_tls": "that port does not use TLS: check "
            + (self.host.setting or "what is between it and this machine"),
            "old_tls": "the server supports only versions of TLS older than 1.2, which are not safe: update it",
            "closed": "a device on the network closes the connection when it sees the name: a filter of the network or "
            "the provider. Try another network, or a proxy (HTTPS_PROXY)",
            "timeout": "the connection is open, but the handshake gets no response: a firewall or a filter blocks it, "
            "or the server is overloaded. Try again, and from another network",
        }
        other = "try from another network; if it fails there too, contact the server's operator"
        return advice.get(error.cause, other)


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
    return Diagnosis.failure(
        f"{target}: {'; '.join(failures)}",
        f"the proxy cannot be reached: check the address in {route.source}, or remove it if this network needs none",
    )
