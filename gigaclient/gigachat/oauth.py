"""Getting an access token: the OAuth host, or the ``/token`` route of stands with user and password.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-token
"""

from __future__ import annotations

import base64
import email.utils
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.secret import MASK, Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.auth.token_manager import Credential
from gigaclient.errors import APIStatusError, AuthenticationError, ConfigError, GigaClientError, InvalidResponseError
from gigaclient.transport.request import Request, RetrySafety

__all__ = ["check_pair", "key_source", "password_source", "read_token"]

_MAX_ANSWER_BYTES = 256 * 1024
_MAX_TOKEN_CHARACTERS = 64 * 1024

# Seconds reach this number in the year 5138, milliseconds passed it in 1973.
_MILLISECONDS_FROM = 10**11

# A server's Date and this machine's clock differ by less than this when both are right; then the finer one is used.
_CLOCKS_AGREE_SECONDS = 5.0
_ONE_DAY_SECONDS = 86400.0

_ADVICE = {
    1: "the scope is not one the service knows: GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP",
    4: "the authorization key is malformed: copy it again from the project's page in Studio",
    5: "no scope arrived: a proxy may have changed the request",
    6: "the authorization key is unknown or was revoked: make a new one on the project's page in Studio",
    7: "this key belongs to another plan: try scope GIGACHAT_API_PERS (persons), GIGACHAT_API_B2B (prepaid) or "
    "GIGACHAT_API_CORP (postpaid)",
}
_ADVICE_BY_STATUS = {
    401: "the authorization key, or the user and password, are not known there: copy them again",
    403: "a gateway on the way may have answered: check auth_url and the proxy",
    404: "there is nothing at that address: check auth_url; user and password need a base_url that has /token",
    405: "there is something else at that address: check auth_url",
}
# A client that may be let in later is not refused: these are tried again.
_REFUSALS = frozenset(range(400, 500)) - {408, 429}


def key_source(core: Executor, auth_url: str, key: Secret, scope: str) -> Callable[[Deadline], Credential]:
    """Fetches tokens from the OAuth host with an authorization key."""
    authorization = Secret("Basic " + key.reveal())

    def fetch(deadline: Deadline) -> Credential:
        return _request(
            core,
            Request(
                "POST",
                auth_url,
                body=urlencode({"scope": scope}).encode("ascii"),
                content_type="application/x-www-form-urlencoded",
                retry_safety=RetrySafety.IDEMPOTENT,
                attempt_id="RqUID",
            ),
            authorization,
            deadline,
        )

    return fetch


def password_source(core: Executor, base_url: str, user: str, password: Secret) -> Callable[[Deadline], Credential]:
    """Fetches tokens from ``{base_url}/token`` with user and password."""
    pair = f"{user}:{password.reveal()}".encode()
    authorization = Secret("Basic " + base64.b64encode(pair).decode("ascii"))

    def fetch(deadline: Deadline) -> Credential:
        return _request(
            core, Request("POST", base_url + "/token", body=b"", content_type=None), authorization, deadline
        )

    return fetch


def _request(core: Executor, request: Request, authorization: Secret, deadline: Deadline) -> Credential:
    outcome = _ask(core, request, authorization, deadline)
    if isinstance(outcome, GigaClientError):
        raise outcome
    return outcome


def _ask(core: Executor, request: Request, authorization: Secret, deadline: Deadline) -> Credential | GigaClientError:
    # Returned, not raised, and without the frames below: those that read the answer hold the token, or its beginning,
    # and a traceback may show them.
    options = RequestOptions(headers={"Authorization": authorization})
    try:
        answer = core.fetch(request, options, limit=_MAX_ANSWER_BYTES, deadline=deadline)
    except APIStatusError as error:
        failure: GigaClientError = _refused(error, authorization.reveal().partition(" ")[2])
    except GigaClientError as error:
        failure = error
    else:
        outcome = read_token(answer.body, answer.headers, wall=time.time(), monotonic=time.monotonic())
        if isinstance(outcome, Credential):
            return outcome
        failure = outcome
        failure.request_id = answer.request_id
        failure.status_code = answer.status
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return failure


