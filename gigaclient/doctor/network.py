"""The way to one host: its address, the connection or the proxy's tunnel, and TLS. Nothing else is sent."""

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
    ProbeError,
    ProbeSocket,
    ProbeStream,
    ProbeTimeout,
    SettingSource,
    Tls,
    connect,
    resolve,
    shake_hands,
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

__all__ = ["Endpoint", "Host", "HostCheck", "ProxyRoute", "examine_proxy"]

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
        setting: where its address was given, in words; empty for the default.
    """

    id: str
    title: str
    origin: str
    setting: str

    @property
    def name(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.origin)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def is_tls(self) -> bool:
        return self.origin.startswith("https:")


class ProxyRoute(FrozenStruct, frozen=True, kw_only=True):
    """The proxy on the way to a host.

    Attributes:
        proxy: its address; None for no proxy.
        source: where that was said.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"proxy"})

    proxy: Secret | None = None
    source: str = ""

    @property
    def shown(self) -> str:
        """The proxy's address without user and password."""
        return without_password(self.proxy.reveal()) if self.proxy is not None else ""

    @property
    def place(self) -> tuple[str, int]:
        """The proxy's host and port."""
        parts = urlsplit(self.proxy.reveal() if self.proxy is not None else "")
        return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)

    @property
    def is_tls(self) -> bool:
        return self.proxy is not None and self.proxy.reveal().lower().startswith("https:")

    def login(self) -> Secret | None:
        """The header that proves to the proxy who we are, as the client would send it."""
        if self.proxy is None:
            return None
        headers: Any = TrustAdapter(Trust()).proxy_headers(self.proxy.reveal())
        found = headers.get("Proxy-Authorization")
        return Secret(found) if found is not None else None


class Endpoint:
    """What connections are made to: a host, or the proxy in front of it.

    Args:
        name: of the host.
        port: its port.
        setting: where its address was given, in words; empty for the default.
        seconds: the limit of each step.
    """

    def __init__(self, name: str, port: int, setting: str, seconds: float) -> None:
        self.name = name
        self.port = port
        self.setting = setting
        self.seconds = seconds
        self._addresses: list[Address] = []
        self._reached: Address | None = None

    def look_up(self) -> Diagnosis:
        """Where the name leads."""
        began = time.monotonic()
        try:
            self._addresses = within(self.seconds, lambda: resolve(self.name, self.port))
        except ProbeTimeout:
            return Diagnosis(
                outcome="failure",
                detail=f"{self.name}: no answer within {self.seconds:g} s",
                next_step="the name servers of this machine do not answer: check the network, the VPN and the system's "
                "DNS settings",
            )
        except ProbeError as trouble:
            step = "this network does not know the name: it is not connected, a VPN is missing, a filter hides the "
            step += "name, or only a proxy may look it up (HTTPS_PROXY)"
            if self.setting:
                step = f"check {self.setting} for a slip; if it is right, {step}"
            if trouble.kind == "lookup_failed":
                step = "the name servers of this machine fail: check the network, the VPN and the DNS settings"
            return Diagnosis(outcome="failure", detail=f"{self.name}: {trouble.reason}", next_step=step)
        ips = list(dict.fromkeys(address.ip for address in self._addresses))
        if ips == [self.name]:
            return Diagnosis(detail=f"{self.name} needs no look-up")
        detail = f"{self.name}: {', '.join(ips[:4])}" + (f" and {len(ips) - 4} more" if len(ips) > 4 else "")
        strange = [ip for ip in ips if _is_strange(self.name, ip)]
        if strange:
            return Diagnosis(
                outcome="warning",
                detail=detail,
                next_step=f"{strange[0]} is no public address: a hosts file, a VPN or a filter answers for this name",
            )
        if time.monotonic() - began > _SLOW_LOOKUP_SECONDS:
            return Diagnosis(
                outcome="warning",
                detail=detail,
                next_step="looking a name up takes this long before each new connection: check the name servers",
            )
        return Diagnosis(detail=detail)

    def try_connect(self) -> tuple[list[str], ProbeError | None]:
        """Connect to the first address that answers: what became of those before it, and of the last if none did."""
        ends_at = time.monotonic() + self.seconds
        lost: list[str] = []
        trouble: ProbeError | None = None
        for index, address in enumerate(self._addresses):
            # As the client does it: the addresses share the time that there is.
            share = (ends_at - time.monotonic()) / (len(self._addresses) - index)
            try:
                with connect(address, max(share, 0.01)):
                    self._reached = address
                    return lost, None
            except ProbeError as error:
                trouble = error
                lost.append(f"{address.ip}: {error.reason}")
        return lost, trouble

    @property
    def ip(self) -> str:
        """The address that answered."""
        return self._reached.ip if self._reached is not None else ""

    def open(self, ends_at: float) -> ProbeSocket:
        """A connection to the address that answered, whose use ends at that moment of the monotonic clock.

        Raises:
            Trouble: it was not to be had.
        """
        if self._reached is None:
            raise ProbeError("unreachable", "no address of it answers")
        left = ends_at - time.monotonic()
        if left <= 0:
            raise ProbeError("slow", "timed out")
        return connect(self._reached, left)


