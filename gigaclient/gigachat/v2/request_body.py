"""Build the body of a v2 chat request from all accepted forms of messages; the forms of API v1 are translated.

Pure. Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gigaclient._core.messages import encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError, ModelNotSpecifiedError
from gigaclient.gigachat.request_body import normalize_response_format
from gigaclient.types import APIResponse, Chat, Function, Message, Record
from gigaclient.types.chat import FunctionCall, as_schema
from gigaclient.types.chat_v2 import (
    REASONING,
    TOOLS,
    ChatCompletionRequest,
    ChatContentPart,
    ChatFunctionSpecification,
    ChatFunctionsTool,
    ChatMessageChunk,
    named_tool,
    result_object,
    specification,
)

__all__ = ["chat_v2_body"]

_MODEL_OPTIONS = (
    *("temperature", "top_p", "max_tokens", "repetition_penalty", "update_interval", "response_format", "reasoning"),
    *("parallel_tool_calls", "unnormalized_history", "top_logprobs", "preset"),
)
_STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")

# The fields of a received message or part that are sent back.
_SENT_MESSAGE_FIELDS = ("role", "content", "tools_state_id", "message_id", "function_call")
_SENT_PART_FIELDS = ("text", "files", "function_call", "function_result")
_PART_FIELDS = frozenset(ChatContentPart.__struct_fields__)


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
    request = _request(messages)
    additional = {
        **_additional(request.pop("additional_fields", None)),
        **_additional(overrides.pop("additional_fields", None)),
    }
    if overrides.get("stream") is not None and bool(overrides["stream"]) is not stream:
        raise ConfigError("stream= is decided by the method: create() gives the whole answer, stream() its events")
    request, overrides = _normalize(request), _normalize(overrides)
    model_options = {**request.pop("model_options", {}), **overrides.pop("model_options", {})}
    body = {**additional, **request, **overrides}
    body["messages"] = _Messages(body["messages"]).convert()
    if model_options:
        body["model_options"] = model_options
    tools = _tools(body.pop("tools", None), body.pop("functions", None))
    if tools:
        body["tools"] = tools
    if "tool_config" in body:
        body["tool_config"] = _tool_config(body["tool_config"], tools)
    for name, value in _normalize(defaults).items():
        if name not in body and not (name == "model" and _has_stored_model(body)):
            body[name] = value
    model = body.get("model")
    if isinstance(model, str) and not model.strip():
        raise ModelNotSpecifiedError(
            "model is empty: name one (get_models() lists them), or leave it out for the client's own"
        )
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    return encode(body)


# -- the request -------------------------------------------------------------------------------------------------------


def _request(messages: Any) -> dict[str, Any]:
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


def _as_fields(value: Any) -> Any:
    """Return the fields of a struct, a copy of a mapping without None values, or any other value unchanged."""
    if isinstance(value, msgspec.Struct):
        return fields_of(value)
    if isinstance(value, Mapping):
        return {name: inner for name, inner in value.items() if inner is not None}
    return value


def _mapping(value: Any, name: str) -> dict[str, Any]:
    fields = _as_fields(value)
    if not isinstance(fields, dict):
        raise ConfigError(f"{name} must be a dict or its type, not {type(value).__name__}")
    return fields


def _normalize(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the names and nesting of API v2; the caller handles tools once all fields are merged."""
    normalized = {name: value for name, value in fields.items() if value is not None}
    _gather_state_id(normalized)
    options = _mapping(normalized.pop("model_options", {}), "model_options")
    for name in _MODEL_OPTIONS:
        value = normalized.pop(name, None)
        if value is not None:
            options.setdefault(name, value)
    effort, limit = normalized.pop("reasoning_effort", None), normalized.pop("reasoning_max_tokens", None)
    if effort is not None or limit is not None:
        options.setdefault("reasoning", _as_fields({"effort": effort, "max_tokens": limit}))
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


def _gather_state_id(fields: dict[str, Any]) -> None:
    found = [value for value in (fields.pop(name, None) for name in _STATE_IDS) if value]
    if found:
        fields["tools_state_id"] = found[0]


def _rename(fields: dict[str, Any], old: str, new: str) -> None:
    value = fields.pop(old, None)
    if value is not None:
        fields.setdefault(new, value)


