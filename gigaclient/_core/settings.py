"""Settings and per-call options: argument over environment over default, each checked with a message that helps. Pure
but for reading the environment when it is asked to.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import urlsplit

from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers bring it; nothing needs it at run time


__all__ = ["CallSettings", "Reader", "base_url", "if_given", "named", "timeouts_from"]

T = TypeVar("T")

# The longest wait that sockets and locks take on every platform; beyond it, there is no bound.
_LONGEST = 10.0**6

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class CallSettings(TypedDict, total=False):
    """The options of a call, for those who pass them by name.

    Attributes:
        timeout: seconds, or a pair (connect, read).
        event_timeout: seconds that a stream may keep itself alive without an event.
        deadline: seconds for the whole call: token, queue, tries, waits and body.
        max_retries: further tries after the first one, where a repeat is safe.
        headers: further headers, over all others.
        authorization: a whole ``Authorization`` value in place of the client's token.
        request_id, session_id, client_id, service_id, operation_id, trace_id, agent_id: ``X-Request-ID`` and so on.
    """

    timeout: float | tuple[float, float] | None
    event_timeout: float | None
    deadline: float | None
    max_retries: int | None
    headers: Mapping[str, str | None] | None
    authorization: str | None
    request_id: str | None
    session_id: str | None
    client_id: str | None
    service_id: str | None
    operation_id: str | None
    trace_id: str | None
    agent_id: str | None


class Reader:
    """Reads settings by name: the argument if given, else the environment variable ``<prefix><NAME>``.

    An empty variable counts as absent. Where several settings answer one question (whom to trust, who we are), giving
    any of them as an argument leaves the environment's answer to that question aside: see ``groups``.
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
        # True says no more than the default does (check certificates), and leaves the question whom to trust open.
        self._shadowed = {
            name
            for group in groups
            if any(arguments.get(member) not in (None, True) for member in group)
            for name in group
        }

    def __call__(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """The setting ``name`` as ``parse`` makes it of what was given.

        Raises:
            ConfigError: ``parse`` refused it; the message names the argument or the variable.
        """
        value = self._arguments.get(name)
        source = name
        if value is None and name not in self._shadowed:
            source = self._prefix + name.upper()
            found = Secret(self._environment.get(source, "").strip())
            value = found or None
            del found
        return default if value is None else named(source, parse, value)


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    stripped = value.strip()
    if not stripped:
        raise ConfigError("is empty; leave it out for the default")
    return stripped


def secret(value: Any) -> Secret:
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    if not value:
        raise ConfigError("is empty; leave it out if there is none")
    return Secret(value)


def proxy(value: Any) -> Secret:
    """The address of a proxy; it may hold a password."""
    return secret(value.strip() if isinstance(value, str) else value)


def session(value: Any) -> Any:
    """A ``requests.Session`` of the user's own, or what can stand in for one."""
    if not callable(getattr(value, "send", None)) or not callable(getattr(value, "mount", None)):
        raise ConfigError(f"must be a requests.Session, not {type(value).__name__}")
    return value


def hooks(value: Any) -> tuple[Callable[[Any], object], ...]:
    """One function or several, to be told of calls."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for hook in found:
        if not callable(hook):
            raise ConfigError(f"must be a function or a list of functions, not {type(hook).__name__}")
        if _runs_nothing(hook):
            raise ConfigError(
                f"{getattr(hook, '__name__', type(hook).__name__)} is async or a generator, and calling it would run "
                "nothing: pass an ordinary function"
            )
    return found


def _runs_nothing(hook: Any) -> bool:
    generators = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR; its import takes long
    function = hook if hasattr(hook, "__code__") else getattr(type(hook), "__call__", None)  # noqa: B004
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & generators)


def file_path(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"must be the path of a file, not {type(value).__name__}")
    return os.path.expanduser(value.reveal() if isinstance(value, Secret) else os.fspath(value))


def flag(value: Any) -> bool:
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
    number = _number(value)
    if number <= 0:
        raise ConfigError("must be more than 0 seconds; leave it out for the default")
    return number if number < _LONGEST else math.inf


def not_negative(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ConfigError("must not be negative")
    return number


def whole(minimum: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = _number(value)
        if number < minimum or number != int(number):
            raise ConfigError(f"must be a whole number, {minimum} or more")
        return int(number)

    return parse


def timeout(value: Any) -> tuple[float, float]:
    """``(connect, read)`` from a number for both or a pair."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ConfigError("must be a number of seconds, or a pair (connect, read)")
        return seconds(value[0]), seconds(value[1])
    number = seconds(value)
    return number, number


def status_codes(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = [part for part in value.strip("[]() ").split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError("must be a list of HTTP statuses")
    codes = tuple(whole(100)(code) for code in value)
    if any(not 400 <= code <= 599 for code in codes):
        raise ConfigError("only error statuses, 400 to 599, can be tried again")
    return codes


def words(value: Any) -> list[str]:
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
    return _LONGEST if number == math.inf else number


def base_url(value: Any, *, private_http: bool = False) -> str:
    """An address that requests are sent to: absolute, without query, without a slash at its end.

    Plain HTTP is for this machine, and with ``private_http`` for addresses of private networks.
    """
    url = text(value)
    if "@" in url:  # before anything that would show it
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
    if scheme == "http" and not _is_near(host, private_http):
        raise ConfigError("http:// would send secrets in the clear: use https:// (http:// is for this machine alone)")
    where = f"[{host}]" if ":" in host else host
    return f"{scheme}://{where}{'' if port is None else f':{port}'}{path.rstrip('/')}"


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_near(host: str, private: bool) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or (private and address.is_private)


def timeouts_from(
    default: Timeouts, timeout_option: Any = None, deadline: Any = None, event_timeout: Any = None
) -> Timeouts:
    """``default`` with what is given over it."""
    connect, read = (default.connect, default.read) if timeout_option is None else timeout(timeout_option)
    return Timeouts(
        connect=connect,
        read=read,
        # One that nobody chose follows the read timeout.
        event=default.chosen_event if event_timeout is None else seconds(event_timeout),
        deadline=default.deadline if deadline is None else seconds(deadline),
    )


def named(name: str, parse: Callable[[Any], T], value: Any) -> T:
    """``value`` as ``parse`` makes it.

    Raises:
        ConfigError: ``parse`` refused it; the message begins with ``name``.
    """
    try:
        return parse(value)
    except ConfigError as error:
        reason = error.message
    raise ConfigError(f"{name}: {reason}")


def if_given(name: str, parse: Callable[[Any], T], value: Any) -> T | None:
    """The same, and None for None."""
    return None if value is None else named(name, parse, value)
