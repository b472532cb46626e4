"""Find the settings that a client would use, their sources, and which of them are not valid.

The client's own ``read_settings`` decides. A setting that it rejects is recorded and replaced by a valid value, and the
rest is read again, so that the report does not end at the first error.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from gigaclient._core.settings import Reader, environment_value, named
from gigaclient._core.tls_settings import CLIENT_CERTIFICATE, TRUST_SETTINGS
from gigaclient._primitives.secret import MASK, Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import ConfigError
from gigaclient.gigachat import GigaChat
from gigaclient.gigachat.credentials import authorization_key
from gigaclient.gigachat.settings import (
    CREDENTIAL_SETTINGS,
    DEFAULT_BASE_URL,
    DEFAULT_MODEL,
    GigaChatSettings,
    read_settings,
)
from gigaclient.transport.proxies import without_password

__all__ = [
    "ENVIRONMENT_SETTINGS",
    "PREFIX",
    "InspectedSettings",
    "NullTokenCache",
    "SettingSource",
    "inspect_settings",
    "misspelt_variables",
]

PREFIX = "GIGACHAT_"
GROUPS = (TRUST_SETTINGS, CREDENTIAL_SETTINGS, CLIENT_CERTIFICATE)

_ARGUMENTS = tuple(name for name in inspect.signature(GigaChat.__init__).parameters if name != "self")
_ARGUMENTS_ONLY = frozenset({"on_end", "on_request", "on_response", "session", "ssl_context", "auth"})
ENVIRONMENT_SETTINGS = tuple(name for name in _ARGUMENTS if name not in _ARGUMENTS_ONLY)
"""The arguments that are also read from the environment, as ``GIGACHAT_<NAME>``."""

_SECRETS = frozenset({"access_token", "credentials", "key_file_password", "password", "user"})

# Names that other tools use for these settings.
_ALIASES = {
    **dict.fromkeys(("API_KEY", "AUTH", "AUTHORIZATION", "AUTHORIZATION_KEY", "AUTH_KEY", "AUTH_TOKEN"), "credentials"),
    **dict.fromkeys(("CLIENT_SECRET", "CREDENTIAL", "KEY", "SECRET"), "credentials"),
    **dict.fromkeys(("CA_BUNDLE", "CA_FILE", "CERT"), "ca_bundle_file"),
    **dict.fromkeys(("VERIFY", "VERIFY_SSL"), "verify_ssl_certs"),
    "TOKEN": "access_token",
    "URL": "base_url",
}


class NullTokenCache:
    """A token cache that stores nothing: the doctor must check the key now, not a token from an earlier run."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return ``default``."""
        return default

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        """Store nothing."""


class SettingSource(FrozenStruct, frozen=True, kw_only=True):
    """A setting that is not the default.

    Attributes:
        name: the name of the argument.
        source: ``argument``, the name of an environment variable, or the text that ``sources`` has for the argument.
        display: the value for the report, or a mask for a secret.
        unused_reason: the reason why it has no effect; empty when it has one.
    """

    name: str
    source: str
    display: str
    unused_reason: str = ""

    @property
    def label(self) -> str:
        """The place to change it: the name of the variable, or the argument with its source."""
        return self.source if self.source.startswith(PREFIX) else f"{self.name}= ({self.source})"


class InspectedSettings(FrozenStruct, frozen=True, kw_only=True):
    """The settings of the client, and their problems.

    Attributes:
        settings: the valid settings, with defaults in place of those that are not valid.
        explicit_settings: the settings that are not defaults, in the order of the client's arguments.
        problems: why a setting is not valid, by its name.
        arguments: the arguments for a client of these settings.
        secrets: all values that must not be shown.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"arguments", "secrets"})

    settings: GigaChatSettings
    explicit_settings: tuple[SettingSource, ...]
    problems: Mapping[str, str]
    arguments: Mapping[str, Any]
    secrets: tuple[Secret, ...]

    def can_use(self, *names: str) -> bool:
        """Return True when all these settings are valid."""
        return not any(name in self.problems for name in names)


def inspect_settings(
    arguments: Mapping[str, Any], sources: Mapping[str, str], unavailable: Mapping[str, str]
) -> InspectedSettings:
    """Read the settings from ``arguments`` and the environment.

    Args:
        arguments: the arguments of ``GigaChat(…)``; None means not set.
        sources: the source of an argument, by name, if it is not the caller.
        unavailable: the reason why an argument could not be read, by name.

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
    used = _explicit_settings(arguments, sources)
    settings, problems, valid_arguments = _valid_settings(
        arguments, [setting.name for setting in used if not setting.unused_reason]
    )
    return InspectedSettings(
        settings=settings,
        explicit_settings=tuple(used),
        problems={**unavailable, **problems},
        arguments=valid_arguments,
        secrets=_secrets(arguments),
    )


