"""Endpoints of the GigaChat emulator for texts: embeddings, token counts, checks; and the balance.

Simple rules produce the results: the same text always gets the same result.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from gigaclient.testing import canned_model
from gigaclient.testing.routing import INVALID_JSON, AnyAnswer, Refusal, Route, RoutedRequest, Service

__all__ = ["TextTools", "embeddings", "vector"]

_DIMENSIONS = {"EmbeddingsGigaR": 2560, "GigaEmbeddings-3B-2025-09": 2560}
_DEFAULT_DIMENSIONS = 1024
_MAX_TOKENS = {"EmbeddingsGigaR": 4096, "GigaEmbeddings-3B-2025-09": 4096}
_DEFAULT_MAX_TOKENS = 512
_MIN_WORDS = 20
_PACKAGE_TOKENS = 1_000_000


class TextTools:
    """``/embeddings``, ``/tokens/count``, ``/ai/check``, ``/filter/check`` and ``/balance``.

    Args:
        service: the emulator that they belong to.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/embeddings", self._embeddings),
            Route("POST", "v1", "/tokens/count", self._tokens_count),
            Route("POST", "v1", "/ai/check", self._ai_check),
            Route("POST", "v1", "/filter/check", self._filter_check),
            Route("GET", "v1", "/balance", self._balance),
        )

    def _embeddings(self, call: RoutedRequest) -> AnyAnswer:
        return call.answer(embeddings(call.json(), self._service))

    def _tokens_count(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object(model=str)
        if not _is_texts(body.get("input")):
            raise Refusal(400, INVALID_JSON)
        _check_model(body["model"], self._service.models)
        counted = [
            {"object": "tokens", "tokens": canned_model.tokens(text), "characters": len(text)} for text in body["input"]
        ]
        return call.answer(counted)

    def _ai_check(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object(model=str, input=str)
        if self._service.scope_of(call.client) != "GIGACHAT_API_CORP":
            raise Refusal(403, "Permission denied")
        _check_model(body["model"], self._service.models, "aicheck")
        text = body["input"]
        if len(text.split()) < _MIN_WORDS:
            # Invented: the documentation has the rule, but no error.
            raise Refusal(422, f"Invalid params: input must have at least {_MIN_WORDS} words")
        category, intervals = _authorship(text)
        response: dict[str, Any] = {"category": category, "characters": len(text), "tokens": canned_model.tokens(text)}
        if body["model"].startswith("GigaCheckDetection"):
            response["ai_intervals"] = intervals
        return call.answer(response)

    def _filter_check(self, call: RoutedRequest) -> AnyAnswer:
        body = call.json_object(model=str, messages=list)
        settings = body.get("settings") or {}
        valid = isinstance(settings, dict) and all(isinstance(value, bool) for value in settings.values())
        if not body["messages"] or not valid or not all(map(_is_message, body["messages"])):
            raise Refusal(400, INVALID_JSON)
        _check_model(body["model"], self._service.models, "filter")
        texts = [message.get("content") or "" for message in body["messages"]]
        is_enabled = settings.get("neuro", True) or settings.get("blacklist", True)
        response = {
            "is_profane": bool(is_enabled) and any(_PROFANE.search(text) for text in texts),
            "usage": {"filter_tokens": sum(canned_model.tokens(text) for text in texts)},
        }
        return call.answer(response)

    def _balance(self, call: RoutedRequest) -> AnyAnswer:
        if self._service.scope_of(call.client) == "GIGACHAT_API_CORP":
            raise Refusal(403, "Permission denied")
        models = self._service.models
        packages = [name for name, type_ in models.items() if type_ == "chat" and not name.endswith("-preview")]
        balance: list[dict[str, Any]] = [
            {"usage": name, "value": 0 if name in self._service.exhausted_models else _PACKAGE_TOKENS}
            for name in packages
        ]
        embedders = {name for name, type_ in models.items() if type_ == "embedder"}
        if embedders:
            # A fraction, because the real service sends one.
            is_exhausted = embedders <= self._service.exhausted_models
            balance.append({"usage": "embeddings", "value": 0.0 if is_exhausted else _PACKAGE_TOKENS + 0.5})
        return call.answer({"balance": balance})


# --- vectors ----------------------------------------------------------------------------------------------------


def embeddings(body: Any, service: Service) -> dict[str, Any]:
    """Return the response to a request for embeddings; raise :class:`Refusal` with the service's text."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refusal(400, INVALID_JSON)
    name = body["model"]
    texts: Any = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not _is_texts(texts):
        raise Refusal(400, INVALID_JSON)
    _check_model(name, service.models, "embedder")
    if name in service.exhausted_models:
        raise Refusal(402, "Payment Required")
    if any(canned_model.tokens(text) > _MAX_TOKENS.get(name, _DEFAULT_MAX_TOKENS) for text in texts):
        raise Refusal(413, "Payload too large")
    size = _DIMENSIONS.get(name, _DEFAULT_DIMENSIONS)
    data = [
        {
            "object": "embedding",
            "embedding": vector(text, size),
            "index": index,
            "usage": {"prompt_tokens": canned_model.tokens(text)},
        }
        for index, text in enumerate(texts)
    ]
    return {"object": "list", "data": data, "model": name}


def vector(text: str, size: int) -> list[float]:
    """Return a vector of length 1 for ``text``. Texts that share words or parts of words have close vectors."""
    lowered = text.lower()
    features: Counter[str] = Counter()
    for stem in canned_model.stems(text):
        features[f"word {stem}"] += 3
    for start in range(len(lowered) - 2):
        features[lowered[start : start + 3]] += 1
    # Noise, so that no coordinate is zero and no two texts have the same vector.
    noise = hashlib.shake_128(text.encode("utf-8", "replace")).digest(size)
    sums = [(byte - 127.5) / 127.5 * 0.05 for byte in noise]
    for feature, weight in features.items():
        digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=32).digest()
        for offset in range(0, len(digest), 2):
            chunk = int.from_bytes(digest[offset : offset + 2], "big")
            sums[(chunk >> 1) % size] += math.sqrt(weight) if chunk & 1 else -math.sqrt(weight)
    length = math.sqrt(sum(value * value for value in sums))
    return [round(value / length, 7) for value in sums]


# --- checks -----------------------------------------------------------------------------------------------------

_PROFANE = re.compile(r"\b(?:damn|bloody hell|bastard|idiot|черт|чёрт|дурак|дура|идиот|сволочь)", re.IGNORECASE)
_PHRASES_OF_MODELS = re.compile(
    r"as an ai|language model|it is important to note|in conclusion|delve|"
    r"языков\w+ модел|важно отметить|подводя итог|таким образом",
    re.IGNORECASE,
)


def _authorship(text: str) -> tuple[str, list[list[int]]]:
    """Return ``human``, ``ai`` or ``mixed``, and the sentences with typical phrases of models (start, end)."""
    sentences = [(found.start(), found.end(), found[0]) for found in re.finditer(r"[^.!?\s][^.!?]*[.!?]*", text)]
    intervals = [[start, end] for start, end, sentence in sentences if _PHRASES_OF_MODELS.search(sentence)]
    if not intervals:
        return "human", []
    return ("ai" if len(intervals) == len(sentences) else "mixed"), intervals


# --- helpers ----------------------------------------------------------------------------------------------------


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content") or "", str)
    )


def _check_model(model: str, models: Mapping[str, str], expected_type: str | None = None) -> None:
    type_ = models.get(model.partition(":")[0])
    if type_ is None or expected_type not in (None, type_):
        raise Refusal(404, "No such model")
