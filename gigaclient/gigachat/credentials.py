"""What people paste as a key or a token: cleaned, and explained when it certainly cannot work. Pure.

Only certain failures are refused here. What merely looks unusual is sent: the server knows better.
"""

from __future__ import annotations

import base64
import binascii
import re

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = ["access_token", "authorization_key"]

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ONE_UUID = re.compile(_UUID)
_PAIR = re.compile(f"{_UUID}:{_UUID}")
_SCHEME = re.compile(r"^(?:authorization|basic|bearer)(?=[\s:])[\s:]*", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")

_WHERE = "the authorization key is the long base64 text that the project's page in Studio shows as «Authorization Key»"


def authorization_key(value: str) -> Secret:
    """The key as the OAuth host wants it after ``Basic``: base64 of ``client_id:client_secret``.

    Quotes, spaces, line breaks and a stray scheme around it are taken off, and line breaks inside it. Padding that was
    lost is put back, and the alphabet of URLs becomes the usual one; it is the same key.

    Raises:
        ConfigError: it is a client id or secret, the pair in plain text, an access token, or not base64 of two parts.
    """
    key = _without_scheme(value)
    reason = _why_not_a_key(key)
    if reason is not None:
        raise ConfigError(reason)
    return Secret(_standard(key))


def access_token(value: str) -> Secret:
    """A ready access token, without the ``Bearer`` that people paste along with it.

    Raises:
        ConfigError: nothing is left, or it has characters that no header may hold.
    """
    token = _without_scheme(value)
    if not token:
        raise ConfigError("is empty")
    if not token.isascii() or not token.isprintable():
        raise ConfigError("has characters that a token cannot have; copy it again")
    return token


# Returned, not raised: the frames of what follows hold the key in pieces, and a traceback may show them.


def _why_not_a_key(key: str) -> str | None:
    if not key:
        return f"is empty; {_WHERE}"
    if _ONE_UUID.fullmatch(key):
        return f"is a client id or a client secret, not the authorization key; {_WHERE}"
    if _PAIR.fullmatch(key):
        return "is client_id:client_secret in plain text; pass it encoded in base64, as Studio shows it"
    if "." in key and len(key) > 200:
        return "looks like an access token; pass that as access_token="
    decoded = _decode(key)
    if decoded is None:
        return f"is not base64; {_WHERE}"
    if b":" in decoded:
        return None
    again = _decode(decoded.decode("ascii", "replace"))
    if again is not None and b":" in again:
        return "is encoded in base64 twice; pass it as Studio shows it"
    return f"is base64, but not of client_id:client_secret; {_WHERE}"


def _without_scheme(value: str) -> Secret:
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    return Secret(_stripped(str.__str__(value)))


def _stripped(text: str) -> str:
    while True:
        rest = _SCHEME.sub("", text.strip().strip("\"'«»“”„").strip())
        if rest == text:
            return "".join(rest.split())
        text = rest


def _decode(text: str) -> bytes | None:
    if not _BASE64.fullmatch(text):
        return None
    try:
        return base64.b64decode(_standard(text), validate=True)
    except (binascii.Error, ValueError):
        return None


def _standard(text: str) -> str:
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)
