"""The messages of a v2 request, from all accepted forms. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient._core.messages import listed, not_a_message
from gigaclient._primitives.serialization import pydantic_fields
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.gigachat.v2.request_values import as_dict, as_list, move_state_id
from gigaclient.types import Message, Record
from gigaclient.types.chat import FunctionCall
from gigaclient.types.chat_v2 import REASONING, ChatContentPart, ChatMessageChunk, result_object

__all__ = ["MessageConverter"]

# The fields of a received message or part that are sent back.
_SENT_MESSAGE_FIELDS = ("role", "content", "tools_state_id", "message_id", "function_call")
_SENT_PART_FIELDS = ("text", "files", "function_call", "function_result")
_PART_FIELDS = frozenset(ChatContentPart.__struct_fields__)


class MessageConverter:
    """Converts messages to the form of the API, in order; a result gets the name and id of its call."""

    def __init__(self, messages: Any) -> None:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        elif isinstance(messages, (ChatMessageChunk, Message)):
            messages = [messages]
        self._source = listed(messages)
        self._calls: list[dict[str, Any]] = []  # calls without a result so far
        self._state_id: Any = None  # the state id of the last message with calls

    def convert(self) -> list[dict[str, Any]]:
        """Return the messages in the form of the API.

        Raises:
            ConfigError: a message is invalid, or there is none.
        """
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
        message = pydantic_fields(message)
        if isinstance(message, ChatMessageChunk):
            fields = _sent_fields(message, _SENT_MESSAGE_FIELDS)
        elif isinstance(message, Message):
            fields = fields_of(message)
            # Fields that only responses have.
            for name in ("reasoning_content", "inline_data", "data_for_context", "logprobs", "created", "id"):
                fields.pop(name, None)
        elif isinstance(message, Mapping):
            fields = {name: value for name, value in message.items() if value is not None}
        else:
            raise not_a_message(message, path, "ChatMessage")
        role = fields.get("role")
        if not isinstance(role, str) or not role:
            raise ConfigError(f'{path} needs a role: "system", "user", "assistant" or "tool"')
        move_state_id(fields)
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
            part["files"] = [_file(file, f"{path}.files") for file in as_list(part["files"])]
        if "function_call" in part:
            part["function_call"] = _call(part["function_call"], path)
        if "function_result" in part:
            part["function_result"] = self._result(as_dict(part["function_result"], f"{path}.function_result"), path)
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
        decoded = result_object(value)
        # A text that holds a JSON object stays a text: some servers require it.
        if not isinstance(value, str) or decoded == {"result": value}:
            result["result"] = decoded
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


def _sent_fields(record: Record, sent: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields in ``sent`` and the unknown ones; the others are only in responses."""
    own = record.__struct_fields__
    return {name: value for name, value in fields_of(record).items() if name in sent or name not in own}


def _part(part: Any, path: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, ChatContentPart):
        return _sent_fields(part, _SENT_PART_FIELDS)
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
    fields = as_dict(file, path)
    if isinstance(file, Record):
        fields = {name: fields[name] for name in ("id", "target", "mime") if name in fields}
    if not isinstance(fields.get("id"), str) or not fields["id"]:
        raise ConfigError(f"{path}: a file needs the id that upload_file() gives")
    return fields


def _call(call: Any, path: str) -> dict[str, Any]:
    fields = as_dict(call, f"{path}.function_call")
    if not isinstance(fields.get("name"), str) or not fields["name"]:
        raise ConfigError(f"{path}: a function call needs the function's name")
    arguments = fields.get("arguments")
    if isinstance(arguments, str):
        text = arguments
        arguments = result_object(text) if text.strip() else {}
        if arguments == {"result": text}:  # it was not decoded
            raise ConfigError(f"{path}: the arguments of a call must be a JSON object, not {text[:100]!r}")
    fields["arguments"] = {} if arguments is None else arguments
    return fields
