'''Python functions that the model may call.

Makes specifications from signatures and docstrings, converts the model's arguments, and encodes results for the API.
Pure, except that it calls the functions.

::

    from gigaclient.functions import function

    @function(examples=[("How high is the tide in Murmansk?", {"port": "Murmansk"})])
    def get_tide(port: str, day: date | None = None) -> float:
        """The height of the tide at a port, in metres. ``port`` is the port's name, ``day`` is today by default."""

The decorator is optional: it adds what a signature cannot express.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
'''

from __future__ import annotations

import datetime
import functools
import inspect
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, get_args, get_origin, get_type_hints, overload

import msgspec

from gigaclient._core.messages import encode
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.schema.docstrings import parse_docstring
from gigaclient.schema.json_schema import Omitted, TypeSchema, ValidationFailed, description_of, type_schema_of
from gigaclient.types import Function, FunctionFewShot, Record

__all__ = [
    "BUILT_IN",
    "AnyFunction",
    "BadArguments",
    "Tool",
    "as_object",
    "as_tools",
    "function",
    "function_of",
    "listed",
    "result_text",
]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

BUILT_IN = frozenset(
    {
        "code_interpreter", "get_datetime", "get_file_content", "image_generate", "memory", "model_3d_generate",
        "text2image", "text2model3d", "url_content_extraction", "web_search",
    }
)  # fmt: skip
"""The names of functions and tools that the service itself runs."""

# The API names this pattern when it refuses another name.
_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*")

AnyFunction: TypeAlias = (
    "Callable[..., Any] | Tool | Record | Mapping[str, Any] | tuple[Record | Mapping[str, Any], Callable[..., Any]]"
)
"""A function in a list of functions; see :func:`as_tools`."""

_OVERRIDES_ATTRIBUTE = "__gigaclient_function__"


class BadArguments(ValueError):
    """The model's arguments do not fit the function; the message names the path, and may be sent to the model."""


# -- specifications ----------------------------------------------------------------------------------------------------


class _Overrides(NamedTuple):
    name: str | None
    description: str | None
    examples: tuple[FunctionFewShot, ...]


@overload
def function(target: FunctionT, /) -> FunctionT: ...


@overload
def function(
    *, name: str | None = None, description: str | None = None, examples: Iterable[Any] = ()
) -> Callable[[FunctionT], FunctionT]: ...


def function(
    target: Any = None, /, *, name: str | None = None, description: str | None = None, examples: Iterable[Any] = ()
) -> Any:
    """Describe a function to the model beyond its signature and docstring; the function itself does not change.

    Args:
        target: the function, if the decorator is used without parentheses.
        name: the name for the model; the function's own by default.
        description: the purpose of the function, for the model; the first paragraph of its docstring by default.
        examples: texts of users and the arguments that the model should derive from them, as pairs
            ``(request, params)``, dicts with these two keys, or :class:`~gigaclient.types.FunctionFewShot`. The API's
            documentation strongly recommends them.

    Raises:
        ConfigError: an example has another form, or its arguments do not fit the signature.
    """

    def decorate(target: Any) -> Any:
        overrides = _Overrides(name, description, tuple(_example(example) for example in examples))
        try:
            setattr(target, _OVERRIDES_ATTRIBUTE, overrides)
        except AttributeError:
            raise ConfigError(
                f"{target!r} takes no decorator: wrap it in a function, or pass Tool(spec, call)"
            ) from None
        if examples:
            signature = _Signature.of(target)
            for example in overrides.examples:
                signature.check_example(example)
        return target

    return decorate if target is None else decorate(target)


def function_of(target: Callable[..., Any]) -> Function:
    """Return the specification of a Python function, as one of the ``functions`` of a request.

    It has the function's name, and the first paragraph of its docstring as description. Parameters are described by
    their type hints, by the docstring (Google, NumPy or reST style) and by ``Annotated[…, "text"]``. The model may omit
    a parameter with a default. The return annotation becomes ``return_parameters``, unless it allows anything.

    Raises:
        ConfigError: the model cannot call a function with this signature; the message says what to change.
    """
    return _Signature.of(target).spec()


