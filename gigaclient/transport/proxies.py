"""Choose and validate the proxy for an origin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from gigaclient._primitives.extras import extra_is_missing
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = [
    "PROXY_VARIABLES",
    "SocksError",
    "is_socks",
    "proxy_address",
    "proxy_for",
    "proxy_source",
    "resolves_names",
    "without_password",
]

PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The environment variables that select a proxy, in the order of :mod:`requests`."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
# PySocks writes the length as a character in UTF-8, which is one byte up to here.
_MAX_SOCKS_BYTES = 127


class SocksError(OSError):
    """A SOCKS proxy opened no tunnel.

    Attributes:
        of_login: True if it did not accept the user and the password, or asked for them.
    """

    def __init__(self, reason: str, *, of_login: bool = False) -> None:
        super().__init__(reason)
        self.of_login = of_login


def proxy_for(origin: str, proxy: str | None, session: requests.Session | None = None) -> Secret | None:
    """Return the proxy for ``origin``: ``proxy`` if set, else the user's session's, else the environment's.

    An empty ``proxy`` means none. An ``http://`` origin never gets the environment's, which could read the request.

    Raises:
        ConfigError: it is not the address of a proxy, or PySocks is not installed.
    """
    source, address = "proxy", Secret(proxy) if proxy is not None else None
    del proxy
    if address is None and session is not None:
        source, address = "the proxy of the session", _select_proxy(origin, session.proxies)
    # Without TLS the proxy could read everything, and http:// is for servers on this machine or beside it.
    if address is None and origin.lower().startswith("https:") and (session is None or session.trust_env):
        address = _select_proxy(origin, get_environ_proxies(origin + "/", no_proxy=None))
        source = proxy_source(address)
    if not address:
        return None
    problem = _problem_with(address)
    if problem is not None:
        raise ConfigError(f"{source}: {problem}")
    return address if "://" in address else Secret(f"http://{address.reveal()}")


def proxy_source(address: Secret | None) -> str:
    """Return the variable that holds ``address``, a proxy of the environment."""
    for name in PROXY_VARIABLES:
        if address and address in (os.environ.get(name), f"http://{os.environ.get(name)}"):
            return name
    return "the system's settings"


def _select_proxy(origin: str, proxies: Mapping[str, str]) -> Secret | None:
    found = select_proxy(origin + "/", dict(proxies))
    return Secret(found) if found else None


# The functions below return a problem and do not raise it: their frames hold the password, and must not be in a
# traceback.


def _problem_with(proxy: Secret) -> str | None:
    text = proxy.reveal()
    shown = _masked(text)
    if text[0] in "\"'" or text[-1] in "\"'":
        return f"there are quotes around {shown}: remove them"
    if not text.isprintable() or " " in text:
        return f"{shown} is followed by, or has, a space or a line break (such as a CR of Windows): remove it"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return f"{shown} is not an address like http://host:port"
    if parts.scheme not in _DEFAULT_PORTS:
        return (
            f"{shown} must be an http://, https://, socks5://, socks5h:// or socks4:// address; "
            f"{parts.scheme}:// is not supported"
        )
    if not usable:
        return f"{shown} is not an address like http://host:port"
    return _problem_of_scheme(parts.scheme, f"{unquote(parts.username or '')}:{unquote(parts.password or '')}", shown)


def _problem_of_scheme(scheme: str, login: str, shown: str) -> str | None:
    if scheme in ("http", "https"):
        if any(ord(character) > 255 for character in login):
            return (
                f"the user or the password of {shown} has letters such as Cyrillic ones, which HTTP cannot carry: "
                "check that the keyboard was in English, or choose another password"
            )
        return None
    if max(len(part.encode("utf-8", "surrogatepass")) for part in login.split(":", 1)) > _MAX_SOCKS_BYTES:
        return f"the user and the password of {shown} may have {_MAX_SOCKS_BYTES} bytes each"
    from importlib.util import find_spec

    if find_spec("socks") is None:
        return extra_is_missing(shown, "PySocks (the extra socks)", "socks")
    return None


def _masked(text: str) -> str:
    """Return the address as far as it may be shown, even if it is malformed."""
    scheme, separator, rest = text.strip().strip("\"'").strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    _, at, host = rest.rpartition("@")
    host = host.partition("/")[0].partition("?")[0]
    name, colon, port = host.rpartition(":")
    if colon and not port.isdecimal() and not host.endswith("]"):
        host = f"{name}:***"  # perhaps the password of an address without a host
    return f"{scheme}{separator}{'***@' if at else ''}{host}" if host.isprintable() else "***"


def is_socks(proxy: str) -> bool:
    """Return True for the address of a SOCKS proxy."""
    return proxy[:5].lower() == "socks"


def resolves_names(proxy: Secret) -> bool:
    """Return True if the proxy looks host names up; with ``socks4://`` and ``socks5://`` the client does."""
    return not is_socks(proxy) or urlsplit(proxy.reveal()).scheme in ("socks4a", "socks5h")


def proxy_address(proxy: Secret) -> tuple[str, int]:
    """Return the host and the port of the proxy; ("", 0) without one."""
    parts = urlsplit(proxy.reveal())
    return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def without_password(url: str) -> str:
    """Return ``url`` with the user and the password masked, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, parts.path, "", ""))
