"""Assistants: a model with instructions, functions and files, stored on the server.

Stand-dependent, not in the public OpenAPI: the official SDK is the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient.errors import ConfigError
from gigaclient.gigachat.request_body import prepare_functions
from gigaclient.gigachat.resources._nested import NestedResource
from gigaclient.gigachat.resources._validation import checked_text
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["AssistantsResource"]

_MAX_METADATA_PAIRS = 16


class AssistantsResource(NestedResource):
    """``giga.assistants``. Stand-dependent, not in the public OpenAPI.

    It has no state: read ``giga.assistants`` wherever it is needed.
    """

    _name = "assistants"
    _not_found_advice = "assistants.get() lists the assistants; not every server supports them"

    def get(self, assistant_id: str | None = None, **options: Unpack[CallSettings]) -> types.Assistants:
        """Return all assistants or one of them: ``GET /assistants``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: the id of one assistant; None returns all.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The assistants in the server's order, as ``.data``; one item if ``assistant_id`` is set.

        Raises:
            NotFoundError: there is no such assistant, or this server does not support assistants.
            APIStatusError: the server rejected the request.
            APIConnectionError, APITimeoutError, TLSError: there was no response.
            InvalidResponseError: the response is not what the API promises.

        Source: https://github.com/ai-forever/gigachat
        """
        path = "/assistants"
        if assistant_id is not None:
            path += "?" + urlencode({"assistant_id": checked_text(assistant_id, "assistant_id", "id")})
        return self._request(Request("GET", path), types.Assistants, options)

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
        """Create an assistant: ``POST /assistants``. Stand-dependent, not in the public OpenAPI.

        Args:
            model: the model that it uses.
            name: its name.
            instructions: the text of a ``system`` message.
            description: its purpose; the model does not see it.
            file_ids: ids of uploaded files that it may read.
            functions: functions that it may call.
            metadata: up to 16 pairs of user data.
            options: call options, as for :meth:`get`.

        Returns:
            The ``.assistant_id`` and the time of creation.

        Raises:
            ConfigError: the model or the name is missing, or there is too much metadata. Nothing was sent.
            NotFoundError: there is no such model, or this server does not support assistants.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body = {
            "model": checked_text(model, "model"),
            "name": checked_text(name, "name"),
            **_fields(None, instructions, description, file_ids, functions, metadata),
        }
        request = Request("POST", "/assistants", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.CreateAssistant, options)

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
            assistant_id: the id of the assistant.
            name: the new name. A field that is None is not changed, here and below. The model cannot be changed.
            description: as for :meth:`create`.
            instructions: as for :meth:`create`.
            file_ids: as for :meth:`create`.
            functions: as for :meth:`create`.
            metadata: as for :meth:`create`.
            options: call options, as for :meth:`get`.

        Returns:
            The changed assistant.

        Raises:
            ConfigError: ``assistant_id`` is not an id, or there is too much metadata. Nothing was sent.
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
        """Remove a file: ``POST /assistants/files/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: the id of the assistant.
            file_id: the id of one of its files.
            options: call options, as for :meth:`get`.

        Returns:
            The file's id, and whether it was removed.

        Raises:
            ConfigError: an argument is not an id. Nothing was sent.
            NotFoundError: there is no such assistant, or it has no such file.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = {
            "assistant_id": checked_text(assistant_id, "assistant_id", "id"),
            "file_id": checked_text(file_id, "file_id", "id"),
        }
        # Not IDEMPOTENT: a repeated request would report that the file does not exist.
        request = Request(
            "POST", "/assistants/files/delete", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT
        )
        return self._request(request, types.AssistantFileDelete, options)

    def delete(self, assistant_id: str, **options: Unpack[CallSettings]) -> types.AssistantDelete:
        """Delete an assistant: ``POST /assistants/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistant_id: the id of the assistant.
            options: call options, as for :meth:`get`.

        Returns:
            Its id, and whether it was deleted.

        Raises:
            ConfigError: ``assistant_id`` is not an id. Nothing was sent.
            NotFoundError: there is no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = {"assistant_id": checked_text(assistant_id, "assistant_id", "id")}
        request = Request("POST", "/assistants/delete", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.AssistantDelete, options)


def _fields(
    name: str | None,
    instructions: str | None,
    description: str | None,
    file_ids: Sequence[str] | None,
    functions: Iterable[Any] | None,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the fields that are set: the server reads a null as a value."""
    if isinstance(file_ids, str):
        raise ConfigError("file_ids is a string: it must be a list of ids")
    if metadata is not None and len(metadata) > _MAX_METADATA_PAIRS:
        raise ConfigError(f"metadata has {len(metadata)} pairs, and an assistant takes {_MAX_METADATA_PAIRS}")
    fields = {
        "name": name,
        "instructions": instructions,
        "description": description,
        "file_ids": None if file_ids is None else list(file_ids),
        "functions": None if functions is None else prepare_functions(list(functions)),
        "metadata": metadata,
    }
    return {field: value for field, value in fields.items() if value is not None}
