"""Which model was meant by a name that the service does not know. Pure; loaded when the first such name turns up."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import unquote

import msgspec

from gigaclient.transport.request import Request
from gigaclient.types.models import Model

__all__ = ["asked_for", "meant"]

_MOST_SHOWN = 3
_MOST_LISTED = 8

# What an endpoint's models are for, where it takes one kind alone.
_KINDS = (("/chat/completions", "chat"), ("/embeddings", "embedder"), ("/ai/check", "aicheck"))


def asked_for(request: Request) -> str | None:
    """The model that a call names, in its body or in its path; None where it names none."""
    place = request.path.partition("?")[0]
    _, found, name = place.rpartition("/models/")
    if found and "/" not in name:
        return unquote(name)
    if request.body is None or request.content_type != "application/json":
        return None
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) and model else None


def meant(asked: str, models: Iterable[Model], place: str) -> str:
    """What to say of the model ``asked``, given those that there are; ``place`` is the path it was asked at."""
    kind = next((kind for end, kind in _KINDS if place.partition("?")[0].endswith(end)), None)
    known = list(models)
    fitting = [model.id for model in known if kind is None or model.type in (kind, None)]
    bare = asked.partition(":")[0]
    other = next((model.type for model in known if model.id == bare and model.id not in fitting), None)
    if other is not None:
        return f"{bare} is of type {other}, and this wants one of type {kind}: {_listed(fitting[:_MOST_LISTED])}"
    folded: dict[str, str] = {}
    for name in fitting:
        folded.setdefault(name.casefold(), name)
    close = difflib.get_close_matches(bare.casefold(), list(folded), n=_MOST_SHOWN)
    if close:
        return f"did you mean {_listed([folded[name] for name in close])}?"
    return f"this key may use {_listed(fitting[:_MOST_LISTED], 'and')}" if fitting else ""


def _listed(names: list[str], word: str = "or") -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