def _storage(fields: dict[str, Any]) -> None:
    storage = fields.pop("storage")
    if storage is False:
        return
    storage = {} if storage is True else _mapping(storage, "storage")
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
    format_ = _as_fields(value)
    if not isinstance(format_, dict):
        raise ConfigError('response_format must be a dict such as {"type": "json_schema", "schema": {…}}')
    format_ = normalize_response_format(format_)
    if format_.get("type") == "regex" and not format_.get("regex"):
        raise ConfigError('response_format regex needs a "regex"')
    return format_


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(tools: Any, functions: Any) -> list[dict[str, Any]]:
    """Return the tools in the form of the API: one field each, and all functions in one tool."""
    items: list[dict[str, Any]] = []
    specifications: dict[Any, Any] = {}
    position: int | None = None
    for tool in _as_list(tools):
        found, others = _split_tool(tool)
        items.extend(others)
        if found is not None:
            position = len(items) if position is None else position
            specifications.update((spec.get("name"), spec) for spec in map(_specification, found))
    added = list(map(_specification, _as_list(functions)))
    specifications.update((spec.get("name"), spec) for spec in added)
    if specifications:
        items.insert(
            len(items) if position is None else position,
            {"functions": {"specifications": list(specifications.values())}},
        )
    return items


def _as_list(values: Any) -> list[Any]:
    if values is None:
        return []
    if isinstance(values, (str, Mapping, msgspec.Struct)) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def _split_tool(tool: Any) -> tuple[list[Any] | None, list[dict[str, Any]]]:
    """Return the functions that a tool describes, or None, and the service's tools."""
    if isinstance(tool, (Function, ChatFunctionSpecification)):
        return [tool], []
    if isinstance(tool, ChatFunctionsTool):
        return _as_list(tool.specifications), []
    fields = _as_fields(named_tool(tool))
    if not isinstance(fields, dict):
        raise ConfigError(
            f"a tool is a name, a dict or a ChatTool, not {type(tool).__name__}; run() takes functions of Python"
        )
    if fields.get("type") == "function" and isinstance(fields.get("function"), Mapping):  # the form of other APIs
        return [fields["function"]], []
    if isinstance(fields.get("name"), str) or "properties" in fields:
        return [fields], []
    found = None
    if "functions" in fields:
        described = fields.pop("functions")
        inner = _as_fields(described)
        found = _as_list(inner.get("specifications") if isinstance(inner, dict) else inner)
    elif not fields:
        raise ConfigError('a tool has one field, such as {"web_search": {}}')
    return found, [{name: {} if value is True else value} for name, value in fields.items() if value is not False]


def _specification(value: Any) -> dict[str, Any]:
    described = specification(_as_fields(as_schema(value)))
    if not isinstance(described, dict):
        raise ConfigError(
            f"a function is described by a dict with its name, description and parameters, not by "
            f"{type(value).__name__}; run() takes functions of Python"
        )
    if not isinstance(described.get("name"), str) or not described["name"]:
        raise ConfigError("a function needs a name")
    return {"parameters": {"type": "object", "properties": {}}, **described}


def _tool_config(value: Any, tools: list[dict[str, Any]]) -> Any:
    functions = [spec["name"] for tool in tools for spec in tool.get("functions", {}).get("specifications", ())]
    if isinstance(value, str):
        if value in ("auto", "none", "any"):
            return {"mode": value}
        if value == "required":  # the form of other APIs
            return {"mode": "any"}
        if value == "forced":
            raise ConfigError('tool_config "forced" needs a name: pass the name of the function or tool instead')
        is_tool = value not in functions and (value in TOOLS or any(value in tool for tool in tools))
        return {"mode": "forced", "tool_name" if is_tool else "function_name": value}
    config = _mapping(value, "tool_config")
    if config.get("type") == "function" and isinstance(config.get("function"), Mapping):
        config = dict(config["function"])
    if "name" in config and "mode" not in config:  # the form of API v1
        if config.get("partial_arguments"):
            raise ConfigError("partial_arguments have no counterpart in API v2: say in the prompt what they shall be")
        return _tool_config(str(config["name"]), tools)
    names = [name for name in ("tool_name", "function_name") if config.get(name)]
    if names:
        config.setdefault("mode", "forced")
    if config.get("mode") == "forced" and len(names) != 1:
        raise ConfigError(
            "tool_config \"forced\" needs exactly one of function_name (one's own) and tool_name (the service's)"
        )
    return config


