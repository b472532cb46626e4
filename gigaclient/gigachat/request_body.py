"""Build the body of a v1 chat request from all accepted forms of messages. Pure.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._core.messages import as_messages, as_request, encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError, ModelNotSpecifiedError
from gigaclient.gigachat.attachments import with_file_ids
from gigaclient.types import Function
from gigaclient.types.chat import as_schema

__all__ = ["chat_body", "check_model", "normalize_response_format", "prepare_functions"]


def chat_body(messages: Any, options: Mapping[str, Any], defaults: Mapping[str, Any], *, stream: bool) -> bytes:
    """Return the request body as JSON.

    Args:
        messages: a string, a list of dicts or :class:`~gigaclient.types.Message`, or a whole request (a
            :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``). Never changed.
        options: body fields of this call, which override those of the request. Unknown fields are sent unchanged.
            Names of call options are left out.
        defaults: body fields for names that neither sets.
        stream: whether the response is streamed.

    Raises:
        ConfigError: the request cannot work; the message says what to change.
    """
    fields = {name: value for name, value in options.items() if value is not None and name not in CALL_OPTIONS}
    body = {**as_request(messages, fields.pop("additional_fields", None)), **fields}
    listed = as_messages(body["messages"])
    body["messages"] = [with_file_ids(message, index) for index, message in enumerate(listed)]
    for name, value in defaults.items():
        if value is not None and name not in body and not (name == "model" and _has_stored_model(body)):
            body[name] = value
    if fields.get("stream") is not None and bool(fields["stream"]) is not stream:
        raise ConfigError("stream= is decided by the method: chat() gives the whole answer, stream() its chunks")
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    if "response_format" in body:
        body["response_format"] = _response_format(body["response_format"])
    if "functions" in body:
        body["functions"] = prepare_functions(body["functions"])
    check_model(body)
    return encode(body)


def check_model(body: Mapping[str, Any]) -> None:
    """Raise ModelNotSpecifiedError if the body of a request names an empty model."""
    model = body.get("model")
    if isinstance(model, str) and not model.strip():
        raise ModelNotSpecifiedError(
            "model is empty: name one (get_models() lists them), or leave it out for the client's own"
        )


def prepare_functions(values: Any) -> Any:
    """Return functions in the form in which the official SDK sends them; anything but a list unchanged."""
    return [_prepare_function(value) for value in values] if isinstance(values, (list, tuple)) else values


def _prepare_function(value: Any) -> Any:
    fields = fields_of(value) if isinstance(value, Function) else value
    if not isinstance(fields, Mapping):
        return value
    if "name" not in fields:  # the JSON Schema of a pydantic model, which holds the function's name as its title
        fields = Function._prepared(dict(fields))
    return {**fields, "parameters": _described(fields["parameters"])} if "parameters" in fields else fields


def _described(schema: Any) -> Any:
    """Return a schema with an empty description for each property without one, as the official SDK sends it."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return schema
    described = {
        name: {"description": "", **_described(inner)} if isinstance(inner, Mapping) else inner
        for name, inner in properties.items()
    }
    return {**schema, "properties": described}


def _has_stored_model(body: Mapping[str, Any]) -> bool:
    # An assistant or a stored dialogue has its own model.
    storage = body.get("storage")
    stored = fields_of(storage) if isinstance(storage, msgspec.Struct) else storage
    return bool(
        body.get("assistant_id")
        or (isinstance(stored, Mapping) and (stored.get("thread_id") or stored.get("assistant_id")))
    )


def _response_format(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = fields_of(value)
    if isinstance(value, type):
        raise ConfigError(
            f"response_format is a class: giga.chat_parse(messages, response_format={value.__name__}) asks for one "
            "and returns it"
        )
    return normalize_response_format(value) if isinstance(value, Mapping) else value


def normalize_response_format(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response format in the form that both API versions accept, from any accepted form of schema.

    Raises:
        ConfigError: GigaChat has no such format, or the schema is missing.
    """
    normalized = dict(value)
    if "schema" in normalized:
        normalized["schema"] = as_schema(normalized["schema"])
    type_ = normalized.get("type")
    if type_ in ("json_object", "json", "xml"):
        raise ConfigError(
            f'response_format type {type_!r} is refused by GigaChat: use {{"type": "json_schema", "schema": {{…}}}}'
        )
    nested = normalized.get("json_schema")
    if type_ == "json_schema" and isinstance(nested, Mapping) and "schema" not in normalized:
        # Other APIs nest the schema like this.
        del normalized["json_schema"]
        normalized.update({name: nested[name] for name in ("schema", "strict") if nested.get(name) is not None})
    if type_ == "json_schema" and not normalized.get("schema"):
        raise ConfigError("response_format json_schema needs a schema")
    return normalized
