"""Suggestions for a model name that the service does not know. Pure; loaded at the first such error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import unquote

from gigaclient._primitives.serialization import decode_or_none
from gigaclient.transport.request import Request
from gigaclient.types.models import Model

__all__ = ["advice_for", "requested_model"]

_MAX_SUGGESTED = 3
_MAX_LISTED = 8

# The type of model that an endpoint takes, for endpoints that take only one.
_MODEL_TYPES = (("/chat/completions", "chat"), ("/embeddings", "embedder"), ("/ai/check", "aicheck"))


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
