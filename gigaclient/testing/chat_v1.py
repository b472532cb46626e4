"""Chat of API v1 without a network: which requests are refused, what is answered, and how it is cut into chunks."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gigaclient.testing import canned_model as answers
from gigaclient.testing import sampling as schema

__all__ = [
    "BUILT_IN_FUNCTIONS",
    "INVALID_JSON",
    "NUMBERS",
    "ModelReply",
    "Ranges",
    "Refusal",
    "check",
    "check_names",
    "check_numbers",
    "chunks",
    "compact",
    "completion",
    "known_model",
    "pace",
    "prompt_tokens",
    "replies",
    "reply_from",
    "shared_messages",
]

BUILT_IN_FUNCTIONS = ("text2image", "get_file_content", "text2model3d")
INVALID_JSON = "Your request contains invalid JSON syntax."
_ROLES = ("system", "user", "assistant", "function", "search_result", "function_in_progress")
_PACE_S = 0.02
"""How fast the model "speaks" (seconds a word) when only ``update_interval`` asks for a pace."""
_FUNCTION_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*\Z")
_DRAW = re.compile(
    r"\b(?:draw|paint|sketch|(?:picture|image|drawing) of|нарису\w*|изобрази\w*|"
    r"(?:сгенерируй|создай|сделай)\w* (?:\w+ )?(?:изображени|картинк|рисун)\w*)",
    re.IGNORECASE,
)


Ranges: TypeAlias = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""What the API takes for a number, and how it writes that."""


class Refusal(Exception):
    """An error answer of the API. ``body`` overrides the usual ``{"status", "message"}``."""

    def __init__(self, status: int, message: str, *, body: Any = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.body = {"status": status, "message": message} if body is None else body


@dataclass
class ModelReply:
    """One choice of an answer."""

    content: str = ""
    finish_reason: str = "stop"
    function_call: dict[str, Any] | None = None
    functions_state_id: str | None = None
    reasoning_content: str | None = None
    progress: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """The choice as a whole message."""
        message: dict[str, Any] = {"content": self.content, "role": "assistant"}
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        if self.function_call is not None:
            message["function_call"] = self.function_call
        if self.functions_state_id is not None:
            message["functions_state_id"] = self.functions_state_id
        return {**message, **self.extra}

    def tokens(self) -> int:
        """What the choice costs: its text, its reasoning, its function call as JSON."""
        called = compact(self.function_call) if self.function_call is not None else ""
        return answers.tokens(self.content) + answers.tokens(self.reasoning_content or "") + answers.tokens(called)


def compact(value: Any) -> str:
    """``value`` as JSON on one line, Cyrillic as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shared_messages(before: Sequence[str], now: Sequence[str]) -> int:
    """How many messages at the beginning of ``now`` are those of ``before``."""
    shared = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        shared += 1
    return shared


def pace(interval_s: float, pause_s: float) -> tuple[int, float]:
    """Words in a chunk, and seconds between two, for an ``update_interval`` and a model with that pause."""
    if interval_s <= 0:
        return 1, pause_s
    return max(1, round(interval_s / (pause_s or _PACE_S))), max(interval_s, pause_s)


# --- what is refused -------------------------------------------------------------------------------------------


def check(
    body: Any,
    *,
    models: Mapping[str, str],
    without_functions: Collection[str] = (),
    exceeded: Collection[str] = (),
    context_tokens: int = 131_072,
) -> dict[str, Any]:
    """``body`` if the API would take it; raises :class:`Refusal` with the service's own words if it would not.

    Args:
        body: The parsed JSON.
        models: The known ids and their types.
        without_functions: Models that refuse ``functions``.
        exhausted: Models whose package is used up (402).
        context_tokens: A longer prompt is a 413.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, INVALID_JSON)
    _check_shape(body)
    model = _check_model(body, models, exceeded)
    check_numbers(body, {**NUMBERS, "n": ("(0, +inf)", lambda value: value > 0)})
    _check_history(body["messages"])
    _check_functions(body, model in without_functions)
    _check_format(body.get("response_format"))
    if prompt_tokens(body) > context_tokens:
        raise Refusal(413, "Payload too large")
    return body


