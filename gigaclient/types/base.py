"""The bases of all types: ``Record`` with the official SDK's methods, and ``APIResponse``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import msgspec
import msgspec.structs

from gigaclient._primitives.packing import packed, unpacked
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.surrogates import with_whole_characters
from gigaclient.types.construction import converted, keep_nested, keep_unknown

__all__ = ["APIResponse", "Record", "SharedMetadata", "set_attribute", "set_metadata", "untyped"]

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


def _rebuild(cls: type[_RecordT], fields: _Fields, hidden: _Fields) -> _RecordT:
    record: _RecordT = msgspec.StructMeta.__call__(cls, **unpacked(fields))  # as they are
    if hidden:
        record._store(**unpacked(hidden))
    return record


if TYPE_CHECKING:
    # Type checkers see the fields in the constructors.
    RecordMeta = msgspec.StructMeta
else:
    _ATOMS = frozenset({str, int, float, bool, type(None)})

    class RecordMeta(msgspec.StructMeta):
        """The class of record types, whose constructors convert nested dicts and keep unknown fields.

        A metaclass, because the constructor of a Struct cannot be overridden. Decoders do not call it.
        """

        def __new__(mcls, name, bases, namespace, **options):
            if bases != (msgspec.Struct,):
                # A place for unknown fields and metadata; msgspec has none for types that the collector skips.
                options.setdefault("dict", options.get("gc", True))
                # Each class with such a place would get a __dict__ of its own, with that place in it.
                namespace.setdefault("__dict__", Record.__dict__["__dict__"])
                if options["dict"]:
                    # Not in Record: with them, each attribute of the parts of a chunk would cost twice as much.
                    namespace.setdefault("__getattr__", _get_unknown)
                    namespace.setdefault("__setattr__", _set_attribute)
            return super().__new__(mcls, name, bases, namespace, **options)

        def __call__(cls, *args, **kwargs):
            if kwargs.keys() <= _field_names(cls) and _ATOMS.issuperset(map(type, (*args, *kwargs.values()))):
                return super().__call__(*args, **kwargs)
            args, fields, unknown = converted(cls, args, kwargs)
            record = super().__call__(*args, **fields)
            if unknown:
                keep_unknown(record, unknown)
            return record


# Called directly for metadata: each response and each chunk of a stream has some.
set_attribute = msgspec.Struct.__setattr__


class SharedMetadata:
    """A second base of chunks: a slot for the metadata, which costs less than a dict for each of many chunks.

    The slot holds a pair: the data of the event, and a dict with what all chunks of the stream have.
    """

    __slots__ = ("_hidden",)


set_metadata = SharedMetadata.__dict__["_hidden"].__set__


def _set(record: Any, name: str, value: Any) -> None:
    if issubclass(type(record), SharedMetadata):
        # Struct.__setattr__ refuses records with a second base. It would also start to track the record for the garbage
        # collector, which a chunk does not need: its choices are a list, so it is tracked from the beginning.
        msgspec.structs.force_setattr(record, name, value)
    else:
        set_attribute(record, name, value)


def _get_unknown(self: Any, name: str) -> Any:
    if not name.startswith("_") and name in self._unknown:
        return self._unknown[name]
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _set_attribute(self: Any, name: str, value: Any) -> None:
    if name not in self.__struct_fields__ and not name.startswith("_"):
        if name in self._unknown:
            self._store(given={**self._given, name: value})
            return
        name = name.removesuffix("_")
        if name not in self.__struct_fields__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
    _set(self, name, value)


class _DataclassAttribute:
    """An attribute that dataclasses have. FastAPI and others treat types with it as bodies, and dump them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, record: Any, owner: Any) -> Any:
        from gigaclient.types import conversions

        return getattr(conversions.dataclass_of(owner), self._name)


@functools.cache
def _field_names(cls: Any) -> frozenset[str]:
    return frozenset(cls.__struct_fields__)


