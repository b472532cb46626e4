"""The body of a v1 chat request, from whatever people pass as messages. Pure.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient.asked import as_messages, as_request, encode, fields_of
from gigaclient.errors import ConfigError
from gigaclient.options import CALL_OPTIONS

__all__ = ["chat_body"]


def chat_body(messages: Any, options: Mapping[str, Any], defaults: Mapping[str, Any], *, stream: bool) -> bytes:
    """The request as JSON.

    Args:
        messages: a string, a list of dicts or :class:`~gigaclient.types.Message`, or a whole request (a
            :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``). Never changed.
        options: body fields of this call, over those of the request; unknown ones are sent as they are. Names of call
            options are left out.
        defaults: body fields for what neither gives.
        stream: whether the answer is streamed.

    Raises:
        ConfigError: it cannot be a request; the message says what to change.
    """
    given = {name: value for name, value in options.items() if value is not None and name not in CALL_OPTIONS}
    body = {**as_request(messages, given.pop("additional_fields", None)), **given}
    body["messages"] = as_messages(body["messages"])
    for name, value in defaults.items():
        if value is not None and name not in body and not (name == "model" and _has_no_model(body)):
            body[name] = value
    if given.get("stream") is not None and bool(given["stream"]) is not stream:
        raise ConfigError("stream= is decided by the method: chat() gives the whole answer, stream() its chunks")
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    if "response_format" in body:
        body["response_format"] = _response_format(body["response_format"])
    return encode(body)


def _has_no_model(body: Mapping[str, Any]) -> bool:
    # The assistant, or the stored dialogue, brings its own.
    storage = body.get("storage")
    stored = fields_of(storage) if isinstance(storage, msgspec.Struct) else storage
    return bool(
        body.get("assistant_id")
        or (isinstance(stored, Mapping) and (stored.get("thread_id") or stored.get("assistant_id")))
    )


def _response_format(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = fields_of(value)
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    if kind in ("json_object", "json", "xml"):
        raise ConfigError(
            f'response_format type {kind!r} is refused by GigaChat: use {{"type": "json_schema", "schema": {{…}}}}'
        )
    nested = value.get("json_schema")
    if kind == "json_schema" and isinstance(nested, Mapping) and "schema" not in value:
        # The way other APIs nest it.
        rest = {name: inner for name, inner in value.items() if name != "json_schema"}
        value = {**rest, **{name: nested[name] for name in ("schema", "strict") if nested.get(name) is not None}}
    if kind == "json_schema" and not value.get("schema"):
        raise ConfigError("response_format json_schema needs a schema")
    return value
