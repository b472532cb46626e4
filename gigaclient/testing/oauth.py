"""Authentication of the GigaChat emulator: authorization keys, the OAuth and password endpoints, issued tokens."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from gigaclient.testing.http_messages import RecordedRequest
from gigaclient.testing.routing import AnyAnswer, Refusal, Route, RoutedRequest, json_answer

__all__ = [
    "LEFT_OUT",
    "SCOPES",
    "Account",
    "Authentication",
    "OAuthSettings",
    "TokenShape",
]

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
LEFT_OUT: Final = object()
"""As ``expires_at``: token responses have no expiry."""

TokenShape: TypeAlias = Literal["access_token", "tok"]


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


class OAuthSettings(Protocol):
    """The options of the emulator that concern tokens."""

    scope: str
    token_life_s: float
    token_shape: TokenShape
    password_token_shape: TokenShape
    expires_at: Any
    oauth_pause_s: float
    oauth_calls_per_second: int | None
    accept_bearer_oauth: bool
    users: dict[str, str]

    def now_s(self) -> float:
        """Return the service's clock: Unix time in seconds."""


class Authentication:
    """The known keys and tokens, and the two endpoints that issue tokens.

    Args:
        settings: The emulator that it belongs to.

    Attributes:
        tokens: The issued tokens.
        routes: The route of ``POST {base}/token``.
    """

    def __init__(self, settings: OAuthSettings) -> None:
        self.tokens = TokenIssuer()
        self.routes: tuple[Route, ...] = (Route("POST", "v1", "/token", self._password_token),)
        self._settings = settings
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._recent_calls: deque[float] = deque()

    def add_key(self, scope: str) -> str:
        """Return a new valid authorization key for a new client."""
        key, client_id = new_key()
        with self._lock:
            self._accounts[key] = Account(client_id, scope)
        return key

    def issue_token(self, key: str, life_s: float) -> str:
        """Issue a token for the client of ``key``."""
        return self.tokens.issue(self._accounts[key], life_s)

    def scope_of(self, client: str) -> str | None:
        """Return the scope of a client's key, or None for an unknown client."""
        with self._lock:
            scopes = {account.client_id: account.scope for account in self._accounts.values()}
        return scopes.get(client)

    def client_of(self, request: RecordedRequest) -> str:
        """Return the client of an API request; raise :class:`Refusal` when it is not authenticated."""
        if not request.headers.get("user-agent", "").strip():
            raise Refusal(403, "", body={"message": "Unauthorized"})
        authorization = request.headers.get("authorization")
        if authorization is None and request.client_certificate is not None:
            return f"certificate {request.client_certificate}"
        scheme, _, token = (authorization or "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise UnknownToken
            return self.tokens.owner(token).client_id
        except UnknownToken:
            raise Refusal(401, "Unauthorized") from None
        except ExpiredToken:
            raise Refusal(401, "Token has expired") from None

    def oauth_token(self, request: RecordedRequest, headers: Mapping[str, str]) -> AnyAnswer:
        """Return the response of the OAuth endpoint."""
        settings = self._settings
        try:
            self._check_rate()
            account = check_oauth(request, self._accounts, accept_bearer=settings.accept_bearer_oauth)
        except OAuthRefusal as refusal:
            body = {"code": refusal.code, "message": refusal.message}
            return json_answer(refusal.status, body, headers, settings.oauth_pause_s)
        return json_answer(200, self._token_response(account, settings.token_shape), headers, settings.oauth_pause_s)

    def _password_token(self, call: RoutedRequest) -> AnyAnswer:
        settings = self._settings
        if not settings.users:
            # Most servers do not have the route.
            raise Refusal(404, "Not Found")
        scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
        user_and_password = decode_key(value) if scheme.lower() == "basic" else None
        if user_and_password is None or settings.users.get(user_and_password[0]) != user_and_password[1]:
            raise Refusal(401, "Unauthorized")
        account = Account(f"user {user_and_password[0]}", settings.scope)
        response = self._token_response(account, settings.password_token_shape)
        return json_answer(200, response, call.headers, settings.oauth_pause_s)

    def _check_rate(self) -> None:
        now = time.monotonic()
        limit = self._settings.oauth_calls_per_second
        with self._lock:
            self._recent_calls.append(now)
            while self._recent_calls[0] < now - 1.0:
                self._recent_calls.popleft()
            if limit is not None and len(self._recent_calls) > limit:
                # Invented: the documentation has the limit, but no error body.
                raise OAuthRefusal(429, 429, "Too many requests")

    def _token_response(self, account: Account, shape: TokenShape) -> dict[str, Any]:
        settings = self._settings
        token = self.tokens.issue(account, settings.token_life_s)
        expires_at_s = settings.now_s() + settings.token_life_s
        token_field, expiry_field, expiry = "access_token", "expires_at", int(expires_at_s * 1000)
        if shape == "tok":
            token_field, expiry_field, expiry = "tok", "exp", int(expires_at_s)
        response: dict[str, Any] = {token_field: token}
        if settings.expires_at is not LEFT_OUT:
            response[expiry_field] = expiry if settings.expires_at is None else settings.expires_at
        return response
