"""The authentication of a GigaChat client: its token manager, its authorization header, and its account."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from gigaclient._core.executor import Executor
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.gigachat.oauth import key_source, password_source
from gigaclient.gigachat.settings import GigaChatSettings

__all__ = ["account_id", "bearer", "token_manager"]


def bearer(credential: Credential) -> dict[str, str]:
    """Return the headers that authorize a request with the token."""
    return {"Authorization": Secret("Bearer " + credential.value.reveal())}


def _share_tokens(source: Callable[[Deadline], Credential], cache: Any, secret: Secret, *parts: str) -> Any:
    if cache is None:
        return source
    from gigaclient.auth.shared_source import share  # loaded late: few programs share tokens

    return share(source, cache, secret, *parts)


def token_manager(settings: GigaChatSettings, auth_core: Executor) -> TokenManager | None:
    """Return the token manager of a client; None if it has none, or authenticates by certificate alone.

    Args:
        settings: the client's settings.
        auth_core: sends the token requests.
    """
    if not settings.sends_credentials:
        return None
    source = None
    if settings.credentials is not None:
        key, scope = settings.credentials, settings.scope
        source = key_source(auth_core, settings.auth_url, key, scope)
        source = _share_tokens(source, settings.token_cache, key, scope, settings.auth_url)
    elif settings.user is not None and settings.password is not None:
        user, password = settings.user, settings.password
        source = password_source(auth_core, settings.base_url, user, password)
        source = _share_tokens(source, settings.token_cache, password, user, settings.base_url)
    initial = Credential(settings.access_token) if settings.access_token is not None else None
    if source is None and initial is None and (settings.trust.cert_file or settings.trust.ssl_context):
        return None  # the certificate authenticates the client
    return TokenManager(source, timeouts=settings.timeouts, initial=initial)


def account_id(settings: GigaChatSettings) -> str:
    """Return a hash that identifies the account: the server's limit belongs to the client id in the key."""
    parts = [settings.base_url, settings.scope, settings.trust.cert_file or ""]
    for secret in (settings.credentials, settings.access_token):
        parts.append(secret.reveal() if secret is not None else "")
    parts.append(settings.user or "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
