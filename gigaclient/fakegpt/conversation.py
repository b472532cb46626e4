"""The body of a conversation request. Pure.

The service answers one flattened prompt with one model and has no sampling settings, so fields that other services
accept are not sent. Its own fields can be set, for example to continue a server-side dialogue.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from gigaclient._core.call_arguments import CHAT_FIELDS
from gigaclient._core.messages import as_request, encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient.errors import ConfigError
from gigaclient.fakegpt.prompt import format_prompt
from gigaclient.types import Chat

__all__ = ["SECRETS", "SERVER_MODEL", "ConversationRequest", "conversation"]

SERVER_MODEL = "text-davinci-002-render-sha"
"""The model's name in requests, whatever model the caller names."""

_KNOWN_MODELS = frozenset({SERVER_MODEL, "gpt-3.5-turbo", "gpt-35-turbo"})

_UNSUPPORTED_FIELDS = frozenset({*Chat.__struct_fields__} - {"messages", "additional_fields"})

BODY_FIELDS = CHAT_FIELDS | {
    *("action", "arkose_token", "conversation_id", "conversation_mode", "force_paragen", "force_rate_limit"),
    *("history_and_training_disabled", "parent_message_id", "plugin_ids", "suggestions", "timezone_offset_min"),
}
"""The names of keyword arguments that are fields of a body."""

SECRETS = frozenset({"api_key", "credentials", "password", "key_file_password", "access_token", "session_password"})
"""Names that, passed by mistake, would be sent to the server as fields of the body."""


class ConversationRequest(NamedTuple):
    """A request ready to be sent.

    Attributes:
        body: the JSON.
        ignored: names of the caller's fields that are not sent; ``model`` among them if another model answers.
    """

    body: bytes
    ignored: tuple[str, ...]


def conversation(messages: Any, options: Mapping[str, Any], *, model: str | None = None) -> ConversationRequest:
    """Build the request for ``messages``.

    Args:
        messages: a string, a list of dicts or :class:`~gigaclient.types.Message`, or a whole request. Never changed.
        options: fields of this call; they replace those of the request. Names of call options are left out.
        model: the client's model, for calls that name none.

    Raises:
        ConfigError: it cannot be a request; the message says what to change.
    """
    request = as_request(messages)
    prompt = format_prompt(request.pop("messages"))
    extra: dict[str, Any] = {}
    for source in (request, options):
        additional = source.get("additional_fields")
        if additional is not None and not isinstance(additional, Mapping):
            raise ConfigError("additional_fields must be a mapping")
        fields = {**(additional or {}), **source}
        extra.update({name: value for name, value in fields.items() if value is not None and name not in CALL_OPTIONS})
    extra.pop("additional_fields", None)
    for name in sorted(SECRETS & extra.keys()):
        raise ConfigError(
            f"{name} is no field of a request, and would be sent as one: a token goes to FakeGpt(access_token=…)"
        )
    requested_model = extra.get("model", model)
    ignored = [name for name in extra if name in _UNSUPPORTED_FIELDS and name not in ("model", "stream")]
    if requested_model is not None and requested_model not in _KNOWN_MODELS:
        ignored.append("model")
    body = {
        "action": "next",
        "parent_message_id": str(uuid.uuid4()),
        "plugin_ids": [],
        "timezone_offset_min": -120,
        "suggestions": [],
        "history_and_training_disabled": True,
        "arkose_token": "",
        "force_paragen": False,
        **{name: value for name, value in extra.items() if name not in _UNSUPPORTED_FIELDS},
        "messages": [
            {
                "id": str(uuid.uuid4()),
                "author": {"role": "user"},
                "content": {"content_type": "text", "parts": [prompt]},
                "metadata": {},
            }
        ],
        "model": SERVER_MODEL,
    }
    return ConversationRequest(encode(body), tuple(sorted(ignored)))
