"""The settings under the names of the official SDK's ``gigachat.settings``, for scripts that migrate."""

from __future__ import annotations

from typing import Any

from gigaclient.gigachat.settings import DEFAULT_AUTH_URL as AUTH_URL
from gigaclient.gigachat.settings import DEFAULT_BASE_URL as BASE_URL
from gigaclient.gigachat.settings import DEFAULT_SCOPE as SCOPE
from gigaclient.gigachat.settings import GigaChatSettings, read_settings
from gigaclient.types import Record

__all__ = ["AUTH_URL", "BASE_URL", "ENV_PREFIX", "SCOPE", "Settings"]

ENV_PREFIX = "GIGACHAT_"


class Settings(Record, kw_only=True):
    """The settings that a client without arguments would have: each from its argument, else from the environment.

    A client reads the environment itself: use this class to look at the settings.

    Raises:
        ConfigError: a value cannot work.
    """

    base_url: str | None = None
    auth_url: str | None = None
    credentials: str | None = None
    scope: str | None = None
    access_token: str | None = None
    model: str | None = None
    profanity_check: bool | None = None
    user: str | None = None
    password: str | None = None
    timeout: Any = None
    verify_ssl_certs: bool | None = None
    ssl_context: Any = None
    ca_bundle_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_file_password: str | None = None
    flags: list[str] | None = None
    max_connections: int | None = None
    max_retries: int | None = None
    retry_backoff_factor: float | None = None
    retry_on_status_codes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        settings = read_settings({name: getattr(self, name) for name in self.__struct_fields__})
        for name, value in _official(settings).items():
            setattr(self, name, value)


def _official(settings: GigaChatSettings) -> dict[str, Any]:
    """Return the settings under the official names. Secrets keep their type, whose ``repr`` hides them."""
    trust = settings.trust
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__ if hasattr(settings, name)}
    return {
        **values,
        "timeout": settings.read_timeout,
        "verify_ssl_certs": trust.mode != "insecure",
        "ssl_context": trust.ssl_context,
        "ca_bundle_file": trust.source,
        "cert_file": trust.cert_file,
        "key_file": trust.key_file,
        "key_file_password": trust.key_file_password,
        "flags": None if settings.flags is None else list(settings.flags),
    }
