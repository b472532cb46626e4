"""The settings that a client would have, where each came from, and which of them cannot be used.

The rules are the client's own: its ``read_settings`` decides. A setting that it refuses is noted and put aside, and it
is asked again, until what is left can be used: a report that ends at the first mistake would be of no use.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from gigaclient._core.settings import Reader
from gigaclient._core.tls_settings import CLIENT_CERTIFICATE, TRUST_SETTINGS
from gigaclient._primitives.secret import MASK, Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError
from gigaclient.gigachat import GigaChat
from gigaclient.gigachat.settings import DEFAULT_BASE_URL, DEFAULT_MODEL, WHO_WE_ARE, GigaChatSettings, read_settings
from gigaclient.transport.proxies import without_password

__all__ = ["ENVIRONMENT_SETTINGS", "Given", "NoTokenCache", "Plan", "misspelt", "read_plan"]

PREFIX = "GIGACHAT_"
GROUPS = (TRUST_SETTINGS, WHO_WE_ARE, CLIENT_CERTIFICATE)

_ARGUMENTS = tuple(name for name in inspect.signature(GigaChat.__init__).parameters if name != "self")
_NOT_IN_THE_ENVIRONMENT = frozenset({"on_end", "on_request", "on_response", "session", "ssl_context"})
ENVIRONMENT_SETTINGS = tuple(name for name in _ARGUMENTS if name not in _NOT_IN_THE_ENVIRONMENT)
"""What is also read from the environment, as ``GIGACHAT_<NAME>``."""

_SECRETS = frozenset({"access_token", "credentials", "key_file_password", "password", "user"})

# What people call the settings elsewhere.
_MEANT = {
    "API_KEY": "credentials",
    "AUTH": "credentials",
    "AUTHORIZATION": "credentials",
    "AUTHORIZATION_KEY": "credentials",
    "AUTH_KEY": "credentials",
    "AUTH_TOKEN": "credentials",
    "CA_BUNDLE": "ca_bundle_file",
    "CA_FILE": "ca_bundle_file",
    "CERT": "ca_bundle_file",
    "CLIENT_SECRET": "credentials",
    "CREDENTIAL": "credentials",
    "KEY": "credentials",
    "SECRET": "credentials",
    "TOKEN": "access_token",
    "URL": "base_url",
    "VERIFY": "verify_ssl_certs",
    "VERIFY_SSL": "verify_ssl_certs",
}


class NoTokenCache:
    """A token cache that keeps nothing: the doctor wants to see the key work now, not that it once did."""

    def get(self, key: str, default: Any = None) -> Any:
        return default

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        return None


class Given(FrozenStruct, frozen=True, kw_only=True):
    """A setting that somebody made.

    Attributes:
        name: of the argument.
        source: where it came from, in words: ``argument``, ``environment``, ``stored login``.
        shown: its value, or the mask of a secret.
        unused: why it has no effect; empty when it has.
    """

    name: str
    source: str
    shown: str
    unused: str = ""


class Plan(FrozenStruct, frozen=True, kw_only=True):
    """What the client would be made of.

    Attributes:
        settings: what can be used, with the defaults in the place of what cannot.
        given: the settings that were made, in the order of the client's arguments.
        problems: what cannot be used, by name, and why.
        arguments: what a client of these settings takes.
        secrets: all that was given and must not be shown.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"arguments", "secrets"})

    settings: GigaChatSettings
    given: tuple[Given, ...]
    problems: Mapping[str, str]
    arguments: Mapping[str, Any]
    secrets: tuple[Secret, ...]

    def can_use(self, *names: str) -> bool:
        """Whether none of these settings had to be put aside."""
        return not any(name in self.problems for name in names)


def read_plan(arguments: Mapping[str, Any], sources: Mapping[str, str], unavailable: Mapping[str, str]) -> Plan:
    """The plan for ``arguments`` (None: not given) and the environment.

    Args:
        arguments: of ``GigaChat(…)``.
        sources: where an argument came from, by name, if not from the caller.
        unavailable: why an argument could not be had, by name.

    Raises:
        TypeError: there is no such argument.
    """
    unknown = sorted(set(arguments) - set(_ARGUMENTS))
    if unknown:
        raise TypeError(f"GigaChat has no such argument: {', '.join(unknown)}")
    arguments = {
        name: Secret(value) if name in _SECRETS | {"proxy"} and isinstance(value, str) else value
        for name, value in arguments.items()
        if value is not None
    }
    given = _given(arguments, sources)
    settings, problems, usable = _usable(arguments, [one.name for one in given if not one.unused])
    return Plan(
        settings=settings,
        given=tuple(given),
        problems={**unavailable, **problems},
        arguments=usable,
        secrets=_secrets(arguments),
    )


def _given(arguments: Mapping[str, Any], sources: Mapping[str, str]) -> list[Given]:
    read = Reader(arguments, PREFIX, groups=GROUPS)
    given = []
    for name in _ARGUMENTS:
        variable = PREFIX + name.upper()
        in_environment = name in ENVIRONMENT_SETTINGS and bool(os.environ.get(variable, "").strip())
        if arguments.get(name) is not None:
            source = sources.get(name, "argument")
            if in_environment:
                source += f" (over {variable})"
            given.append(Given(name=name, source=source, shown=_shown(name, arguments[name])))
        elif in_environment:
            value = read(name, lambda value: value, None)
            unused = "" if value is not None else "not asked, since an argument answers the same question"
            shown = _shown(name, os.environ[variable].strip())
            given.append(Given(name=name, source=variable, shown=shown, unused=unused))
    return given