class Tool:
    """A function for the model: its specification, and the Python function to call.

    Args:
        spec: the specification, as a :class:`~gigaclient.types.Function` (for API v2 also a
            ``ChatFunctionSpecification``) or a dict of its fields; sent unchanged.
        call: the function to call with keyword arguments; None for a function that the service runs itself
            (``{"name": "text2image"}``), or that your own code runs later.

    Raises:
        ConfigError: ``spec`` has no name, or ``call`` cannot be called with keyword arguments.
    """

    def __init__(self, spec: Record | Mapping[str, Any], call: Callable[..., Any] | None = None) -> None:
        self.spec = spec
        self.name = _spec_name(spec)
        self.call = call
        self._signature = None if call is None else _Signature.of(call, name=self.name, with_own_spec=True)

    @classmethod
    def of(cls, target: Callable[..., Any]) -> Tool:
        """Make the tool of a Python function; raise :class:`ConfigError` as :func:`function_of` does."""
        signature = _Signature.of(target)
        tool = cls.__new__(cls)
        tool.spec = spec = signature.spec()
        tool.name, tool.call, tool._signature = spec.name, target, signature
        return tool

    def arguments(self, arguments: Any) -> dict[str, Any]:
        """Convert the model's arguments to keyword arguments of the types in the signature.

        Args:
            arguments: a mapping, or the JSON of an object; None for no arguments.

        Raises:
            BadArguments: they do not fit.
        """
        if self._signature is None:
            raise ConfigError(f"{self.name} has nothing to call")
        return self._signature.convert(as_object(arguments))

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Call the function with the result of :meth:`arguments`; return its result as a JSON object.

        Raises:
            ConfigError: the result cannot be encoded as JSON.
            Exception: any exception of the function.
        """
        if self.call is None:
            raise ConfigError(f"{self.name} has nothing to call")
        result = self.call(**arguments)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigError(f"{self.name} is asynchronous: pass a function that returns when it is done")
        return result_text(result, self.name)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"


def listed(functions: Any) -> list[Any]:
    """Return the argument ``functions`` as a list; raise :class:`ConfigError` if it is not a list."""
    if isinstance(functions, (str, bytes, Mapping, msgspec.Struct, Tool)) or callable(functions):
        raise ConfigError("functions must be a list, also of one function")
    if not isinstance(functions, Iterable):
        raise ConfigError(f"functions must be a list of Python functions, not {type(functions).__name__}")
    return list(functions)


def as_tools(functions: Any) -> dict[str, Tool]:
    """Convert the argument ``functions`` to tools by name.

    Args:
        functions: Python functions; :class:`Tool` objects; specifications (dicts or
            :class:`~gigaclient.types.Function`), alone or as a pair with the function to call.

    Raises:
        ConfigError: an item is none of these, or two have the same name.
    """
    tools: dict[str, Tool] = {}
    for index, item in enumerate(listed(functions)):
        tool = _tool(item, index)
        if tool.name in tools:
            raise ConfigError(f"functions[{index}]: there are two functions called {tool.name}: rename one of them")
        tools[tool.name] = tool
    return tools


def _tool(item: Any, index: int) -> Tool:
    if isinstance(item, Tool):
        return item
    if isinstance(item, (Record, Mapping)):
        return Tool(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], (Record, Mapping)):
        return Tool(*item)
    if callable(item):
        return Tool.of(item)
    raise ConfigError(
        f"functions[{index}] must be a Python function, a Tool, a specification or a pair (specification, function), "
        f"not {type(item).__name__}"
    )


def _spec_name(spec: Any) -> str:
    # In a schema that pydantic makes, the name is the title.
    name = spec.get("name") or spec.get("title") if isinstance(spec, Mapping) else getattr(spec, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError("a function's specification needs a name, in addition to its parameters as a JSON Schema")
    return name


def _example(example: Any) -> FunctionFewShot:
    if isinstance(example, FunctionFewShot):
        return example
    if isinstance(example, Mapping) and example.keys() == {"request", "params"}:
        example = (example["request"], example["params"])
    if isinstance(example, Sequence) and len(example) == 2:
        request, params = example
        if isinstance(request, str) and isinstance(params, Mapping):
            return FunctionFewShot(request=request, params=dict(params))
    raise ConfigError('an example is a pair: the text of a user, and the arguments: ("How high is the tide?", {…})')


# -- signatures --------------------------------------------------------------------------------------------------------


class _Signature:
    """The parameters of a callable: makes their schema, and converts arguments.

    Args:
        target: the callable.
        name: its name for the model.
        type_schema: all named parameters as one object.
        rest: the type of additional keyword arguments (``**kwargs``) as a mapping; None if there are none.
        defaults: the parameters with a default; the value is True if the parameter also accepts null.
        hints: the annotations.
    """

    def __init__(
        self,
        target: Any,
        name: str,
        type_schema: TypeSchema[Any],
        rest: TypeSchema[Any] | None,
        defaults: Mapping[str, bool],
        hints: Mapping[str, Any],
    ) -> None:
        self._target = target
        self._name = name
        self._type_schema = type_schema
        self._rest = rest
        self._defaults = defaults
        self._hints = hints

    @classmethod
    def of(cls, target: Any, *, name: str | None = None, with_own_spec: bool = False) -> _Signature:
        """Read the signature of a callable.

        Args:
            target: the callable.
            name: its name for the model; by default the name of the function, which is validated.
            with_own_spec: the caller has a specification; then parameters need no annotations.

        Raises:
            ConfigError: the model cannot call it.
        """
        name = name or _name_of(target)
        _check_blocking(target, name)
        parameters, hints = _parameters(target, name, with_own_spec)
        documented = parse_docstring(_docstring(target)).parameters
        fields: list[Any] = []
        defaults: dict[str, bool] = {}
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
            description = description_of(hint) or documented.get(parameter.name, "")
            described = Annotated[hint, msgspec.Meta(description=description)] if description else hint
            if parameter.default is parameter.empty:
                fields.append((parameter.name, described))
            else:
                defaults[parameter.name] = _accepts_null(hint)
                fields.append((parameter.name, described, Omitted(parameter.default)))
        return cls(
            target,
            name,
            _parameters_schema(name, fields, forbid=rest is None),
            None if rest is None else _parameters_schema(name, rest),
            defaults,
            hints,
        )

    def spec(self) -> Function:
        """Return the specification for the model."""
        no_overrides = _Overrides(None, None, ())
        overrides: _Overrides = getattr(_unwrapped(self._target), _OVERRIDES_ATTRIBUTE, no_overrides)
        docstring = parse_docstring(_docstring(self._target))
        schema = self._type_schema.schema
        parameters: dict[str, Any] = {}
        parameters.update((key, schema[key]) for key in ("type", "properties", "required", "$defs") if key in schema)
        if self._rest is not None:
            parameters["additionalProperties"] = self._rest.schema.get("additionalProperties", True)
        return Function(
            name=self._name,
            description=overrides.description or docstring.summary or None,
            parameters=parameters,
            few_shot_examples=list(overrides.examples) or None,
            return_parameters=_return_schema(self._hints.get("return"), docstring.returns),
        )

    def convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the arguments to the annotated types; omitted arguments stay omitted."""
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
        return {**{name: value for name, value in values.items() if not isinstance(value, Omitted)}, **further}

    def _read(self, type_schema: TypeSchema[Any], arguments: Mapping[str, Any], further: str = "...") -> Any:
        try:
            return type_schema.read(encode(arguments, "the arguments"))
        except (ValidationFailed, ConfigError) as error:
            reason = str(error).partition("the answer does not fit: ")[2] or str(error)
        raise BadArguments(f"the arguments of {self._name} do not fit: {reason.replace('$[...]', f'$.{further}')}")

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._type_schema.schema["properties"])

    def check_example(self, example: FunctionFewShot) -> None:
        """Raise :class:`ConfigError` if the arguments of an example do not fit."""
        try:
            self.convert(example.params)
        except BadArguments as error:
            reason = str(error)
        else:
            return
        raise ConfigError(f"an example of {self._name} does not fit it: {reason}")


