"""Assistants: a model with instructions, functions and files, kept on the server.

Stand-dependent, not in the public OpenAPI: what is here is known from the official SDK.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient.errors import ConfigError, NotFoundError
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import advising, checked_text
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["AssistantsResource"]

_AnswerT = TypeVar("_AnswerT", bound=APIResponse)

_MOST_PAIRS = 16
_ABSENT = "assistants.get() lists those there are, if this server has assistants at all"


class AssistantsResource:
    """``giga.assistants``. Stand-dependent, not in the public OpenAPI.

    It holds nothing of its own: write ``giga.assistants`` wherever it is needed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: APIResource) -> None:
        self._client = client

    def get(self, assistant_id: str | None = None, **options: Unpack[CallSettings]) -> types.Assistants:
        """The assistants, or one of them: ``GET /assistants``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: the id of the one that is wanted; None for all.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The assistants in the server's order, as ``.data``; one item when an id was given.

        Raises:
            NotFoundError: there is no such assistant, or this server has none at all.
            APIStatusError: the server refused it.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: an answer came that is not one.

        Source: https://github.com/ai-forever/gigachat
        """
        place = "/assistants"
        if assistant_id is not None:
            place += "?" + urlencode({"assistant_id": checked_text(assistant_id, "assistant_id", "id")})
        return self._request(Request("GET", place), types.Assistants, options)

    def create(
        self,
        model: str,
        name: str,
        instructions: str | None = None,
        description: str | None = None,
        file_ids: Sequence[str] | None = None,
        functions: Iterable[types.Function | Mapping[str, Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[CallSettings],
    ) -> types.CreateAssistant:
        """Make an assistant: ``POST /assistants``. Stand-dependent, not in the public OpenAPI.

        Args:
            model: the model that it speaks with.
            name: what to call it.
            instructions: what a ``system`` message would say.
            description: what it is for; the model does not see it.
            file_ids: ids of uploaded files that it may look into.
            functions: what it may ask to have called.
            metadata: up to 16 pairs of your own.
            options: of the call, as for :meth:`get`.

        Returns:
            Its ``.assistant_id`` and when it was made.

        Raises:
            ConfigError: there is no model or name, or too much metadata. Nothing was sent.
            NotFoundError: there is no such model, or this server has no assistants.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body = {
            "model": checked_text(model, "model"),
            "name": checked_text(name, "name"),
            **_fields(None, instructions, description, file_ids, functions, metadata),
        }
        request = Request("POST", "/assistants", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._client._request(request, types.CreateAssistant, options)

    def update(
        self,
        assistant_id: str,
        name: str | None = None,
        description: str | None = None,
        instructions: str | None = None,
        file_ids: Sequence[str] | None = None,
        functions: Iterable[types.Function | Mapping[str, Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[CallSettings],
    ) -> types.Assistant:
        """Change an assistant: ``POST /assistants/modify``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: which one.
            name, description, instructions, file_ids, functions, metadata: as for :meth:`create`; what is None stays
                as it is. The model cannot be changed.
            options: of the call, as for :meth:`get`.

        Returns:
            The assistant as it is now.

        Raises:
            ConfigError: ``assistant_id`` is no id, or there is too much metadata. Nothing was sent.
            NotFoundError: there is no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = {
            "assistant_id": checked_text(assistant_id, "assistant_id", "id"),
            **_fields(name, instructions, description, file_ids, functions, metadata),
        }
        return self._request(Request("POST", "/assistants/modify", body=encode(body)), types.Assistant, options)

    def delete_file(
        self, assistant_id: str, file_id: str, **options: Unpack[CallSettings]
    ) -> types.AssistantFileDelete:
        """Take a file from an assistant: ``POST /assistants/files/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: which assistant.
            file_id: which of its files.
            options: of the call, as for :meth:`get`.

        Returns:
            The file's id, and whether it is gone.

        Raises:
            ConfigError: one of them is no id. Nothing was sent.
            NotFoundError: there is no such assistant, or it has no such file.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = {
            "assistant_id": checked_text(assistant_id, "assistant_id", "id"),
            "file_id": checked_text(file_id, "file_id", "id"),
        }
        # Not FREELY: the second of two would say that it was never there.
        request = Request(
            "POST", "/assistants/files/delete", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT
        )
        return self._request(request, types.AssistantFileDelete, options)

    def delete(self, assistant_id: str, **options: Unpack[CallSettings]) -> types.AssistantDelete:
        """Delete an assistant: ``POST /assistants/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: which one.
            options: of the call, as for :meth:`get`.

        Returns:
            Its id, and whether it is gone.

        Raises:
            ConfigError: ``assistant_id`` is no id. Nothing was sent.
            NotFoundError: there is no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = {"assistant_id": checked_text(assistant_id, "assistant_id", "id")}
        request = Request("POST", "/assistants/delete", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.AssistantDelete, options)

    def _request(self, request: Request, kind: type[_AnswerT], options: Mapping[str, Any]) -> _AnswerT:
        with advising(NotFoundError, _ABSENT):
            return self._client._request(request, kind, options)

    def __repr__(self) -> str:
        return f"<assistants of {self._client!r}>"


def _fields(
    name: str | None,
    instructions: str | None,
    description: str | None,
    file_ids: Sequence[str] | None,
    functions: Iterable[Any] | None,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is given of them: the server takes a null for a value."""
    if isinstance(file_ids, str):
        raise ConfigError("file_ids is a string: it must be a list of ids")
    if metadata is not None and len(metadata) > _MOST_PAIRS:
        raise ConfigError(f"metadata has {len(metadata)} pairs, and an assistant takes {_MOST_PAIRS}")
    fields = {
        "name": name,
        "instructions": instructions,
        "description": description,
        "file_ids": None if file_ids is None else list(file_ids),
        "functions": None if functions is None else list(functions),
        "metadata": metadata,
    }
    return {field: value for field, value in fields.items() if value is not None}
