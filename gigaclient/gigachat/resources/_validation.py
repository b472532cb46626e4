"""What several endpoints have in common: arguments that are checked, and advice about an endpoint's refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gigaclient.errors import APIStatusError, ConfigError

__all__ = ["advising", "checked_text", "checked_texts"]


def checked_text(value: Any, name: str, what: str = "text") -> str:
    """``value``, which must be a text that is not empty.

    Raises:
        ConfigError: it is not; ``name`` and ``what`` tell which argument, and what it is for.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ConfigError(f"{name} is bytes: decode it to a string first")
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ConfigError(f"{name} is empty: there is no {what} to send")
    return value


def checked_texts(value: Any, name: str, *, empty_ones: bool = False) -> list[str]:
    """One text or several as a list, each of them a string, and at least one.

    Raises:
        ConfigError: it is not that; the message says which one and why. Empty strings pass with ``empty_ones`` alone.
    """
    if isinstance(value, str):
        value = [value]
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raise ConfigError(f"{name} is bytes: decode it to a string first")
    elif not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a string or several of them, not {type(value).__name__}")
    texts = []
    for place, text in enumerate(value):
        if not (empty_ones and text == "" and isinstance(text, str)):
            checked_text(text, f"{name}[{place}]")
        texts.append(str.__str__(text))
    if not texts:
        raise ConfigError(f"{name} is empty: there is no text to send")
    return texts


@contextlib.contextmanager
def advising(kind: type[APIStatusError], advice: str) -> Iterator[None]:
    """Within this block, an error of ``kind`` tells what to do about it at this endpoint, in place of the general."""
    try:
        yield
    except kind as error:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        # What has no such body comes from a gateway, and so does this text: neither is about the endpoint.
        if isinstance(said, str) and said and said != "Unauthorized":
            error.message = f"{said} - {advice}"
            error.args = (error.message,)
        raise
