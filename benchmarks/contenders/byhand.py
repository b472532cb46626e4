"""The code that users of a bare HTTP library write themselves: the body, and a token under a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
REQUEST = {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**REQUEST, "stream": True}
OAUTH_HEADERS = {
    "Authorization": "Basic bm9ib2R5Om5vdGhpbmc=",
    "Content-Type": "application/x-www-form-urlencoded",
    "RqUID": "6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e",
}
OAUTH_BODY = b"scope=GIGACHAT_API_PERS"


class Token:
    """A token that one thread fetches again a minute before its expiry, while the others wait."""

    def __init__(self, fetch: Callable[[], tuple[str, float]] | None) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value = "token"
        self._renew_at = 0.0 if fetch is not None else float("inf")

    def header(self) -> str:
        if time.time() > self._renew_at:
            with self._lock:
                if self._fetch is not None and time.time() > self._renew_at:
                    self._value, expires_at_ms = self._fetch()
                    self._renew_at = expires_at_ms / 1000 - 60
        return "Bearer " + self._value
