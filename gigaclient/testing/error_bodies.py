"""The usual error bodies of the GigaChat emulator by status."""

from __future__ import annotations

from typing import Any

from gigaclient.testing.routing import INVALID_JSON

__all__ = ["api_error", "oauth_error"]

_MESSAGES = {
    400: INVALID_JSON,
    401: "Unauthorized",
    402: "Payment Required",
    403: "Permission denied",
    404: "No such model",
    413: "Payload too large",
    422: "Invalid params: repetition_penalty must be in range (0, +inf)",
    429: "Too many requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def api_error(status: int) -> dict[str, Any]:
    """Return the error body of the API."""
    return {"status": status, "message": _MESSAGES.get(status, "Error")}


def oauth_error(status: int) -> dict[str, Any]:
    """Return the error body of the OAuth endpoint."""
    if status == 401:
        return {"code": 6, "message": "credentials doesn't match db data"}
    if status == 400:
        return {"code": 4, "message": "Can't decode 'Authorization' header"}
    return {"code": status, "message": _MESSAGES.get(status, "Error")}
