"""Exit codes, and errors as one sentence or as JSON. The codes are a promise: docs/en/cli.md has the table."""

from __future__ import annotations

from typing import Any

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigError,
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
    "in_commands",
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

# The first that fits counts: an error may be of several kinds.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigError, SETTINGS),
    (AuthenticationError, SETTINGS),
    (RateLimitError, RATE_LIMIT),
    (ServerError, SERVER),
    (APIStatusError, REFUSED),
    (APITimeoutError, TIMEOUT),
    (APIConnectionError, NO_CONNECTION),
    (StreamInterruptedError, NO_CONNECTION),
    (InvalidResponseError, SERVER),
)

_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "gigaclient login --status says which key this was; gigaclient login stores another"),
    (TLSError, "gigaclient doctor shows which certificate was met, and what to do"),
    (APIConnectionError, "gigaclient doctor looks at the network, the proxy and the certificates"),
)


# The library's advice names its own calls; here the same is had by commands.
_COMMANDS = {
    "get_balance()": "gigaclient balance",
    "get_batches()": "gigaclient batch list",
    "get_files()": "gigaclient files list",
    "get_models()": "gigaclient models",
    "tokens_count()": "gigaclient tokens",
    "wait_for_batch()": "gigaclient batch wait",
}


def in_commands(message: str) -> str:
    """What an error says, with the commands of the terminal in place of the library's calls."""
    for call, command in _COMMANDS.items():
        message = message.replace(call, command)
    return message


def code_of(error: BaseException) -> int:
    """The exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def hint_for(error: BaseException) -> str | None:
    """The command that helps, where one does."""
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)


def as_json(error: BaseException) -> dict[str, Any]:
    """An error as ``--json`` shows it; ``text`` is what had arrived of an answer before it."""
    shown: dict[str, Any] = {
        "type": type(error).__name__,
        "message": in_commands(error.message if isinstance(error, GigaClientError) else str(error)),
        "exit_code": code_of(error),
    }
    for name in ("status_code", "code", "request_id", "retry_after", "text"):
        value = getattr(error, name, None)
        if value is not None and value != "" and value != 0:
            shown[name] = value
    hint = hint_for(error)
    if hint is not None:
        shown["hint"] = hint
    return {"error": shown}
