"""What all types have in common: records, answers, and how a body is read as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

__all__ = ["Answer", "Record", "untyped"]

_AnswerT = TypeVar("_AnswerT", bound="Answer")


def untyped(body: bytes) -> Any:
    """JSON whose known fields have been decoded already; None for what nothing can be made of."""
    # The typed decoder passes over unknown fields without looking into them: their text may not be UTF-8, their
    # numbers beyond any float, their depth beyond any stack.
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            return json.loads(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None


def _rebuild(cls: type[Any], fields: dict[str, Any], attributes: dict[str, Any]) -> Any:
    instance = cls(**fields)
    instance.__dict__.update(attributes)
    return instance


class Record(msgspec.Struct, omit_defaults=True):
    """The base of everything that has fields. Fields that are not set are not sent."""


class Answer(Record, dict=True, kw_only=True):
    """What every answer of the API has beside its own fields."""

    @property
    def raw(self) -> dict[str, Any]:
        """The answer as the server sent it, unknown fields included.

        For an answer put together from a stream: the top-level fields of its chunks, with the choices as assembled.
        """
        raw = self.__dict__.get("_raw")
        if isinstance(raw, bytes):
            raw = self.__dict__["_raw"] = untyped(raw)
        if raw is None:
            raw = self.__dict__["_raw"] = msgspec.to_builtins(self)
        return raw if isinstance(raw, dict) else {"data": raw}

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call, to quote to the service's support."""
        request_id: str | None = self.__dict__.get("_request_id")
        return request_id

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers the answer came with (names in lower case), without cookies; empty for one not from the wire."""
        headers: Mapping[str, str] = self.__dict__.get("_headers") or {}
        return headers

    def attach(
        self: _AnswerT, *, raw: Any = None, request_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> _AnswerT:
        """Note where this answer came from; ``raw`` is the body as bytes, decoded when first asked for."""
        self.__dict__.update(_raw=raw, _request_id=request_id, _headers=headers)
        return self

    # msgspec copies and pickles the fields alone; what attach() noted must travel with them.
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return _rebuild, (type(self), fields, dict(self.__dict__))

    def __copy__(self: _AnswerT) -> _AnswerT:
        copied: _AnswerT = _rebuild(*self.__reduce__()[1])
        return copied
