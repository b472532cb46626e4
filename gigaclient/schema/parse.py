"""Parse the text of an answer into a value of a type."""

from __future__ import annotations

import re
from typing import Any, Protocol, overload

from gigaclient.errors import InvalidResponseError, LengthFinishReasonError
from gigaclient.schema.json_schema import T, type_schema_of
from gigaclient.schema.validation import ValidationFailed

__all__ = ["parse_completion"]

_FILTERED = frozenset({"blacklist", "request_blacklist", "response_blacklist", "request_filter", "request_whitelist"})


class Completion(Protocol):
    """The attributes that the completions of both API versions have."""

    @property
    def text(self) -> str:
        """The text of the answer."""

    @property
    def finish_reason(self) -> str | None:
        """The reason for the end of the answer."""

    @property
    def request_id(self) -> str | None:
        """The request id of the response."""


@overload
def parse_completion(completion: Completion, type_: type[T]) -> T: ...


@overload
def parse_completion(completion: Completion, type_: Any) -> Any: ...


def parse_completion(completion: Completion, type_: Any) -> Any:
    """Parse the text of ``completion`` into a value of ``type_``.

    A code fence around the JSON, line breaks in it, and numbers in another form (``17.0`` or ``"17"`` for 17) are
    accepted. Unknown fields are ignored.

    Args:
        completion: the answer to a request whose response format is :func:`schema_of` ``type_``.
        type_: as for :func:`schema_of`.

    Raises:
        LengthFinishReasonError: the answer was cut by the token limit.
        InvalidResponseError: the answer has no such value: the filter blocked it, the model called a function instead,
            it is not JSON, or the JSON does not fit. ``.completion`` and ``.text`` hold the answer.
        ConfigError: ``type_`` has no JSON Schema.
    """
    type_schema = type_schema_of(type_)
    text = completion.text
    if completion.finish_reason == "length":
        raise LengthFinishReasonError(
            "the answer was cut by the token limit before its JSON was complete: raise max_tokens, or ask for less",
            request_id=completion.request_id,
            completion=completion,
        )
    reason = _reason_for_no_value(completion, text)
    if reason is None:
        try:
            return type_schema.read(_json_of(text))
        except ValidationFailed as error:
            reason, cause = str(error), error.__cause__
        raise _invalid_response(completion, reason) from cause
    raise _invalid_response(completion, reason)


# -- reading the text --------------------------------------------------------------------------------------------------

_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n?(.*?)```", re.DOTALL)


def _reason_for_no_value(completion: Completion, text: str) -> str | None:
    """Return the reason why the answer cannot hold a value, or None."""
    if completion.finish_reason in _FILTERED:
        return f"the filter blocked the answer (finish_reason {completion.finish_reason})"
    if getattr(completion, "function_call", None) or getattr(completion, "function_calls", None):
        return "the model called a function instead of answering: run it (giga.run does) and parse the last answer"
    if not text.strip():
        return f"the answer is empty (finish_reason {completion.finish_reason})"
    return None


def _invalid_response(completion: Completion, reason: str) -> InvalidResponseError:
    error = InvalidResponseError(reason, request_id=completion.request_id, status_code=200)
    error.text, error.completion = completion.text, completion
    return error


def _json_of(text: str) -> bytes:
    """Return the JSON in the text, without thoughts and code fence."""
    text = _THOUGHTS.sub("", text, count=1).strip().lstrip("\ufeff")
    if not text.startswith(("{", "[", '"')):
        fenced = _FENCE.search(text)
        if fenced:
            text = fenced[1].strip()
    return text.encode("utf-8", "replace")
