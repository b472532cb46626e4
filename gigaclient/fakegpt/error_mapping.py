"""What the service says when it does not answer, as our errors. Pure.

Three layers speak: the backend (``{"detail": "…"}`` or ``{"detail": {"message": …, "code": …}}``), the web layer around
it (``{"code": 500, "message": "…"}``, at times under HTTP 200), and a bot filter in front, which sends a page of HTML.
Within a stream it is ``{"message": null, "error": "…"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gigaclient._primitives.secret import MASK, Secret
from gigaclient.errors import APIStatusError

__all__ = ["error_in", "explained", "masked", "page_title", "status_in"]

_STATUS_OF_CODE = {
    "token_expired": 401,
    "token_invalidated": 401,
    "invalid_token": 401,
    "message_length_exceeds_limit": 413,
    "model_cap_exceeded": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
}

_ADVICE = {
    401: "the login or the access token is not accepted",
    403: "this account may not do that, or its login has ended",
    404: "there is no FakeGpt-compatible service at this address: check base_url",
    413: "the prompt, which holds the whole history, is too long: shorten it",
    429: "the account is busy or has used up its hour: try again later",
}

# A cookie may be "1", which says nothing and is everywhere.
_SHORTEST_SECRET = 6

_WALL_TITLES = ("just a moment", "attention required", "checking your browser", "ddos-guard")


def status_in(data: Mapping[str, Any]) -> int | None:
    """The HTTP status that a body names for itself, as ``status`` or ``code``; None when it names none."""
    for name in ("status", "code"):
        number = data.get(name)
        if isinstance(number, str):
            number = _STATUS_OF_CODE.get(number, int(number) if number.isdecimal() and len(number) == 3 else None)
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    return None


def error_in(data: Any, *, request_id: str | None, headers: Mapping[str, str] | None = None) -> APIStatusError | None:
    """The error that an answer with status 200, or an event of a stream, holds; None if it holds none.

    The status is the one that the body names, otherwise the one its code is known for, otherwise 500.
    """
    if not isinstance(data, dict):
        return None
    # {"message": "…"} alone may be anything; with an error's code it is the web layer's error.
    by_code = status_in(data) is not None and not isinstance(data.get("message"), dict)
    if not data.get("error") and not data.get("detail") and not by_code:
        return None
    said, code, named = _said(data)
    status = named or status_in(data) or 500
    return APIStatusError.class_for(status)(
        _advised(said or "the service reported an error without saying which", status),
        status_code=status,
        code=code,
        body=data,
        headers=headers,
        request_id=request_id,
    )


def explained(error: APIStatusError, place: str = "", secrets: Iterable[Secret] = ()) -> APIStatusError:
    """``error``, which was made of an answer's status, in the words that a user of this service can act on.

    Args:
        error: made by the core.
        place: what was asked for, to begin the message with.
        secrets: what we sent and the server may have repeated; it is masked.
    """
    body = error.body
    code = error.code
    if 300 <= error.status_code <= 399:
        message = error.message
    else:
        title = page_title(body) if isinstance(body, str) else None
        if title is not None and _is_wall(title, error.headers):
            message = (
                f"a bot filter answers in place of the service, with a page titled {title!r}: headers={{…}} can give "
                "it a browser's User-Agent and Cookie"
            )
        elif title is not None:
            message = _advised(
                f"a page of HTML{f' titled {title!r}' if title else ''}, from a gateway and not from the service",
                error.status_code if error.status_code == 404 else 0,
            )
        else:
            said, inner_code, _ = _said(body) if isinstance(body, dict) else (_first_line(body), None, None)
            code = inner_code if inner_code is not None else code
            message = _advised(said or f"HTTP status {error.status_code}", error.status_code)
    hidden = [secret.reveal() for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    failure = type(error)(
        masked(place + message, hidden),
        status_code=error.status_code,
        code=masked(code, hidden),
        body=masked(body, hidden),
        headers=masked(dict(error.headers), hidden),
        request_id=error.request_id,
        retry_after=error.retry_after,
        url=error.url,
    )
    failure.attempts = error.attempts
    return failure


def page_title(text: str) -> str | None:
    """The title of a page of HTML, empty if it has none; None when ``text`` is no such page."""
    lowered = text.lstrip("\ufeff \t\r\n").lower()
    if not lowered.startswith("<") or not any(tag in lowered for tag in ("<!doctype html", "<html", "<head", "<title")):
        return None
    start, end = text.lower().find("<title>"), text.lower().find("</title>")
    return text[start + 7 : end].strip() if 0 <= start < end else ""


def masked(value: Any, secrets: Iterable[str]) -> Any:
    """``value`` with each of ``secrets`` replaced, wherever it is nested."""
    hidden = [secret for secret in secrets if secret]
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, dict):
        return {masked(name, hidden): masked(inner, hidden) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, hidden) for inner in value]
    return value


def _said(data: Mapping[str, Any]) -> tuple[str, int | str | None, int | None]:
    """The words, the code, and the status that the innermost object names."""
    for name in ("error", "detail", "message", "msg"):
        value = data.get(name)
        if not value:
            continue
        if isinstance(value, dict):
            code = value.get("code", value.get("type"))
            words = value.get("message") or value.get("detail") or value.get("msg")
            return (
                words if isinstance(words, str) else str(code or ""),
                code if isinstance(code, (int, str)) else None,
                status_in(value),
            )
        if isinstance(value, list):  # what the backend makes of a body of the wrong shape
            parts = [_complaint(item) for item in value[:5]]
            return "; ".join(part for part in parts if part), _code(data), 422 if parts and any(parts) else None
        if isinstance(value, str):
            return value, _code(data), None
    return "", _code(data), None


def _code(data: Mapping[str, Any]) -> int | str | None:
    code = data.get("code")
    return code if isinstance(code, (int, str)) else None


def _complaint(item: Any) -> str:
    if not isinstance(item, dict):
        return item if isinstance(item, str) else ""
    steps = item.get("loc")
    place = ".".join(str(step) for step in steps) if isinstance(steps, list) else ""
    return f"{place}: {item.get('msg')}" if place else str(item.get("msg") or "")


def _advised(said: str, status: int) -> str:
    advice = _ADVICE.get(status)
    return f"{said} - {advice}" if advice else said


def _is_wall(title: str, headers: Mapping[str, str]) -> bool:
    return "cf-mitigated" in headers or title.lower().startswith(_WALL_TITLES)


def _first_line(body: Any) -> str:
    return body.strip().partition("\n")[0][:200] if isinstance(body, str) else ""
