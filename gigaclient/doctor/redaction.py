"""Takes secrets and names of persons out of text that will be pasted into a public issue. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from gigaclient._primitives.secret import MASK

__all__ = ["Scrubber"]

# A shorter one would also be a part of words that have nothing to do with it.
_SHORTEST_SECRET = 4

_LOGIN_IN_URL = re.compile(r"(?<=://)[^\s'\"<>]*@")
# An authorization key has a hundred such characters, tokens have a thousand; nothing else in a report comes near.
_LONG_TEXT = re.compile(r"[A-Za-z0-9+_-]{60,}={0,2}")
_JSON_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)*")
_SCHEME_AND_REST = re.compile(r"\b(Basic|Bearer) +[A-Za-z0-9+/_.=-]{8,}")
_SOMEBODYS_HOME = re.compile(r"(?:[A-Za-z]:)?[/\\](?:home|Users)[/\\][^/\\\s'\"]+")


class Scrubber:
    """Called with a text, gives it without secrets and with ``~`` for home folders.

    Args:
        secrets: what must not be shown, whatever it looks like. What looks like a key, a token or a URL's password is
            taken out as well, known or not: people paste a key into the wrong variable.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {str.__str__(secret) for secret in secrets}
        self._secrets = sorted((secret for secret in known if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
        home = os.path.expanduser("~")
        self._home = re.compile(re.escape(home) + r"(?![^/\\\s'\"])") if len(home) > 1 else None

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _LOGIN_IN_URL.sub(f"{MASK}@", text)
        text = _SCHEME_AND_REST.sub(rf"\1 {MASK}", text)
        text = _JSON_TOKEN.sub(MASK, text)
        text = _LONG_TEXT.sub(MASK, text)
        if self._home is not None:
            text = self._home.sub("~", text)
        return _SOMEBODYS_HOME.sub("~", text)

    def __repr__(self) -> str:
        return f"<Scrubber of {len(self._secrets)} secrets>"