def _check_shape(body: Mapping[str, Any]) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "model": (str,),
        "stream": (bool,),
        "temperature": (int, float),
        "top_p": (int, float),
        "n": (int,),
        "max_tokens": (int,),
        "repetition_penalty": (int, float),
        "update_interval": (int, float),
        "profanity_check": (bool,),
        "functions": (list,),
        "function_call": (str, dict),
        "function_ranker": (dict,),
        "response_format": (dict,),
        "reasoning_effort": (str,),
        "reasoning_max_tokens": (int,),
        "flags": (list,),
        "storage": (dict,),
        "assistant_id": (str,),
        "additional_data": (dict,),
    }
    for name, allowed in kinds.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
            raise Refusal(400, INVALID_JSON)
    for message in body["messages"]:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Refusal(400, INVALID_JSON)
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise Refusal(400, INVALID_JSON)
        if content is None and "function_call" not in message:
            raise Refusal(400, INVALID_JSON)
        attached = message.get("attachments")
        if attached is not None and not (isinstance(attached, list) and all(isinstance(i, str) for i in attached)):
            raise Refusal(400, INVALID_JSON)
        call = message.get("function_call")
        if call is not None and not (isinstance(call, dict) and isinstance(call.get("name"), str)):
            raise Refusal(400, INVALID_JSON)


def _check_model(body: Mapping[str, Any], models: Mapping[str, str], exceeded: Collection[str]) -> str:
    asked = body.get("model")
    storage = body.get("storage") or {}
    if not asked:
        if body.get("assistant_id") or storage.get("assistant_id") or storage.get("thread_id"):
            return ""
        raise Refusal(400, INVALID_JSON)
    return known_model(str(asked), models, exceeded)


def known_model(asked: str, models: Mapping[str, str], exceeded: Collection[str]) -> str:
    """The chat model that ``asked`` names, without its build; :class:`Refusal` when there is none for this client."""
    model, _, version = asked.partition(":")
    if models.get(model) != "chat":
        raise Refusal(404, "No such model")
    if version and version != build_of(model):
        raise Refusal(400, "Invalid model version")
    if model in exceeded:
        raise Refusal(402, "Payment Required")
    return model


# Only the first of these texts is documented; the others are modelled on it.
NUMBERS: Ranges = {
    "repetition_penalty": ("(0, +inf)", lambda value: value > 0),
    "temperature": ("(0, +inf)", lambda value: value > 0),
    "top_p": ("[0, 1]", lambda value: 0 <= value <= 1),
    "max_tokens": ("(0, +inf)", lambda value: value > 0),
    "update_interval": ("[0, +inf)", lambda value: value >= 0),
}


def check_numbers(values: Mapping[str, Any], ranges: Ranges) -> None:
    """:class:`Refusal` when a number is out of its range."""
    for name, (shown, holds) in ranges.items():
        if values.get(name) is not None and not holds(values[name]):
            raise Refusal(422, f"Invalid params: {name} must be in range {shown}")


def _check_history(messages: Sequence[Mapping[str, Any]]) -> None:
    if any(message["role"] == "system" for message in messages[1:]):
        raise Refusal(422, "Invalid params: system message must be the first message")
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        called = message["role"] == "assistant" and message.get("function_call") is not None
        if called and (following is None or following["role"] != "function"):
            raise Refusal(422, "Invalid params: every assistant function call must have a result in history")
    for before, message in zip([None, *messages[:-1]], messages, strict=True):
        if message["role"] != "function":
            continue
        if before is None or before["role"] != "assistant" or before.get("function_call") is None:
            raise Refusal(
                422,
                "Invalid params: every assistant function result must have an assistant function call in history",
            )
        try:
            json.loads(message.get("content") or "")
        except ValueError:
            name = message.get("name") or before["function_call"]["name"]
            raise Refusal(
                400, f"invalid function result for function {name} json string {message.get('content')}"
            ) from None


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
            # Invented: that it is an error is documented, its text is not.
            raise Refusal(422, f"Invalid params: function {choice['name']} is not in functions")


def check_names(names: Iterable[str]) -> None:
    """:class:`Refusal` when a function cannot be called so."""
    wrong = [name for name in names if not _FUNCTION_NAME.match(name)]
    if wrong:
        raise Refusal(
            422,
            "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), "
            f"dot (.) and digits (not leading) are allowed.: [{', '.join(wrong)}]",
        )


def _check_format(wanted: Mapping[str, Any] | None) -> None:
    if wanted is None or wanted.get("type") == "text":
        return
    if wanted.get("type") != "json_schema":
        raise Refusal(400, f'Unknown type "{wanted.get("type")}" in response_format')
    if not wanted.get("schema"):
        raise Refusal(400, "Empty schema with json format type is not supported")


# --- what is answered ------------------------------------------------------------------------------------------


