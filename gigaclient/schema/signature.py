"""The signature of a Python function: the schema of its parameters, and the conversion of arguments. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS, SerializationError, encode
from gigaclient.errors import ConfigError
from gigaclient.schema.descriptions import description_of, unresolved_name
from gigaclient.schema.docstrings import Docstring, parse_docstring
from gigaclient.schema.generator import Omitted
from gigaclient.schema.json_schema import TypeSchema, type_schema_of
from gigaclient.schema.repair import decode_texts
from gigaclient.schema.unions import with_unions
from gigaclient.schema.validation import ValidationFailed, in_words

__all__ = ["Signature", "unwrap"]


class Signature:
    """The parameters of a callable: makes their schema, and converts arguments.

    Args:
        name: its name for the model.
        type_schema: all named parameters as one object.
        rest: the type of additional keyword arguments (``**kwargs``) as a mapping; None if there are none.
        defaults: the parameters with a default; the value is True if the parameter also accepts null.
        hints: the annotations.
        docstring: the parsed docstring.
        makers: make the defaults that the function does not have itself, because they are in ``Field(…)``.
    """

    def __init__(
        self,
        name: str,
        type_schema: TypeSchema[Any],
        rest: TypeSchema[Any] | None,
        defaults: Mapping[str, bool],
        hints: Mapping[str, Any],
        docstring: Docstring,
        makers: Mapping[str, Callable[[], Any]],
    ) -> None:
        self.name = name
        self._type_schema = type_schema
        self._rest = rest
        self._defaults = defaults
        self._hints = hints
        self.docstring = docstring
        self._makers = makers

    @classmethod
    def of(cls, target: Any, name: str, *, with_own_spec: bool = False) -> Signature:
        """Read the signature of a callable.

        Args:
            target: the callable.
            name: its name for the model.
            with_own_spec: the caller has a specification; then parameters need no annotations.

        Raises:
            ConfigError: the model cannot call it.
        """
        _check_blocking(target, name)
        parameters, hints = _parameters(target, name, with_own_spec)
        docstring = parse_docstring(_docstring(target))
        fields: list[Any] = []
        defaults: dict[str, bool] = {}
        makers: dict[str, Callable[[], Any]] = {}
        rest: Any = None
        for parameter in parameters:
            hint = hints.get(parameter.name, Any if with_own_spec else None)
            if parameter.kind is parameter.POSITIONAL_ONLY or (
                parameter.kind is parameter.VAR_POSITIONAL and not with_own_spec
            ):
                raise ConfigError(
                    f"{name}: the model passes arguments by name, and {parameter.name!r} has none; for several values "
                    "write a parameter that is a list"
                )
            if parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if hint is None:
                raise ConfigError(f"{name}: annotate {parameter.name!r} with its type, for the model to know it")
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = hint
                continue
            field = _Field.of(parameter)
            description = field.description or description_of(hint) or docstring.parameters.get(parameter.name, "")
            type_ = with_unions(hint)
            described = Annotated[type_, msgspec.Meta(description=description)] if description else type_
            if field.default is parameter.empty:
                fields.append((parameter.name, described))
                continue
            defaults[parameter.name] = _accepts_null(hint)
            fields.append((parameter.name, described, Omitted(field.default)))
            if field.make_default is not None:
                makers[parameter.name] = field.make_default
        return cls(
            name,
            _parameters_schema(name, fields, forbid=rest is None),
            None if rest is None else _parameters_schema(name, rest),
            defaults,
            hints,
            docstring,
            makers,
        )

    def parameters(self) -> dict[str, Any]:
        """Return the schema of the parameters for a specification."""
        schema = self._type_schema.schema
        parameters: dict[str, Any] = {}
        parameters.update((key, schema[key]) for key in ("type", "properties", "required", "$defs") if key in schema)
        if self._rest is not None:
            parameters["additionalProperties"] = self._rest.schema.get("additionalProperties", True)
        return parameters

    def return_parameters(self) -> dict[str, Any] | None:
        """Return the schema of results; None if the return annotation allows anything."""
        return _return_schema(self._hints.get("return"), self.docstring.returns)

    def convert(
        self, arguments: Mapping[str, Any], *, repair: bool = True, repairs: list[str] | None = None
    ) -> dict[str, Any]:
        """Convert the arguments to the annotated types; omitted arguments stay omitted.

        Args:
            arguments: the arguments of the model.
            repair: read JSON text where the signature has a list or an object.
            repairs: gets a sentence for each such text.

        Raises:
            ValidationFailed: they do not fit; the message names the function and the path, and says what to send.
        """
        try:
            return self._convert(arguments)
        except ValidationFailed as error:
            failure = error
        notes: list[str] = []
        if repair:
            arguments = self._decode_texts(arguments, notes)
        if not notes:
            raise failure
        converted = self._convert(arguments)
        if repairs is not None:
            repairs.extend(notes)
        return converted

    def _decode_texts(self, arguments: Mapping[str, Any], notes: list[str]) -> Mapping[str, Any]:
        schema = self._type_schema.schema
        if self._rest is not None:
            schema = {**schema, "additionalProperties": self._rest.schema.get("additionalProperties")}
        try:
            decoded: Mapping[str, Any] = decode_texts(dict(arguments), schema, notes)
        except JSON_ERRORS:  # nested too deep
            notes.clear()
            return arguments
        return decoded

    def _convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        # Models send null for an argument that they omit.
        known = {
            name: value for name, value in arguments.items() if value is not None or self._defaults.get(name, True)
        }
        further: dict[str, Any] = {}
        if self._rest is not None:
            names = self._names
            further = {name: known.pop(name) for name in list(known) if name not in names}
            for name, value in further.items():
                further[name] = self._read(self._rest, {name: value}, further=name)[name]
        struct = self._read(self._type_schema, known)
        values = {name: getattr(struct, name) for name in self._names}
        given = {name: value for name, value in values.items() if not isinstance(value, Omitted)}
        made = {name: make() for name, make in self._makers.items() if name not in given}
        return {**given, **made, **further}

    def _read(self, type_schema: TypeSchema[Any], arguments: Mapping[str, Any], further: str = "...") -> Any:
        try:
            return type_schema.read(encode(arguments, "the arguments"))
        except (ValidationFailed, SerializationError) as error:
            reason = in_words(str(error).partition("the answer does not fit: ")[2] or str(error))
        raise ValidationFailed(f"the arguments of {self.name} do not fit: {reason.replace('$[...]', f'$.{further}')}")

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._type_schema.schema["properties"])


class _Field(NamedTuple):
    """The default of a parameter, and its description if the default is ``Field(…)`` of pydantic."""

    default: Any
    description: str = ""
    make_default: Callable[[], Any] | None = None

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> _Field:
        """Read the default of ``parameter``."""
        default: Any = parameter.default
        # By its methods, because pydantic is not imported here.
        if not (callable(getattr(default, "is_required", None)) and callable(getattr(default, "get_default", None))):
            return cls(default)
        description = " ".join(str(default.description or "").split())
        if default.is_required():
            return cls(parameter.empty, description)

        def make() -> Any:
            return default.get_default(call_default_factory=True)

        return cls(make(), description, make)


def _parameters(target: Any, name: str, with_own_spec: bool) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    reason = None
    try:
        bound = target.keywords if isinstance(target, functools.partial) else ()
        found = inspect.signature(target).parameters.values()
        return [parameter for parameter in found if parameter.name not in bound], _hints(target)
    except NameError as error:
        reason = unresolved_name(error)
    except (TypeError, ValueError) as error:
        if with_own_spec:
            return [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)], {}
        reason = f"its signature cannot be read ({error}): wrap it in a function"
    raise ConfigError(f"{name}: {reason}")


def _hints(target: Any) -> dict[str, Any]:
    target = unwrap(target)
    if isinstance(target, type):
        init = target.__dict__.get("__init__")
        init_hints = get_type_hints(init, include_extras=True) if inspect.isfunction(init) else {}
        return {**get_type_hints(target, include_extras=True), **init_hints, "return": Any}
    if not inspect.isroutine(target):
        target = type(target).__call__
    return get_type_hints(target, include_extras=True)


def unwrap(target: Any) -> Any:
    """Return the function inside nested ``functools.partial`` objects."""
    while isinstance(target, functools.partial):
        target = target.func
    return target


def _docstring(target: Any) -> str | None:
    unwrapped = unwrap(target)
    if isinstance(unwrapped, type):
        return unwrapped.__dict__.get("__doc__")  # an inherited docstring describes the base class
    if inspect.isroutine(unwrapped):
        return inspect.getdoc(unwrapped)
    return getattr(type(unwrapped).__call__, "__doc__", None) or type(unwrapped).__doc__


def _check_blocking(target: Any, name: str) -> None:
    unwrapped = unwrap(target)
    for candidate in (unwrapped, getattr(unwrapped, "__call__", None)):  # noqa: B004
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise ConfigError(f"{name} is asynchronous: pass a function that returns when it is done")
        if inspect.isgeneratorfunction(candidate):
            raise ConfigError(f"{name} is a generator: pass a function that returns its whole result")


def _parameters_schema(name: str, parameters: Any, *, forbid: bool = True) -> TypeSchema[Any]:
    """Return the schema of a list of fields, or of a mapping to one type; an error names the invalid parameter."""
    reason = None
    try:
        if isinstance(parameters, list):
            struct: Any = msgspec.defstruct(name, parameters, kw_only=True, forbid_unknown_fields=forbid)
            return type_schema_of(struct, strict=False)
        return type_schema_of(dict[str, parameters], strict=False)
    except (ConfigError, TypeError, ValueError) as error:
        reason = str(error)
    for field in parameters if isinstance(parameters, list) else ():
        try:
            type_schema_of(field[1], strict=False)
        except ConfigError as error:
            raise ConfigError(f"{name}: the parameter {field[0]!r}: {error}") from None
    raise ConfigError(f"{name}: {reason}")


def _accepts_null(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is Any or hint is None or type(None) in get_args(hint)


def _return_schema(hint: Any, description: str) -> dict[str, Any] | None:
    """Return the schema of results; None if the annotation allows anything."""
    if hint is None or hint is Any or hint is type(None):
        return None
    try:
        type_schema = type_schema_of(hint, strict=False)
    except ConfigError:
        return None
    schema = dict(type_schema.schema)
    if type_schema.wrapped:
        inner = schema["properties"]["value"]
        if "anyOf" in inner:
            return None  # results that are objects are not wrapped, so there is no common schema
        schema.update(properties={"result": inner}, required=["result"])
    elif not schema["properties"] and schema.get("additionalProperties") is True:
        return None
    return {**schema, "description": description} if description else schema
