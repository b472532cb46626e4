"""Validation of chat requests of API v2: refuse what the service refuses, with its texts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gigaclient.testing import canned_model, validation_v1
from gigaclient.testing.routing import INVALID_JSON, Refusal, Service, compact

__all__ = ["RESULT_ROLES", "STATE_IDS", "check", "functions_of", "message_text", "prompt_tokens"]

_TOOLS = (
    *("functions", "web_search", "url_content_extraction", "image_generate", "model_3d_generate", "code_interpreter"),
    *("get_datetime", "memory"),
)
_ROLES = ("system", "user", "assistant", "tool", "function")
RESULT_ROLES = ("tool", "function")
STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")


def check(
    body: Any,
    service: Service,
    *,
    unavailable_tools: Collection[str],
    history: Sequence[Mapping[str, Any]],
    roles: Collection[str],
    results: Collection[str],
) -> dict[str, Any]:
    """Return ``body`` if it is a valid request; raise :class:`Refusal` with the service's text otherwise.

    Args:
        body: The parsed JSON.
        service: The emulator.
        unavailable_tools: Tools that are refused with 422.
        history: The stored messages of the thread, which precede those of the request.
        roles: The allowed roles of a function's result.
        results: The allowed forms of the result: ``object``, or ``text`` for a string of JSON.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, INVALID_JSON)
    validation_v1.check_types(body, _FIELD_TYPES)
    validation_v1.check_types(body.get("model_options") or {}, _OPTION_TYPES)
    for message in body["messages"]:
        _check_message(message, roles, results)
    model = _check_model(body, service)
    validation_v1.check_numbers(
        body.get("model_options") or {},
        {**validation_v1.NUMBERS, "top_logprobs": ("[1, 5]", lambda value: 1 <= value <= 5)},
    )
    _check_tools(body, model in service.models_without_functions, unavailable_tools)
    _check_history([*history, *body["messages"]])
    _check_format((body.get("model_options") or {}).get("response_format"))
    if prompt_tokens(body) > service.context_tokens:
        raise Refusal(413, "Payload too large")
    return body


_FIELD_TYPES: validation_v1.FieldTypes = {
    (str,): f"model assistant_id memory_id {' '.join(STATE_IDS)}",
    (bool,): "stream disable_filter",
    (list,): "tools flags",
    (dict,): "model_options tool_config storage user_info ranker_options filter_config",
}
_OPTION_TYPES: validation_v1.FieldTypes = {
    (str,): "preset",
    (bool,): "parallel_tool_calls unnormalized_history",
    (int, float): "temperature top_p repetition_penalty update_interval",
    (int,): "max_tokens top_logprobs",
    (dict,): "response_format reasoning",
}


def _check_message(message: Any, roles: Collection[str], results: Collection[str]) -> None:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise Refusal(400, INVALID_JSON)
    is_result = message["role"] in RESULT_ROLES
    if is_result and message["role"] not in roles:
        raise Refusal(400, INVALID_JSON)
    content = message.get("content")
    if not isinstance(content, list) or not content:
        raise Refusal(400, INVALID_JSON)
    validation_v1.check_types(message, {(str,): f"message_id {' '.join(STATE_IDS)}"})
    for part in content:
        if not isinstance(part, dict) or not _is_part(part, results):
            raise Refusal(400, INVALID_JSON)
    if is_result is not any("function_result" in part for part in content):
        raise Refusal(400, INVALID_JSON)


def _is_part(part: Mapping[str, Any], results: Collection[str]) -> bool:
    text, files, call, result = (part.get(name) for name in ("text", "files", "function_call", "function_result"))
    if all(value is None for value in (text, files, call, result)):
        # Parts of responses that clients may send back; the service ignores them.
        return any(name in part for name in ("tool_execution", "inline_data", "logprobs"))
    if text is not None and not isinstance(text, str):
        return False
    if files is not None and not (
        isinstance(files, list)
        and all(isinstance(file, dict) and validation_v1.is_file_id(file.get("id")) for file in files)
    ):
        return False
    if call is not None and not (_is_named(call) and isinstance(call.get("arguments"), dict)):
        return False
    return result is None or (_is_named(result) and _is_result(result.get("result"), results))


def _is_named(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and bool(value["name"])
        and isinstance(value.get("id", ""), str)
    )


def _is_result(value: Any, allowed: Collection[str]) -> bool:
    return (isinstance(value, dict) and "object" in allowed) or (isinstance(value, str) and "text" in allowed)


def _check_model(body: Mapping[str, Any], service: Service) -> str:
    model = body.get("model")
    if not model:
        if body.get("assistant_id") or (body.get("storage") or {}).get("thread_id"):
            return ""
        raise Refusal(400, INVALID_JSON)
    return validation_v1.known_model(str(model), service)


