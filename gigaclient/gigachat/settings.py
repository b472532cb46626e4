"""The settings of a GigaChat client: arguments override ``GIGACHAT_*`` variables, which override defaults."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from gigaclient._core import settings
from gigaclient._core.base_client import CommonSettings, read_common
from gigaclient._core.settings import Reader
from gigaclient._core.tls_settings import CLIENT_CERTIFICATE, TRUST_SETTINGS, read_trust
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError
from gigaclient.gigachat.credentials import access_token, check_pair, usable_key

__all__ = ["GigaChatSettings", "read_settings"]

DEFAULT_BASE_URL = "https://api.giga.chat/v1"
DEFAULT_AUTH_URL = "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
DEFAULT_SCOPE = "GIGACHAT_API_PERS"
DEFAULT_MODEL = "GigaChat-2"

_CHAT_PATH = "/chat/completions"

CREDENTIAL_SETTINGS = frozenset({"credentials", "access_token", "user", "password"})


class GigaChatSettings(CommonSettings, frozen=True, kw_only=True, dict=True):
    """All settings of a client. They can be pickled unless they hold an object of the caller."""

    _hidden: ClassVar[frozenset[str]] = CommonSettings._hidden | {
        *("access_token", "credentials", "password", "token_cache", "user")
    }

    auth_url: str = DEFAULT_AUTH_URL
    v2_url: str | None = None
    credentials: Secret | None = None
    scope: str = DEFAULT_SCOPE
    access_token: Secret | None = None
    user: str | None = None
    password: Secret | None = None
    profanity_check: bool | None = None
    flags: tuple[str, ...] | None = None
    session_id: str | None = None
    token_cache: Any = None
    sends_credentials: bool = True

    @functools.cached_property
    def body_defaults(self) -> dict[str, Any]:
        """The body fields of chat requests that do not set them."""
        fields = {
            "model": self.model,
            "profanity_check": self.profanity_check,
            "flags": None if self.flags is None else list(self.flags),
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def chat_v2_url(self) -> str:
        """The address of chat of API v2: ``v2_url``, or ``base_url`` with ``/v2`` for its version."""
        if self.v2_url is not None:
            return self.v2_url + _CHAT_PATH
        before, _, last = self.base_url.rpartition("/")
        is_versioned = last[:1] == "v" and last[1:].isdecimal() and not before.endswith("/")
        return (f"{before}/v2" if is_versioned else self.base_url) + _CHAT_PATH

    @property
    def auth_method(self) -> str:
        """The authentication method, for ``repr``."""
        if not self.sends_credentials:
            return "none"
        for name in ("access_token", "credentials", "user"):
            if getattr(self, name) is not None:
                return name
        return "certificate" if self.trust.cert_file is not None else "none"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.token_cache is not None and not isinstance(self.token_cache, str):
            raise ConfigError("a client whose token_cache= is an object cannot be pickled or copied: pass a path")
        return super().__reduce__()


def read_settings(arguments: Mapping[str, Any]) -> GigaChatSettings:
    """Read the settings from the constructor's arguments and the environment; None means that an argument is not set.

    Raises:
        ConfigError: a value cannot work, or two contradict each other. The message shows no secret.
    """
    # A key in the environment may replace a refused access_token= argument, and nothing else of another account.
    own_key = any(arguments.get(name) is not None for name in CREDENTIAL_SETTINGS - {"access_token"})
    groups = (TRUST_SETTINGS, CLIENT_CERTIFICATE, *((CREDENTIAL_SETTINGS,) if own_key else ()))
    read = Reader(arguments, "GIGACHAT_", groups=groups)
    allow_http = read("allow_http", settings.flag, False)
    flags = read("flags", settings.words, None)
    sends_credentials = _sends_credentials(arguments)
    session_id = read("session_id", settings.text, None)
    user, password = read("user", settings.text, None), read("password", settings.secret, None)
    check_pair(user, password)
    return GigaChatSettings(
        credentials=read("credentials", usable_key, None),
        scope=read("scope", settings.text, DEFAULT_SCOPE),
        access_token=read("access_token", access_token, None),
        user=user,
        password=password,
        model=read("model", settings.text, DEFAULT_MODEL),
        base_url=read("base_url", partial(_api_url, allow_http=allow_http), DEFAULT_BASE_URL),
        auth_url=read("auth_url", partial(settings.base_url, allow_http=allow_http), DEFAULT_AUTH_URL),
        v2_url=read("v2_url", partial(_v2_url, allow_http=allow_http), None),
        trust=read_trust(read, arguments.get("ssl_context"), shipped_root=True, client_certificate=True),
        profanity_check=read("profanity_check", settings.flag, None),
        flags=None if flags is None else tuple(flags),
        session_id=session_id,
        token_cache=read("token_cache", _token_cache, None),
        sends_credentials=sends_credentials,
        **read_common(read, arguments),
    )


def _sends_credentials(arguments: Mapping[str, Any]) -> bool:
    """Return False for ``auth=None``, which contradicts credentials in arguments."""
    auth = arguments.get("auth", "auto")
    if auth == "auto":
        return True
    if auth is not None:
        raise ConfigError('auth must be "auto", or None for a client that sends no credentials')
    given = sorted(name for name in CREDENTIAL_SETTINGS if arguments.get(name) is not None)
    if given:
        raise ConfigError(f"auth=None sends no credentials: leave {given[0]} out")
    return False


def _token_cache(value: Any) -> Any:
    from gigaclient.auth.shared_source import token_cache_setting  # loaded late: few programs share tokens

    return token_cache_setting(value)


def _api_url(value: Any, *, allow_http: bool) -> str:
    url = settings.base_url(value, allow_http=allow_http)
    if "/oauth" in url:
        raise ConfigError(f"is the address that gives tokens; the API is at {DEFAULT_BASE_URL}, and this is auth_url")
    if url.endswith(_CHAT_PATH):
        raise ConfigError("ends before the endpoint: leave /chat/completions out")
    return url


def _v2_url(value: Any, *, allow_http: bool) -> str:
    url = settings.base_url(value, allow_http=allow_http)
    if "/oauth" in url:
        raise ConfigError("is the address that gives tokens; chat of API v2 is at https://api.giga.chat/v2")
    return url.removesuffix(_CHAT_PATH)
