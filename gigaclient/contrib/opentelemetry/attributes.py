"""Attributes of spans and metrics, by the GenAI semantic conventions."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.hooks import CallEvent, EndEvent

__all__ = [
    "EMBEDDINGS",
    "RequestFields",
    "is_failure",
    "metric_attributes",
    "operation_of",
    "read_fields",
    "request_attributes",
    "response_attributes",
    "span_name",
]

CHAT, EMBEDDINGS, AGENT = "chat", "embeddings", "invoke_agent"

_OPERATIONS = {
    "/chat/completions": CHAT,
    "/api/conversation": CHAT,
    "/embeddings": EMBEDDINGS,
    "/threads/run": AGENT,
    "/threads/messages/run": AGENT,
    "/threads/messages/rerun": AGENT,
}
_PORTS = {"https": 443, "http": 80}
_NOTHING = msgspec.Raw(b"null")


class ModelOptions(msgspec.Struct):
    """The fields of a request that change the answer: in the body itself, or in ``model_options`` of API v2."""

    temperature: Any = None
    top_p: Any = None
    max_tokens: Any = None
    response_format: Any = None


class RequestFields(ModelOptions):
    """The fields of a request's body that spans record. They may be missing, or of any type."""

    assistant_id: Any = None
    model_options: ModelOptions | None = None
    messages: msgspec.Raw = _NOTHING
    functions: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING


_decoder = decoder(RequestFields)


def read_fields(body: bytes) -> RequestFields:
    """Return the fields of a request's body; an empty object if it is not one of chat or embeddings."""
    try:
        return _decoder.decode(body)
    except JSON_ERRORS:
        return RequestFields()


def operation_of(event: CallEvent) -> str | None:
    """Return ``gen_ai.operation.name`` of a call, or None if no model answers it."""
    if event.method != "POST":
        return None
    path = urlsplit(event.url).path
    return next((operation for end, operation in _OPERATIONS.items() if path.endswith(end)), None)


def span_name(event: CallEvent) -> str:
    """Return the operation and the model, if the request names one."""
    operation = str(operation_of(event))
    return f"{operation} {event.model}" if event.model else operation


def request_attributes(event: CallEvent, fields: RequestFields) -> dict[str, Any]:
    """Return the attributes that are known before the first attempt."""
    options = [fields] if fields.model_options is None else [fields.model_options, fields]
    found = {name: _first(options, name) for name in ("temperature", "top_p", "max_tokens", "response_format")}
    attributes = {
        **_common(event),
        "gen_ai.agent.id": fields.assistant_id,
        "gen_ai.request.max_tokens": _number(found["max_tokens"], int),
        "gen_ai.request.temperature": _number(found["temperature"], float),
        "gen_ai.request.top_p": _number(found["top_p"], float),
        "gen_ai.request.stream": True if event.is_stream else None,
        "gen_ai.output.type": _output_type(found["response_format"]),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def response_attributes(event: EndEvent) -> dict[str, Any]:
    """Return the attributes that are known at the end of a call."""
    usage = event.usage
    attributes: dict[str, Any] = {
        "gen_ai.response.model": event.model_version,
        "gen_ai.response.finish_reasons": [event.finish_reason] if event.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": event.time_to_first_token_s,
        "http.response.status_code": event.status,
        "gigaclient.request_id": event.request_id or None,
        "gigaclient.attempts": event.attempts,
    }
    if usage is not None:
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if operation_of(event) != EMBEDDINGS:
            attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.precached_prompt_tokens
    return {name: value for name, value in attributes.items() if value is not None}


def metric_attributes(event: EndEvent) -> dict[str, Any]:
    """Return the attributes that all metrics of a call have."""
    attributes = {**_common(event), "gen_ai.response.model": event.model_version}
    return {name: value for name, value in attributes.items() if value is not None}


def is_failure(event: EndEvent) -> bool:
    """Return True if an error or an interrupt ended the call; closing a stream is neither."""
    return event.error is not None or event.outcome == "interrupted"


def _common(event: CallEvent) -> dict[str, Any]:
    url = urlsplit(event.url)
    return {
        "gen_ai.operation.name": operation_of(event),
        "gen_ai.provider.name": event.provider.lower(),
        "gen_ai.request.model": event.model,
        "server.address": url.hostname,
        "server.port": url.port or _PORTS.get(url.scheme),
    }


def _first(options: list[Any], name: str) -> Any:
    return next((value for each in options if (value := getattr(each, name)) is not None), None)


def _number(value: Any, type_: type[int] | type[float]) -> int | float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return type_(value) if is_number else None


def _output_type(response_format: Any) -> str | None:
    type_ = response_format.get("type") if isinstance(response_format, dict) else None
    return "json" if isinstance(type_, str) and type_.startswith("json") else None
