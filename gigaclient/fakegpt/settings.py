"""The settings of a FakeGpt client: arguments, then ``FAKEGPT_*``, then defaults; validated before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from gigaclient._core import settings
from gigaclient._core.base_client import CommonSettings, read_common
from gigaclient._core.request_options import checked_headers
from gigaclient._core.settings import Reader
from gigaclient._core.tls_settings import TRUST_SETTINGS, read_trust
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import fits_header
from gigaclient.errors import ConfigError
from gigaclient.fakegpt.conversation import SERVER_MODEL

__all__ = ["PUBLIC_URL", "FakeGptSettings", "read_settings"]

PUBLIC_URL = "https://chat-shared2.zhile.io"

_CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/117.0.0.0 Safari/537.36"


class FakeGptSettings(CommonSettings, frozen=True, kw_only=True):
    """All settings of a client. They can be pickled unless they hold an unpicklable object of the user."""

    _hidden: ClassVar[frozenset[str]] = CommonSettings._hidden | {"access_token", "cookies", "headers"}

    base_url: str = PUBLIC_URL
    model: str = SERVER_MODEL
    access_token: Secret | None = None
    plain_authorization: bool = False
    headers: Mapping[str, str] = {}
    cookies: Secret | None = None

    @property
    def auth_method(self) -> str:
        """The authentication method, for ``repr``."""
        return "login" if self.access_token is None else "access_token"


def read_settings(arguments: Mapping[str, Any]) -> FakeGptSettings:
    """Read settings from the constructor's arguments (None: not set) and the environment.

    Raises:
        ConfigError: a value is invalid, or two contradict each other. Secrets are not shown.
    """
    read = Reader(arguments, "FAKEGPT_", groups=(TRUST_SETTINGS,))
    allow_http = read("allow_http", settings.flag, False)
    base_url = read("base_url", partial(_service_url, allow_http=allow_http), PUBLIC_URL)
    headers, cookies = _headers(arguments.get("headers"), base_url)
    return FakeGptSettings(
        base_url=base_url,
        model=read("model", settings.text, SERVER_MODEL),
        trust=read_trust(read, arguments.get("ssl_context"), shipped_root=False, client_certificate=False),
        access_token=read("access_token", _access_token, None),
        plain_authorization=read("plain_authorization", settings.flag, False),
        headers=headers,
        cookies=cookies,
        **read_common(read, arguments),
    )


def _service_url(value: Any, *, allow_http: bool) -> str:
    url = settings.base_url(value, allow_http=allow_http, private_http=True)
    for endpoint in ("/api/conversation", "/api/loads", "/auth/login", "/api/auth/session", "/api"):
        if url.endswith(endpoint):
            raise ConfigError(f"ends before the endpoint: leave {endpoint} out")
    return url


def _access_token(value: str) -> Secret:
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    token = Secret(re.sub(r"^\s*bearer(?:\s+|$)", "", str.__str__(value), flags=re.IGNORECASE).strip())
    if not token:
        raise ConfigError("is empty")
    if not fits_header(token):
        raise ConfigError("has characters that a token cannot have; copy it again")
    return token


def _headers(arguments: Any, base_url: str) -> tuple[dict[str, str], Secret | None]:
    """Return the headers of every request, and the initial cookies."""
    headers = {
        "User-Agent": _CHROME,
        "Accept-Language": "en-US",
        "Referer": f"{base_url}/?v=2",
        "sec-ch-ua": '"Google Chrome";v="117", "Not;A=Brand";v="8", "Chromium";v="117"',
        "sec-ch-ua-platform": '"Linux"',
        "sec-ch-ua-mobile": "?0",
    }
    if arguments is None:
        return headers, None
    if not isinstance(arguments, Mapping):
        raise ConfigError("headers must be a mapping of names to values; None as a value leaves the header out")
    checked = checked_headers({name: value for name, value in arguments.items() if value is not None})
    lowered = {str(name).lower() for name in arguments}
    headers = {name: value for name, value in headers.items() if name.lower() not in lowered}
    cookies = None
    for name, value in checked.items():
        if name.lower() == "cookie":
            cookies = Secret(value)
        else:
            headers[name] = value
    return headers, cookies
