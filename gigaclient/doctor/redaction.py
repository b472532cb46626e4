"""Remove secrets and names of persons from text that will be pasted into a public issue. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from gigaclient._primitives.secret import MASK

__all__ = ["Redactor"]

# A shorter secret also occurs as a part of unrelated words.
_MIN_SECRET_CHARACTERS = 4

_AFTER_SCHEME = re.compile(r"(?<=://)[^\s'\"<>]+")
# An authorization key has a hundred such characters, tokens have a thousand; nothing else in a report is that long.
_LONG_TEXT = re.compile(r"[A-Za-z0-9+_-]{60,}={0,2}")
_JSON_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)*")
_SCHEME_AND_REST = re.compile(r"\b(Basic|Bearer) +[A-Za-z0-9+/_.=-]{8,}")
_ANY_HOME = re.compile(r"(?:[A-Za-z]:)?[/\\](?:home|Users)[/\\][^/\\\s'\"]+")


class Redactor:
    """A callable that removes secrets from a text, and writes ``~`` for home folders.

    Args:
        secrets: values that must not be shown. Text that looks like a key, a token or a URL's password is removed as
            well, known or not: people paste a key into the wrong variable.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {str.__str__(secret) for secret in secrets}
        self._secrets = sorted(
            (secret for secret in known if len(secret) >= _MIN_SECRET_CHARACTERS), key=len, reverse=True
        )
        home = os.path.expanduser("~")
        self._home = re.compile(re.escape(home) + r"(?![^/\\\s'\"])") if len(home) > 1 else None

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _AFTER_SCHEME.sub(lambda found: _without_login(found[0]), text)
        text = _SCHEME_AND_REST.sub(rf"\1 {MASK}", text)
        text = _JSON_TOKEN.sub(MASK, text)
        text = _LONG_TEXT.sub(MASK, text)
        if self._home is not None:
            text = self._home.sub("~", text)
        return _ANY_HOME.sub("~", text)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)} secrets>"


def _without_login(address: str) -> str:
    _, at, host = address.rpartition("@")
    return f"{MASK}@{host}" if at else address