def build_of(model: str) -> str:
    """The build suffix that answers of ``model`` carry."""
    if model.startswith("GigaChat-3"):
        return "33.1.2.7"
    return "2.0.31.04" if model.startswith("GigaChat-2") else "2.0.28.2"


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """What the request costs: 10, and for each message 1 plus its text (3.5 characters a token), plus functions."""
    texts = 10
    for message in body["messages"]:
        call = message.get("function_call")
        texts += 1 + answers.tokens(message.get("content") or "") + answers.tokens(compact(call) if call else "")
    return texts + answers.tokens(compact(body["functions"]) if body.get("functions") else "")


def replies(body: Mapping[str, Any], *, name: str = "GigaChat") -> list[ModelReply]:
    """The choices that answer a checked request."""
    messages = body["messages"]
    first = _called(body) or _drawn(body) or _structured(body) or ModelReply(_text(messages, name))
    if body.get("reasoning_effort") and str(body.get("model") or "").startswith("GigaChat-2-Reasoning"):
        russian = answers.is_russian(_prompt(messages))
        first.reasoning_content = (
            "Сначала пойму, о чём спросили, затем отвечу коротко."
            if russian
            else "First I look at what was asked, then I answer it in few words."
        )
    made = [first]
    for number in range(2, int(body.get("n") or 1) + 1):
        variant = f" (вариант {number})" if answers.is_russian(first.content) else f" (variant {number})"
        made.append(ModelReply(first.content + variant, first.finish_reason) if first.function_call is None else first)
    limit = body.get("max_tokens")
    if limit is not None:
        for reply in made:
            if reply.function_call is None and answers.tokens(reply.content) > limit:
                reply.content = answers.cut_to_tokens(reply.content, limit)
                reply.finish_reason = "length"
    return made


def reply_from(message: Mapping[str, Any]) -> ModelReply:
    """A reply from a scripted message; ``finish_reason`` may stand in it too."""
    rest = dict(message)
    call = rest.pop("function_call", None)
    reply = ModelReply(
        content=rest.pop("content", "") or "",
        finish_reason=rest.pop("finish_reason", "function_call" if call is not None else "stop"),
        function_call=call,
        functions_state_id=rest.pop("functions_state_id", None),
        reasoning_content=rest.pop("reasoning_content", None),
    )
    rest.pop("role", None)
    reply.extra = rest
    return reply


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((str(m.get("content") or "") for m in reversed(messages) if m["role"] == "user"), "")


def _text(messages: Sequence[Mapping[str, Any]], name: str) -> str:
    last = messages[-1]
    if last["role"] != "function":
        return answers.answer(messages, name=name)
    result = json.loads(last["content"])
    called = last.get("name") or messages[-2]["function_call"]["name"]
    said = _in_words(result)
    russian = answers.is_russian(_prompt(messages))
    return f"По данным функции {called}: {said}." if russian else f"According to {called}: {said}."


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_in_words(inner) for inner in value)
    return value if isinstance(value, str) else compact(value)


def _called(body: Mapping[str, Any]) -> ModelReply | None:
    functions = [f for f in body.get("functions") or [] if f["name"] not in BUILT_IN_FUNCTIONS]
    choice = body.get("function_call", "auto")
    if not functions or choice == "none" or body["messages"][-1]["role"] == "function":
        return None
    prompt = _prompt(body["messages"])
    if isinstance(choice, dict):
        function = next((f for f in functions if f["name"] == choice["name"]), None)
    else:
        function = _fitting(functions, prompt)
    if function is None:
        return None
    shots = function.get("few_shot_examples") or []
    examples = shots[0].get("params") if shots and isinstance(shots[0], dict) else None
    parameters = function.get("parameters") or {"type": "object"}
    arguments = schema.instance(parameters, schema.Hints(prompt), examples=examples)
    if isinstance(choice, dict) and isinstance(choice.get("partial_arguments"), dict) and isinstance(arguments, dict):
        arguments.update(choice["partial_arguments"])
    return ModelReply("", "function_call", {"name": function["name"], "arguments": arguments}, str(uuid.uuid4()))


_SAME_IN_RUSSIAN = {
    "погод": "weather",
    "прили": "tide",
    "курс": "rate",
    "валют": "currency",
    "время": "time",
    "новос": "news",
    "город": "city",
    "билет": "ticket",
    "рейс": "flight",
    "отель": "hotel",
    "адрес": "address",
    "цена": "price",
    "заказ": "order",
    "почт": "mail",
    "письм": "mail",
    "перев": "translate",
    "сложи": "add",
    "температ": "temperature",
}