class HostCheck:
    """The steps to one host, each of which stands on the one before.

    Args:
        host: where to.
        route: through which proxy.
        door: the host's own, or the proxy's.
        trust: whom the client believes.
        now: this machine's time, for dates of certificates.
    """

    def __init__(self, host: Host, route: ProxyRoute, door: Endpoint, trust: Trust, now: datetime.datetime) -> None:
        self.host = host
        self.route = route
        self.door = door
        self._trust = trust
        self._now = now
        self._ends_at = 0.0

    def look_up(self) -> Diagnosis:
        """Where the host's name leads."""
        if self.route.proxy is not None:
            return Diagnosis(outcome="not_checked", detail=f"{self.host.name}: the proxy looks it up")
        return self.door.look_up()

    # -- the connection --------------------------------------------------------------------------------------------

    def reach(self) -> Diagnosis:
        """A connection to the host, or a tunnel to it."""
        if self.route.proxy is not None:
            return self._tunnelled()
        lost, trouble = self.door.try_connect()
        where = f"port {self.host.port}"
        if trouble is not None:
            return Diagnosis(
                outcome="failure", detail=f"{where}: {'; '.join(lost)}", next_step=self._why_not_reached(trouble)
            )
        detail = f"{where} of {self.door.ip} takes connections"
        if not lost:
            return Diagnosis(detail=detail)
        return Diagnosis(
            outcome="warning",
            detail=f"{detail}; {'; '.join(lost)}",
            next_step="an address that does not answer costs each new connection time: if it has colons in it, IPv6 is "
            "set up on this machine and does not work",
        )

    def _why_not_reached(self, trouble: ProbeError) -> str:
        if trouble.kind == "refused":
            if self.host.setting:
                return f"nothing listens there: check the port in {self.host.setting}"
            return (
                f"a firewall refuses it, most likely: have port {self.host.port} of {self.host.name} opened, or set "
                "HTTPS_PROXY if this network has a proxy"
            )
        if trouble.kind == "slow":
            return (
                f"a firewall drops connections to port {self.host.port}, most likely: have it opened for "
                f"{self.host.name}, or set HTTPS_PROXY if this network has a proxy"
            )
        return "this network does not lead there: check it, the VPN, and whether a proxy is needed (HTTPS_PROXY)"

    def _tunnelled(self) -> Diagnosis:
        where = f"{self.host.name}:{self.host.port} through {self.route.shown}"
        self._begin()
        try:
            with self._line():
                return Diagnosis(detail=where)
        except ProbeError as trouble:
            return Diagnosis(
                outcome="failure", detail=f"{where}: {trouble.reason}", next_step=self._why_no_tunnel(trouble)
            )
        except ConfigError as error:  # whom to believe for a proxy's own certificate
            return Diagnosis(outcome="failure", detail=f"{where}: {error.message}", next_step="mend that variable")

    def _why_no_tunnel(self, trouble: ProbeError) -> str:
        if trouble.kind == "proxy_login":
            return (
                f"the proxy does not let us in: give user and password in {self.route.source}, as "
                "http://user:password@host:port, with special characters percent-encoded; NTLM and Kerberos are not "
                "spoken"
            )
        if trouble.kind == "proxy_refused":
            return (
                f"the proxy does not tunnel there: have its administrator allow CONNECT to "
                f"{self.host.name}:{self.host.port}"
            )
        if trouble.kind == "not_http":
            return f"that is no HTTP proxy: check the address in {self.route.source}"
        if trouble.kind == "certificate":
            return (
                "the proxy's own certificate is checked against the public authorities, or the file that "
                "REQUESTS_CA_BUNDLE names: set that variable; or write http:// in the proxy's address, as most proxies "
                "want it"
            )
        if trouble.kind == "not_tls":
            return f"the proxy speaks no TLS itself: write http:// in its address ({self.route.source})"
        return f"the proxy gave no tunnel: ask its administrator about {self.host.name}:{self.host.port}"

    def _begin(self) -> None:
        """From now on, the lines that are opened have one limit in all."""
        self._ends_at = time.monotonic() + self.door.seconds

    @contextmanager
    def _line(self) -> Iterator[ProbeStream]:
        """A connection to the host, through the tunnel if there is one."""
        with self.door.open(self._ends_at) as line:
            stream: ProbeStream = line
            if self.route.proxy is not None:
                if self.route.is_tls:
                    stream = Tls(line, system_context(), self.door.name)
                tunnel(stream, self.host.name, self.host.port, self.route.login())
            yield stream

    # -- TLS ---------------------------------------------------------------------------------------------------------

    def shake_hands(self) -> Diagnosis:
        """A handshake with the client's trust; where that fails, as much time again to find out why."""
        if not self.host.is_tls:
            return Diagnosis(outcome="not_checked", detail="http:// is plain: no TLS")
        self._begin()
        try:
            shown = self._shaken(self._trust.make_context())
        except ProbeError as error:
            trouble = error
        else:
            return self._unverified(shown) if self._trust.kind == "insecure" else describe_verified(shown, self._now)
        if trouble.kind != "certificate":
            return Diagnosis(
                outcome="failure",
                detail=f"the handshake with {self.host.name} failed: {trouble.reason}",
                next_step=self._why_no_handshake(trouble),
            )
        self._begin()
        return explain_refusal(
            self.host.name,
            trouble,
            self._attempt(self._look),
            self._vouching(),
            trust=self._trust,
            through_proxy=self.route.proxy is not None,
            now=self._now,
        )

    def _shaken(self, context: ssl.SSLContext) -> SettingSource:
        with self._line() as stream:
            return shake_hands(stream, context, self.host.name)

    def _look(self) -> SettingSource:
        """The chain as it is, believed or not. Only the handshake goes over this line."""
        return self._shaken(unverified_context())

    def _unverified(self, shown: SettingSource) -> Diagnosis:
        self._begin()
        vouching = self._vouching()
        step = (
            f"certificates need not go unchecked here: {vouching.advice}"
            if vouching is not None
            else "find out who answers here, and pass the root certificate as ca_bundle_file"
        )
        described = describe_verified(shown, self._now)
        return Diagnosis(
            outcome="warning", detail=described.detail.replace("verified", "not verified", 1), next_step=step
        )

    def _vouching(self) -> Alternative | None:
        for alternative in alternatives(self._trust):
            if self._attempt(lambda make=alternative.make: self._shaken(make())) is not None:  # type: ignore[misc]
                return alternative
        return None

    @staticmethod
    def _attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (ProbeError, ConfigError, OSError):  # an authority that cannot be had vouches for nobody
            return None

    def _why_no_handshake(self, trouble: ProbeError) -> str:
        if trouble.kind == "asks_certificate":
            return "the server asks for a client certificate, or does not accept ours: pass cert_file and key_file"
        if trouble.kind == "not_tls":
            return f"that port does not speak TLS: check {self.host.setting or 'what stands in between'}"
        if trouble.kind == "old_tls":
            return "the server speaks only versions of TLS older than 1.2, which are not safe: update it"
        if trouble.kind == "closed":
            return (
                "something on the way closes the connection when it sees the name: a filter of the network or the "
                "provider. Try another network, or a proxy (HTTPS_PROXY)"
            )
        if trouble.kind == "slow":
            return (
                "the connection stands, but nobody answers the handshake: a firewall or a filter holds it, or the "
                "server is overloaded. Try again, and from another network"
            )
        return "try from another network; if it is the same there, tell the server's operator"


