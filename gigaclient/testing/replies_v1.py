"""Replies of the emulated model in API v1: text, function calls, pictures and JSON; and their chunks."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gigaclient.testing import canned_model, sampling
from gigaclient.testing.routing import compact

__all__ = [
    "BUILT_IN_FUNCTIONS",
    "ModelReply",
    "build_of",
    "caption",
    "chunks",
    "completion",
    "prompt_tokens",
    "reasoning",
    "replies",
    "reply_from",
    "usage",
    "with_build",
    "words_per_chunk",
]

BUILT_IN_FUNCTIONS = ("text2image", "get_file_content", "text2model3d")
_SECONDS_PER_WORD = 0.02
"""The model's speed when the emulator has no ``event_pause_s`` and the request has an ``update_interval``."""
_ASKS_FOR_IMAGE = re.compile(
    r"\b(?:draw|paint|sketch|(?:picture|image|drawing) of|нарису\w*|изобрази\w*|"
    r"(?:сгенерируй|создай|сделай)\w* (?:\w+ )?(?:изображени|картинк|рисун)\w*)",
    re.IGNORECASE,
)


@dataclass
class ModelReply:
    """One choice of a response."""

    content: str = ""
    finish_reason: str = "stop"
    function_call: dict[str, Any] | None = None
    functions_state_id: str | None = None
    reasoning_content: str | None = None
    progress: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """Return the choice as a complete message."""
        message: dict[str, Any] = {"content": self.content, "role": "assistant"}
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        if self.function_call is not None:
            message["function_call"] = self.function_call
        if self.functions_state_id is not None:
            message["functions_state_id"] = self.functions_state_id
        return {**message, **self.extra}

    def tokens(self) -> int:
        """Return the number of tokens of the text, the reasoning and the function call as JSON."""
        call = compact(self.function_call) if self.function_call is not None else ""
        return sum(map(canned_model.tokens, (self.content, self.reasoning_content or "", call)))


def words_per_chunk(interval_s: float, pause_s: float) -> tuple[int, float]:
    """Return the words in a chunk and the seconds between two chunks.

    Args:
        interval_s: The ``update_interval`` of the request, or 0.
        pause_s: The ``event_pause_s`` of the emulator.
    """
    if interval_s <= 0:
        return 1, pause_s
    return max(1, round(interval_s / (pause_s or _SECONDS_PER_WORD))), max(interval_s, pause_s)


def build_of(model: str) -> str:
    """Return the build suffix of ``model`` in responses."""
    if model.startswith("GigaChat-3"):
        return "33.1.2.7"
    return "2.0.31.04" if model.startswith("GigaChat-2") else "2.0.28.2"


def with_build(model: Any) -> str:
    """Return the model name of a response to a request for ``model``; None is GigaChat-2."""
    name = str(model or "GigaChat-2")
    return name if ":" in name else f"{name}:{build_of(name)}"


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of the request: 10, plus 1 and the text (3.5 characters a token) a message, plus functions."""
    count = 10
    for message in body["messages"]:
        call = message.get("function_call")
        count += 1 + canned_model.tokens(message.get("content") or "")
        count += canned_model.tokens(compact(call) if call else "")
    return count + canned_model.tokens(compact(body["functions"]) if body.get("functions") else "")


def usage(prompt: int, spent: int) -> dict[str, int]:
    """Return the usage of a response from its numbers of tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent}


def replies(body: Mapping[str, Any]) -> list[ModelReply]:
    """Return the choices of the response to a valid request."""
    messages = body["messages"]
    first = _function_call_reply(body) or _image_reply(body) or _structured_reply(body) or ModelReply(_text(messages))
    if body.get("reasoning_effort") and str(body.get("model") or "").startswith("GigaChat-2-Reasoning"):
        first.reasoning_content = reasoning(_prompt(messages))
    choices = [first]
    for number in range(2, int(body.get("n") or 1) + 1):
        variant = f" (вариант {number})" if canned_model.is_russian(first.content) else f" (variant {number})"
        other = ModelReply(first.content + variant, first.finish_reason) if first.function_call is None else first
        choices.append(other)
    limit = body.get("max_tokens")
    if limit is not None:
        for reply in choices:
            if reply.function_call is None and canned_model.tokens(reply.content) > limit:
                reply.content = canned_model.cut_to_tokens(reply.content, limit)
                reply.finish_reason = "length"
    return choices


def reasoning(prompt: str) -> str:
    """Return the reasoning of the model before its answer to ``prompt``."""
    if canned_model.is_russian(prompt):
        return "Сначала пойму, о чём спросили, затем отвечу коротко."
    return "First I look at what was asked, then I answer it in few words."


def reply_from(message: Mapping[str, Any]) -> ModelReply:
    """Build a reply from a scripted message, which may also have a ``finish_reason``."""
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


def _text(messages: Sequence[Mapping[str, Any]]) -> str:
    last = messages[-1]
    if last["role"] != "function":
        return canned_model.answer(_prompt(messages))
    result = json.loads(last["content"])
    function = last.get("name") or messages[-2]["function_call"]["name"]
    values = _describe(result)
    russian = canned_model.is_russian(_prompt(messages))
    return f"По данным функции {function}: {values}." if russian else f"According to {function}: {values}."


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_describe(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_describe(inner) for inner in value)
    return value if isinstance(value, str) else compact(value)


