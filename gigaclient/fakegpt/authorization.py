"""The authorization headers of a FakeGpt client, and the errors that end its login."""

from __future__ import annotations

import hashlib

from gigaclient import transport
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential
from gigaclient.fakegpt.settings import FakeGptSettings

__all__ = ["account_id", "both_headers", "is_login_refused", "x_authorization"]


def x_authorization(credential: Credential) -> dict[str, str]:
    """Return the headers of a logged-in request."""
    headers: dict[str, str] = {"X-Authorization": Secret("Bearer " + credential.value.reveal())}
    if credential.cookies is not None:
        headers["Cookie"] = credential.cookies
    return headers


def both_headers(credential: Credential) -> dict[str, str]:
    """Return the same with ``Authorization``, for servers that read it."""
    headers = x_authorization(credential)
    return {"Authorization": headers["X-Authorization"], **headers}


def is_login_refused(response: transport.Response) -> bool:
    """Return True if the response refuses the login, so that a new one may help."""
    # A bot filter's page is not about the login, and a new login would not pass it either.
    return (
        response.status in (401, 403) and response.media_type != "text/html" and "cf-mitigated" not in response.headers
    )


def account_id(settings: FakeGptSettings) -> str:
    """Return a key that identifies the account without keeping its token."""
    token = settings.access_token.reveal() if settings.access_token is not None else ""
    return hashlib.sha256(f"{settings.base_url}\0{token}".encode()).hexdigest()