def _check_tools(body: Mapping[str, Any], without_functions: bool, unavailable: Collection[str]) -> None:
    for tool in body.get("tools") or []:
        if not isinstance(tool, dict) or len(tool) != 1:
            raise Refusal(400, INVALID_JSON)
        ((name, value),) = tool.items()
        if name not in _TOOLS:
            raise Refusal(404, f"Unknown tool {name}")
        if not isinstance(value, dict):
            raise Refusal(400, INVALID_JSON)
        if name in unavailable:
            raise Refusal(422, f"Invalid params: Tool {name} is unavailable")
    functions = functions_of(body)
    for function in functions:
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, INVALID_JSON)
        if not isinstance(function.get("parameters", {}), dict):
            raise Refusal(400, INVALID_JSON)
    if functions and without_functions:
        raise Refusal(422, "Invalid params: Requested model does not support functions")
    names = [function["name"] for function in functions]
    validation_v1.check_names(names)
    _check_tool_config(body.get("tool_config") or {}, names, unavailable)


def _check_tool_config(config: Mapping[str, Any], functions: list[str], unavailable: Collection[str]) -> None:
    if not config:
        return
    validation_v1.check_types(config, {(str,): "tool_name function_name", (list,): "functions_names_any"})
    tool, function = config.get("tool_name"), config.get("function_name")
    mode = config.get("mode")
    if mode not in ("auto", "none", "forced", "any") or (mode == "forced" and (tool is None) is (function is None)):
        raise Refusal(400, INVALID_JSON)
    if mode == "forced" and tool is not None:
        if tool not in _TOOLS or tool == "functions":
            raise Refusal(404, f"Unknown tool {tool}")
        if tool in unavailable:
            raise Refusal(422, f"Invalid params: Tool {tool} is unavailable")
    names = [function] if mode == "forced" and function is not None else []
    if mode == "any":
        names = list(config.get("functions_names_any") or [])
        if not functions:
            raise Refusal(422, "Invalid params: tool_config any needs functions")  # invented
    for name in names:
        if name not in functions:
            # Invented: the documentation says that it is an error, without a text.
            raise Refusal(422, f"Invalid params: function {name} is not in functions")


def _check_history(messages: Sequence[Mapping[str, Any]]) -> None:
    if any(message["role"] == "system" for message in messages[1:]):
        raise Refusal(422, "Invalid params: system message must be the first message")
    no_result = "Invalid params: every assistant function call must have a result in history"
    no_call = "Invalid params: every assistant function result must have an assistant function call in history"
    pending: list[Mapping[str, Any]] = []
    for message in messages:
        calls = [part["function_call"] for part in message["content"] if part.get("function_call")]
        results = [part["function_result"] for part in message["content"] if part.get("function_result")]
        for result in results:
            call_of_result = next((call for call in pending if _is_result_of(result, call)), None)
            if call_of_result is None:
                raise Refusal(422, no_call)
            pending.remove(call_of_result)
            if isinstance(result["result"], str):
                validation_v1.check_result(result["name"], result["result"])
        if pending and not results and not calls:
            raise Refusal(422, no_result)
        pending += calls if message["role"] == "assistant" else []
    if pending:
        raise Refusal(422, no_result)


def _is_result_of(result: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    if result.get("id") and call.get("id"):
        return bool(result["id"] == call["id"])
    return bool(result["name"] == call["name"])


def _check_format(response_format: Mapping[str, Any] | None) -> None:
    if response_format is not None and response_format.get("type") == "regex":
        try:
            re.compile(response_format.get("regex") or "(")
        except (re.error, TypeError):
            raise Refusal(400, INVALID_JSON) from None
        return
    validation_v1.check_format(response_format)


def functions_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the functions of a request."""
    found: list[dict[str, Any]] = []
    for tool in body.get("tools") or []:
        if "functions" in tool:
            specifications = tool["functions"].get("specifications", [])
            if not isinstance(specifications, list):
                raise Refusal(400, INVALID_JSON)
            found += specifications
    return found


def message_text(message: Mapping[str, Any]) -> str:
    """Join the texts of a message."""
    return "".join([part.get("text") or "" for part in message["content"]])


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of the request: 10, plus 1, texts, calls and results a message, plus functions."""
    count = 10
    for message in body["messages"]:
        count += 1 + canned_model.tokens(message_text(message))
        for part in message["content"]:
            for name in ("function_call", "function_result"):
                count += canned_model.tokens(compact(part[name])) if part.get(name) else 0
    functions = functions_of(body)
    return count + (canned_model.tokens(compact(functions)) if functions else 0)
