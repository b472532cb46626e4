"""The bases of all types: ``Record`` with the official SDK's methods, and ``APIResponse``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.surrogates import with_whole_characters

__all__ = ["APIResponse", "Record", "untyped"]

_Fields: TypeAlias = dict[str, Any]  # within Record, dict is the method
_Echoed: TypeAlias = dict[str, str | None]

_ResponseT = TypeVar("_ResponseT", bound="APIResponse")
_RecordT = TypeVar("_RecordT", bound="Record")


def untyped(body: bytes) -> Any:
    """Decode a JSON body whose known fields were decoded before; return None if that fails."""
    # The typed decoder does not check unknown fields: they may hold invalid UTF-8, numbers beyond any float, or more
    # levels than the stack permits.
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        try:
            return json.loads(with_whole_characters(body))
        except (ValueError, RecursionError):
            return None


def _rebuild(cls: type[Any], fields: dict[str, Any], attributes: dict[str, Any]) -> Any:
    instance = cls(**fields)
    instance.__dict__.update(attributes)
    return instance


class Record(msgspec.Struct, omit_defaults=True):
    """The base of all types with fields. Fields that are not set are not sent.

    It has the methods of pydantic models that scripts for the official SDK use: ``model_dump``, ``model_dump_json``,
    ``model_validate`` and a few more. ``id_``, ``object_``, ``bytes_``, ``schema_`` and ``type_`` are the official
    names of the fields without the underscore.
    """

    _aliased: ClassVar[frozenset[str]] = frozenset({"id", "object", "bytes", "schema"})
    """Fields whose official name ends in an underscore; ``model_dump`` uses that name."""

    @classmethod
    def _prepared(cls, fields: _Fields) -> _Fields:
        """Convert the input of :meth:`model_validate` into fields; for types with several input forms."""
        return fields

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Most fields of most responses are None, and would hide the others.
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, value) for name, value in shown if value is not None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    # Not __getattr__: type checkers would accept every misspelt name.
    @property
    def id_(self) -> Any:
        """The field ``id`` by its official name."""
        return self._field("id")

    @property
    def object_(self) -> Any:
        """The field ``object`` by its official name."""
        return self._field("object")

    @property
    def bytes_(self) -> Any:
        """The field ``bytes`` by its official name."""
        return self._field("bytes")

    @property
    def schema_(self) -> Any:
        """The field ``schema`` by its official name."""
        return self._field("schema")

    @property
    def type_(self) -> Any:
        """The field ``type`` by its official name."""
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
        """Return the fields as a dict, nested records included.

        Args:
            mode: ``"python"``, or ``"json"`` for JSON values only.
            include: names of fields, as a set, or as a mapping of names to selections within them
                (``{"choices": {0: {"message"}}}``; ``"__all__"`` for each item of a list).
            exclude: in the same form as ``include``.
            by_alias: False uses the official SDK's names (``id_``, ``object_``), True the API's.
            exclude_none: omit fields that are None.
            exclude_unset: as ``exclude_defaults``.
            exclude_defaults: omit fields that have their default.

        Unknown fields of a response are not included; they are in ``.raw``.
        """
        from gigaclient.types import conversions

        return conversions.dumped(
            self,
            conversions.DumpOptions(
                json=mode == "json",
                by_alias=by_alias,
                exclude_none=exclude_none,
                exclude_defaults=exclude_defaults or exclude_unset,
            ),
            include,
            exclude,
        )

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the fields as JSON, on one line or indented; ``options`` as for :meth:`model_dump`."""
        from gigaclient.types import conversions

        return conversions.as_json(self.model_dump(**{**options, "mode": "json"}), indent)

    @classmethod
    def model_validate(cls: type[_RecordT], obj: Any) -> _RecordT:
        """Create a record from a dict; return a record of this type unchanged.

        Fields may have the API's or the official SDK's names. Unknown fields are ignored.

        Raises:
            ConfigError: (a ``ValueError``) a required field is missing, or a value has a wrong type.
        """
        from gigaclient.types import conversions

        if isinstance(obj, cls):
            return obj
        record = conversions.validated(cls, obj, lenient=issubclass(cls, APIResponse))
        if isinstance(record, APIResponse) and isinstance(obj, Mapping):
            record.attach(raw=_Fields(obj))
        return record

    @classmethod
    def model_validate_json(cls: type[_RecordT], json_data: str | bytes) -> _RecordT:
        """Create a record from JSON text, as :meth:`model_validate`."""
        from gigaclient.types import conversions

        return cls.model_validate(conversions.from_json(json_data))

    @classmethod
    def model_json_schema(cls) -> _Fields:
        """Return the JSON Schema of this type, with the API's names."""
        from gigaclient.types import conversions

        return conversions.json_schema(cls)

    def model_copy(self: _RecordT, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _RecordT:
        """Return a copy with the fields of ``update``; ``deep`` copies nested values too.

        Raises:
            ConfigError: there is no such field.
        """
        from gigaclient.types import conversions

        return conversions.copied(self, update, deep)

    def copy(self: _RecordT, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _RecordT:
        """Return a copy: :meth:`model_copy` by its pydantic 1 name."""
        return self.model_copy(update=update, deep=deep)

    @classmethod
    def parse_obj(cls: type[_RecordT], obj: Any) -> _RecordT:
        """Create a record from a dict: :meth:`model_validate` by its pydantic 1 name."""
        return cls.model_validate(obj)

    def json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return JSON: :meth:`model_dump_json` by its pydantic 1 name."""
        return self.model_dump_json(indent=indent, **options)

    def dict(self, **options: Any) -> _Fields:
        """Return a dict: :meth:`model_dump` by its pydantic 1 name."""
        return self.model_dump(**options)


class APIResponse(Record, dict=True, kw_only=True):
    """The base of all API responses: the raw body, the request id and the headers."""

    @property
    def raw(self) -> _Fields:
        """The response body as the server sent it, unknown fields included.

        For the result of a stream: the top-level fields of its chunks, and the accumulated choices.
        """
        raw = self.__dict__.get("_raw")
        if isinstance(raw, bytes):
            raw = self.__dict__["_raw"] = untyped(raw)
        if raw is None:
            raw = self.__dict__["_raw"] = msgspec.to_builtins(self)
        return raw if isinstance(raw, dict) else {"data": raw}

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call, for the service's support."""
        request_id: str | None = self.__dict__.get("_request_id")
        return request_id

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers without cookies, names in lower case; empty if it was not received from a server."""
        headers: Mapping[str, str] = self.__dict__.get("_headers") or {}
        return headers

    @property
    def x_headers(self) -> _Echoed | None:
        """The ids that the server echoed, by their official name; None if it was not received from a server.

        The keys are ``x-request-id``, ``x-session-id`` and ``x-client-id``; :attr:`headers` has all headers.
        """
        headers, request_id = self.headers, self.request_id
        if not headers and request_id is None:
            return None
        echoed = {name: headers.get(name) for name in ("x-request-id", "x-session-id", "x-client-id")}
        return {**echoed, "x-request-id": echoed["x-request-id"] or request_id}

    def attach(
        self: _ResponseT, *, raw: Any = None, request_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> _ResponseT:
        """Store the metadata of this response; ``raw`` is the body in bytes, which is decoded at first use."""
        self.__dict__.update(_raw=raw, _request_id=request_id, _headers=headers)
        return self

    # msgspec copies and pickles only the fields; this adds the metadata of attach().
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return _rebuild, (type(self), fields, dict(self.__dict__))

    def __copy__(self: _ResponseT) -> _ResponseT:
        copied: _ResponseT = _rebuild(*self.__reduce__()[1])
        return copied
