"""Parse the text of an answer into a value of a type."""

from __future__ import annotations

from typing import Any, Protocol, overload

from gigaclient.errors import ContentFilterError, InvalidResponseError, LengthFinishReasonError
from gigaclient.schema.json_schema import T, type_schema_of
from gigaclient.schema.repair import read_value
from gigaclient.schema.validation import ValidationFailed
from gigaclient.types.completion import add_repairs

__all__ = ["parse_completion"]


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

    @property
    def blocked(self) -> bool:
        """True if the filter blocked the answer."""

    @property
    def truncated(self) -> bool:
        """True if the answer was cut by the token limit."""


@overload
def parse_completion(completion: Completion, type_: type[T], *, repair: bool = True) -> T: ...


@overload
def parse_completion(completion: Completion, type_: Any, *, repair: bool = True) -> Any: ...


def parse_completion(completion: Completion, type_: Any, *, repair: bool = True) -> Any:
    """Parse the text of ``completion`` into a value of ``type_``.

    Numbers in another form (``17.0`` or ``"17"`` for 17) are accepted. Unknown fields are ignored.

    Args:
        completion: the answer to a request whose response format is :func:`schema_of` ``type_``.
        type_: as for :func:`schema_of`.
        repair: mend an answer that is not such a value as it came: text and code fences around the JSON, raw line
            breaks, trailing commas and the other mistakes that :func:`~gigaclient.schema.tolerant.find_documents`
            knows, and JSON text in place of an object or array. ``completion.repaired`` then says what was mended.

    Raises:
        LengthFinishReasonError: the answer was cut by the token limit. Nothing is mended then.
        ContentFilterError: the filter blocked the answer.
        InvalidResponseError: the answer has no such value: the model called a function instead, it is not JSON, or the
            JSON does not fit. ``.completion`` and ``.text`` hold the answer.
        ConfigError: ``type_`` has no JSON Schema.
    """
    type_schema = type_schema_of(type_)
    text = completion.text
    if completion.truncated:
        raise LengthFinishReasonError(
            "the answer was cut by the token limit before its JSON was complete: raise max_tokens, or ask for less",
            request_id=completion.request_id,
            completion=completion,
        )
    if completion.blocked:
        raise ContentFilterError(
            f"the filter blocked the answer (finish_reason {completion.finish_reason})",
            request_id=completion.request_id,
            completion=completion,
        )
    reason = _reason_for_no_value(completion, text)
    if reason is None:
        try:
            value, repaired = read_value(type_schema, text, repair=repair)
        except ValidationFailed as error:
            reason, cause = str(error), error.__cause__
        else:
            add_repairs(completion, repaired)
            return value
        raise _invalid_response(completion, reason) from cause
    raise _invalid_response(completion, reason)


def _reason_for_no_value(completion: Completion, text: str) -> str | None:
    """Return the reason why the answer cannot hold a value, or None."""
    if getattr(completion, "function_call", None) or getattr(completion, "function_calls", None):
        return "the model called a function instead of answering: run it (giga.run does) and parse the last answer"
    if not text.strip():
        return f"the answer is empty (finish_reason {completion.finish_reason})"
    return None


def _invalid_response(completion: Completion, reason: str) -> InvalidResponseError:
    error = InvalidResponseError(reason, request_id=completion.request_id, status_code=200)
    error.text, error.completion = completion.text, completion
    return error
