"""Chat of API v2 without a network: validate requests, build responses, and split them into events.

The texts are those of API v1. This module puts them into messages of parts, and adds the service's tools.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from gigaclient.testing import canned_model, chat_v1
from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal, compact
from gigaclient.testing.fault_server import Pause
from gigaclient.testing.faults import END_MARKER, EventAnswer, event
from gigaclient.testing.files import PICTURE, EmulatedFiles
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer
from gigaclient.testing.sampling import matching_text

__all__ = ["ChatV2", "check"]

_TOOLS = (
    *("functions", "web_search", "url_content_extraction", "image_generate", "model_3d_generate", "code_interpreter"),
    *("get_datetime", "memory"),
)
_ROLES = ("system", "user", "assistant", "tool", "function")
_RESULT_ROLES = ("tool", "function")
_STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")
_STREAM_ERROR = {"status": 500, "message": "Internal Server Error"}

_ASKS_FOR_3D_MODEL = re.compile(r"\b3[dд]\b|объ[её]мн\w+ модел", re.IGNORECASE)
_ASKS_TO_SEARCH = re.compile(
    r"\?|\b(?:search|look up|find|news|latest|today|найди|поищи|погугли|новост\w*|сегодня|последни\w*)\b", re.IGNORECASE
)
_ASKS_TO_COMPUTE = re.compile(
    r"\b(?:compute|calculate|python|code|count|посчитай|вычисли|код\w*|программ\w*)\b|\d\s*[-+*/^]\s*\d", re.IGNORECASE
)
_ASKS_FOR_TIME = re.compile(r"\b(?:time|date|today|now|врем\w*|час\w*|дат\w*|число|сегодня|сейчас)\b", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"']+")

Encoding = Literal["object", "text"]
Role = Literal["tool", "function"]


# --- validation ------------------------------------------------------------------------------------------------


def check(
    body: Any,
    *,
    models: Mapping[str, str],
    without_functions: Collection[str] = (),
    exhausted: Collection[str] = (),
    context_tokens: int = 131_072,
    unavailable_tools: Collection[str] = (),
    history: Sequence[Mapping[str, Any]] = (),
    roles: Collection[str] = _RESULT_ROLES,
    results: Collection[str] = ("object", "text"),
) -> dict[str, Any]:
    """Return ``body`` if it is a valid request; raise :class:`Refusal` with the service's text otherwise.

    Args:
        body: The parsed JSON.
        models: The model ids and their types.
        without_functions: Models that refuse functions.
        exhausted: Models without tokens left in their package (402).
        context_tokens: The longest prompt; a longer one gets 413.
        unavailable_tools: Tools that are refused with 422.
        history: The stored messages of the thread, which precede those of the request.
        roles: The allowed roles of a function's result.
        results: The allowed forms of the result: ``object``, or ``text`` for a string of JSON.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, INVALID_JSON)
    _check_types(body, _FIELD_TYPES)
    _check_types(body.get("model_options") or {}, _OPTION_TYPES)
    for message in body["messages"]:
        _check_message(message, roles, results)
    model = _check_model(body, models, exhausted)
    chat_v1.check_numbers(
        body.get("model_options") or {}, {**chat_v1.NUMBERS, "top_logprobs": ("[1, 5]", lambda value: 1 <= value <= 5)}
    )
    _check_tools(body, model in without_functions, unavailable_tools)
    _check_history([*history, *body["messages"]])
    _check_format((body.get("model_options") or {}).get("response_format"))
    if _prompt_tokens(body) > context_tokens:
        raise Refusal(413, "Payload too large")
    return body


_NUMBER = (int, float)
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "assistant_id": (str,),
    "model_options": (dict,),
    "tools": (list,),
    "tool_config": (dict,),
    "stream": (bool,),
    "storage": (dict,),
    "user_info": (dict,),
    "ranker_options": (dict,),
    "disable_filter": (bool,),
    "filter_config": (dict,),
    "flags": (list,),
    "memory_id": (str,),
    **dict.fromkeys(_STATE_IDS, (str,)),
}
_OPTION_TYPES: dict[str, tuple[type, ...]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "max_tokens": (int,),
    "repetition_penalty": _NUMBER,
    "update_interval": _NUMBER,
    "response_format": (dict,),
    "reasoning": (dict,),
    "parallel_tool_calls": (bool,),
    "unnormalized_history": (bool,),
    "top_logprobs": (int,),
    "preset": (str,),
}