def _parameters(target: Any, name: str, with_own_spec: bool) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    reason = None
    try:
        bound = target.keywords if isinstance(target, functools.partial) else ()
        found = inspect.signature(target).parameters.values()
        return [parameter for parameter in found if parameter.name not in bound], _hints(target)
    except NameError as error:
        reason = (
            f"an annotation names {error.name!r}, which its module does not have: define it at the top of the module"
        )
    except (TypeError, ValueError) as error:
        if with_own_spec:
            return [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)], {}
        reason = f"its signature cannot be read ({error}): wrap it in a function"
    raise ConfigError(f"{name}: {reason}")


def _hints(target: Any) -> dict[str, Any]:
    target = _unwrapped(target)
    if isinstance(target, type):
        init = target.__dict__.get("__init__")
        init_hints = get_type_hints(init, include_extras=True) if inspect.isfunction(init) else {}
        return {**get_type_hints(target, include_extras=True), **init_hints, "return": Any}
    if not inspect.isroutine(target):
        target = type(target).__call__
    return get_type_hints(target, include_extras=True)


def _unwrapped(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func
    return target


def _name_of(target: Any) -> str:
    if not callable(target):
        raise ConfigError(f"a function is needed, not {type(target).__name__}")
    unwrapped = _unwrapped(target)
    overrides: _Overrides | None = getattr(unwrapped, _OVERRIDES_ATTRIBUTE, None)
    name = str((overrides and overrides.name) or getattr(unwrapped, "__name__", type(unwrapped).__name__))
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the model cannot call {name!r}: Latin letters, digits and underscores are taken; give it a name with "
            '@function(name="…")'
        )
    if name in BUILT_IN:
        raise ConfigError(
            f"{name} is a function of the service itself, which would run instead: give yours another name with "
            f'@function(name="my_{name}")'
        )
    return name


