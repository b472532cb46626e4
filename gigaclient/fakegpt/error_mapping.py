"""Maps the service's error responses to our errors. Pure.

Errors come from three layers: the backend (``{"detail": "…"}`` or ``{"detail": {"message": …, "code": …}}``), the web
layer around it (``{"code": 500, "message": "…"}``, sometimes under HTTP 200), and a bot filter in front, which sends a
page of HTML. Within a stream an error is ``{"message": null, "error": "…"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._core.responses import invalid_response
from gigaclient._primitives.secret import Secret, mask
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import APIStatusError, GigaClientError

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["error_in", "explain", "page_error", "page_title", "status_in"]

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

# A cookie may be "1", which is no secret and occurs everywhere.
_MIN_SECRET_LENGTH = 6

_BOT_FILTER_TITLES = ("just a moment", "attention required", "checking your browser", "ddos-guard")


def status_in(data: Mapping[str, Any]) -> int | None:
    """Return the HTTP status in a body's ``status`` or ``code``; None if there is none."""
    for name in ("status", "code"):
        number = data.get(name)
        if isinstance(number, str):
            number = _STATUS_OF_CODE.get(number, int(number) if number.isdecimal() and len(number) == 3 else None)
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    return None


def error_in(data: Any, *, request_id: str | None, headers: Mapping[str, str] | None = None) -> APIStatusError | None:
    """Return the error in a response with status 200, or in an event of a stream; None if it holds none.

    The status is the one in the body, otherwise the one of its known code, otherwise 500.
    """
    if not isinstance(data, dict):
        return None
    # {"message": "…"} alone may be anything; with an error's code it is the web layer's error.
    outer_status = status_in(data)
    by_code = outer_status is not None and not isinstance(data.get("message"), dict)
    if not data.get("error") and not data.get("detail") and not by_code:
        return None
    message, code, inner_status = _error_parts(data)
    status = inner_status or outer_status or 500
    return APIStatusError.class_for(status)(
        _with_advice(message or "the service reported an error without saying which", status),
        status_code=status,
        code=code,
        body=data,
        headers=headers,
        request_id=request_id,
    )


def explain(error: APIStatusError, prefix: str = "", secrets: Iterable[Secret] = ()) -> APIStatusError:
    """Rewrite ``error``, made of a response's status, with advice for a user of this service.

    Args:
        error: made by the executor.
        prefix: the beginning of the message, such as the path of the request.
        secrets: values that we sent and the server may have repeated; they are masked.
    """
    body = error.body
    code = error.code
    if 300 <= error.status_code <= 399:
        message = error.message
    else:
        title = page_title(body) if isinstance(body, str) else None
        if title is not None and _is_bot_filter_page(title, error.headers):
            message = (
                f"a bot filter answers in place of the service, with a page titled {title!r}: headers={{…}} can give "
                "it a browser's User-Agent and Cookie"
            )
        elif title is not None:
            message = _with_advice(
                f"a page of HTML{f' titled {title!r}' if title else ''}, from a gateway and not from the service",
                error.status_code if error.status_code == 404 else 0,
            )
        else:
            message, inner_code, _ = _error_parts(body) if isinstance(body, dict) else (_first_line(body), None, None)
            code = inner_code if inner_code is not None else code
            message = _with_advice(message or f"HTTP status {error.status_code}", error.status_code)
    hidden = [secret.reveal() for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH]
    failure = type(error)(
        mask(prefix + message, hidden),
        status_code=error.status_code,
        code=mask(code, hidden),
        body=mask(body, hidden),
        headers=mask(dict(error.headers), hidden),
        request_id=error.request_id,
        retry_after=error.retry_after,
        url=error.url,
    )
    failure.attempts = error.attempts
    return failure


def page_error(response: Response) -> GigaClientError:
    """Return the error for a page, or an error body, under a good status."""
    title = page_title(response.body.decode("utf-8", "replace"))
    if title is not None:
        return invalid_response(response, f"a page of HTML titled {title!r}, from a gateway or a bot filter")
    try:
        data = msgspec.json.decode(response.body)
    except JSON_ERRORS:
        data = None
    error = error_in(data, request_id=response.request_id, headers=response.headers)
    return error or invalid_response(response, "it is not an event stream")


def page_title(text: str) -> str | None:
    """Return the title of a page of HTML, empty if it has none; None if ``text`` is not a page."""
    lowered = text.lstrip("\ufeff \t\r\n").lower()
    if not lowered.startswith("<") or not any(tag in lowered for tag in ("<!doctype html", "<html", "<head", "<title")):
        return None
    start, end = text.lower().find("<title>"), text.lower().find("</title>")
    return text[start + 7 : end].strip() if 0 <= start < end else ""


def _error_parts(data: Mapping[str, Any]) -> tuple[str, int | str | None, int | None]:
    """Return the message, the code, and the status of the innermost object."""
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
        if isinstance(value, list):  # the backend's response to a body of the wrong shape
            parts = [_validation_message(item) for item in value[:5]]
            return "; ".join(part for part in parts if part), _code(data), 422 if parts and any(parts) else None
        if isinstance(value, str):
            return value, _code(data), None
    return "", _code(data), None


def _code(data: Mapping[str, Any]) -> int | str | None:
    code = data.get("code")
    return code if isinstance(code, (int, str)) else None


def _validation_message(item: Any) -> str:
    if not isinstance(item, dict):
        return item if isinstance(item, str) else ""
    steps = item.get("loc")
    path = ".".join(str(step) for step in steps) if isinstance(steps, list) else ""
    return f"{path}: {item.get('msg')}" if path else str(item.get("msg") or "")


def _with_advice(message: str, status: int) -> str:
    advice = _ADVICE.get(status)
    return f"{message} - {advice}" if advice else message


def _is_bot_filter_page(title: str, headers: Mapping[str, str]) -> bool:
    return "cf-mitigated" in headers or title.lower().startswith(_BOT_FILTER_TITLES)


def _first_line(body: Any) -> str:
    return body.strip().partition("\n")[0][:200] if isinstance(body, str) else ""