def _shown(name: str, value: Any) -> str:
    if name in _SECRETS:
        return MASK
    text = str.__str__(value) if isinstance(value, str) else repr(value)
    if name == "proxy":
        try:
            return without_password(text)
        except ValueError:
            return MASK
    if not isinstance(value, (str, int, float, tuple, list)):
        return f"<{type(value).__name__}>"
    return text if len(text) <= 120 else f"{text[:100]}…"


def _secrets(arguments: Mapping[str, Any]) -> tuple[Secret, ...]:
    found = [arguments.get(name) for name in (*_SECRETS, "proxy")]
    found += [os.environ.get(PREFIX + name.upper()) for name in (*_SECRETS, "proxy")]
    whole = [str.__str__(value).strip() for value in found if isinstance(value, str) and value.strip()]
    # As it was given, and as the client cleans it.
    return tuple(Secret(part) for value in whole for part in {value, "".join(value.split()), value.strip("\"'")})


# -- putting aside what cannot be used -------------------------------------------------------------------------------


def _usable(arguments: Mapping[str, Any], names: list[str]) -> tuple[GigaChatSettings, dict[str, str], dict[str, Any]]:
    trial = dict(arguments)
    problems: dict[str, str] = {}
    left = list(names)
    while True:
        settings, message = _attempt(trial)
        if settings is not None:
            return settings, problems, trial
        culprit = _culprit(trial, left, message)
        if culprit is None:
            # It is in none of them by itself, or in what the environment says to others (REQUESTS_CA_BUNDLE).
            culprit = next((name for name in ("trust", *left) if name not in problems), None)
            if culprit is None:
                return GigaChatSettings(base_url=DEFAULT_BASE_URL, model=DEFAULT_MODEL), problems, {}
        problems[culprit] = message
        trial.update(_aside(culprit))
        left = [name for name in left if name != culprit]


def _attempt(trial: Mapping[str, Any]) -> tuple[GigaChatSettings | None, str]:
    try:
        settings = read_settings(trial)
        settings.trust.make_context()  # the files of a client certificate are read here
    except ConfigError as error:
        return None, error.message
    return settings, ""


def _culprit(trial: Mapping[str, Any], names: list[str], message: str) -> str | None:
    said = message.partition(":")[0]
    for name in names:
        if said in (name, PREFIX + name.upper()):
            return name
    for name in names:
        settings, other = _attempt({**trial, **_aside(name)})
        if settings is not None or other != message:
            return name
    return None


def _aside(name: str) -> dict[str, Any]:
    """Arguments that put a setting aside, in the environment too: for each question an answer that always works."""
    if name in TRUST_SETTINGS:
        return {**dict.fromkeys(TRUST_SETTINGS), "trust": "pinned"}
    if name in CLIENT_CERTIFICATE:
        return {**dict.fromkeys(CLIENT_CERTIFICATE), "key_file_password": Secret("none")}
    if name in WHO_WE_ARE:
        return {**dict.fromkeys(WHO_WE_ARE), "access_token": Secret("none")}
    return {name: _HARMLESS.get(name)}


_DEFAULTS = GigaChatSettings(base_url=DEFAULT_BASE_URL, model=DEFAULT_MODEL)
_HARMLESS: Mapping[str, Any] = {
    "auth_url": _DEFAULTS.auth_url,
    "base_url": _DEFAULTS.base_url,
    "deadline": math.inf,
    "event_timeout": math.inf,
    "flags": (),
    "max_connections": 10**6,
    "max_retries": _DEFAULTS.max_retries,
    "model": _DEFAULTS.model,
    "profanity_check": False,
    "retry_backoff_factor": _DEFAULTS.retry_backoff_factor,
    "retry_on_status_codes": _DEFAULTS.retry_on_status_codes,
    "scope": _DEFAULTS.scope,
    "session_id": "none",
    "timeout": (_DEFAULTS.connect_timeout, _DEFAULTS.read_timeout),
    "token_cache": NoTokenCache(),
    "v2_url": "https://api.giga.chat/v2",
}


# -- variables that nobody reads -------------------------------------------------------------------------------------


def misspelt() -> list[tuple[str, str]]:
    """Variables that look like settings and are none, with the setting that was meant, ``""`` where nobody knows.

    A lower-case name counts, where the system tells it from the upper-case one. Values are not looked at.
    """
    known = {PREFIX + name.upper(): name for name in ENVIRONMENT_SETTINGS}
    found = []
    for variable in sorted(os.environ):
        upper = variable.upper()
        if variable in known or not upper.startswith((PREFIX, "GIGA_CHAT_", "GIGACHATT_", "GIGCHAT_")):
            continue
        rest = upper.removeprefix("GIGA_CHAT_").removeprefix("GIGACHATT_").removeprefix("GIGCHAT_").removeprefix(PREFIX)
        meant = rest.lower() if PREFIX + rest in known else _MEANT.get(rest, "")
        if not meant:
            names = {name.upper(): name for name in ENVIRONMENT_SETTINGS} | _MEANT
            close = difflib.get_close_matches(rest, list(names), 1, 0.75)
            meant = names[close[0]] if close else ""
        found.append((variable, PREFIX + meant.upper() if meant else ""))
    return found