# -- messages ----------------------------------------------------------------------------------------------------------


class _Messages:
    """Converts messages to the form of the API, in order; a result gets the name and id of its call."""

    def __init__(self, messages: Any) -> None:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        elif isinstance(messages, (ChatMessageChunk, Message)):
            messages = [messages]
        if isinstance(messages, (bytes, bytearray, memoryview)):
            raise ConfigError("messages are bytes: decode them to a string first")
        if not isinstance(messages, Iterable) or isinstance(messages, (Mapping, APIResponse)):
            raise ConfigError(
                f"messages must be a string, a list of messages or a request, not {type(messages).__name__}"
            )
        self._source = list(messages)
        self._calls: list[dict[str, Any]] = []  # calls without a result so far
        self._state_id: Any = None  # the state id of the last message with calls

    def convert(self) -> list[dict[str, Any]]:
        converted = []
        for index, message in enumerate(self._source):
            fields = self._fields(message, f"messages[{index}]")
            if fields["role"] == REASONING:
                continue  # reasoning is only in responses
            converted.append(self._message(fields, f"messages[{index}]"))
        if not converted:
            raise ConfigError("messages is empty: the model needs at least one message")
        return converted

    def _fields(self, message: Any, path: str) -> dict[str, Any]:
        if isinstance(message, ChatMessageChunk):
            fields = {name: value for name, value in fields_of(message).items() if name in _SENT_MESSAGE_FIELDS}
        elif isinstance(message, Message):
            fields = fields_of(message)
            # Fields that only responses have.
            for name in ("reasoning_content", "inline_data", "data_for_context", "logprobs", "created", "id"):
                fields.pop(name, None)
        elif isinstance(message, Mapping):
            fields = {name: value for name, value in message.items() if value is not None}
        else:
            hint = ""
            if isinstance(message, str):
                hint = "; a prompt alone is passed as a string, not in a list"
            elif isinstance(message, APIResponse):
                hint = "; append its .message"
            raise ConfigError(f"{path} must be a dict or a ChatMessage, not {type(message).__name__}{hint}")
        role = fields.get("role")
        if not isinstance(role, str) or not role:
            raise ConfigError(f'{path} needs a role: "system", "user", "assistant" or "tool"')
        _gather_state_id(fields)
        return fields

    def _message(self, fields: dict[str, Any], path: str) -> dict[str, Any]:
        role = fields["role"]
        attachments = fields.pop("attachments", None)
        call = fields.pop("function_call", None)
        content = fields.pop("content", None)
        if role in ("function", "tool") and not _has_results(content):
            # The whole content is the result, as in API v1.
            fields["role"] = "tool"
            result = result_object("" if content is None else _joined_text(content))
            parts = [{"function_result": {"name": fields.pop("name", None), "result": result}}]
        else:
            parts = _parts(content, path)
        if call is not None and not any("function_call" in part for part in parts):
            parts = [part for part in parts if part.get("text") or len(part) > 1]
            parts.append({"function_call": call})
        if attachments:
            parts.append({"files": attachments})
        parts = [self._part(part, f"{path}.content[{index}]") for index, part in enumerate(parts)]
        if role == "assistant":
            calls = [part["function_call"] for part in parts if "function_call" in part]
            if calls:
                self._calls += calls
                self._state_id = fields.get("tools_state_id")
        elif role == "user":
            self._calls, self._state_id = [], None
        elif self._state_id is not None and any("function_result" in part for part in parts):
            fields.setdefault("tools_state_id", self._state_id)
        return {"role": fields.pop("role"), "content": parts, **fields}

    def _part(self, part: dict[str, Any], path: str) -> dict[str, Any]:
        if "files" in part:
            part["files"] = [_file(file, f"{path}.files") for file in _as_list(part["files"])]
        if "function_call" in part:
            part["function_call"] = _call(part["function_call"], path)
        if "function_result" in part:
            part["function_result"] = self._result(_mapping(part["function_result"], f"{path}.function_result"), path)
        return part

    def _result(self, result: dict[str, Any], path: str) -> dict[str, Any]:
        if not result.get("name"):
            result.pop("name", None)
        call = self._call_of(result)
        if call is not None:
            self._calls.remove(call)
            result.setdefault("name", call["name"])
            if call.get("id"):
                result.setdefault("id", call["id"])
        if "name" not in result:
            raise ConfigError(f"{path}: a function's result needs the function's name")
        value = result.setdefault("result", None)
        # A text that holds a JSON object stays a text: some servers require it.
        if not (isinstance(value, str) and _holds_object(value)):
            result["result"] = result_object(value)
        return result

    def _call_of(self, result: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the call that a result belongs to: by id, else the first one of the name, or the first one."""
        call_id, name = result.get("id"), result.get("name")
        for call in self._calls:
            if call_id and call.get("id"):
                if call_id == call["id"]:
                    return call
            elif name is None or call["name"] == name:
                return call
        return None


def _holds_object(text: str) -> bool:
    return bool(result_object(text) != {"result": text})


def _has_results(content: Any) -> bool:
    if isinstance(content, (list, tuple)):
        return any(map(_has_results, content))
    if isinstance(content, ChatContentPart):
        return content.function_result is not None
    return isinstance(content, Mapping) and "function_result" in content


def _joined_text(content: Any) -> Any:
    """Return the joined text of text parts; other content unchanged."""
    parts = content if isinstance(content, list) else [content]
    if parts and all(isinstance(part, ChatContentPart) and part.text is not None for part in parts):
        return "".join([part.text for part in parts])
    return content


def _parts(content: Any, path: str) -> list[dict[str, Any]]:
    if content is None:
        return [{"text": ""}]
    if isinstance(content, (str, Mapping, Record)) or not isinstance(content, (list, tuple)):
        content = [content]
    parts = [_part(part, f"{path}.content[{index}]") for index, part in enumerate(content)]
    # Parts of a response with no field that is sent back.
    return [part for part in parts if part] or [{"text": ""}]


def _part(part: Any, path: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, ChatContentPart):
        return {name: value for name, value in fields_of(part).items() if name in _SENT_PART_FIELDS}
    if isinstance(part, FunctionCall):
        return {"function_call": part}
    if isinstance(part, Record) and isinstance(getattr(part, "id", None), str):
        return {"files": [part]}  # an uploaded or a generated file
    if not isinstance(part, Mapping):
        hint = ": decode it to a string" if isinstance(part, (bytes, bytearray)) else ""
        raise ConfigError(f"{path} must be a string, a dict or a ChatContentPart, not {type(part).__name__}{hint}")
    fields = {name: value for name, value in part.items() if value is not None}
    type_ = fields.get("type")
    if type_ in ("text", "input_text", "output_text") and "text" in fields:  # the form of other APIs
        del fields["type"]
    elif type_ is not None and not fields.keys() & _PART_FIELDS:
        raise ConfigError(
            f'{path}: parts have no type; a text is {{"text": …}}, and a picture or document is uploaded first: '
            '{"files": [{"id": giga.upload_file(path).id}]}'
        )
    return fields


def _file(file: Any, path: str) -> dict[str, Any]:
    if isinstance(file, str):
        return {"id": file}
    fields = _mapping(file, path)
    if isinstance(file, Record):
        fields = {name: fields[name] for name in ("id", "target", "mime") if name in fields}
    if not isinstance(fields.get("id"), str) or not fields["id"]:
        raise ConfigError(f"{path}: a file needs the id that upload_file() gives")
    return fields


def _call(call: Any, path: str) -> dict[str, Any]:
    fields = _mapping(call, f"{path}.function_call")
    if not isinstance(fields.get("name"), str) or not fields["name"]:
        raise ConfigError(f"{path}: a function call needs the function's name")
    arguments = fields.get("arguments")
    if isinstance(arguments, str):
        if arguments.strip() and not _holds_object(arguments):
            raise ConfigError(f"{path}: the arguments of a call must be a JSON object, not {arguments[:100]!r}")
        arguments = result_object(arguments) if arguments.strip() else {}
    fields["arguments"] = {} if arguments is None else arguments
    return fields
