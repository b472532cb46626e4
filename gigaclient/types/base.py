"""What all types have in common: records, answers, and how a body is read as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

import msgspec

__all__ = ["APIResponse", "Record", "untyped"]

_Fields: TypeAlias = dict[str, Any]  # within Record, dict is the method
_Echoed: TypeAlias = dict[str, str | None]

_AnswerT = TypeVar("_AnswerT", bound="APIResponse")
_RecordT = TypeVar("_RecordT", bound="Record")


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
    """The base of everything that has fields. Fields that are not set are not sent.

    Scripts written for the official SDK, whose types are pydantic models, find the methods that they used of those
    here: ``model_dump``, ``model_dump_json``, ``model_validate`` and a few more, and ``id_``, ``object_``, ``bytes_``,
    ``schema_`` and ``type_`` for the fields of those names without the underscore.
    """

    _aliased: ClassVar[frozenset[str]] = frozenset({"id", "object", "bytes", "schema"})
    """Fields that the official SDK calls by their name and an underscore; ``model_dump`` does so too."""

    @classmethod
    def _prepared(cls, given: _Fields) -> _Fields:
        """What :meth:`model_validate` was given, as fields of this type: for types that are known in other forms."""
        return given

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Most fields of most answers are absent, and a line of "=None" hides the others.
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, value) for name, value in shown if value is not None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    # Not by __getattr__, which would have every misspelt name pass a type checker.
    @property
    def id_(self) -> Any:
        """``id``, as the official SDK calls it."""
        return self._field("id")

    @property
    def object_(self) -> Any:
        """``object``, as the official SDK calls it."""
        return self._field("object")

    @property
    def bytes_(self) -> Any:
        """``bytes``, as the official SDK calls it."""
        return self._field("bytes")

    @property
    def schema_(self) -> Any:
        """``schema``, as the official SDK calls it."""
        return self._field("schema")

    @property
    def type_(self) -> Any:
        """``type``, as the official SDK calls it."""
        return self._field("type")

    def _field(self, name: str) -> Any:
        if name in self.__struct_fields__:
            return getattr(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name + '_'!r}")

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Any = None,
        exclude: Any = None,
        by_alias: bool = False,
        exclude_none: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
    ) -> _Fields:
        """The fields as a dict, those of nested records too.

        Args:
            mode: ``"python"``, or ``"json"`` for values that JSON has.
            include, exclude: names of fields, as a set, or as a mapping of names to what holds within them
                (``{"choices": {0: {"message"}}}``; ``"__all__"`` for each item of a list).
            by_alias: False names the fields as the official SDK does (``id_``, ``object_``), True as the API does.
            exclude_none: leave out what is None.
            exclude_unset, exclude_defaults: leave out what has its default.

        What the server sent beside the known fields is not here; an answer has it in ``.raw``.
        """
        from gigaclient.types import conversions

        return conversions.dumped(
            self,
            conversions.Wanted(
                json=mode == "json",
                by_alias=by_alias,
                exclude_none=exclude_none,
                exclude_defaults=exclude_defaults or exclude_unset,
            ),
            include,
            exclude,
        )

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """The same as JSON, on one line or with ``indent`` spaces a level; ``options`` as for :meth:`model_dump`."""
        from gigaclient.types import conversions

        return conversions.as_json(self.model_dump(**{**options, "mode": "json"}), indent)

    @classmethod
    def model_validate(cls: type[_RecordT], obj: Any) -> _RecordT:
        """A record of a dict (or of such a record, which is returned as it is).

        Fields may be named as the API does or as the official SDK does. Unknown ones are passed over.

        Raises:
            ConfigError: (a ``ValueError``) a required field is missing, or a value cannot be what it must be.
        """
        from gigaclient.types import conversions

        if isinstance(obj, cls):
            return obj
        made = conversions.validated(cls, obj, lenient=issubclass(cls, APIResponse))
        if isinstance(made, APIResponse) and isinstance(obj, Mapping):
            made.attach(raw=_Fields(obj))
        return made

    @classmethod
    def model_validate_json(cls: type[_RecordT], json_data: str | bytes) -> _RecordT:
        """A record of JSON text; as :meth:`model_validate`."""
        from gigaclient.types import conversions

        return cls.model_validate(conversions.from_json(json_data))

    @classmethod
    def model_json_schema(cls) -> _Fields:
        """JSON Schema of this type, with the API's names."""
        from gigaclient.types import conversions

        return conversions.json_schema(cls)

    def model_copy(self: _RecordT, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _RecordT:
        """A copy, with the fields of ``update`` in place of its own; ``deep`` copies what it holds as well.

        Raises:
            ConfigError: there is no such field.
        """
        from gigaclient.types import conversions

        return conversions.copied(self, update, deep)

    def copy(self: _RecordT, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _RecordT:
        """:meth:`model_copy`, by the name it had in pydantic 1."""
        return self.model_copy(update=update, deep=deep)

    @classmethod
    def parse_obj(cls: type[_RecordT], obj: Any) -> _RecordT:
        """:meth:`model_validate`, by the name it had in pydantic 1."""
        return cls.model_validate(obj)

    def json(self, *, indent: int | None = None, **options: Any) -> str:
        """:meth:`model_dump_json`, by the name it had in pydantic 1."""
        return self.model_dump_json(indent=indent, **options)

    def dict(self, **options: Any) -> _Fields:
        """:meth:`model_dump`, by the name it had in pydantic 1."""
        return self.model_dump(**options)


class APIResponse(Record, dict=True, kw_only=True):
    """What every answer of the API has beside its own fields."""

    @property
    def raw(self) -> _Fields:
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

    @property
    def x_headers(self) -> _Echoed | None:
        """The ids of the call as the server echoed them, under the official SDK's name; None for one not from the wire.

        The keys are ``x-request-id``, ``x-session-id`` and ``x-client-id``; :attr:`headers` has all headers.
        """
        headers, request_id = self.headers, self.request_id
        if not headers and request_id is None:
            return None
        echoed = {name: headers.get(name) for name in ("x-request-id", "x-session-id", "x-client-id")}
        return {**echoed, "x-request-id": echoed["x-request-id"] or request_id}

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
