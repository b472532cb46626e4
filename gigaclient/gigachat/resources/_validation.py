"""Check arguments that several endpoints share, and add advice to an endpoint's errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gigaclient.errors import APIStatusError, ConfigError

__all__ = ["FILE_NOT_FOUND_ADVICE", "advising", "checked_text", "checked_texts"]

FILE_NOT_FOUND_ADVICE = (
    "get_files() lists the existing files; one made in a call with client_id= needs the same client_id= here"
)


def checked_text(value: Any, name: str, noun: str = "text") -> str:
    """Return ``value``, which must be a non-empty string.

    Raises:
        ConfigError: it is not; the message uses ``name`` (the argument) and ``noun`` (what it holds).
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ConfigError(f"{name} is bytes: decode it to a string first")
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ConfigError(f"{name} is empty: there is no {noun} to send")
    return value


def checked_texts(value: Any, name: str, *, allow_empty: bool = False) -> list[str]:
    """Return one string or several as a list with at least one item.

    Raises:
        ConfigError: there is no text, or an item is not a string or is empty. ``allow_empty`` permits empty items.
    """
    if isinstance(value, str):
        value = [value]
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raise ConfigError(f"{name} is bytes: decode it to a string first")
    elif not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a string or several of them, not {type(value).__name__}")
    texts = []
    for index, text in enumerate(value):
        if not (allow_empty and text == "" and isinstance(text, str)):
            checked_text(text, f"{name}[{index}]")
        texts.append(str.__str__(text))
    if not texts:
        raise ConfigError(f"{name} is empty: there is no text to send")
    return texts


@contextlib.contextmanager
def advising(error_type: type[APIStatusError], advice: str) -> Iterator[None]:
    """Add ``advice`` for this endpoint to an error of ``error_type`` that the block raises."""
    try:
        yield
    except error_type as error:
        message = error.body.get("message") if isinstance(error.body, dict) else None
        # Without such a body, or with this message, the error is from a gateway and not about the endpoint.
        if isinstance(message, str) and message and message != "Unauthorized":
            error.message = f"{message} - {advice}"
            error.args = (error.message,)
        raise
