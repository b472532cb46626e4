"""Hide secrets in logs and tracebacks, and mask them in what a server repeats."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

__all__ = ["MASK", "Secret", "SecretBytes", "as_secret", "echoes_of", "mask", "secret_parts"]

MASK = "***"


class Secret(str):
    """A key, token, password or header value that must not reach a log.

    It *is* the string, so HTTP libraries send it, but ``repr``, ``str`` and formatting give ``***``. So a traceback
    with local variables, a debugger or a log line shows the mask. :meth:`reveal` returns a plain string.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Secret:
        # str() of a secret is the mask, so a secret made from a secret must reveal it.
        return super().__new__(cls, value.reveal() if isinstance(value, Secret) else value)

    def __repr__(self) -> str:
        return f"'{MASK}'"

    def __str__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def reveal(self) -> str:
        """Return the plain string. Keep it out of local variables of code that can raise."""
        return str.__str__(self)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return type(self), (self.reveal(),)


class SecretBytes(bytes):
    """Bytes with secrets in them. It *is* the bytes, but its ``repr`` and ``str`` return ``***``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b'{MASK}'"

    __str__ = __repr__


def as_secret(value: Any) -> Any:
    """Return ``value`` as a :class:`Secret` if it is text or bytes."""
    if isinstance(value, bytes):  # as base64.b64encode returns a key
        value = value.decode("latin-1")
    return Secret(value) if isinstance(value, str) else value


def mask(value: Any, secrets: Iterable[str]) -> Any:
    """Replace each of ``secrets`` in ``value``, at any depth, because a server may quote what it refused."""
    hidden = [secret for secret in secrets if secret]
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, bytes):
        for secret in hidden:
            value = value.replace(secret.encode("utf-8", "replace"), MASK.encode())
        return value
    if isinstance(value, dict):
        return {mask(name, hidden): mask(inner, hidden) for name, inner in value.items()}
    if isinstance(value, list):
        return [mask(inner, hidden) for inner in value]
    return value


_MIN_ECHO_CHARACTERS = 6
# A shorter part is a placeholder, such as "client" and "secret", and occurs in ordinary words. Real parts are UUIDs.
_MIN_PART_CHARACTERS = 8


def secret_parts(pair: str) -> list[str]:
    """Return the parts of ``id:secret`` that are long enough to be secrets; [] for text without a colon."""
    first, colon, second = pair.partition(":")
    return [part for part in (first, second) if colon and len(part) >= _MIN_PART_CHARACTERS]


def echoes_of(headers: Iterable[str]) -> list[str]:
    """Return the texts in which a server may repeat these secret header values, longest first.

    They are the value itself, its parts (the token after the scheme, each cookie), the ``id:secret`` that a Basic
    header encodes with its :func:`secret_parts`, and the forms of all of them in JSON and in URLs.
    """
    parts: set[str] = set()
    for header in headers:
        value = str.__str__(header)
        scheme, _, rest = value.partition(" ")
        parts |= {value, rest, *(pair.partition("=")[2].strip() for pair in value.split(";"))}
        if scheme.lower() == "basic":
            try:
                pair = base64.b64decode(rest, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            parts |= {pair, *secret_parts(pair)}
    parts = {part for part in parts if len(part) >= _MIN_ECHO_CHARACTERS}
    forms = {form for part in parts for form in (part, part.replace("/", "\\/"), quote(part, safe=""))}
    return sorted(forms, key=len, reverse=True)