class Record(msgspec.Struct, metaclass=RecordMeta, omit_defaults=True):
    """The base of all types with fields. Fields that are not set are not sent.

    It has the methods of pydantic models that scripts for the official SDK use: ``model_dump``, ``model_dump_json``,
    ``model_validate`` and a few more. It iterates as pairs of name and value, and it is a type for pydantic.
    ``id_``, ``object_``, ``bytes_``, ``schema_`` and ``type_`` are the official names of the fields without the
    underscore. Unknown fields are kept: as attributes, in dumps, and in requests.
    """

    _aliased: ClassVar[frozenset[str]] = frozenset({"id", "object", "bytes", "schema"})
    """Fields whose official name ends in an underscore; ``model_dump`` uses that name."""

    _needed: ClassVar[Mapping[str, str]] = {}
    """By field, the name without which a nested dict stays a dict, so that the call refuses it."""

    @classmethod
    def _prepared(cls, fields: _Fields) -> _Fields:
        """Convert the arguments of the constructor into fields; for types with several input forms."""
        return fields

    @property
    def _given(self) -> Mapping[str, Any]:
        """The unknown fields that the constructor was called with. Requests have them."""
        given: Mapping[str, Any] = self._metadata.get("given") or {}
        return given

    @property
    def _unknown(self) -> Mapping[str, Any]:
        """All unknown fields: those given, and those of the response that this record was received in."""
        return {**self._metadata.get("received", {}), **self._given}

    @property
    def _metadata(self) -> Mapping[str, Any]:
        """The values that are stored with the record and are not fields: the raw response, unknown fields."""
        try:
            metadata: Mapping[str, Any] | tuple[bytes, _Fields] = object.__getattribute__(self, "_hidden")
        except AttributeError:
            return {}
        if isinstance(metadata, tuple):
            data, shared = metadata
            return {"raw": data, **shared}
        return metadata

    def _store(self, **values: Any) -> None:
        """Add metadata."""
        _set(self, "_hidden", {**self._metadata, **values})

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield pairs of name and value, as pydantic does, so that ``dict(record)`` works."""
        unknown = self._unknown
        for name in self.__struct_fields__:
            yield (f"{name}_" if name in self._aliased else name), getattr(self, name)
        yield from unknown.items()

    if not TYPE_CHECKING:  # type checkers would accept every misspelt name
        __dataclass_fields__ = _DataclassAttribute("__dataclass_fields__")
        __dataclass_params__ = _DataclassAttribute("__dataclass_params__")

        @property
        def __dict__(self) -> _Fields:
            """The fields, for ``vars(record)``."""
            return _Fields(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Most fields of most responses are None, and would hide the others.
        shown = [*((name, getattr(self, name)) for name in self.__struct_fields__), *self._given.items()]
        return [(name, value) for name, value in shown if value is not None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    # msgspec copies and pickles only the fields; these add the rest.
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return _rebuild, (type(self), packed(fields), packed(self._metadata))

    def __copy__(self: _RecordT) -> _RecordT:
        copied: _RecordT = _rebuild(*self.__reduce__()[1])
        return copied

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

        Unknown fields are included.
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

        Fields may have the API's or the official SDK's names. Unknown fields are kept.

        Raises:
            ConfigError: (a ``ValueError``) a required field is missing, or a value has a wrong type.
        """
        from gigaclient.types import conversions

        if isinstance(obj, cls):
            return obj
        return conversions.validated(cls, obj)

    @classmethod
    def model_validate_json(cls: type[_RecordT], json_data: str | bytes) -> _RecordT:
        """Create a record from JSON text, as :meth:`model_validate`."""
        from gigaclient.types import conversions

        return cls.model_validate(conversions.from_json(json_data))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Describe this type to pydantic, which calls this."""
        from gigaclient.types.pydantic_schema import record_schema

        return record_schema(cls, handler.generate_schema)

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


class APIResponse(Record, kw_only=True):
    """The base of all API responses: the raw body, the request id and the headers."""

    @property
    def raw(self) -> _Fields:
        """The response body as the server sent it, unknown fields included.

        For the result of a stream: the top-level fields of its chunks, and the accumulated choices.
        """
        sent = raw = self._metadata.get("raw")
        if isinstance(raw, bytes):
            raw = untyped(raw)
        if raw is None:
            raw = msgspec.to_builtins(self)
        if raw is not sent:
            self._store(raw=raw)
        return raw if isinstance(raw, dict) else {"data": raw}

    @property
    def _unknown(self) -> Mapping[str, Any]:
        metadata = self._metadata
        if "received" not in metadata and metadata.get("raw") is not None:
            keep_nested(self, self.raw, "received")
        return super()._unknown

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call, for the service's support."""
        request_id: str | None = self._metadata.get("request_id")
        return request_id

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers without cookies, names in lower case; empty if it was not received from a server."""
        headers: Mapping[str, str] = self._metadata.get("headers") or {}
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
        self._store(raw=raw, request_id=request_id, headers=headers)
        return self
