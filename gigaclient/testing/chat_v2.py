"""Chat of API v2 without a network: which requests are refused, what is answered, and how it is cut into events.

What the model says is what the model of API v1 says; here it is put into messages of parts, with the service's tools.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from gigaclient.testing import canned_model as answers
from gigaclient.testing import chat_v1
from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal, compact
from gigaclient.testing.fault_server import Pause
from gigaclient.testing.faults import END_MARKER, EventAnswer, event
from gigaclient.testing.files import PICTURE, EmulatedFiles
from gigaclient.testing.patterns import fitting
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer

__all__ = ["ChatV2", "check"]

_TOOLS = (
    *("functions", "web_search", "url_content_extraction", "image_generate", "model_3d_generate", "code_interpreter"),
    *("get_datetime", "memory"),
)
_ROLES = ("system", "user", "assistant", "tool", "function")
_RESULT_ROLES = ("tool", "function")
_STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")
"""How fast the model "speaks" (seconds a word) when only ``update_interval`` asks for a pace."""

_STREAM_ERROR = {"status": 500, "message": "Internal Server Error"}

_ASKS_FOR_MODEL = re.compile(r"\b3[dд]\b|объ[её]мн\w+ модел", re.IGNORECASE)
_ASKS_TO_SEARCH = re.compile(
    r"\?|\b(?:search|look up|find|news|latest|today|найди|поищи|погугли|новост\w*|сегодня|последни\w*)\b", re.IGNORECASE
)
_ASKS_TO_COMPUTE = re.compile(
    r"\b(?:compute|calculate|python|code|count|посчитай|вычисли|код\w*|программ\w*)\b|\d\s*[-+*/^]\s*\d", re.IGNORECASE
)
_ASKS_FOR_TIME = re.compile(r"\b(?:time|date|today|now|врем\w*|час\w*|дат\w*|число|сегодня|сейчас)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\"']+")

Encoding = Literal["object", "text"]
Role = Literal["tool", "function"]


# --- what is refused -------------------------------------------------------------------------------------------


def check(
    body: Any,
    *,
    models: Mapping[str, str],
    without_functions: Collection[str] = (),
    exceeded: Collection[str] = (),
    context_tokens: int = 131_072,
    unavailable_tools: Collection[str] = (),
    history: Sequence[Mapping[str, Any]] = (),
    roles: Collection[str] = _RESULT_ROLES,
    results: Collection[str] = ("object", "text"),
) -> dict[str, Any]:
    """``body`` if the API would take it; raises :class:`Refusal` with the service's own words if it would not.

    Args:
        body: The parsed JSON.
        models: The known ids and their types.
        without_functions: Models that refuse functions.
        exhausted: Models whose package is used up (402).
        context_tokens: A longer prompt is a 413.
        unavailable_tools: Tools that are refused with 422.
        history: The messages before these, of a dialogue that is kept here.
        roles: The roles that a function's result may have.
        results: Whether the result may be an object, or a text that holds one.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, INVALID_JSON)
    _check_kinds(body, _KINDS)
    _check_kinds(body.get("model_options") or {}, _OPTION_KINDS)
    for message in body["messages"]:
        _check_message(message, roles, results)
    model = _check_model(body, models, exceeded)
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
_KINDS: dict[str, tuple[type, ...]] = {
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
_OPTION_KINDS: dict[str, tuple[type, ...]] = {
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


def _check_kinds(fields: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> None:
    for name, allowed in kinds.items():
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
    _check_kinds(message, {**dict.fromkeys(_STATE_IDS, (str,)), "message_id": (str,)})
    for part in content:
        if not isinstance(part, dict) or not _is_part(part, results):
            raise Refusal(400, INVALID_JSON)
    if is_result is not any("function_result" in part for part in content):
        raise Refusal(400, INVALID_JSON)


def _is_part(part: Mapping[str, Any], results: Collection[str]) -> bool:
    text, files, call, result = (part.get(name) for name in ("text", "files", "function_call", "function_result"))
    if all(value is None for value in (text, files, call, result)):
        # What answers have besides: sent back, it does no harm.
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


def _check_model(body: Mapping[str, Any], models: Mapping[str, str], exceeded: Collection[str]) -> str:
    asked = body.get("model")
    if not asked:
        if body.get("assistant_id") or (body.get("storage") or {}).get("thread_id"):
            return ""
        raise Refusal(400, INVALID_JSON)
    return chat_v1.known_model(str(asked), models, exceeded)


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
    names: dict[str, tuple[type, ...]] = {"tool_name": (str,), "function_name": (str,), "functions_names_any": (list,)}
    _check_kinds(config, names)
    tool, function = config.get("tool_name"), config.get("function_name")
    mode = config.get("mode")
    if mode not in ("auto", "none", "forced", "any") or (mode == "forced" and (tool is None) is (function is None)):
        raise Refusal(400, INVALID_JSON)
    if mode == "forced" and tool is not None:
        if tool not in _TOOLS or tool == "functions":
            raise Refusal(404, f"Unknown tool {tool}")
        if tool in unavailable:
            raise Refusal(422, f"Invalid params: Tool {tool} is unavailable")
    wanted = [function] if mode == "forced" and function is not None else []
    if mode == "any":
        wanted = list(config.get("functions_names_any") or [])
        if not functions:
            raise Refusal(422, "Invalid params: tool_config any needs functions")  # invented
    for name in wanted:
        if name not in functions:
            # Invented: that it is an error is documented, its text is not.
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
            answered = next((call for call in pending if _belongs(result, call)), None)
            if answered is None:
                raise Refusal(422, no_call)
            pending.remove(answered)
        if pending and not results and not calls:
            raise Refusal(422, no_result)
        pending += calls if message["role"] == "assistant" else []
    if pending:
        raise Refusal(422, no_result)


def _belongs(result: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    if result.get("id") and call.get("id"):
        return bool(result["id"] == call["id"])
    return bool(result["name"] == call["name"])


def _check_format(wanted: Mapping[str, Any] | None) -> None:
    if wanted is None or wanted.get("type") == "text":
        return
    if wanted.get("type") == "regex":
        try:
            re.compile(wanted.get("regex") or "(")
        except (re.error, TypeError):
            raise Refusal(400, INVALID_JSON) from None
        return
    if wanted.get("type") != "json_schema":
        raise Refusal(400, f'Unknown type "{wanted.get("type")}" in response_format')
    if not wanted.get("schema"):
        raise Refusal(400, "Empty schema with json format type is not supported")


# --- what is answered ------------------------------------------------------------------------------------------


def _functions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tool in body.get("tools") or []:
        if "functions" in tool:
            listed = tool["functions"].get("specifications", [])
            if not isinstance(listed, list):
                raise Refusal(400, INVALID_JSON)
            found += listed
    return found


def _said(message: Mapping[str, Any]) -> str:
    return "".join([part.get("text") or "" for part in message["content"]])


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((_said(message) for message in reversed(messages) if message["role"] == "user"), "")


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    """What the request costs: 10, and for each message 1 plus its texts, calls and results, plus functions."""
    count = 10
    for message in body["messages"]:
        count += 1 + answers.tokens(_said(message))
        for part in message["content"]:
            for name in ("function_call", "function_result"):
                count += answers.tokens(compact(part[name])) if part.get(name) else 0
    functions = _functions(body)
    return count + (answers.tokens(compact(functions)) if functions else 0)


def _output_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    count = 0
    for message in messages:
        content = message.get("content") or []
        if isinstance(content, str):
            content = [{"text": content}]
        for part in content:
            if isinstance(part, dict):
                call = part.get("function_call")
                count += answers.tokens(str(part.get("text") or "")) + (answers.tokens(compact(call)) if call else 0)
    return count


class _Mind:
    """The emulated model before one request: what it does with it."""

    def __init__(self, body: Mapping[str, Any], history: Sequence[Mapping[str, Any]], now_s: float) -> None:
        self._body = body
        self._messages = [*history, *body["messages"]]
        self._prompt = _prompt(self._messages)
        self._russian = answers.is_russian(self._prompt)
        self._options = body.get("model_options") or {}
        self._config = body.get("tool_config") or {}
        self._functions = _functions(body)
        self._tools = {name for tool in body.get("tools") or [] for name in tool} - {"functions"}
        self._now_s = now_s
        self.drawn: list[tuple[str, str, str]] = []  # files that were made: id, name, MIME type

    def messages(self) -> tuple[list[dict[str, Any]], str]:
        """The messages of the answer, and why it ended."""
        reason = "stop"
        message = self._calls()
        if message is not None:
            reason = "function_call"
        else:
            message = self._by_tool() or self._in_form() or {"content": [{"text": self._text()}]}
            reason = self._cut(message)
        thoughts = self._thoughts()
        before = [{"role": "reasoning", "content": [{"text": thoughts}]}] if thoughts else []
        return [*before, {"role": "assistant", **message}], reason

    # -- words

    def _as_v1(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> chat_v1.ModelReply:
        """What the model of API v1 answers."""
        spoken: list[dict[str, Any]] = []
        for message in messages:
            if message["role"] in _RESULT_ROLES:
                results = [part["function_result"] for part in message["content"] if part.get("function_result")]
                for result in results:
                    value = result["result"]
                    content = value if isinstance(value, str) else compact(value)
                    spoken.append({"role": "function", "name": result["name"], "content": content})
            else:
                spoken.append({"role": message["role"], "content": _said(message)})
        return chat_v1.replies({"model": self._body.get("model"), "messages": spoken, **fields})[0]

    def _text(self) -> str:
        last = self._messages[-1]
        if last["role"] not in _RESULT_ROLES:
            return self._as_v1(self._messages).content
        # One sentence for each result.
        before = self._messages[:-1]
        return " ".join(
            [
                self._as_v1([*before, {"role": last["role"], "content": [part]}]).content
                for part in last["content"]
                if part.get("function_result")
            ]
        )

    def _thoughts(self) -> str:
        effort = (self._options.get("reasoning") or {}).get("effort")
        if effort is None or effort == "off":
            return ""
        if self._russian:
            return "Сначала пойму, о чём спросили, затем отвечу коротко."
        return "First I look at what was asked, then I answer it in few words."

    def _in_form(self) -> dict[str, Any] | None:
        form = self._options.get("response_format") or {}
        if form.get("type") == "regex":
            return {"content": [{"text": fitting(form["regex"], self._prompt) or ""}]}
        if form.get("type") != "json_schema":
            return None
        asked = [message for message in self._messages if message["role"] not in _RESULT_ROLES]
        return {"content": [{"text": self._as_v1(asked, response_format=form).content}]}

    def _cut(self, message: dict[str, Any]) -> str:
        left = self._options.get("max_tokens")
        if left is None:
            return "stop"
        for part in message["content"]:
            text = part.get("text")
            if text and answers.tokens(text) > left:
                part["text"] = answers.cut_to_tokens(text, left)
                return "length"
            left -= answers.tokens(text or "")
        return "stop"

    # -- functions

    def _calls(self) -> dict[str, Any] | None:
        mode = self._config.get("mode", "auto")
        functions = self._functions
        if not functions or mode == "none" or (mode == "forced" and "function_name" not in self._config):
            return None
        asked = self._messages
        if mode in ("forced", "any"):
            # As long as it must call, it does: the results that are there already are no end of it.
            while asked and asked[-1]["role"] in _RESULT_ROLES:
                asked = asked[:-1]
        elif asked[-1]["role"] in _RESULT_ROLES:
            return None
        if mode == "any" and self._config.get("functions_names_any"):
            functions = [one for one in functions if one["name"] in self._config["functions_names_any"]]
        calls = []
        if mode == "forced":
            calls.append(self._call(asked, functions, {"name": self._config["function_name"]}))
        else:
            calls.append(self._call(asked, functions, "auto"))
            if calls[0] is None and mode == "any":
                calls = [self._call(asked, functions, {"name": functions[0]["name"]})]
            while self._options.get("parallel_tool_calls") and calls[-1] is not None:
                named = {call["name"] for call in calls if call is not None}
                functions = [one for one in functions if one["name"] not in named]
                calls.append(self._call(asked, functions, "auto") if functions else None)
        parts = [{"function_call": {"id": str(uuid.uuid4()), **call}} for call in calls if call is not None]
        return {"tool_state_id": str(uuid.uuid4()), "content": parts} if parts else None

    def _call(self, messages: Sequence[Mapping[str, Any]], functions: Any, choice: Any) -> dict[str, Any] | None:
        return self._as_v1(messages, functions=functions, function_call=choice).function_call

    # -- the service's tools

    def _by_tool(self) -> dict[str, Any] | None:
        mode = self._config.get("mode", "auto")
        if mode == "none" or self._messages[-1]["role"] in _RESULT_ROLES:
            return None
        forced = self._config.get("tool_name") if mode == "forced" else None
        for name, wanted, run in (
            ("image_generate", self._draws, self._image),
            ("model_3d_generate", lambda: _ASKS_FOR_MODEL.search(self._prompt), self._model_3d),
            ("url_content_extraction", lambda: _ADDRESS.search(self._prompt), self._page),
            ("code_interpreter", lambda: _ASKS_TO_COMPUTE.search(self._prompt), self._code),
            ("get_datetime", lambda: _ASKS_FOR_TIME.search(self._prompt), self._time),
            ("web_search", lambda: _ASKS_TO_SEARCH.search(self._prompt), self._search),
        ):
            if forced == name or (forced is None and name in self._tools and wanted()):
                ran = {"id": str(uuid.uuid4()), "name": name, "status": "success", "seconds_left": 0, "censored": False}
                return {
                    "tool_state_id": str(uuid.uuid4()),
                    "content": [{"tool_execution": ran}, *run()],
                }
        return None

    def _picture(self, *, forced: bool = False) -> chat_v1.ModelReply:
        choice: Any = {"name": "text2image"} if forced else "auto"
        asked = [message for message in self._messages if message["role"] == "user"][-1:]
        return self._as_v1(asked, functions=[{"name": "text2image"}], function_call=choice)

    def _draws(self) -> bool:
        return bool(self._picture().content.startswith("<img "))

    def _image(self) -> list[dict[str, Any]]:
        caption = self._picture(forced=True).content.partition("/> ")[2]
        identifier = str(uuid.uuid4())
        self.drawn.append((identifier, "image.jpg", "image/jpeg"))
        return [{"files": [{"id": identifier, "target": "image", "mime": "image/jpeg"}]}, {"text": caption}]

    def _model_3d(self) -> list[dict[str, Any]]:
        identifier = str(uuid.uuid4())
        self.drawn.append((identifier, "model.glb", "model/gltf-binary"))
        caption = "Вот модель." if self._russian else "Here is the model."
        return [{"files": [{"id": identifier, "target": "3dmodel", "mime": "model/gltf-binary"}]}, {"text": caption}]

    def _search(self) -> list[dict[str, Any]]:
        found = {
            str(number): {"url": f"https://example.com/{number}", "title": title}
            for number, title in enumerate(
                ("Первая страница", "Вторая страница") if self._russian else ("The first page", "The second page"), 1
            )
        }
        text = f"{self._text()} [sources=[1, 2]]"
        return [{"text": text, "inline_data": {"sources": found, "images": [], "widgets": []}}]

    def _page(self) -> list[dict[str, Any]]:
        found = _ADDRESS.search(self._prompt)
        address = found[0].rstrip(".,;)") if found else "https://example.com/"
        said = f"На странице {address} написано: пример." if self._russian else f"The page {address} says: an example."
        return [{"text": said}]

    def _code(self) -> list[dict[str, Any]]:
        return [{"text": self._text()}]

    def _time(self) -> list[dict[str, Any]]:
        shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._now_s))
        return [{"text": f"Сейчас {shown}." if self._russian else f"It is {shown}."}]


# --- the endpoint ----------------------------------------------------------------------------------------------


class ChatV2:
    """``/v2/chat/completions``.

    The attributes may be assigned while the emulator runs. With their defaults it takes and gives what either of the
    two known kinds of servers does.

    Args:
        service: The emulator that it belongs to.
        files: Where the files that the model makes are kept.

    Attributes:
        strict_roles: Take results of functions with this role alone: ``"tool"`` or ``"function"``.
        strict_results: Take results in this encoding alone: ``"object"``, or ``"text"`` for a string of JSON.
        unavailable_tools: Tools that are refused with 422.
        call_ids: Whether function calls have an ``id``; those of older servers have none.
        add_done_marker: End streams with ``data: [DONE]``.
        unnamed_events: Send events without their names.
        state_id_only_in_done: In a stream, the state id comes with the last event alone.
        function_call_only_in_done: In a stream, function calls come with the last event alone.
        text_in_done: The last event of a stream repeats the whole text.
        string_content: Texts are sent as strings in place of lists of parts.
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
        sent = call.json()
        history = self._history(sent)
        body = check(
            sent,
            models=service.models,
            without_functions=service.models_without_functions,
            exceeded=service.exhausted_models,
            context_tokens=service.context_tokens,
            unavailable_tools=self.unavailable_tools,
            history=history,
            roles=_RESULT_ROLES if self.strict_roles is None else (self.strict_roles,),
            results=("object", "text") if self.strict_results is None else (self.strict_results,),
        )
        scripted = service.next_script("POST", "v2/chat/completions")
        leave = service.enter(call.client, stream=bool(body.get("stream")))
        try:
            if scripted is not None:
                whole = self._from_script(scripted)
            else:
                mind = _Mind(body, history, service.now_s())
                messages, reason = mind.messages()
                self._keep(call, mind.drawn)
                whole = {"messages": messages, "finish_reason": reason}
            return self._answer(call, body, history, whole, leave)
        except BaseException:
            leave()
            raise

    def scripted(
        self, call: RoutedRequest, value: Any, body: Mapping[str, Any], leave: Callable[[], None]
    ) -> AnyAnswer:
        """The answer to a request that was not looked at, as a script wants it."""
        return self._answer(call, {"messages": [], **body}, [], self._from_script(value), leave)

    def _from_script(self, value: Any) -> dict[str, Any]:
        """A whole answer from text, a message, a whole answer, or a whole answer of API v1."""
        if not isinstance(value, Mapping):
            return _whole({"content": str(value)})
        if isinstance(value.get("messages"), list):
            return dict(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            rest = {name: value[name] for name in ("model",) if name in value}
            message = dict(choices[0].get("message") or {})
            message.setdefault("finish_reason", choices[0].get("finish_reason"))
            return {**_whole(message), **rest}
        return _whole(dict(value))

    def _keep(self, call: RoutedRequest, drawn: Sequence[tuple[str, str, str]]) -> None:
        end_user = call.request.headers.get("x-client-id")
        for identifier, name, mime in drawn:
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
                # Invented: stateful chat is not in the public description.
                raise Refusal(404, "No such thread")
            kept = list(self._threads[thread_id])
        limit = storage.get("limit")
        return kept[-limit:] if isinstance(limit, int) and limit > 0 else kept

    def _remember(self, body: Mapping[str, Any], messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        storage = body.get("storage")
        if storage is None:
            return {}
        thread_id = storage.get("thread_id") or str(uuid.uuid4())
        said = [message for message in messages if message.get("role") == "assistant"]
        said = [message for message in said if isinstance(message.get("content"), list)]
        with self._lock:
            self._threads[thread_id] = [*self._threads.get(thread_id, []), *body["messages"], *said]
        return {"thread_id": thread_id, "message_id": str(uuid.uuid4())}

    # -- how it is sent

    def _answer(
        self,
        call: RoutedRequest,
        body: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        scripted: Mapping[str, Any],
        leave: Callable[[], None],
    ) -> AnyAnswer:
        asked = str(body.get("model") or "GigaChat-2")
        whole: dict[str, Any] = {
            "model": asked if ":" in asked else f"{asked}:{chat_v1.build_of(asked)}",
            "created_at": int(self._service.now_s()),
            "messages": [],
            "finish_reason": "stop",
            **scripted,
        }
        messages = [self._as_sent(message) for message in whole["messages"]]
        whole["messages"] = messages
        if "usage" not in whole:
            whole["usage"] = self._usage(call, {**body, "messages": [*history, *body["messages"]]}, messages)
        whole.update(self._remember(body, messages))
        if not body.get("stream"):
            whole["messages"] = [self._with_content(message) for message in messages]
            answer = json_answer(200, whole, call.headers, self._service.answer_pause_s)
            answer.done = leave
            return answer
        return self._stream(call, body, whole, leave)

    def _as_sent(self, said: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = dict(said)
        if not self.call_ids and isinstance(message.get("content"), list):
            message["content"] = [
                {**part, "function_call": {k: v for k, v in part["function_call"].items() if k != "id"}}
                if isinstance(part, dict) and isinstance(part.get("function_call"), dict)
                else part
                for part in message["content"]
            ]
        return message

    def _with_content(self, message: dict[str, Any]) -> dict[str, Any]:
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
        """Tokens of the beginning that this session has sent before."""
        session = call.request.headers.get("x-session-id")
        if session is None:
            return 0
        sent = [compact(message) for message in body["messages"]]
        with self._lock:
            before = self._sessions.get(session, [])
            self._sessions[session] = sent
        shared = chat_v1.shared_messages(before, sent)
        return _prompt_tokens({"messages": body["messages"][:shared]}) if shared else 0

    def _stream(
        self, call: RoutedRequest, body: Mapping[str, Any], whole: Mapping[str, Any], leave: Callable[[], None]
    ) -> EventAnswer:
        service = self._service
        interval_s = float((body.get("model_options") or {}).get("update_interval") or 0)
        per_event, pace_s = chat_v1.pace(interval_s, service.event_pause_s)
        head = {"model": whole["model"], "created_at": whole["created_at"]}
        made = [
            (name, {**head, "messages": [message]})
            for message in whole["messages"]
            for name, message in self._pieces(message, per_event)
        ]
        rest = {name: value for name, value in whole.items() if name != "messages"}
        last = self._last(whole["messages"])
        done = {**rest, "messages": last} if last else rest

        def named(name: str, payload: Mapping[str, Any]) -> bytes:
            return event(payload, name=None if self.unnamed_events else name)

        def events() -> Iterator[bytes | Pause]:
            if service.answer_pause_s:
                yield Pause(service.answer_pause_s)
            for name, payload in made:
                yield named(name, payload)
            leave()
            yield named("response.message.done", done)
            if self.add_done_marker:
                yield END_MARKER

        return EventAnswer(events(), call.headers, pause_s=pace_s, error=_STREAM_ERROR, done=leave)

    def _pieces(self, message: Mapping[str, Any], words_per_event: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """A message in pieces, each with the name of its event."""
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
            ran: Any = others.pop("tool_execution", None)
            if ran is not None:
                yield from _progress(role, ran)
            if "function_call" in others and self.function_call_only_in_done:
                del others["function_call"]
            if others:
                yield delta, {**role, **(state if "function_call" in others else {}), "content": [others]}
            words = answers.words(part["text"]) if isinstance(part.get("text"), str) else []
            for start in range(0, len(words), words_per_event):
                text = "".join(words[start : start + words_per_event])
                yield delta, {**role, "content": text if as_string else [{"text": text}]}

    def _last(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the last event says of the messages."""
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
                continue  # said with the calls already
            found.append({"role": message.get("role", "assistant"), **state, **({"content": parts} if parts else {})})
        return found


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    """A whole answer from one scripted message, which may have the shape of API v1."""
    content = message.pop("content", None)
    if not isinstance(content, list):
        content = [{"text": str(content)}] if content else []
    call = message.pop("function_call", None)
    thoughts = message.pop("reasoning_content", None)
    if call is not None:
        content = [*content, {"function_call": {"id": str(uuid.uuid4()), **call}}]
        message.setdefault("tool_state_id", message.pop("functions_state_id", None) or str(uuid.uuid4()))
    called = any(isinstance(part, dict) and "function_call" in part for part in content)
    reason = message.pop("finish_reason", None) or ("function_call" if called else "stop")
    before = [{"role": "reasoning", "content": [{"text": thoughts}]}] if thoughts else []
    return {"messages": [*before, {"role": "assistant", **message, "content": content}], "finish_reason": reason}


def _progress(role: Mapping[str, Any], ran: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = {name: ran[name] for name in ("id", "name") if name in ran}
    yield "response.tool.in_progress", {**role, "content": [{"tool_execution": {**begun, "seconds_left": 2}}]}
    yield "response.tool.completed", {**role, "content": [{"tool_execution": dict(ran)}]}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"text"}


# A glTF binary of version 2 with nothing in it but its version.
_JSON_CHUNK = b'{"asset":{"version":"2.0"}} '
_EMPTY_GLB = (
    b"glTF"
    + (2).to_bytes(4, "little")
    + (20 + len(_JSON_CHUNK)).to_bytes(4, "little")
    + len(_JSON_CHUNK).to_bytes(4, "little")
    + b"JSON"
    + _JSON_CHUNK
)
