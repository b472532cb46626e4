"""Answers as values of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from gigaclient.gigachat.chat import ChatEndpoints

if TYPE_CHECKING:
    from gigaclient.protocols import Messages
    from gigaclient.types import ChatCompletion

__all__ = ["StructuredEndpoints"]

T = TypeVar("T")


class StructuredEndpoints(ChatEndpoints):
    """``/chat/completions`` with a ``response_format``."""

    @overload
    def chat_parse(
        self, messages: Messages, *, response_format: type[T], strict: bool = True, **options: Any
    ) -> tuple[ChatCompletion, T]: ...

    @overload
    def chat_parse(
        self, messages: Messages, *, response_format: Any, strict: bool = True, **options: Any
    ) -> tuple[ChatCompletion, Any]: ...

    def chat_parse(
        self, messages: Messages, *, response_format: Any, strict: bool = True, **options: Any
    ) -> tuple[ChatCompletion, Any]:
        """Ask for a value of a type, and wait for it: ``POST /chat/completions`` with a JSON Schema.

        Args:
            messages: as for ``giga.chat``.
            response_format: the type: a dataclass, a TypedDict, a ``msgspec.Struct``, an attrs class, a pydantic model,
                or of those ``list[…]``, ``Literal[…]``, an ``Enum``, a builtin. A dict is a JSON Schema; then the value
                is the decoded JSON.
            strict: whether the model keeps to the schema exactly.
            options: as for ``giga.chat``.

        Returns:
            The answer, and the value that it holds.

        Raises:
            LengthFinishReasonError: the answer was cut by the token limit. ``.completion`` holds it.
            InvalidResponseError: the filter held the answer back, it is not JSON, or the JSON does not fit; the message
                names the place, and ``.completion`` and ``.text`` hold the answer.
            ConfigError: the type cannot be described; the message says what to do.
            APIStatusError, APIConnectionError: as ``giga.chat``.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
        """
        from gigaclient.schema.json_schema import type_schema_of
        from gigaclient.schema.parse import value_of

        form = {"type": "json_schema", "schema": type_schema_of(response_format).schema, "strict": bool(strict)}
        options["response_format"] = form
        completion = self._completion(*self._chat_request(messages, options, stream=False))
        return completion, value_of(completion, response_format)
