"""Authentication of the GigaChat emulator: authorization keys, the rules of the OAuth endpoint, issued tokens."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
import uuid
from dataclasses import dataclass

from gigaclient.testing.fault_server import RecordedRequest

__all__ = [
    "SCOPES",
    "Account",
    "ExpiredToken",
    "OAuthRefusal",
    "TokenIssuer",
    "UnknownToken",
    "check_oauth",
    "decode_key",
    "new_key",
]

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")


@dataclass(frozen=True)
class Account:
    """The client and the scope of an authorization key."""

    client_id: str
    scope: str


class OAuthRefusal(Exception):
    """An error of the OAuth endpoint: HTTP status, ``code``, ``message``."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class UnknownToken(Exception):
    """A token that was never issued, or was revoked."""


class ExpiredToken(Exception):
    """A token that has expired."""


def new_key() -> tuple[str, str]:
    """Return a random authorization key and the client id in it."""
    client_id = str(uuid.uuid4())
    return base64.b64encode(f"{client_id}:{uuid.uuid4()}".encode()).decode(), client_id


def decode_key(value: str) -> tuple[str, str] | None:
    """Return the two parts of ``base64("id:secret")``, or None when ``value`` has another form."""
    try:
        first, colon, second = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (first, second) if colon and first and second else None


def check_oauth(request: RecordedRequest, accounts: dict[str, Account], *, accept_bearer: bool) -> Account:
    """Return the account of the request's key; raise :class:`OAuthRefusal` with the service's text."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    schemes = ("basic", "bearer") if accept_bearer else ("basic",)
    parts = decode_key(key) if scheme.lower() in schemes else None
    if parts is None or ":" in parts[1]:
        raise OAuthRefusal(400, 4, "Can't decode 'Authorization' header")
    if not _is_uuid(request.headers.get("rquid", "")):
        # Invented: the documentation gives the status 400, but no body.
        raise OAuthRefusal(400, 2, "RqUID is invalid")
    scope = request.form.get("scope", "")
    if not scope:
        raise OAuthRefusal(400, 5, "scope is empty")
    if scope not in SCOPES:
        raise OAuthRefusal(400, 1, "scope data format invalid")
    account = accounts.get(key)
    if account is None:
        raise OAuthRefusal(401, 6, "credentials doesn't match db data")
    if account.scope != scope:
        raise OAuthRefusal(400, 7, "scope from db not fully includes consumed scope")
    return account


def _is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


class TokenIssuer:
    """Issues and verifies tokens. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, tuple[Account, float]] = {}
        self._issued = 0

    @property
    def issued(self) -> int:
        """The number of issued tokens."""
        with self._lock:
            return self._issued

    def issue(self, account: Account, life_s: float) -> str:
        """Issue a new token, about as long as the real ones."""
        token = f"eyJlbXVsYXRvciI6dHJ1ZX0.{secrets.token_urlsafe(860)}"
        with self._lock:
            self._accounts[token] = account, time.monotonic() + life_s
            self._issued += 1
        return token

    def owner(self, token: str) -> Account:
        """Return the account of the token; raise :class:`UnknownToken` or :class:`ExpiredToken`."""
        with self._lock:
            if token not in self._accounts:
                raise UnknownToken
            account, expires_at = self._accounts[token]
            if time.monotonic() >= expires_at:
                raise ExpiredToken
            return account

    def revoke_all(self) -> None:
        """Forget all issued tokens."""
        with self._lock:
            self._accounts.clear()