def _check_types(fields: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    for name, allowed in types.items():
        value = fields.get(name)
        if value is not None and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
            raise Refusal(400, INVALID_JSON)


def _check_message(message: Any, roles: Collection[str], results: Collection[str]) -> None:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise Refusal(400, INVALID_JSON)
    is_result = message["role"] in _RESULT_ROLES
    if is_result and message["role"] not in roles:
        raise Refusal(400, INVALID_JSON)
    content = message.get("content")
    if not isinstance(content, list) or not content:
        raise Refusal(400, INVALID_JSON)
    _check_types(message, {**dict.fromkeys(_STATE_IDS, (str,)), "message_id": (str,)})
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
        isinstance(files, list) and all(isinstance(file, dict) and isinstance(file.get("id"), str) for file in files)
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
    if isinstance(value, dict):
        return "object" in allowed
    if not isinstance(value, str) or "text" not in allowed:
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _check_model(body: Mapping[str, Any], models: Mapping[str, str], exhausted: Collection[str]) -> str:
    model = body.get("model")
    if not model:
        if body.get("assistant_id") or (body.get("storage") or {}).get("thread_id"):
            return ""
        raise Refusal(400, INVALID_JSON)
    return chat_v1.known_model(str(model), models, exhausted)


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
    functions = _functions(body)
    for function in functions:
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, INVALID_JSON)
        if not isinstance(function.get("parameters", {}), dict):
            raise Refusal(400, INVALID_JSON)
    if functions and without_functions:
        raise Refusal(422, "Invalid params: Requested model does not support functions")
    names = [function["name"] for function in functions]
    chat_v1.check_names(names)
    _check_tool_config(body.get("tool_config") or {}, names, unavailable)


def _check_tool_config(config: Mapping[str, Any], functions: list[str], unavailable: Collection[str]) -> None:
    if not config:
        return
    _check_types(config, {"tool_name": (str,), "function_name": (str,), "functions_names_any": (list,)})
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
    if response_format is None or response_format.get("type") == "text":
        return
    if response_format.get("type") == "regex":
        try:
            re.compile(response_format.get("regex") or "(")
        except (re.error, TypeError):
            raise Refusal(400, INVALID_JSON) from None
        return
    if response_format.get("type") != "json_schema":
        raise Refusal(400, f'Unknown type "{response_format.get("type")}" in response_format')
    if not response_format.get("schema"):
        raise Refusal(400, "Empty schema with json format type is not supported")


# --- responses -------------------------------------------------------------------------------------------------


def _functions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tool in body.get("tools") or []:
        if "functions" in tool:
            specifications = tool["functions"].get("specifications", [])
            if not isinstance(specifications, list):
                raise Refusal(400, INVALID_JSON)
            found += specifications
    return found


