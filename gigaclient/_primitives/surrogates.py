"""Surrogates in Python strings: the two halves of a character, which UTF-8 cannot encode one by one."""

from __future__ import annotations

__all__ = ["HIGH_SURROGATES", "well_formed"]

HIGH_SURROGATES = ("\ud800", "\udbff")
"""The first and the last high surrogate, which begin a pair."""


def well_formed(text: str) -> str:
    """Return ``text`` with each surrogate pair joined to one character, and each lone surrogate as U+FFFD."""
    # isascii() is a flag of the string, so that most texts are not encoded.
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