def _docstring(target: Any) -> str | None:
    unwrapped = _unwrapped(target)
    if isinstance(unwrapped, type):
        return unwrapped.__dict__.get("__doc__")  # an inherited docstring describes the base class
    if inspect.isroutine(unwrapped):
        return inspect.getdoc(unwrapped)
    return getattr(type(unwrapped).__call__, "__doc__", None) or type(unwrapped).__doc__


def _check_blocking(target: Any, name: str) -> None:
    unwrapped = _unwrapped(target)
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


# -- arguments and results ---------------------------------------------------------------------------------------------


def as_object(arguments: Any) -> Mapping[str, Any]:
    """Return the model's arguments as a mapping; raise :class:`BadArguments` if they are not an object."""
    if isinstance(arguments, (str, bytes)):
        try:
            arguments = msgspec.json.decode(arguments) if arguments.strip() else {}
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise BadArguments("the arguments are not JSON") from None
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise BadArguments(f"the arguments must be an object, not {type(arguments).__name__}")
    return arguments


def result_text(value: Any, name: str = "the function") -> str:
    """Encode a result as the text of a JSON object, which the API requires.

    Mappings, Structs, dataclasses, attrs objects, pydantic models and strings that contain a JSON object are objects
    already. Anything else becomes ``{"result": …}``. Dates, times and UUIDs are encoded as strings, sets as lists.

    Raises:
        ConfigError: the value cannot be encoded as JSON; the message names the path.
    """
    label = f"the result of {name}"
    try:
        jsonable = _to_jsonable(value)
    except RecursionError:
        raise ConfigError(f"{label} is nested too deep, or holds itself") from None
    if isinstance(jsonable, str) and _is_json_object(jsonable):
        return jsonable
    return encode(jsonable if isinstance(jsonable, Mapping) else {"result": jsonable}, label).decode()


def _is_json_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _to_jsonable(value: Any) -> Any:
    """Convert ``value`` to the types that :func:`~gigaclient._primitives.serialization.encode` supports."""
    if isinstance(value, msgspec.Struct):
        return {name: _to_jsonable(inner) for name, inner in fields_of(value).items()}
    if not isinstance(value, type):
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return dump(mode="json")
        if hasattr(type(value), "__dataclass_fields__"):
            return {name: _to_jsonable(getattr(value, name)) for name in type(value).__dataclass_fields__}
        if hasattr(type(value), "__attrs_attrs__"):
            return {field.name: _to_jsonable(getattr(value, field.name)) for field in type(value).__attrs_attrs__}
    if isinstance(value, Mapping):
        return {name: _to_jsonable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_jsonable(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_to_jsonable(inner) for inner in value), key=lambda inner: (str(type(inner)), str(inner)))
    if isinstance(value, _TYPES_AS_TEXT):
        return msgspec.to_builtins(value)
    return value


_TYPES_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, uuid.UUID)
