"""Build the body of a v2 chat request from all accepted forms of messages; the forms of API v1 are translated.

Pure. Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient._core.messages import encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.serialization import pydantic_fields
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.gigachat.attachments import CHAT_ARGUMENTS
from gigaclient.gigachat.request_body import check_model, normalize_response_format
from gigaclient.gigachat.v2.messages import MessageConverter
from gigaclient.gigachat.v2.request_values import as_dict, as_fields, move_state_id
from gigaclient.gigachat.v2.tools import tool_config_of, tools_of
from gigaclient.types import Chat
from gigaclient.types.chat_v2 import ChatCompletionRequest

__all__ = ["chat_v2_body", "request_fields"]

_MODEL_OPTIONS = (
    *("temperature", "top_p", "max_tokens", "repetition_penalty", "update_interval", "response_format", "reasoning"),
    *("parallel_tool_calls", "unnormalized_history", "top_logprobs", "preset"),
)

CHAT_V2_FIELDS = CHAT_ARGUMENTS.union(ChatCompletionRequest.__struct_fields__, _MODEL_OPTIONS) - {"messages"}
"""The names of body fields that :func:`chat_v2_body` understands."""


def chat_v2_body(messages: Any, options: Mapping[str, Any], defaults: Mapping[str, Any], *, stream: bool) -> bytes:
    """Return the request body as JSON.

    Args:
        messages: a string, a list of dicts, of :class:`~gigaclient.types.ChatMessage` or of v1
            :class:`~gigaclient.types.Message`, or a whole request (a :class:`~gigaclient.types.ChatCompletionRequest`,
            a v1 :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``). Never changed.
        options: body fields of this call, which override those of the request; unknown ones are sent unchanged. Those
            of ``model_options`` need no nesting. Names of call options are left out.
        defaults: body fields for names that neither sets, in the form of API v1.
        stream: whether the response is streamed.

    Raises:
        ConfigError: the request cannot work; the message says what to change.
    """
    overrides = {name: value for name, value in options.items() if value is not None and name not in CALL_OPTIONS}
    request = request_fields(messages)
    additional = {
        **_additional(request.pop("additional_fields", None)),
        **_additional(overrides.pop("additional_fields", None)),
    }
    if overrides.get("stream") is not None and bool(overrides["stream"]) is not stream:
        raise ConfigError("stream= is decided by the method: create() gives the whole answer, stream() its events")
    request, overrides = _normalize(request), _normalize(overrides)
    model_options = {**request.pop("model_options", {}), **overrides.pop("model_options", {})}
    body = {**additional, **request, **overrides}
    body["messages"] = MessageConverter(body["messages"]).convert()
    if model_options:
        body["model_options"] = model_options
    tools = tools_of(body.pop("tools", None), body.pop("functions", None))
    if tools:
        body["tools"] = tools
    if "tool_config" in body:
        body["tool_config"] = tool_config_of(body["tool_config"], tools)
    for name, value in _normalize(defaults).items():
        if name not in body and not (name == "model" and _has_stored_model(body)):
            body[name] = value
    check_model(body)
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    return encode(body)


# -- the request -------------------------------------------------------------------------------------------------------


def request_fields(messages: Any) -> dict[str, Any]:
    """Return the fields of a whole request, or the messages as its only field.

    Raises:
        ConfigError: the request has no messages.
    """
    messages = pydantic_fields(messages)
    if isinstance(messages, (ChatCompletionRequest, Chat)):
        return fields_of(messages)
    if isinstance(messages, Mapping):
        if "messages" not in messages:
            raise ConfigError('a request needs "messages"; a single message goes into a list')
        return {name: value for name, value in messages.items() if value is not None}
    return {"messages": messages}


def _additional(fields: Any) -> dict[str, Any]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        raise ConfigError("additional_fields must be a mapping")
    return {name: value for name, value in fields.items() if value is not None}


def _normalize(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the names and nesting of API v2; the caller handles tools once all fields are merged."""
    normalized = {name: value for name, value in fields.items() if value is not None}
    move_state_id(normalized)
    options = as_dict(normalized.pop("model_options", {}), "model_options")
    for name in _MODEL_OPTIONS:
        value = normalized.pop(name, None)
        if value is not None:
            options.setdefault(name, value)
    effort, limit = normalized.pop("reasoning_effort", None), normalized.pop("reasoning_max_tokens", None)
    if effort is not None or limit is not None:
        options.setdefault("reasoning", as_fields({"effort": effort, "max_tokens": limit}))
    if isinstance(options.get("reasoning"), str):
        options["reasoning"] = {"effort": options["reasoning"]}
    if "response_format" in options:
        options["response_format"] = _response_format(options["response_format"])
    if options:
        normalized["model_options"] = options
    is_checked = normalized.pop("profanity_check", None)
    if is_checked is not None:
        normalized.setdefault("disable_filter", not is_checked)
    _rename(normalized, "function_ranker", "ranker_options")
    _rename(normalized, "function_call", "tool_config")
    if "storage" in normalized:
        _storage(normalized)
    if "n" in normalized:
        raise ConfigError("n has no counterpart in API v2: it gives one answer; ask again for another")
    return normalized


def _rename(fields: dict[str, Any], old: str, new: str) -> None:
    value = fields.pop(old, None)
    if value is not None:
        fields.setdefault(new, value)


def _storage(fields: dict[str, Any]) -> None:
    storage = fields.pop("storage")
    if storage is False:
        return
    storage = {} if storage is True else as_dict(storage, "storage")
    # In API v1, is_stateful=False means that nothing is stored.
    if storage.pop("is_stateful", True) is False and "thread_id" not in storage:
        return
    assistant = storage.pop("assistant_id", None)
    if assistant is not None:
        fields.setdefault("assistant_id", assistant)
    fields["storage"] = storage


def _has_stored_model(body: Mapping[str, Any]) -> bool:
    # An assistant or a stored dialogue has its own model.
    storage = body.get("storage")
    return bool(body.get("assistant_id") or (isinstance(storage, dict) and storage.get("thread_id")))


def _response_format(value: Any) -> Any:
    if isinstance(value, type):
        raise ConfigError(
            f"response_format is the class {value.__name__}: giga.chat.parse(messages, "
            f"response_format={value.__name__}) asks for one and returns it"
        )
    format_ = as_fields(value)
    if not isinstance(format_, dict):
        raise ConfigError('response_format must be a dict such as {"type": "json_schema", "schema": {…}}')
    format_ = normalize_response_format(format_)
    if format_.get("type") == "regex" and not format_.get("regex"):
        raise ConfigError('response_format regex needs a "regex"')
    return format_
