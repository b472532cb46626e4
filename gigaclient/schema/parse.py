"""Read a value of a type from an answer."""

from __future__ import annotations

import re
from typing import (
    Any,
    Protocol,
    overload,
)

from gigaclient.errors import InvalidResponseError, LengthFinishReasonError
from gigaclient.schema.json_schema import T, ValidationFailed, type_schema_of

__all__ = ["value_of"]

_FILTERED = frozenset({"blacklist", "request_blacklist", "response_blacklist", "request_filter", "request_whitelist"})


class Completion(Protocol):
    """What is asked of an answer: those of both API versions have it."""

    @property
    def text(self) -> str: ...

    @property
    def finish_reason(self) -> str | None: ...

    @property
    def request_id(self) -> str | None: ...


@overload
def value_of(completion: Completion, kind: type[T]) -> T: ...


@overload
def value_of(completion: Completion, kind: Any) -> Any: ...


def value_of(completion: Completion, kind: Any) -> Any:
    """What ``completion`` says, as a value of ``kind``.

    A fence of backticks around the JSON, line breaks in it, and numbers in another dress (``17.0`` or ``"17"`` for 17)
    are no hindrance; neither are fields that ``kind`` does not have.

    Args:
        completion: an answer to a request with :func:`schema_of` ``kind`` as its response format.
        kind: as for :func:`schema_of`.

    Raises:
        LengthFinishReasonError: the answer was cut by the token limit.
        InvalidResponseError: it is no such value: the filter held it back, the model called a function instead, it is
            not JSON, or the JSON does not fit. ``.completion`` and ``.text`` hold it.
        ConfigError: ``kind`` cannot be described.
    """
    type_schema = type_schema_of(kind)
    text = completion.text
    if completion.finish_reason == "length":
        raise LengthFinishReasonError(
            "the answer was cut by the token limit before its JSON was complete: raise max_tokens, or ask for less",
            request_id=completion.request_id,
            completion=completion,
        )
    reason = _no_value(completion, text)
    if reason is None:
        try:
            return type_schema.read(_json_of(text))
        except ValidationFailed as misfit:
            reason, cause = str(misfit), misfit.__cause__
        raise _refused(completion, reason) from cause
    raise _refused(completion, reason)


# -- reading the text --------------------------------------------------------------------------------------------------

_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n?(.*?)```", re.DOTALL)


def _no_value(completion: Completion, text: str) -> str | None:
    """Why this answer holds none, or None."""
    if completion.finish_reason in _FILTERED:
        return f"the filter held the answer back (finish_reason {completion.finish_reason})"
    if getattr(completion, "function_call", None) or getattr(completion, "function_calls", None):
        return "the model called a function instead of answering: run it (giga.run does) and parse the last answer"
    if not text.strip():
        return f"the answer is empty (finish_reason {completion.finish_reason})"
    return None


def _refused(completion: Completion, reason: str) -> InvalidResponseError:
    error = InvalidResponseError(reason, request_id=completion.request_id, status_code=200)
    error.text, error.completion = completion.text, completion
    return error


def _json_of(text: str) -> bytes:
    """The part of the text that is meant to be JSON."""
    text = _THOUGHTS.sub("", text, count=1).strip().lstrip("\ufeff")
    if not text.startswith(("{", "[", '"')):
        fenced = _FENCE.search(text)
        if fenced:
            text = fenced[1].strip()
    return text.encode("utf-8", "replace")
