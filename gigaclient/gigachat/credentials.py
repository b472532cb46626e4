"""Clean a pasted key or token, and explain why a wrong one cannot work. Pure.

A client sends an unusual key with a warning, and the server decides. The terminal and the doctor refuse it.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
import warnings

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = ["UUID", "access_token", "authorization_key", "check_pair", "split_key", "usable_key"]

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_PAIR = re.compile(f"{UUID.pattern}:{UUID.pattern}")
_SCHEME = re.compile(r"^(?:authorization|basic|bearer)(?=[\s:])[\s:]*", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")

_KEY_HINT = (
    "the authorization key is the long base64 text that the project's page in Studio shows as «Authorization Key»"
)


def authorization_key(value: str) -> Secret:
    """Return the key as the OAuth host expects it after ``Basic``: base64 of ``client_id:client_secret``.

    Surrounding quotes, spaces and a scheme are removed, and line breaks anywhere. Missing padding is added, and the
    URL-safe alphabet becomes the standard one.

    Raises:
        ConfigError: the value is a client id or secret, the pair in plain text, an access token, or not base64 of a
            pair.
    """
    key = _without_scheme(value)
    reason = _invalid_key_reason(key)
    if reason is not None:
        raise ConfigError(reason)
    return Secret(_standard_base64(key))


def split_key(key: Secret) -> tuple[str, str] | tuple[()]:
    """Split an authorization key into client id and secret; return () if it is not base64 of both."""
    client_id, colon, secret = (_decode(key.reveal()) or b"").decode("utf-8", "replace").partition(":")
    return (client_id, secret) if colon else ()


def usable_key(value: str) -> Secret:
    """Return the key of a client: :func:`authorization_key`, or with a warning any other that a header may hold.

    Gateways and emulators have keys of their own, and tests have placeholders.

    Raises:
        ConfigError: the value is empty, or has characters that no header may hold.
    """
    reason = ""
    try:
        return authorization_key(value)
    except ConfigError as error:
        reason = error.message
    key = _without_scheme(value)
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(reason)
    warnings.warn(f"credentials {reason}. It is sent unchanged", UserWarning, stacklevel=_stacklevel_of_caller())
    return key


def _stacklevel_of_caller() -> int:
    """Return the stack level of the first frame outside this package, for a warning of the calling function."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "gigaclient":
        level, frame = level + 1, frame.f_back
    return level


def access_token(value: str) -> Secret:
    """Return a ready access token without a pasted ``Bearer``.

    Raises:
        ConfigError: the token is empty, or has characters that no header may hold.
    """
    token = _without_scheme(value)
    if not token:
        raise ConfigError("is empty")
    if not token.isascii() or not token.isprintable():
        raise ConfigError("has characters that a token cannot have; copy it again")
    return token


# The next functions return their errors: their frames hold parts of the key, and a traceback may show local variables.


def _invalid_key_reason(key: str) -> str | None:
    if not key:
        return f"is empty; {_KEY_HINT}"
    if UUID.fullmatch(key):
        return f"is a client id or a client secret, not the authorization key; {_KEY_HINT}"
    if _PAIR.fullmatch(key):
        return "is client_id:client_secret in plain text; pass it encoded in base64, as Studio shows it"
    if "." in key and len(key) > 200:
        return "looks like an access token; pass that as access_token="
    decoded = _decode(key)
    if decoded is None:
        return f"is not base64; {_KEY_HINT}"
    if b":" in decoded:
        return None
    decoded_twice = _decode(decoded.decode("ascii", "replace"))
    if decoded_twice is not None and b":" in decoded_twice:
        return "is encoded in base64 twice; pass it as Studio shows it"
    return f"is base64, but not of client_id:client_secret; {_KEY_HINT}"


def _without_scheme(value: str) -> Secret:
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}")
    return Secret(_strip(str.__str__(value)))


def _strip(text: str) -> str:
    while True:
        rest = _SCHEME.sub("", text.strip().strip("\"'«»“”„").strip())
        if rest == text:
            return "".join(rest.split())
        text = rest


def _decode(text: str) -> bytes | None:
    if not _BASE64.fullmatch(text):
        return None
    try:
        return base64.b64decode(_standard_base64(text), validate=True)
    except (binascii.Error, ValueError):
        return None


def _standard_base64(text: str) -> str:
    unpadded = text.rstrip("=").replace("-", "+").replace("_", "/")
    return unpadded + "=" * (-len(unpadded) % 4)


def check_pair(user: str | None, password: Secret | None) -> None:
    """Check that user and password are both set or both missing.

    Raises:
        ConfigError: one of them is missing.
    """
    if (user is None) != (password is None):
        raise ConfigError("user and password come together: pass both")
