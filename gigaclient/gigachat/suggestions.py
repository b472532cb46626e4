"""Suggestions for a model name that the service does not know; loaded at the first such error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import unquote

from gigaclient._core.executor import Call, Executor
from gigaclient._core.limiter import Limiter
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import parse_response
from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.serialization import decode_or_none
from gigaclient.errors import GigaClientError, NotFoundError
from gigaclient.transport.request import Request
from gigaclient.types.models import Model, Models

__all__ = ["add_suggestions", "advice_for", "requested_model"]

_LOOKUP_SECONDS = 3.0
_MAX_SUGGESTED = 3
_MAX_LISTED = 8

# The type of model that an endpoint takes, for endpoints that take only one.
_MODEL_TYPES = (("/chat/completions", "chat"), ("/embeddings", "embedder"), ("/ai/check", "aicheck"))


def add_suggestions(executor: Executor, call: Call, failure: NotFoundError) -> None:
    """Add the names of similar models to ``failure``, if it is about an unknown model.

    This sends one short request within the call's deadline. It does not queue for a permit, and its failure is ignored.
    """
    message = failure.message.partition(" - ")[0]  # without our advice
    name = requested_model(call.request) if "model" in message.lower() else None
    seconds = min(_LOOKUP_SECONDS, call.deadline.left())
    if name is None or seconds <= 0:
        return
    lookup = executor.with_policy(executor.retry, Timeouts(seconds, seconds, deadline=seconds))
    lookup.limiter, lookup.cancel_group = Limiter(), None
    headers = {name: value for name, value in call.options.headers.items() if name.lower() != "x-request-id"}
    options = RequestOptions(headers=headers, max_retries=0, authorization=call.options.authorization)
    try:
        models = parse_response(lookup.fetch(Request("GET", "/models"), options), Models)
    except GigaClientError:
        return
    advice = advice_for(name, models.data, call.request.path)
    if advice:
        failure.message = f"{message}: {advice} - get_models() lists what this key may use"
        failure.args = (failure.message,)


def requested_model(request: Request) -> str | None:
    """Return the model named in the request's body or path, or None."""
    path = request.path.partition("?")[0]
    _, separator, name = path.rpartition("/models/")
    if separator and "/" not in name:
        return unquote(name)
    if request.body is None or request.content_type != "application/json":
        return None
    body = decode_or_none(request.body)
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) and model else None


def advice_for(unknown: str, models: Iterable[Model], path: str) -> str:
    """Return advice for an unknown model name, or an empty string.

    Args:
        unknown: the unknown name.
        models: the models of the service.
        path: the path of the request.
    """
    type_ = next((type_ for end, type_ in _MODEL_TYPES if path.partition("?")[0].endswith(end)), None)
    known = list(models)
    suitable = [model.id for model in known if type_ is None or model.type in (type_, None)]
    base_name = unknown.partition(":")[0]
    other = next((model.type for model in known if model.id == base_name and model.id not in suitable), None)
    if other is not None:
        return (
            f"{base_name} is of type {other}, and this wants one of type {type_}: {_join_names(suitable[:_MAX_LISTED])}"
        )
    folded: dict[str, str] = {}
    for name in suitable:
        folded.setdefault(name.casefold(), name)
    similar = difflib.get_close_matches(base_name.casefold(), list(folded), n=_MAX_SUGGESTED)
    if similar:
        return f"did you mean {_join_names([folded[name] for name in similar])}?"
    return f"this key may use {_join_names(suitable[:_MAX_LISTED], 'and')}" if suitable else ""


def _join_names(names: list[str], word: str = "or") -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
