"""Replies of the emulated model in API v2: the texts of API v1 in messages of parts, and the service's tools."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gigaclient.testing import canned_model, replies_v1
from gigaclient.testing.routing import compact
from gigaclient.testing.sampling import matching_text
from gigaclient.testing.validation_v2 import RESULT_ROLES, STATE_IDS, functions_of, message_text

__all__ = ["Responder", "output_tokens", "response_from"]

_URL = re.compile(r"https?://[^\s<>\"']+")


def output_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Count the tokens of the texts and function calls of a response."""
    count = 0
    for message in messages:
        content = message.get("content") or []
        if isinstance(content, str):
            content = [{"text": content}]
        for part in content:
            if isinstance(part, dict):
                call = part.get("function_call")
                count += canned_model.tokens(str(part.get("text") or "")) + (
                    canned_model.tokens(compact(call)) if call else 0
                )
    return count


def _last_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((message_text(message) for message in reversed(messages) if message["role"] == "user"), "")


class Responder:
    """Builds the response of the emulated model to one request.

    Attributes:
        created_files: The files that the tools made: id, name, MIME type.
    """

    def __init__(self, body: Mapping[str, Any], history: Sequence[Mapping[str, Any]], now_s: float) -> None:
        self._body = body
        self._messages = [*history, *body["messages"]]
        self._prompt = _last_prompt(self._messages)
        self._options = body.get("model_options") or {}
        self._config = body.get("tool_config") or {}
        self._functions = functions_of(body)
        self._tools = [name for tool in body.get("tools") or [] for name in tool if name != "functions"]
        self._now_s = now_s
        self.created_files: list[tuple[str, str, str]] = []

    def messages(self) -> tuple[list[dict[str, Any]], str]:
        """Return the messages of the response and the finish reason."""
        reason = "stop"
        message = self._function_calls()
        if message is not None:
            reason = "function_call"
        else:
            message = self._tool_message() or self._formatted() or {"content": [{"text": self._text()}]}
            if self._messages[-1]["role"] in RESULT_ROLES:
                message["tool_state_id"] = self._state_id() or str(uuid.uuid4())
            reason = self._limit_tokens(message)
        reasoning = self._reasoning()
        first = [{"role": "reasoning", "content": [{"text": reasoning}]}] if reasoning else []
        return [*first, {"role": "assistant", **message}], reason

    def _state_id(self) -> str | None:
        """Return the last state id of the dialogue."""
        found = (message.get(name) for message in reversed(self._messages) for name in STATE_IDS)
        return next(filter(None, found), None)

    # -- texts

    def _v1_reply(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> replies_v1.ModelReply:
        """Return the reply of the model of API v1."""
        v1_messages: list[dict[str, Any]] = []
        for message in messages:
            if message["role"] in RESULT_ROLES:
                results = [part["function_result"] for part in message["content"] if part.get("function_result")]
                for result in results:
                    value = result["result"]
                    content = value if isinstance(value, str) else compact(value)
                    v1_messages.append({"role": "function", "name": result["name"], "content": content})
            else:
                v1_messages.append({"role": message["role"], "content": message_text(message)})
        return replies_v1.replies({"model": self._body.get("model"), "messages": v1_messages, **fields})[0]

    def _text(self) -> str:
        last = self._messages[-1]
        if last["role"] not in RESULT_ROLES:
            return self._v1_reply(self._messages).content
        # One sentence for each result.
        before = self._messages[:-1]
        return " ".join(
            [
                self._v1_reply([*before, {"role": last["role"], "content": [part]}]).content
                for part in last["content"]
                if part.get("function_result")
            ]
        )

    def _reasoning(self) -> str:
        effort = (self._options.get("reasoning") or {}).get("effort")
        if effort is None or effort == "off":
            return ""
        return replies_v1.reasoning(self._prompt)

    def _formatted(self) -> dict[str, Any] | None:
        response_format = self._options.get("response_format") or {}
        if response_format.get("type") == "regex":
            return {"content": [{"text": matching_text(response_format["regex"], self._prompt) or ""}]}
        if response_format.get("type") != "json_schema":
            return None
        messages = [message for message in self._messages if message["role"] not in RESULT_ROLES]
        return {"content": [{"text": self._v1_reply(messages, response_format=response_format).content}]}

    def _limit_tokens(self, message: dict[str, Any]) -> str:
        """Truncate the texts of ``message`` to ``max_tokens``, and return the finish reason."""
        left = self._options.get("max_tokens")
        if left is None:
            return "stop"
        for part in message["content"]:
            text = part.get("text")
            if text and canned_model.tokens(text) > left:
                part["text"] = canned_model.cut_to_tokens(text, left)
                return "length"
            left -= canned_model.tokens(text or "")
        return "stop"

    # -- functions

    def _function_calls(self) -> dict[str, Any] | None:
        mode = self._config.get("mode", "auto")
        functions = self._functions
        if not functions or mode == "none" or (mode == "forced" and "function_name" not in self._config):
            return None
        messages = self._messages
        if mode in ("forced", "any"):
            # These modes require a call in every response, even after the results of earlier calls.
            while messages and messages[-1]["role"] in RESULT_ROLES:
                messages = messages[:-1]
        elif messages[-1]["role"] in RESULT_ROLES:
            return None
        if mode == "any" and self._config.get("functions_names_any"):
            functions = [function for function in functions if function["name"] in self._config["functions_names_any"]]
        calls = []
        if mode == "forced":
            calls.append(self._call(messages, functions, {"name": self._config["function_name"]}))
        else:
            calls.append(self._call(messages, functions, "auto"))
            if calls[0] is None and mode == "any":
                calls = [self._call(messages, functions, {"name": functions[0]["name"]})]
            while self._options.get("parallel_tool_calls") and calls[-1] is not None:
                called = {call["name"] for call in calls if call is not None}
                functions = [function for function in functions if function["name"] not in called]
                calls.append(self._call(messages, functions, "auto") if functions else None)
        parts = [{"function_call": {"id": str(uuid.uuid4()), **call}} for call in calls if call is not None]
        return {"tool_state_id": str(uuid.uuid4()), "content": parts} if parts else None

    def _call(self, messages: Sequence[Mapping[str, Any]], functions: Any, choice: Any) -> dict[str, Any] | None:
        return self._v1_reply(messages, functions=functions, function_call=choice).function_call

    # -- tools of the service

    def _tool_message(self) -> dict[str, Any] | None:
        """Return the message of the forced or the first listed tool, or None without one."""
        mode = self._config.get("mode", "auto")
        if mode == "none" or self._messages[-1]["role"] in RESULT_ROLES:
            return None
        name = self._config.get("tool_name") if mode == "forced" else next(iter(self._tools), None)
        run = {
            "image_generate": self._image,
            "model_3d_generate": self._model_3d,
            "url_content_extraction": self._page,
            "code_interpreter": self._text_parts,
            "get_datetime": self._time,
            "web_search": self._search,
        }.get(name or "")
        if run is None:
            return None
        content = run()
        if self._body.get("stream"):
            # The service reports the run of a tool in streams only.
            execution = {"id": str(uuid.uuid4()), "name": name, "status": "success", "seconds_left": 0}
            content.insert(0, {"tool_execution": {**execution, "censored": False}})
        return {"tool_state_id": str(uuid.uuid4()), "content": content}

    def _image(self) -> list[dict[str, Any]]:
        return self._created("image.jpg", "image/jpeg", "image")

    def _model_3d(self) -> list[dict[str, Any]]:
        return self._created("model.glb", "model/gltf-binary", "3dmodel")

    def _created(self, filename: str, mime: str, target: str) -> list[dict[str, Any]]:
        file_id = str(uuid.uuid4())
        self.created_files.append((file_id, filename, mime))
        files = [{"id": file_id, "target": target, "mime": mime}]
        return [{"files": files}, {"text": replies_v1.caption(self._prompt)}]

    def _search(self) -> list[dict[str, Any]]:
        titles = {"1": "The first page", "2": "The second page"}
        sources = {number: {"url": f"https://example.com/{number}", "title": title} for number, title in titles.items()}
        text = f"{self._text()} [sources=[1, 2]]"
        return [{"text": text, "inline_data": {"sources": sources, "images": [], "widgets": []}}]

    def _page(self) -> list[dict[str, Any]]:
        found = _URL.search(self._prompt)
        url = found[0].rstrip(".,;)") if found else "https://example.com/"
        return [{"text": f"The page {url} says: an example."}]

    def _text_parts(self) -> list[dict[str, Any]]:
        return [{"text": self._text()}]

    def _time(self) -> list[dict[str, Any]]:
        return [{"text": time.strftime("It is %Y-%m-%d %H:%M:%S UTC.", time.gmtime(self._now_s))}]


def response_from(message: dict[str, Any]) -> dict[str, Any]:
    """Build a complete response from one scripted message, which may have the shape of API v1."""
    content = message.pop("content", None)
    if not isinstance(content, list):
        content = [{"text": str(content)}] if content else []
    call = message.pop("function_call", None)
    reasoning = message.pop("reasoning_content", None)
    if call is not None:
        content = [*content, {"function_call": {"id": str(uuid.uuid4()), **call}}]
        message.setdefault("tool_state_id", message.pop("functions_state_id", None) or str(uuid.uuid4()))
    has_calls = any(isinstance(part, dict) and "function_call" in part for part in content)
    reason = message.pop("finish_reason", None) or ("function_call" if has_calls else "stop")
    first = [{"role": "reasoning", "content": [{"text": reasoning}]}] if reasoning else []
    return {"messages": [*first, {"role": "assistant", **message, "content": content}], "finish_reason": reason}
