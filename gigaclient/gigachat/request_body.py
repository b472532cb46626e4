"""The body of a v1 chat request, from whatever people pass as messages. Pure.

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
from gigaclient.types import Function
from gigaclient.types.chat import as_schema

__all__ = ["chat_body", "json_form"]


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
    body: dict[str, Any]
    if messages.__class__ is str and not given:
        # A prompt and nothing else, as in most scripts: there is nothing to look for in it.
        body = {"messages": [{"role": "user", "content": messages}]}
    else:
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
    if "functions" in body:
        body["functions"] = _functions(body["functions"])
    model = body.get("model")
    if isinstance(model, str) and not model.strip():
        raise ModelNotSpecifiedError(
            "model is empty: name one (get_models() lists them), or leave it out for the client's own"
        )
    return encode(body)


def _functions(values: Any) -> Any:
    # What pydantic makes of a model has the function's name as its title.
    if not isinstance(values, (list, tuple)):
        return values
    return [
        Function._prepared(dict(value)) if isinstance(value, Mapping) and "name" not in value else value
        for value in values
    ]


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
    if isinstance(value, type):
        raise ConfigError(
            f"response_format is a class: giga.chat_parse(messages, response_format={value.__name__}) asks for one "
            "and returns it"
        )
    return json_form(value) if isinstance(value, Mapping) else value


def json_form(value: Mapping[str, Any]) -> dict[str, Any]:
    """A response format as both versions of the API take it, whichever way its schema was given.

    Raises:
        ConfigError: GigaChat has no such format, or it needs a schema.
    """
    form = dict(value)
    if "schema" in form:
        form["schema"] = as_schema(form["schema"])
    kind = form.get("type")
    if kind in ("json_object", "json", "xml"):
        raise ConfigError(
            f'response_format type {kind!r} is refused by GigaChat: use {{"type": "json_schema", "schema": {{…}}}}'
        )
    nested = form.get("json_schema")
    if kind == "json_schema" and isinstance(nested, Mapping) and "schema" not in form:
        # The way other APIs nest it.
        del form["json_schema"]
        form.update({name: nested[name] for name in ("schema", "strict") if nested.get(name) is not None})
    if kind == "json_schema" and not form.get("schema"):
        raise ConfigError("response_format json_schema needs a schema")
    return form
