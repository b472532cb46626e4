"""GigaChat in the command ``llm``: ``llm -m gigachat "Count from 1 to 5"``.

``llm`` finds this module by its entry point: installing gigaclient with the extra ``llm`` is enough. The key is that of
``llm keys set gigachat``, of ``GIGACHAT_CREDENTIALS``, or the one that ``gigaclient login`` stored.

Source: https://llm.datasette.io/en/stable/plugins/advanced-model-plugins.html
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gigaclient._core.client_cache import ClientCache
from gigaclient._core.one_call import shared_client
from gigaclient._primitives.extras import extra_is_missing
from gigaclient.cli import credentials
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.functions import as_object, result_text
from gigaclient.gigachat import GigaChat
from gigaclient.gigachat.resources.embeddings import MAX_TEXTS
from gigaclient.gigachat.resources.uploads import EXTENSION_OF
from gigaclient.types import FunctionCall, Message

try:
    import llm
    from llm.parts import AttachmentPart, StreamEvent, TextPart, ToolCallPart, ToolResultPart
    from pydantic import Field
except ImportError as missing:
    raise ImportError(extra_is_missing("gigaclient.contrib.llm", missing.name, "llm"), name=missing.name) from missing

__all__ = ["GigaChatEmbeddingModel", "GigaChatModel", "register_embedding_models", "register_models"]

_NO_KEY = "there is no key: llm keys set gigachat, or gigaclient login, or set GIGACHAT_CREDENTIALS"
_KEY_ALIAS, _KEY_VARIABLE = "gigachat", "GIGACHAT_CREDENTIALS"

# "gigachat" is the model of the settings: GIGACHAT_MODEL, or the client's default.
_MODELS = {
    "gigachat": None,
    "gigachat-2": "GigaChat-2",
    "gigachat-2-pro": "GigaChat-2-Pro",
    "gigachat-2-max": "GigaChat-2-Max",
}
_EMBEDDING_MODELS = {
    "gigachat-embeddings": "Embeddings",
    "gigachat-embeddings-2": "Embeddings-2",
    "gigachat-embeddings-giga-r": "EmbeddingsGigaR",
}
# llm has other names than the service for the types of some files.
_EXTENSIONS = {
    **EXTENSION_OF,
    "application/epub+zip": ".epub",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
}

_clients: ClientCache[GigaChat] = ClientCache()


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Register the chat models."""
    for model_id, name in _MODELS.items():
        register(GigaChatModel(model_id, name), aliases=() if name is None else (name,))


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Register the models of ``llm embed``."""
    for model_id, name in _EMBEDDING_MODELS.items():
        register(GigaChatEmbeddingModel(model_id, name), aliases=(name,))


class _Keyed:
    """The key of ``llm keys set gigachat`` or of the environment; None if ``llm`` has neither."""

    needs_key = _KEY_ALIAS
    key_env_var = _KEY_VARIABLE
    key: str | None = None

    def get_key(self, explicit_key: str | None = None) -> str | None:
        """Return the key that ``llm`` knows, or None if it has none."""
        return self.key or llm.get_key(explicit_key, _KEY_ALIAS, _KEY_VARIABLE)


class GigaChatModel(_Keyed, llm.KeyModel):
    """A chat model of GigaChat.

    Args:
        model_id: its name in ``llm``.
        model: its name in the API; None for the model of the client's settings.
    """

    can_stream = True
    supports_schema = True
    supports_tools = True
    attachment_types = frozenset(_EXTENSIONS)

    class Options(llm.Options):
        """The options of ``-o``."""

        model: str | None = Field(default=None, description="Name of another model, such as GigaChat-2-Max")
        temperature: float | None = Field(default=None, ge=0, description="Higher values give more varied answers")
        top_p: float | None = Field(default=None, ge=0, le=1, description="Share of the most probable tokens")
        max_tokens: int | None = Field(default=None, ge=1, description="Maximum number of tokens of the answer")
        repetition_penalty: float | None = Field(default=None, ge=0, description="Above 1: fewer repetitions")
        profanity_check: bool | None = Field(default=None, description="Whether the service filters the answer")

    def __init__(self, model_id: str, model: str | None = None) -> None:
        self.model_id = model_id
        self._model = model

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any, key: str | None) -> Iterator[Any]:
        """Send the dialogue of ``prompt``, and yield the answer as it arrives.

        Attachments are uploaded before, and removed at the end.

        Raises:
            ConfigError: there is no key, the service does not read a file, or the request cannot work.
            GigaClientError: the request failed.
        """
        _check_attachments(prompt.messages)
        giga = _client(key)
        uploads = _Uploads(giga)
        try:
            request = {**self._body(prompt), "messages": _messages(prompt.messages, uploads.upload)}
            if stream:
                with giga.stream(request) as chunks:
                    for chunk in chunks:
                        yield from _events(chunk.choices[0].delta if chunk.choices else None)
                    completion = chunks.result()
            else:
                completion = giga.chat(request)
                yield from _events(completion.choices[0].message)
        finally:
            uploads.remove()
        _report(response, completion)

    def _body(self, prompt: Any) -> dict[str, Any]:
        body = {name: value for name, value in prompt.options if value is not None}
        if self._model is not None:
            body.setdefault("model", self._model)
        if prompt.schema:
            body["response_format"] = {"type": "json_schema", "schema": prompt.schema, "strict": True}
        if prompt.tools:
            body["functions"] = [
                {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
                for tool in prompt.tools
            ]
        return body

    def __str__(self) -> str:
        return f"GigaChat: {self.model_id}"


class GigaChatEmbeddingModel(_Keyed, llm.EmbeddingModel):
    """A model of ``llm embed``.

    Args:
        model_id: its name in ``llm``.
        model: its name in the API.
    """

    batch_size = MAX_TEXTS

    def __init__(self, model_id: str, model: str) -> None:
        self.model_id = model_id
        self._model = model

    def embed_batch(self, items: Iterable[Any], *, key: str | None = None) -> Iterator[list[float]]:
        """Return the vectors of the texts.

        Raises:
            ConfigError: there is no key.
            GigaClientError: the request failed.
        """
        vectors = _client(self.get_key(key)).embeddings(list(items), model=self._model)
        return iter([item.embedding for item in vectors.data])


# -- the request -------------------------------------------------------------------------------------------------------


def _client(key: str | None) -> GigaChat:
    """Return the client of a key; without one, that of the environment or of ``gigaclient login``."""
    arguments: dict[str, Any] = {}
    if key:
        arguments["credentials"] = key
    elif credentials.variable_in_use() is None:
        stored = credentials.stored()
        if stored is None:
            raise ConfigError(_NO_KEY)
        arguments = stored.arguments()
    return shared_client(_clients, GigaChat, GigaChat.__init__, arguments, "GIGACHAT_")


class _Uploads:
    """The files of one request."""

    def __init__(self, giga: GigaChat) -> None:
        self._giga = giga
        self._ids: list[str] = []

    def upload(self, attachment: Any) -> str:
        """Upload an attachment and return its id."""
        extension = _EXTENSIONS[attachment.resolve_type()]
        stem = Path(attachment.path).stem if attachment.path else "attachment"
        file = self._giga.upload_file((f"{stem}{extension}", attachment.content_bytes()), purpose="general")
        self._ids.append(file.id)
        return file.id

    def remove(self) -> None:
        """Remove the files; ignore errors, because they would hide the answer."""
        for file_id in self._ids:
            with contextlib.suppress(GigaClientError):
                self._giga.delete_file(file_id)


def _check_attachments(history: Iterable[Any]) -> None:
    """Check the types of all attachments, before one is uploaded.

    Raises:
        ConfigError: the service does not read a file of this type.
    """
    for message in history:
        for part in message.parts:
            attachments = [part.attachment] if isinstance(part, AttachmentPart) else getattr(part, "attachments", ())
            for attachment in attachments:
                if attachment.resolve_type() not in _EXTENSIONS:
                    raise ConfigError(
                        f"GigaChat does not read files of the type {attachment.resolve_type()}: convert "
                        f"{attachment.path or attachment.url or 'the attachment'} to one of {', '.join(_EXTENSIONS)}"
                    )


def _messages(history: Iterable[Any], upload: Callable[[Any], str]) -> list[Message]:
    """Return the messages of a dialogue in the form of API v1, where each call is followed by its result."""
    messages: list[Message] = []
    calls: list[Any] = []
    for message in history:
        text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        new_calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        attachments = [upload(part.attachment) for part in message.parts if isinstance(part, AttachmentPart)]
        if new_calls:
            calls = new_calls
        for result in results:
            messages += _result(result, calls)
            attachments += [upload(attachment) for attachment in result.attachments]
        if text or attachments:
            role = message.role if message.role in ("system", "assistant") else "user"
            messages.append(Message(role=role, content=text, attachments=attachments or None))
    return messages


def _result(result: Any, calls: list[Any]) -> list[Message]:
    """Return the messages of a call and its result; none if the call is not known."""
    call = next((call for call in calls if call.tool_call_id == result.tool_call_id), None)
    if call is None:
        return []
    # The id is the state id of the service, unless llm made one.
    state = call.tool_call_id if not str(call.tool_call_id).startswith("tc_") else None
    function_call = FunctionCall(name=call.name, arguments=call.arguments)
    return [
        Message(role="assistant", content="", function_call=function_call, functions_state_id=state),
        Message(role="function", name=call.name, content=_result_content(result.output)),
    ]


def _result_content(output: str) -> str:
    """Return the result of a tool as the text of a JSON object, the only form that the API accepts."""
    value: Any = output
    with contextlib.suppress(ValueError):
        value = json.loads(output)
    return result_text(value)


# -- the answer --------------------------------------------------------------------------------------------------------


def _events(message: Any) -> Iterator[Any]:
    if message is None:
        return
    if message.reasoning_content:
        yield StreamEvent(type="reasoning", chunk=message.reasoning_content)
    if message.content:
        yield message.content


def _report(response: Any, completion: Any) -> None:
    """Report the tool call, the model and the tokens to ``llm``, which logs them."""
    choice = completion.choices[0]
    call = choice.message.function_call
    if call is not None:
        arguments = dict(as_object(call.arguments))
        response.add_tool_call(
            llm.ToolCall(name=call.name, arguments=arguments, tool_call_id=choice.message.functions_state_id)
        )
    if completion.model:
        response.set_resolved_model(completion.model)
    response.response_json = {"finish_reason": choice.finish_reason, "request_id": completion.request_id}
    usage = completion.usage
    if usage is not None:
        cached = usage.precached_prompt_tokens
        details = {"precached_prompt_tokens": cached} if cached else None
        response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens, details=details)