def _function_call_reply(body: Mapping[str, Any]) -> ModelReply | None:
    functions = [f for f in body.get("functions") or [] if f["name"] not in BUILT_IN_FUNCTIONS]
    choice = body.get("function_call", "auto")
    if not functions or choice == "none" or body["messages"][-1]["role"] == "function":
        return None
    prompt = _prompt(body["messages"])
    if isinstance(choice, dict):
        function = next((f for f in functions if f["name"] == choice["name"]), None)
    else:
        function = _best_function(functions, prompt)
    if function is None:
        return None
    arguments = sampling.instance(function.get("parameters") or {"type": "object"}, sampling.Hints(prompt))
    if isinstance(choice, dict) and isinstance(choice.get("partial_arguments"), dict) and isinstance(arguments, dict):
        arguments.update(choice["partial_arguments"])
    return ModelReply("", "function_call", {"name": function["name"], "arguments": arguments}, str(uuid.uuid4()))


def _best_function(functions: Sequence[Mapping[str, Any]], prompt: str) -> Mapping[str, Any] | None:
    """Return the function that shares the most words with the prompt, or None. Words of its name count twice."""
    prompt_stems = set(canned_model.stems(prompt))
    best, best_score = None, 0
    for function in functions:
        name_stems = canned_model.stems(function["name"])
        description_stems = canned_model.stems(function.get("description") or "")
        score = 2 * len(prompt_stems.intersection(name_stems)) + len(prompt_stems.intersection(description_stems))
        if score > best_score:
            best, best_score = function, score
    return best


def caption(prompt: str) -> str:
    """Return the text that accompanies a file created for ``prompt``."""
    return "Вот что получилось." if canned_model.is_russian(prompt) else "Here is what came out."


def _image_reply(body: Mapping[str, Any]) -> ModelReply | None:
    functions = body.get("functions")
    choice = body.get("function_call", "auto" if functions else "none")
    listed = not functions or any(function["name"] == "text2image" for function in functions)
    forced = isinstance(choice, dict) and choice["name"] == "text2image"
    prompt = _prompt(body["messages"])
    if not forced and not (choice == "auto" and listed and _ASKS_FOR_IMAGE.search(prompt)):
        return None
    progress = "Осталось секунд: {}" if canned_model.is_russian(prompt) else "Seconds left: {}"
    return ModelReply(
        f'<img src="{uuid.uuid4()}" fuse="true"/> {caption(prompt)}',
        functions_state_id=str(uuid.uuid4()),
        progress=tuple(progress.format(left) for left in (2, 1)),
    )


def _structured_reply(body: Mapping[str, Any]) -> ModelReply | None:
    response_format = body.get("response_format") or {}
    if response_format.get("type") != "json_schema":
        return None
    value = sampling.instance(response_format["schema"], sampling.Hints(_prompt(body["messages"])))
    # The service may send JSON with line breaks; without strict it does so here, so that tests meet both forms.
    return ModelReply(json.dumps(value, ensure_ascii=False, indent=None if response_format.get("strict") else 2))


# --- bodies and chunks -----------------------------------------------------------------------------------------


def completion(choices: Sequence[ModelReply], *, model: str, created: int, usage: Mapping[str, int]) -> dict[str, Any]:
    """Return the complete response as one object."""
    return {
        "choices": [
            {"message": reply.message(), "index": index, "finish_reason": reply.finish_reason}
            for index, reply in enumerate(choices)
        ],
        "created": created,
        "model": model,
        "object": "chat.completion",
        "usage": dict(usage),
    }


def chunks(
    choices: Sequence[ModelReply], *, model: str, created: int, usage: Mapping[str, int], words: int = 1
) -> Iterator[dict[str, Any]]:
    """Yield the chunks of the same response, with ``words`` words in each, without the end marker.

    Only the first chunk of a choice has the role. The last chunk of each choice has the ``finish_reason``, and an empty
    content or the function call; the last chunk of all has the ``usage``.
    """

    def chunk(delta: Mapping[str, Any], index: int, **fields: Any) -> dict[str, Any]:
        choice = {"delta": delta, "index": index, **fields}
        return {"choices": [choice], "created": created, "model": model, "object": "chat.completion"}

    for index, reply in enumerate(choices):
        for text in reply.progress:
            delta = {"content": text, "role": "function_in_progress", "name": "text2image", "created": created}
            yield chunk(delta, index)
    queues = [_deltas(reply, words) for reply in choices]
    for queue in queues:
        queue[0]["role"] = "assistant"
    last_deltas = [queue.pop() for queue in queues]
    for row in itertools.zip_longest(*queues):
        yield from (chunk(delta, index) for index, delta in enumerate(row) if delta is not None)
    for index, (reply, delta) in enumerate(zip(choices, last_deltas, strict=True)):
        last = chunk(delta, index, finish_reason=reply.finish_reason)
        if index == len(choices) - 1:
            last["usage"] = dict(usage)
        yield last


def _deltas(reply: ModelReply, words: int) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    if reply.reasoning_content is not None:
        deltas.append({"content": "", "reasoning_content": reply.reasoning_content})
    pieces = canned_model.words(reply.content)
    for start in range(0, len(pieces), words):
        deltas.append({"content": "".join(pieces[start : start + words])})
    if reply.function_call is not None:
        # The service never splits the arguments: the last chunk has all of them.
        deltas.append({"content": "", "function_call": reply.function_call})
    elif not deltas:
        deltas.append({"content": ""})
    if reply.functions_state_id is not None:
        deltas[-1]["functions_state_id"] = reply.functions_state_id
    deltas[0].update(reply.extra)
    return deltas if reply.function_call is not None else [*deltas, {"content": ""}]