def _fitting(functions: Sequence[Mapping[str, Any]], prompt: str) -> Mapping[str, Any] | None:
    """The function that shares the most words with the prompt (those of its name count twice), if any does."""
    lower = prompt.lower()
    english = " ".join(word for start, word in _SAME_IN_RUSSIAN.items() if start in lower)
    asked = set(answers.stems(f"{prompt} {english}"))
    best, most = None, 0
    for function in functions:
        shots = function.get("few_shot_examples") or []
        requests = " ".join(str(shot.get("request", "")) for shot in shots if isinstance(shot, dict))
        described = set(answers.stems(f"{function.get('description') or ''} {requests}"))
        score = 2 * len(asked & set(answers.stems(function["name"]))) + len(asked & described)
        if score > most:
            best, most = function, score
    return best


def _drawn(body: Mapping[str, Any]) -> ModelReply | None:
    functions = body.get("functions")
    choice = body.get("function_call", "auto" if functions else "none")
    listed = not functions or any(function["name"] == "text2image" for function in functions)
    forced = isinstance(choice, dict) and choice["name"] == "text2image"
    prompt = _prompt(body["messages"])
    if not forced and not (choice == "auto" and listed and _DRAW.search(prompt)):
        return None
    caption = "Вот что получилось." if answers.is_russian(prompt) else "Here is what came out."
    waiting = "Осталось секунд: {}" if answers.is_russian(prompt) else "Seconds left: {}"
    return ModelReply(
        f'<img src="{uuid.uuid4()}" fuse="true"/> {caption}',
        functions_state_id=str(uuid.uuid4()),
        progress=tuple(waiting.format(left) for left in (2, 1)),
    )


def _structured(body: Mapping[str, Any]) -> ModelReply | None:
    wanted = body.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    value = schema.instance(wanted["schema"], schema.Hints(_prompt(body["messages"])))
    # The service may print its JSON with line breaks; without strict it does so here, to keep parsers honest.
    return ModelReply(json.dumps(value, ensure_ascii=False, indent=None if wanted.get("strict") else 2))


# --- how it is sent --------------------------------------------------------------------------------------------


def completion(made: Sequence[ModelReply], *, model: str, created: int, usage: Mapping[str, int]) -> dict[str, Any]:
    """The whole answer as one object."""
    return {
        "choices": [
            {"message": reply.message(), "index": index, "finish_reason": reply.finish_reason}
            for index, reply in enumerate(made)
        ],
        "created": created,
        "model": model,
        "object": "chat.completion",
        "usage": dict(usage),
    }


def chunks(
    made: Sequence[ModelReply], *, model: str, created: int, usage: Mapping[str, int], words_per_chunk: int = 1
) -> Iterator[dict[str, Any]]:
    """The same answer as a stream sends it, without the end marker.

    The role is in the first chunk of a choice alone; ``finish_reason`` (of each choice) and ``usage`` (of all) come
    in the last ones, whose content is empty.
    """

    def chunk(delta: Mapping[str, Any], index: int, **more: Any) -> dict[str, Any]:
        choice = {"delta": delta, "index": index, **more}
        return {"choices": [choice], "created": created, "model": model, "object": "chat.completion"}

    for index, reply in enumerate(made):
        for text in reply.progress:
            delta = {"content": text, "role": "function_in_progress", "name": "text2image", "created": created}
            yield chunk(delta, index)
    queues = [_deltas(reply, words_per_chunk) for reply in made]
    for row in range(max(len(queue) for queue in queues)):
        for index, queue in enumerate(queues):
            if row < len(queue):
                yield chunk({**queue[row], **({"role": "assistant"} if row == 0 else {})}, index)
    for index, reply in enumerate(made):
        last = chunk({"content": ""}, index, finish_reason=reply.finish_reason)
        if index == len(made) - 1:
            last["usage"] = dict(usage)
        yield last


def _deltas(reply: ModelReply, words_per_chunk: int) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    if reply.reasoning_content is not None:
        deltas.append({"content": "", "reasoning_content": reply.reasoning_content})
    pieces = answers.words(reply.content)
    for start in range(0, len(pieces), words_per_chunk):
        deltas.append({"content": "".join(pieces[start : start + words_per_chunk])})
    if reply.function_call is not None:
        # Arguments are never cut: one chunk has all of them.
        deltas.append({"content": "", "function_call": reply.function_call})
    deltas = deltas or [{"content": ""}]
    if reply.functions_state_id is not None:
        deltas[-1]["functions_state_id"] = reply.functions_state_id
    deltas[0].update(reply.extra)
    return deltas
