"""Exit codes, and errors as one sentence or as JSON. The codes are stable: docs/en/cli.md has the table."""

from __future__ import annotations

import re
from typing import Any

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigError,
    ContentFilterError,
    GigaClientError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    TLSError,
)

__all__ = [
    "BROKEN_PIPE",
    "FAILED",
    "INTERRUPTED",
    "NO_CONNECTION",
    "OK",
    "RATE_LIMIT",
    "REFUSED",
    "SERVER",
    "SETTINGS",
    "TIMEOUT",
    "USAGE",
    "as_json",
    "code_of",
    "hint_for",
    "with_commands",
]

OK = 0
FAILED = 1
USAGE = 2
SETTINGS = 3
REFUSED = 4
NO_CONNECTION = 5
TIMEOUT = 6
RATE_LIMIT = 7
SERVER = 8
INTERRUPTED = 130
BROKEN_PIPE = 141

# The first match counts: an error may be an instance of several types.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigError, SETTINGS),
    (AuthenticationError, SETTINGS),
    (RateLimitError, RATE_LIMIT),
    (ServerError, SERVER),
    (APIStatusError, REFUSED),
    (APITimeoutError, TIMEOUT),
    (APIConnectionError, NO_CONNECTION),
    (StreamInterruptedError, NO_CONNECTION),
    (ContentFilterError, FAILED),
    (InvalidResponseError, SERVER),
)

_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "gigaclient login --status shows which key is in use; gigaclient login stores another"),
    (TLSError, "gigaclient doctor shows which certificate it received, and what to do"),
    (APIConnectionError, "gigaclient doctor checks the network, the proxy and the certificates"),
)


# The library's advice names its methods; the terminal has commands for them.
_COMMANDS = {
    "get_balance()": "gigaclient balance",
    "get_batches()": "gigaclient batch list",
    "get_files()": "gigaclient files list",
    "get_models()": "gigaclient models",
    "tokens_count()": "gigaclient tokens",
    "wait_for_batch()": "gigaclient batch wait",
}


# Arguments that are options here; the others are variables of the environment.
_OPTIONS = {
    "attachments": "--attach",
    "base_url": "--base-url",
    "ca_bundle_file": "--ca-bundle",
    "credentials": "--credentials-file",
    "deadline": "--deadline",
    "max_tokens": "--max-tokens",
    "model": "--model",
    "response_format": "--schema",
    "temperature": "--temperature",
    "template": "--template",
    "timeout": "--timeout",
    "top_p": "--top-p",
}
_VARIABLES = (
    *("access_token", "allow_http", "auth_url", "cert_file", "event_timeout", "key_file", "key_file_password"),
    *("max_connections", "max_retries", "password", "proxy", "scope", "trust", "user", "v2_url", "verify_ssl_certs"),
)
_NAMES = "|".join((*_OPTIONS, *_VARIABLES))
# An argument with "=", and perhaps its value and the place where it was set; or without "=", but with that place.
_ARGUMENT = re.compile(
    rf"""\b(?P<name>{_NAMES})(?:=(?P<value>"[^"]*"|[A-Z0-9…][\w.…]*)?|(?=[ ]\(GIGACHAT_))"""
    r"(?:[ ]\((?P<place>GIGACHAT_\w+|--[\w-]+(?: \(over \w+\))?)\))?"
)
# The argument that an error is about.
_LABEL = re.compile(rf"^(?:{'|'.join(_OPTIONS)})(?=: |[ ](?:names|must|has|is)\b)")


def with_commands(message: str) -> str:
    """Replace the library's methods and arguments in a message by commands, options and environment variables."""
    for call, command in _COMMANDS.items():
        message = message.replace(call, command)
    message = _ARGUMENT.sub(_in_terms_of_the_terminal, message)
    return _LABEL.sub(lambda found: _OPTIONS[found[0]], message)


def _in_terms_of_the_terminal(found: re.Match[str]) -> str:
    name, value, place = found.group("name", "value", "place")
    option = _OPTIONS.get(name)
    if option is None:
        option = f"GIGACHAT_{name.upper()}"
        value = value and value.strip('"').lower()
    elif value:
        value = f" {value}"
    rest = f" ({place})" if place and not place.startswith(option) else ""
    return option + (f"={value}" if value and option not in _OPTIONS.values() else value or "") + rest


def code_of(error: BaseException) -> int:
    """Return the exit code for an error."""
    return next((code for type_, code in _CODES if isinstance(error, type_)), FAILED)


def hint_for(error: BaseException) -> str | None:
    """Return a hint that names the command to run next; None for most errors."""
    return next((hint for type_, hint in _HINTS if isinstance(error, type_)), None)


def as_json(error: BaseException) -> dict[str, Any]:
    """Return an error as ``--json`` shows it; ``text`` is the part of the answer that arrived before it."""
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "message": with_commands(error.message if isinstance(error, GigaClientError) else str(error)),
        "exit_code": code_of(error),
    }
    for name in ("status_code", "code", "request_id", "retry_after", "text"):
        value = getattr(error, name, None)
        if value is not None and value != "" and value != 0:
            document[name] = value
    hint = hint_for(error)
    if hint is not None:
        document["hint"] = hint
    return {"error": document}
