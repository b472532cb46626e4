"""Parsers for settings and call options, and the reader of settings.

An argument wins over the environment, and that over the default. Each value is checked, and the error says what to
change. Pure functions, except that :class:`Reader` reads the environment.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.types.options import CallSettings as CallSettings

__all__ = ["Reader", "base_url", "environment_value", "named", "named_or_none"]

T = TypeVar("T")

# The longest timeout that sockets and locks accept on every platform; a longer one means no limit.
_MAX_SECONDS = 10.0**6

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Reader:
    """Reads settings by name: from the arguments, else from the environment variable ``<prefix><NAME>``.

    See :func:`environment_value` for the forms of a variable. Some settings belong together, such as all those about
    trust or all those about credentials: see ``groups``. One argument of a group hides the environment variables of
    the whole group.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        prefix: str,
        *,
        groups: Sequence[frozenset[str]] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._arguments = arguments
        self._prefix = prefix
        self._environment = os.environ if environment is None else environment
        # verify_ssl_certs=True is the default and selects no authorities, so it hides nothing.
        self._shadowed = {
            name
            for group in groups
            if any(arguments.get(member) not in (None, True) for member in group)
            for name in group
        }

    def __call__(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """Return the setting ``name``, parsed by ``parse``, or ``default``.

        Raises:
            ConfigError: ``parse`` rejected it; the error names the argument or the variable.
        """
        value = self._arguments.get(name)
        source = name
        if value is None and name not in self._shadowed:
            source, found = environment_value(self._prefix + name.upper(), self._environment)
            value = found or None
            del found
        return default if value is None else named(source, parse, value)


def environment_value(name: str, environment: Mapping[str, str]) -> tuple[str, Secret]:
    """Return the name and the value of an environment variable; the value is empty if there is none.

    The name may be in lower case. Quotes around the value are removed, because ``docker --env-file`` keeps them.
    """
    if not environment.get(name, "").strip() and name.lower() in environment:
        name = name.lower()
    value = Secret(environment.get(name, "").strip())
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = Secret(value[1:-1].strip())
    return name, value


def text(value: Any) -> str:
    """Parse a string that is not empty."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    stripped = value.strip()
    if not stripped:
        raise ConfigError("is empty; leave it out for the default")
    return stripped


def secret(value: Any) -> Secret:
    """Parse a secret."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    if not value:
        raise ConfigError("is empty; leave it out if there is none")
    return Secret(value)


def proxy(value: Any) -> Secret:
    """Parse the address of a proxy, a secret because it may hold a password; empty for False, which means no proxy."""
    if value is False or (isinstance(value, str) and value.strip().lower() in ("false", "off", "no", "0")):
        return Secret("")
    if not isinstance(value, str):
        raise ConfigError(f"must be the address of a proxy, or False for none, not {type(value).__name__}")
    # Only spaces: the error about a line break at the end says where it is.
    return secret(value.strip(" ") if value.strip() else "")


def session(value: Any) -> Any:
    """Return ``value`` if it is a ``requests.Session`` or has its ``send`` and ``mount``."""
    if not callable(getattr(value, "send", None)) or not callable(getattr(value, "mount", None)):
        raise ConfigError(f"must be a requests.Session, not {type(value).__name__}")
    return value


def hooks(value: Any) -> tuple[Callable[[Any], object], ...]:
    """Parse one hook or a list of hooks."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for hook in found:
        if not callable(hook):
            raise ConfigError(f"must be a function or a list of functions, not {type(hook).__name__}")
        if _is_async_or_generator(hook):
            raise ConfigError(
                f"{getattr(hook, '__name__', type(hook).__name__)} is async or a generator, and calling it would run "
                "nothing: pass an ordinary function"
            )
    return found


def _is_async_or_generator(hook: Any) -> bool:
    # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR; importing inspect takes long.
    generators = 0x20 | 0x80 | 0x200
    function = hook if hasattr(hook, "__code__") else getattr(type(hook), "__call__", None)  # noqa: B004
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & generators)


def file_path(value: Any) -> str:
    """Parse a path and expand ``~``."""
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"must be the path of a file, not {type(value).__name__}")
    return os.path.expanduser(value.reveal() if isinstance(value, Secret) else os.fspath(value))


def flag(value: Any) -> bool:
    """Parse a boolean."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
    raise ConfigError("must be true or false")


def seconds(value: Any) -> float:
    """Parse a positive number of seconds; a million or more means no limit."""
    number = _number(value)
    if number <= 0:
        raise ConfigError("must be more than 0 seconds; leave it out for the default")
    return number if number < _MAX_SECONDS else math.inf


def not_negative(value: Any) -> float:
    """Parse a number that is 0 or more."""
    number = _number(value)
    if number < 0:
        raise ConfigError("must not be negative")
    return number


def whole(minimum: int) -> Callable[[Any], int]:
    """Return a parser of whole numbers from ``minimum``."""

    def parse(value: Any) -> int:
        number = _number(value)
        if number < minimum or number != int(number):
            raise ConfigError(f"must be a whole number, {minimum} or more")
        return int(number)

    return parse


def timeout(value: Any) -> tuple[float, float]:
    """Parse ``(connect, read)`` from a pair, or from one number for both."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ConfigError("must be a number of seconds, or a pair (connect, read)")
        return seconds(value[0]), seconds(value[1])
    number = seconds(value)
    return number, number


def status_codes(value: Any) -> tuple[int, ...]:
    """Parse a list of error statuses."""
    if isinstance(value, str):
        value = [part for part in value.strip("[]() ").split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError("must be a list of HTTP statuses")
    codes = tuple(whole(100)(code) for code in value)
    if any(not 400 <= code <= 599 for code in codes):
        raise ConfigError("only error statuses, 400 to 599, can be tried again")
    return codes


def words(value: Any) -> list[str]:
    """Parse a list of strings."""
    if isinstance(value, str):
        value = [part.strip().strip("\"'") for part in value.strip("[] ").split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ConfigError("must be a list of strings")
    return list(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        number = -math.inf if isinstance(value, int) and value < 0 else math.inf
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ConfigError("must be a number")
    return _MAX_SECONDS if number == math.inf else number


def base_url(value: Any, *, allow_http: bool = False, private_http: bool = False) -> str:
    """Parse an absolute URL without query, and remove slashes at its end.

    Plain HTTP is accepted for this machine, with ``allow_http`` for all, and with ``private_http`` for addresses of
    private networks.
    """
    url = text(value)
    if "@" in url:  # checked first, because the errors below show the URL
        raise ConfigError("must not hold a user and a password: pass them as user= and password=")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("must be an address in ASCII, without spaces; a Cyrillic host name is written as xn--…")
    try:
        parts = urlsplit(url)
        scheme, host, port, path = parts.scheme, parts.hostname, parts.port, parts.path
    except ValueError:
        scheme, host, port, path = "", None, None, ""
    if scheme not in ("http", "https") or not host or not _is_host(host):
        raise ConfigError(f"must be an address such as https://api.giga.chat/v1, not {url[:200]!r}")
    if "?" in url or "#" in url:
        raise ConfigError("must not have a query or a fragment")
    if port == 0:
        raise ConfigError("port 0 is not a port")
    if scheme == "http" and not allow_http and not _allows_plain_http(host, private_http):
        raise ConfigError(
            "http:// would send secrets in the clear: use https://; for a gateway of your own, pass allow_http=True"
        )
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{bracketed}{'' if port is None else f':{port}'}{path.rstrip('/')}"


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _allows_plain_http(host: str, private: bool) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or (private and address.is_private)


def named(name: str, parse: Callable[[Any], T], value: Any) -> T:
    """Return ``value`` parsed by ``parse``.

    Raises:
        ConfigError: ``parse`` rejected it; the error begins with ``name``.
    """
    try:
        return parse(value)
    except ConfigError as error:
        reason = error.message
    raise ConfigError(f"{name}: {reason}")


def named_or_none(name: str, parse: Callable[[Any], T], value: Any) -> T | None:
    """Return the same as :func:`named`, and None for None."""
    return None if value is None else named(name, parse, value)