def _message_text(message: Mapping[str, Any]) -> str:
    return "".join([part.get("text") or "" for part in message["content"]])


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((_message_text(message) for message in reversed(messages) if message["role"] == "user"), "")


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of the request: 10, plus 1, texts, calls and results a message, plus functions."""
    count = 10
    for message in body["messages"]:
        count += 1 + canned_model.tokens(_message_text(message))
        for part in message["content"]:
            for name in ("function_call", "function_result"):
                count += canned_model.tokens(compact(part[name])) if part.get(name) else 0
    functions = _functions(body)
    return count + (canned_model.tokens(compact(functions)) if functions else 0)


def _output_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
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


class _Responder:
    """Builds the response of the emulated model to one request.

    Attributes:
        created_files: The files that the tools made: id, name, MIME type.
    """

    def __init__(self, body: Mapping[str, Any], history: Sequence[Mapping[str, Any]], now_s: float) -> None:
        self._body = body
        self._messages = [*history, *body["messages"]]
        self._prompt = _prompt(self._messages)
        self._russian = canned_model.is_russian(self._prompt)
        self._options = body.get("model_options") or {}
        self._config = body.get("tool_config") or {}
        self._functions = _functions(body)
        self._tools = {name for tool in body.get("tools") or [] for name in tool} - {"functions"}
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
            reason = self._limit_tokens(message)
        reasoning = self._reasoning()
        first = [{"role": "reasoning", "content": [{"text": reasoning}]}] if reasoning else []
        return [*first, {"role": "assistant", **message}], reason

    # -- texts

    def _v1_reply(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> chat_v1.ModelReply:
        """Return the reply of the model of API v1."""
        v1_messages: list[dict[str, Any]] = []
        for message in messages:
            if message["role"] in _RESULT_ROLES:
                results = [part["function_result"] for part in message["content"] if part.get("function_result")]
                for result in results:
                    value = result["result"]
                    content = value if isinstance(value, str) else compact(value)
                    v1_messages.append({"role": "function", "name": result["name"], "content": content})
            else:
                v1_messages.append({"role": message["role"], "content": _message_text(message)})
        return chat_v1.replies({"model": self._body.get("model"), "messages": v1_messages, **fields})[0]

    def _text(self) -> str:
        last = self._messages[-1]
        if last["role"] not in _RESULT_ROLES:
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
        if self._russian:
            return "Сначала пойму, о чём спросили, затем отвечу коротко."
        return "First I look at what was asked, then I answer it in few words."

    def _formatted(self) -> dict[str, Any] | None:
        response_format = self._options.get("response_format") or {}
        if response_format.get("type") == "regex":
            return {"content": [{"text": matching_text(response_format["regex"], self._prompt) or ""}]}
        if response_format.get("type") != "json_schema":
            return None
        messages = [message for message in self._messages if message["role"] not in _RESULT_ROLES]
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
            while messages and messages[-1]["role"] in _RESULT_ROLES:
                messages = messages[:-1]
        elif messages[-1]["role"] in _RESULT_ROLES:
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
        mode = self._config.get("mode", "auto")
        if mode == "none" or self._messages[-1]["role"] in _RESULT_ROLES:
            return None
        forced = self._config.get("tool_name") if mode == "forced" else None
        for name, applies, run in (
            ("image_generate", self._asks_for_image, self._image),
            ("model_3d_generate", lambda: _ASKS_FOR_3D_MODEL.search(self._prompt), self._model_3d),
            ("url_content_extraction", lambda: _URL.search(self._prompt), self._page),
            ("code_interpreter", lambda: _ASKS_TO_COMPUTE.search(self._prompt), self._code),
            ("get_datetime", lambda: _ASKS_FOR_TIME.search(self._prompt), self._time),
            ("web_search", lambda: _ASKS_TO_SEARCH.search(self._prompt), self._search),
        ):
            if forced == name or (forced is None and name in self._tools and applies()):
                execution: dict[str, Any] = {"id": str(uuid.uuid4()), "name": name, "status": "success"}
                execution.update(seconds_left=0, censored=False)
                return {
                    "tool_state_id": str(uuid.uuid4()),
                    "content": [{"tool_execution": execution}, *run()],
                }
        return None

    def _picture(self, *, forced: bool = False) -> chat_v1.ModelReply:
        choice: Any = {"name": "text2image"} if forced else "auto"
        messages = [message for message in self._messages if message["role"] == "user"][-1:]
        return self._v1_reply(messages, functions=[{"name": "text2image"}], function_call=choice)

    def _asks_for_image(self) -> bool:
        return bool(self._picture().content.startswith("<img "))

    def _image(self) -> list[dict[str, Any]]:
        caption = self._picture(forced=True).content.partition("/> ")[2]
        identifier = str(uuid.uuid4())
        self.created_files.append((identifier, "image.jpg", "image/jpeg"))
        return [{"files": [{"id": identifier, "target": "image", "mime": "image/jpeg"}]}, {"text": caption}]

    def _model_3d(self) -> list[dict[str, Any]]:
        identifier = str(uuid.uuid4())
        self.created_files.append((identifier, "model.glb", "model/gltf-binary"))
        caption = "Вот модель." if self._russian else "Here is the model."
        return [{"files": [{"id": identifier, "target": "3dmodel", "mime": "model/gltf-binary"}]}, {"text": caption}]

    def _search(self) -> list[dict[str, Any]]:
        sources = {
            str(number): {"url": f"https://example.com/{number}", "title": title}
            for number, title in enumerate(
                ("Первая страница", "Вторая страница") if self._russian else ("The first page", "The second page"), 1
            )
        }
        text = f"{self._text()} [sources=[1, 2]]"
        return [{"text": text, "inline_data": {"sources": sources, "images": [], "widgets": []}}]

    def _page(self) -> list[dict[str, Any]]:
        found = _URL.search(self._prompt)
        url = found[0].rstrip(".,;)") if found else "https://example.com/"
        text = f"На странице {url} написано: пример." if self._russian else f"The page {url} says: an example."
        return [{"text": text}]

    def _code(self) -> list[dict[str, Any]]:
        return [{"text": self._text()}]

    def _time(self) -> list[dict[str, Any]]:
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._now_s))
        return [{"text": f"Сейчас {now}." if self._russian else f"It is {now}."}]


# --- the endpoint ----------------------------------------------------------------------------------------------


class ChatV2:
    """The endpoint ``/v2/chat/completions``.

    The attributes may be changed while the emulator runs. With the defaults it accepts what either of the two known
    kinds of servers accepts.

    Args:
        service: The emulator that it belongs to.
        files: The store for files that the model creates.

    Attributes:
        strict_roles: The only accepted role of a function's result: ``"tool"`` or ``"function"``.
        strict_results: The only accepted form of a function's result: ``"object"``, or ``"text"`` for a string of
            JSON.
        unavailable_tools: Tools that are refused with 422.
        call_ids: True for function calls with an ``id``; those of older servers have none.
        add_done_marker: End streams with ``data: [DONE]``.
        unnamed_events: Send events without names.
        state_id_only_in_done: In a stream, send the state id with the last event only.
        function_call_only_in_done: In a stream, send function calls with the last event only.
        text_in_done: Repeat the complete text in the last event of a stream.
        string_content: Send texts as strings instead of lists of parts.
    """

    def __init__(self, service: Service, files: EmulatedFiles) -> None:
        self.strict_roles: Role | None = None
        self.strict_results: Encoding | None = None
        self.unavailable_tools: set[str] = set()
        self.call_ids = True
        self.add_done_marker = False
        self.unnamed_events = False
        self.state_id_only_in_done = False
        self.function_call_only_in_done = False
        self.text_in_done = False
        self.string_content = False
        self._service = service
        self._files = files
        self._lock = threading.Lock()
        self._threads: dict[str, list[dict[str, Any]]] = {}
        self._sessions: dict[str, list[str]] = {}
        self.routes: tuple[Route, ...] = (Route("POST", "v2", "/chat/completions", self._chat),)

    def _chat(self, call: RoutedRequest) -> AnyAnswer:
        service = self._service
        request = call.json()
        history = self._history(request)
        body = check(
            request,
            models=service.models,
            without_functions=service.models_without_functions,
            exhausted=service.exhausted_models,
            context_tokens=service.context_tokens,
            unavailable_tools=self.unavailable_tools,
            history=history,
            roles=_RESULT_ROLES if self.strict_roles is None else (self.strict_roles,),
            results=("object", "text") if self.strict_results is None else (self.strict_results,),
        )
        scripted = service.next_script("POST", "v2/chat/completions")
        release = service.enter(call.client, stream=bool(body.get("stream")))
        try:
            if scripted is not None:
                response = self._from_script(scripted)
            else:
                responder = _Responder(body, history, service.now_s())
                messages, reason = responder.messages()
                self._store_files(call, responder.created_files)
                response = {"messages": messages, "finish_reason": reason}
            return self._answer(call, body, history, response, release)
        except BaseException:
            release()
            raise

    def scripted(
        self, call: RoutedRequest, value: Any, body: Mapping[str, Any], release: Callable[[], None]
    ) -> AnyAnswer:
        """Return the scripted answer to a request that was not validated."""
        return self._answer(call, {"messages": [], **body}, [], self._from_script(value), release)

    def _from_script(self, value: Any) -> dict[str, Any]:
        """Build a complete response from a text, a message, or a complete response of either API."""
        if not isinstance(value, Mapping):
            return _response_from({"content": str(value)})
        if isinstance(value.get("messages"), list):
            return dict(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            rest = {name: value[name] for name in ("model",) if name in value}
            message = dict(choices[0].get("message") or {})
            message.setdefault("finish_reason", choices[0].get("finish_reason"))
            return {**_response_from(message), **rest}
        return _response_from(dict(value))

    def _store_files(self, call: RoutedRequest, created_files: Sequence[tuple[str, str, str]]) -> None:
        end_user = call.request.headers.get("x-client-id")
        for identifier, name, mime in created_files:
            content = PICTURE if mime == "image/jpeg" else _EMPTY_GLB
            self._files.add(call.client, content, name, mime=mime, end_user=end_user, identifier=identifier)

    # -- threads

    def _history(self, body: Any) -> list[dict[str, Any]]:
        storage = body.get("storage") if isinstance(body, dict) else None
        thread_id = storage.get("thread_id") if isinstance(storage, dict) else None
        if storage is None or thread_id is None:
            return []
        with self._lock:
            if thread_id not in self._threads:
                # Invented: the public documentation does not have stateful chat.
                raise Refusal(404, "No such thread")
            messages = list(self._threads[thread_id])
        limit = storage.get("limit")
        return messages[-limit:] if isinstance(limit, int) and limit > 0 else messages

    def _remember(self, body: Mapping[str, Any], messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        storage = body.get("storage")
        if storage is None:
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        added = [message for message in messages if message.get("role") == "assistant"]
        added = [message for message in added if isinstance(message.get("content"), list)]
        with self._lock:
            self._threads[thread_id] = [*self._threads.get(thread_id, []), *body["messages"], *added]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    # -- bodies and events

    def _answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        scripted: Mapping[str, Any],
        release: Callable[[], None],
    ) -> AnyAnswer:
        response: dict[str, Any] = {
            "model": chat_v1.with_build(body.get("model")),
            "created_at": int(self._service.now_s()),
            "messages": [],
            "finish_reason": "stop",
            **scripted,
        }
        messages = [self._with_call_ids(message) for message in response["messages"]]
        response["messages"] = messages
        if "usage" not in response:
            response["usage"] = self._usage(call, {**body, "messages": [*history, *body["messages"]]}, messages)
        response.update(self._remember(body, messages))
        if not body.get("stream"):
            response["messages"] = [self._with_string_content(message) for message in messages]
            answer = json_answer(200, response, call.headers, self._service.answer_pause_s)
            answer.done = release
            return answer
        return self._stream(call, body, response, release)

    def _with_call_ids(self, original: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = dict(original)
        if not self.call_ids and isinstance(message.get("content"), list):
            message["content"] = [
                {**part, "function_call": {k: v for k, v in part["function_call"].items() if k != "id"}}
                if isinstance(part, dict) and isinstance(part.get("function_call"), dict)
                else part
                for part in message["content"]
            ]
        return message

    def _with_string_content(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if self.string_content and isinstance(content, list) and all(_is_text(part) for part in content):
            return {**message, "content": "".join([part["text"] for part in content])}
        return message

    def _usage(
        self, call: RoutedRequest, body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        prompt = _prompt_tokens(body)
        limit = (body.get("model_options") or {}).get("max_tokens")
        spent = _output_tokens(messages)
        if limit is not None:
            spent = min(
                spent, max(limit, _output_tokens([m for m in messages if m.get("role") == "reasoning"]) + limit)
            )
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"prompt_tokens": prompt, "cached_tokens": self._cached(call, body)},
            "output_tokens": spent,
            "total_tokens": prompt + spent,
        }

    def _cached(self, call: RoutedRequest, body: Mapping[str, Any]) -> int:
        """Count the tokens of the prefix that this session has sent before."""
        session = call.request.headers.get("x-session-id")
        if session is None:
            return 0
        now = [compact(message) for message in body["messages"]]
        with self._lock:
            before = self._sessions.get(session, [])
            self._sessions[session] = now
        shared = chat_v1.common_prefix_length(before, now)
        return _prompt_tokens({"messages": body["messages"][:shared]}) if shared else 0

    def _stream(
        self, call: RoutedRequest, body: Mapping[str, Any], response: Mapping[str, Any], release: Callable[[], None]
    ) -> EventAnswer:
        service = self._service
        interval_s = float((body.get("model_options") or {}).get("update_interval") or 0)
        words, pause_s = chat_v1.words_per_chunk(interval_s, service.event_pause_s)
        head = {"model": response["model"], "created_at": response["created_at"]}
        deltas = [
            (name, {**head, "messages": [message]})
            for message in response["messages"]
            for name, message in self._deltas(message, words)
        ]
        rest = {name: value for name, value in response.items() if name != "messages"}
        last = self._messages_of_last_event(response["messages"])
        done = {**rest, "messages": last} if last else rest

        def named(name: str, payload: Mapping[str, Any]) -> bytes:
            return event(payload, name=None if self.unnamed_events else name)

        def events() -> Iterator[bytes | Pause]:
            if service.answer_pause_s:
                yield Pause(service.answer_pause_s)
            for name, payload in deltas:
                yield named(name, payload)
            release()
            yield named("response.message.done", done)
            if self.add_done_marker:
                yield END_MARKER

        return EventAnswer(events(), call.headers, pause_s=pause_s, error=_STREAM_ERROR, done=release)

    def _deltas(self, message: Mapping[str, Any], words_per_event: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Split a message into deltas, each with the name of its event."""
        delta = "response.message.delta"
        role = {"role": message.get("role", "assistant")}
        state = {name: message[name] for name in _STATE_IDS if name in message and not self.state_id_only_in_done}
        content = message.get("content") or []
        as_string = isinstance(content, str) or self.string_content
        for part in [{"text": content}] if isinstance(content, str) else content:
            if not isinstance(part, dict):
                yield delta, {**role, "content": [part]}
                continue
            others = {name: value for name, value in part.items() if name != "text"}
            execution: Any = others.pop("tool_execution", None)
            if execution is not None:
                yield from _tool_events(role, execution)
            if "function_call" in others and self.function_call_only_in_done:
                del others["function_call"]
            if others:
                yield delta, {**role, **(state if "function_call" in others else {}), "content": [others]}
            words = canned_model.words(part["text"]) if isinstance(part.get("text"), str) else []
            for start in range(0, len(words), words_per_event):
                text = "".join(words[start : start + words_per_event])
                yield delta, {**role, "content": text if as_string else [{"text": text}]}

    def _messages_of_last_event(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for message in messages:
            content = message.get("content")
            parts: list[Any] = []
            for part in content if isinstance(content, list) else ():
                if self.function_call_only_in_done and isinstance(part, dict) and "function_call" in part:
                    parts.append({"function_call": part["function_call"]})
                elif self.text_in_done and isinstance(part, dict) and part.get("text"):
                    parts.append({"text": part["text"]})
            has_calls = any(isinstance(part, dict) and "function_call" in part for part in content or ())
            state = {name: message[name] for name in _STATE_IDS if name in message}
            if not parts and (not state or (has_calls and not self.state_id_only_in_done)):
                continue  # the event with the calls had it
            found.append({"role": message.get("role", "assistant"), **state, **({"content": parts} if parts else {})})
        return found


def _response_from(message: dict[str, Any]) -> dict[str, Any]:
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


def _tool_events(role: Mapping[str, Any], execution: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    started = {name: execution[name] for name in ("id", "name") if name in execution}
    yield "response.tool.in_progress", {**role, "content": [{"tool_execution": {**started, "seconds_left": 2}}]}
    yield "response.tool.completed", {**role, "content": [{"tool_execution": dict(execution)}]}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"text"}


# An empty glTF binary of version 2.
_JSON_CHUNK = b'{"asset":{"version":"2.0"}} '
_EMPTY_GLB = (
    b"glTF"
    + (2).to_bytes(4, "little")
    + (20 + len(_JSON_CHUNK)).to_bytes(4, "little")
    + len(_JSON_CHUNK).to_bytes(4, "little")
    + b"JSON"
    + _JSON_CHUNK
)
