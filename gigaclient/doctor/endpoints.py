"""The hosts of the client, the proxies in front of them, and connections to their addresses."""

from __future__ import annotations

import ipaddress
import os
import time
from typing import Any, ClassVar
from urllib.parse import urlsplit

from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.doctor.probe_socket import Address, ProbeError, ProbeSocket, ProbeTimeout, connect, resolve, within
from gigaclient.doctor.report import Diagnosis
from gigaclient.doctor.settings_report import InspectedSettings
from gigaclient.errors import ConfigError
from gigaclient.transport import origin_of
from gigaclient.transport.http import TrustAdapter
from gigaclient.transport.proxies import PROXY_VARIABLES, proxy_address, proxy_for, proxy_source, without_password
from gigaclient.transport.tls import Trust

__all__ = ["HOSTS", "Endpoint", "Host", "ProxyRoute", "find_hosts", "find_routes"]

HOSTS = (("api", "API", "base_url"), ("auth", "OAuth", "auth_url"), ("v2", "API v2", "v2_url"))
"""The id, the title and the setting of each host."""

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
        return proxy_address(self.proxy if self.proxy is not None else Secret(""))

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
            return Diagnosis.failure(
                f"{self.name}: no response within {self.seconds:g} s",
                "the name servers of this machine do not respond: check the network, the VPN and the "
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
            return Diagnosis.failure(f"{self.name}: {error.reason}", step)
        ips = list(dict.fromkeys(address.ip for address in self._addresses))
        if ips == [self.name]:
            return Diagnosis(detail=f"{self.name} needs no DNS")
        detail = f"{self.name}: {', '.join(ips[:4])}" + (f" and {len(ips) - 4} more" if len(ips) > 4 else "")
        unexpected = [ip for ip in ips if _is_unexpected(self.name, ip)]
        if unexpected:
            return Diagnosis.warning(
                detail, f"{unexpected[0]} is not a public address: a hosts file, a VPN or a filter changes it"
            )
        if time.monotonic() - began > _SLOW_LOOKUP_SECONDS:
            return Diagnosis.warning(
                detail, "resolving a name takes this long before each new connection: check the name servers"
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


def _is_unexpected(name: str, ip: str) -> bool:
    """Return True when a name of the service resolves to an address of this machine or of a private network."""
    if not name.endswith(_PUBLIC_NAMES):
        return False
    address = ipaddress.ip_address(ip.partition("%")[0])
    return address.is_private or address.is_loopback or address.is_unspecified


# -- from the settings -----------------------------------------------------------------------------------------------


def find_hosts(inspected: InspectedSettings) -> list[Host]:
    """Return the hosts that the client would use, each once, without those whose address is not valid."""
    settings = inspected.settings
    asks_for_token = settings.access_token is None and settings.user is None and settings.trust.cert_file is None
    addresses = {"api": settings.base_url, "v2": settings.chat_v2_url}
    if settings.credentials is not None or asks_for_token or "credentials" in inspected.problems:
        addresses["auth"] = settings.auth_url
    labels = {setting.name: setting.label for setting in inspected.explicit_settings}
    hosts: dict[str, Host] = {}
    for id, title, setting in HOSTS:
        # Without v2_url, the address of API v2 is derived from base_url.
        address_setting = "base_url" if setting == "v2_url" and settings.v2_url is None else setting
        if id in addresses and inspected.can_use(address_setting):
            origin = origin_of(addresses[id])
            hosts.setdefault(origin, Host(id=id, title=title, origin=origin, setting=labels.get(address_setting, "")))
    return list(hosts.values())


def find_routes(inspected: InspectedSettings, hosts: list[Host]) -> tuple[list[ProxyRoute], Diagnosis | None]:
    """Return the proxy for each host, and a failure if the setting is not a valid proxy."""
    settings = inspected.settings
    routes = []
    for host in hosts:
        try:
            proxy = proxy_for(host.origin, settings.proxy, settings.session)
        except ConfigError as error:
            source = _proxy_source(inspected, None, is_broken=True)
            failure = Diagnosis.failure(
                f"{error.message}\nthe checks below ignore it",
                f"fix or unset {source}: an http:// proxy works, and NO_PROXY={host.name} bypasses it",
            )
            return [ProxyRoute() for _ in hosts], failure
        routes.append(ProxyRoute(proxy=proxy, source=_proxy_source(inspected, proxy, is_tls=host.is_tls)))
    return routes, None


def _proxy_source(
    inspected: InspectedSettings, proxy: Secret | None, *, is_tls: bool = True, is_broken: bool = False
) -> str:
    """Return the setting that selects the proxy; without a proxy, the setting that bypasses it."""
    for setting in inspected.explicit_settings:
        if setting.name == "proxy":
            return setting.label
    explicit = [name for name in PROXY_VARIABLES if os.environ.get(name)]
    if is_broken:
        return explicit[0] if explicit else "the system's settings"
    if proxy is None:
        reason = "NO_PROXY bypasses" if is_tls else "http:// never uses"
        return f"{reason} {explicit[0]}" if explicit else ""
    source = proxy_source(proxy)
    return "the session" if source not in explicit and inspected.settings.session is not None else source
