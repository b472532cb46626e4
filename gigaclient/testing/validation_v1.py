"""Validation of chat requests of API v1: refuse what the service refuses, with its texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from gigaclient.testing.replies_v1 import BUILT_IN_FUNCTIONS, build_of, prompt_tokens
from gigaclient.testing.routing import INVALID_JSON, Refusal, Service

__all__ = [
    "NUMBERS",
    "FieldTypes",
    "Ranges",
    "check",
    "check_format",
    "check_names",
    "check_numbers",
    "check_result",
    "check_types",
    "is_file_id",
    "known_model",
]

_ROLES = ("system", "user", "assistant", "function", "search_result", "function_in_progress")
_FUNCTION_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*\Z")

FieldTypes: TypeAlias = Mapping[tuple[type, ...], str]
"""The names of the fields of each type, separated by spaces."""

Ranges: TypeAlias = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""For each number of a request: its range as error messages show it, and the check."""


def check(body: Any, service: Service) -> dict[str, Any]:
    """Return ``body`` if it is a valid request; raise :class:`Refusal` with the service's text otherwise."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, INVALID_JSON)
    _check_shape(body)
    model = _check_model(body, service)
    check_numbers(body, {**NUMBERS, "n": ("(0, +inf)", lambda value: value > 0)})
    _check_history(body["messages"])
    _check_functions(body, model in service.models_without_functions)
    check_format(body.get("response_format"))
    if prompt_tokens(body) > service.context_tokens:
        raise Refusal(413, "Payload too large")
    return body


_TYPES: FieldTypes = {
    (str,): "model reasoning_effort assistant_id",
    (bool,): "stream profanity_check",
    (int, float): "temperature top_p repetition_penalty update_interval",
    (int,): "n max_tokens reasoning_max_tokens",
    (list,): "functions flags",
    (dict,): "function_ranker response_format storage additional_data",
    (str, dict): "function_call",
}


def _check_shape(body: Mapping[str, Any]) -> None:
    check_types(body, _TYPES)
    for message in body["messages"]:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Refusal(400, INVALID_JSON)
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise Refusal(400, INVALID_JSON)
        if content is None and "function_call" not in message:
            raise Refusal(400, INVALID_JSON)
        attached = message.get("attachments")
        if attached is not None and not (isinstance(attached, list) and all(map(is_file_id, attached))):
            raise Refusal(400, INVALID_JSON)
        call = message.get("function_call")
        if call is not None and not (isinstance(call, dict) and isinstance(call.get("name"), str)):
            raise Refusal(400, INVALID_JSON)


def is_file_id(value: Any) -> bool:
    """Return False for a value that cannot be the id of a file, such as a path or a file name."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None


def check_types(fields: Mapping[str, Any], types: FieldTypes) -> None:
    """Raise :class:`Refusal` when a field is of another type; None is always valid."""
    for allowed, names in types.items():
        for value in map(fields.get, names.split()):
            # A bool is an int for Python, but not for the service.
            is_bool = isinstance(value, bool) and bool not in allowed
            if value is not None and (is_bool or not isinstance(value, allowed)):
                raise Refusal(400, INVALID_JSON)


def _check_model(body: Mapping[str, Any], service: Service) -> str:
    model = body.get("model")
    storage = body.get("storage") or {}
    if not model:
        if body.get("assistant_id") or storage.get("assistant_id") or storage.get("thread_id"):
            return ""
        raise Refusal(400, INVALID_JSON)
    return known_model(str(model), service)


def known_model(name: str, service: Service) -> str:
    """Return the chat model ``name`` without its build; raise :class:`Refusal` when it is unknown or exhausted."""
    model, _, version = name.partition(":")
    if service.models.get(model) != "chat":
        raise Refusal(404, "No such model")
    if version and version != build_of(model):
        raise Refusal(400, "Invalid model version")
    if model in service.exhausted_models:
        raise Refusal(402, "Payment Required")
    return model


# Only the first of these ranges is documented; the others follow its pattern.
NUMBERS: Ranges = {
    "repetition_penalty": ("(0, +inf)", lambda value: value > 0),
    "temperature": ("(0, +inf)", lambda value: value > 0),
    "top_p": ("[0, 1]", lambda value: 0 <= value <= 1),
    "max_tokens": ("(0, +inf)", lambda value: value > 0),
    "update_interval": ("[0, +inf)", lambda value: value >= 0),
}


def check_numbers(values: Mapping[str, Any], ranges: Ranges) -> None:
    """Raise :class:`Refusal` when a number is out of its range."""
    for name, (range_text, is_valid) in ranges.items():
        if values.get(name) is not None and not is_valid(values[name]):
            raise Refusal(422, f"Invalid params: {name} must be in range {range_text}")


def _check_history(messages: Sequence[Mapping[str, Any]]) -> None:
    if any(message["role"] == "system" for message in messages[1:]):
        raise Refusal(422, "Invalid params: system message must be the first message")
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        is_call = message["role"] == "assistant" and message.get("function_call") is not None
        if is_call and (following is None or following["role"] != "function"):
            raise Refusal(422, "Invalid params: every assistant function call must have a result in history")
    for before, message in zip([None, *messages[:-1]], messages, strict=True):
        if message["role"] != "function":
            continue
        if before is None or before["role"] != "assistant" or before.get("function_call") is None:
            raise Refusal(
                422,
                "Invalid params: every assistant function result must have an assistant function call in history",
            )
        check_result(message.get("name") or before["function_call"]["name"], message.get("content") or "")


def check_result(name: str, result: str) -> None:
    """Raise :class:`Refusal` when the result of the function ``name`` is not JSON."""
    try:
        json.loads(result)
    except ValueError:
        message = f"Invalid params: invalid function result for function {name} json string {result}"
        raise Refusal(422, message) from None


def _check_functions(body: Mapping[str, Any], unsupported: bool) -> None:
    functions = body.get("functions") or []
    if functions and unsupported:
        raise Refusal(422, "Invalid params: Requested model does not support functions")
    for function in functions:
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, INVALID_JSON)
    check_names([function["name"] for function in functions])
    choice = body.get("function_call")
    if isinstance(choice, str) and choice not in ("auto", "none"):
        raise Refusal(400, INVALID_JSON)
    if isinstance(choice, dict):
        known = [function["name"] for function in functions]
        if not isinstance(choice.get("name"), str):
            raise Refusal(400, INVALID_JSON)
        if choice["name"] not in known and choice["name"] not in BUILT_IN_FUNCTIONS:
            # Invented: the documentation says that it is an error, without a text.
            raise Refusal(422, f"Invalid params: function {choice['name']} is not in functions")


def check_names(names: Iterable[str]) -> None:
    """Raise :class:`Refusal` for invalid function names."""
    invalid = [name for name in names if not _FUNCTION_NAME.match(name)]
    if invalid:
        raise Refusal(
            422,
            "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), "
            f"dot (.) and digits (not leading) are allowed.: [{', '.join(invalid)}]",
        )


def check_format(response_format: Mapping[str, Any] | None) -> None:
    """Raise :class:`Refusal` when ``response_format`` is neither a text nor a JSON Schema."""
    if response_format is None or response_format.get("type") == "text":
        return
    if response_format.get("type") != "json_schema":
        raise Refusal(400, f'Unknown type "{response_format.get("type")}" in response_format')
    if not response_format.get("schema"):
        raise Refusal(400, "Empty schema with json format type is not supported")