def _explicit_settings(arguments: Mapping[str, Any], sources: Mapping[str, str]) -> list[SettingSource]:
    read = Reader(arguments, PREFIX, groups=GROUPS)
    used: list[SettingSource] = []
    for name in _ARGUMENTS:
        variable, found = environment_value(PREFIX + name.upper(), os.environ)
        in_environment = name in ENVIRONMENT_SETTINGS and bool(found)
        if arguments.get(name) is not None:
            source = sources.get(name, "argument")
            if in_environment:
                source += f" (over {variable})"
            used.append(SettingSource(name=name, source=source, display=_display(name, arguments[name])))
        elif in_environment:
            value = read(name, lambda value: value, None)
            unused_reason = "" if value is not None else "not used, because an argument sets the same thing"
            display = _display(name, found.reveal())
            used.append(SettingSource(name=name, source=variable, display=display, unused_reason=unused_reason))
    return used


def _display(name: str, value: Any) -> str:
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
    found += [environment_value(PREFIX + name.upper(), os.environ)[1] for name in (*_SECRETS, "proxy")]
    originals = [str.__str__(value).strip() for value in found if isinstance(value, str) and value.strip()]
    # Both the original value and the forms that the client makes of it.
    return tuple(Secret(part) for value in originals for part in {value, "".join(value.split()), value.strip("\"'")})


# -- finding the settings that are not valid -------------------------------------------------------------------------


def _valid_settings(
    arguments: Mapping[str, Any], names: list[str]
) -> tuple[GigaChatSettings, dict[str, str], dict[str, Any]]:
    trial = dict(arguments)
    problems: dict[str, str] = {}
    remaining = list(names)
    while True:
        settings, message = _attempt(trial)
        if settings is not None:
            return settings, problems, trial
        invalid = _find_invalid_setting(trial, remaining, message)
        if invalid is None:
            # No single setting causes it, or the cause is a variable of other programs (REQUESTS_CA_BUNDLE).
            invalid = next((name for name in ("trust", *remaining) if name not in problems), None)
            if invalid is None:
                return GigaChatSettings(base_url=DEFAULT_BASE_URL, model=DEFAULT_MODEL), problems, {}
        problems[invalid] = message
        trial.update(_valid_arguments(invalid))
        remaining = [name for name in remaining if name != invalid]


def _attempt(trial: Mapping[str, Any]) -> tuple[GigaChatSettings | None, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an unusual key is an error here
            settings = read_settings(trial)
        if settings.credentials is not None:
            source = "credentials" if trial.get("credentials") is not None else f"{PREFIX}CREDENTIALS"
            named(source, authorization_key, settings.credentials)
        settings.trust.make_context()  # reads the files of a client certificate
    except ConfigError as error:
        return None, error.message
    return settings, ""


def _find_invalid_setting(trial: Mapping[str, Any], names: list[str], message: str) -> str | None:
    label = message.partition(":")[0]
    for name in names:
        if label in (name, PREFIX + name.upper()):
            return name
    for name in names:
        settings, other_message = _attempt({**trial, **_valid_arguments(name)})
        if settings is not None or other_message != message:
            return name
    return None


def _valid_arguments(name: str) -> dict[str, Any]:
    """Return arguments that replace a setting, also one from the environment, by a valid value."""
    if name in TRUST_SETTINGS:
        return {**dict.fromkeys(TRUST_SETTINGS), "trust": "pinned"}
    if name in CLIENT_CERTIFICATE:
        return {**dict.fromkeys(CLIENT_CERTIFICATE), "key_file_password": Secret("none")}
    if name in CREDENTIAL_SETTINGS:
        return {**dict.fromkeys(CREDENTIAL_SETTINGS), "credentials": _NO_KEY}
    return {name: _VALID_VALUES.get(name)}


_DEFAULTS = GigaChatSettings(base_url=DEFAULT_BASE_URL, model=DEFAULT_MODEL)
_NO_KEY = Secret("bm9uZTpub25l")  # of the form of a key; it replaces all credentials of the environment
_VALID_VALUES: Mapping[str, Any] = {
    "allow_http": False,
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
    "token_cache": NullTokenCache(),
    "v2_url": "https://api.giga.chat/v2",
}


# -- variables that are not read -------------------------------------------------------------------------------------


def misspelt_variables() -> list[tuple[str, str]]:
    """Find variables that look like settings but are not read, with the variable that was meant, or ``""``.

    Names may be in lower case. Values are not read.
    """
    known = {PREFIX + name.upper(): name for name in ENVIRONMENT_SETTINGS}
    found = []
    for variable in sorted(os.environ):
        upper = variable.upper()
        if (upper in known and variable in (upper, upper.lower())) or not upper.startswith(
            (PREFIX, "GIGA_CHAT_", "GIGACHATT_", "GIGCHAT_")
        ):
            continue
        rest = upper.removeprefix("GIGA_CHAT_").removeprefix("GIGACHATT_").removeprefix("GIGCHAT_").removeprefix(PREFIX)
        correct_name = rest.lower() if PREFIX + rest in known else _ALIASES.get(rest, "")
        if not correct_name:
            names = {name.upper(): name for name in ENVIRONMENT_SETTINGS} | _ALIASES
            close = difflib.get_close_matches(rest, list(names), 1, 0.75)
            correct_name = names[close[0]] if close else ""
        found.append((variable, PREFIX + correct_name.upper() if correct_name else ""))
    return found