def _refused(error: APIStatusError, key: str) -> APIStatusError:
    body = _without(error.body, key)
    said = body.get("message") if isinstance(body, dict) else None
    if not isinstance(said, str) or not said:
        said = _without(error.message, key).partition(" - ")[0]
    # Sources disagree on the status of these codes, so it is the code that counts.
    advice = _ADVICE.get(error.code) if isinstance(error.code, int) else None
    if advice is None:
        advice = _ADVICE_BY_STATUS.get(error.status_code)
    kind = AuthenticationError if error.status_code in _REFUSALS else type(error)
    refusal = kind(
        f"no access token: {said}" + (f" - {advice}" if advice else ""),
        status_code=error.status_code,
        code=error.code,
        body=body,
        headers=error.headers,
        request_id=error.request_id,
        retry_after=error.retry_after,
        url=error.url,
    )
    refusal.attempts = error.attempts
    return refusal


def _without(data: Any, key: str) -> Any:
    """``data`` without ``key``: a gateway that reports what it refused may quote it."""
    if isinstance(data, str):
        return data.replace(key, MASK) if key else data
    if isinstance(data, dict):
        return {_without(name, key): _without(value, key) for name, value in data.items()}
    if isinstance(data, list):
        return [_without(value, key) for value in data]
    return data


def read_token(
    body: bytes, headers: Mapping[str, str], *, wall: float, monotonic: float
) -> Credential | InvalidResponseError:
    """A credential from either of the two answers that token endpoints give.

    ``{"access_token": …, "expires_at": <ms>}`` and ``{"tok": …, "exp": <s>}`` are both accepted, the unit told by the
    size of the number. A missing, unreadable or past expiry means that nothing is known: the token is used until it is
    refused. The token's life is measured against the server's own ``Date``, so a wrong clock here does no harm.

    Args:
        body: the answer.
        headers: its headers, names in lower case.
        wall: this machine's Unix time, seconds.
        monotonic: the monotonic clock at the same moment, seconds.

    Returns:
        The credential; or the error for an answer without a usable token, which names its fields and never their
        values. Returned, not raised here: the frames of this function hold the token, and a traceback may show them.
    """
    try:
        data = msgspec.json.decode(body)
    except JSON_ERRORS:
        data = None
    if not isinstance(data, dict):
        return InvalidResponseError("the token endpoint did not answer with a JSON object")
    token = _first_text(data, "access_token", "tok")
    if not token:
        return InvalidResponseError(f"the token endpoint's answer holds no token; its fields: {_names(data)}")
    if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        return InvalidResponseError("the token endpoint's answer holds a token that no header can carry")
    expires_at = _seconds(data.get("expires_at"))
    if expires_at is None:
        expires_at = _seconds(data.get("exp"))
    life = _life(expires_at, headers, wall) if expires_at is not None else 0.0
    if expires_at is None or life <= 0:
        return Credential(Secret(token))
    return Credential(
        Secret(token),
        expires_at=monotonic + life,
        margin=Credential.margin_for(life),
        expires_at_ms=int(expires_at * 1000),
    )


def _first_text(data: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _names(data: Mapping[str, Any]) -> str:
    return ", ".join(sorted(str(name)[:40] for name in list(data)[:10])) or "none"


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 < number < math.inf or number > 10**17:
        return None
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _life(expires_at: float, headers: Mapping[str, str], wall: float) -> float:
    by_our_clock = expires_at - wall
    try:
        date = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        return by_our_clock
    if abs(wall - date) < _CLOCKS_AGREE_SECONDS:
        return by_our_clock
    by_theirs = expires_at - date
    # A gateway may send a Date of its own invention; a token that would live for days by it alone says so.
    return by_our_clock if 0 < by_our_clock <= _ONE_DAY_SECONDS < by_theirs else by_theirs


def check_pair(user: str | None, password: Secret | None) -> None:
    """User and password come together.

    Raises:
        ConfigError: one of them is missing.
    """
    if (user is None) != (password is None):
        raise ConfigError("user and password come together: pass both")