def examine_proxy(ways: Sequence[HostCheck]) -> Diagnosis:
    """The proxies on the ways, each reached once; and which host is reached without one."""
    lines: list[str] = []
    outcome: Outcome = "ok"
    steps: list[str] = []
    for door, way in {way.door: way for way in ways if way.route.proxy is not None}.items():
        found = _reach_proxy(door, way.route)
        lines.append(found.detail)
        if found.outcome == "failure":
            outcome = "failure"
            steps.append(found.next_step)
    direct = [way for way in ways if way.route.proxy is None]
    if len(direct) == len(ways) and not any(way.route.source for way in direct):
        return Diagnosis(detail="none")
    lines += [f"none for {way.host.name}" + (f": {way.route.source}" if way.route.source else "") for way in direct]
    return Diagnosis(outcome=outcome, detail="\n".join(lines), next_step="; ".join(steps))


def _reach_proxy(door: Endpoint, route: ProxyRoute) -> Diagnosis:
    where = f"{route.shown} from {route.source}"
    found = door.look_up()
    if found.outcome == "failure":
        return found
    lost, trouble = door.try_connect()
    if trouble is None:
        return Diagnosis(detail=where)
    return Diagnosis(
        outcome="failure",
        detail=f"{where}: {'; '.join(lost)}",
        next_step=f"the proxy is not there: check the address in {route.source}, or leave it out if this network needs "
        "none",
    )


def _is_strange(name: str, ip: str) -> bool:
    """Whether a name of the service leads to an address of this machine or of a private network."""
    if not name.endswith(_PUBLIC_NAMES):
        return False
    address = ipaddress.ip_address(ip.partition("%")[0])
    return address.is_private or address.is_loopback or address.is_unspecified
