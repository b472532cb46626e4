"""Who may come in: authorization keys, the rules of the OAuth endpoint, and the tokens that were lent out."""

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
    "Expired",
    "OAuthRefusal",
    "TokenIssuer",
    "Unknown",
    "check_oauth",
    "decoded_key",
    "new_key",
]

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")


@dataclass(frozen=True)
class Account:
    """What an authorization key stands for."""

    client_id: str
    scope: str


class OAuthRefusal(Exception):
    """An error of the OAuth endpoint: HTTP status, ``code``, ``message``."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class Unknown(Exception):
    """A token that was never issued, or was revoked."""


class Expired(Exception):
    """A token whose time is over."""


def new_key() -> tuple[str, str]:
    """An invented authorization key and the client id in it."""
    client_id = str(uuid.uuid4())
    return base64.b64encode(f"{client_id}:{uuid.uuid4()}".encode()).decode(), client_id


def decoded_key(value: str) -> tuple[str, str] | None:
    """The two parts of ``base64("id:secret")``, or None when ``value`` is not that."""
    try:
        first, colon, second = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (first, second) if colon and first and second else None


def check_oauth(request: RecordedRequest, accounts: dict[str, Account], *, accept_bearer: bool) -> Account:
    """The account that ``request`` proves to own; raises :class:`OAuthRefusal` with the service's own words."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    schemes = ("basic", "bearer") if accept_bearer else ("basic",)
    parts = decoded_key(key) if scheme.lower() in schemes else None
    if parts is None or ":" in parts[1]:
        raise OAuthRefusal(400, 4, "Can't decode 'Authorization' header")
    if not _is_uuid(request.headers.get("rquid", "")):
        # Invented: that it is refused with 400 is documented, the body of the refusal is not.
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
    """Lends out tokens and knows them again. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._good_until: dict[str, tuple[Account, float]] = {}
        self._issued = 0

    @property
    def issued(self) -> int:
        """How many tokens have been lent out."""
        with self._lock:
            return self._issued

    def issue(self, account: Account, life_s: float) -> str:
        """A new token, about as long as the real ones."""
        token = f"eyJlbXVsYXRvciI6dHJ1ZX0.{secrets.token_urlsafe(860)}"
        with self._lock:
            self._good_until[token] = account, time.monotonic() + life_s
            self._issued += 1
        return token

    def owner(self, token: str) -> Account:
        """Whose token this is; raises :class:`Unknown` or :class:`Expired`."""
        with self._lock:
            if token not in self._good_until:
                raise Unknown
            account, until = self._good_until[token]
            if time.monotonic() >= until:
                raise Expired
            return account

    def revoke_all(self) -> None:
        """None of the tokens lent out so far is known any more."""
        with self._lock:
            self._good_until.clear()
