"""Python functions that the model may call: signature and docstring in, a specification out; arguments checked, results
written as the API wants them. Pure, but for the functions themselves.

::

    from gigaclient.functions import function

    @function(examples=[("How high is the tide in Murmansk?", {"port": "Murmansk"})])
    def get_tide(port: str, day: date | None = None) -> float:
        \"\"\"The height of the tide at a port, in metres.

        Args:
            port: the port's name.
            day: today when left out.
        \"\"\"

The decorator is for what a signature cannot say; a plain function is as good.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
"""

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
from gigaclient.schema.docstrings import described
from gigaclient.schema.json_schema import Omitted, TypeSchema, ValidationFailed, note_of, type_schema_of
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
"""Names that the service itself has functions or tools under."""

# What the API says in its refusal of other names.
_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*")

AnyFunction: TypeAlias = (
    "Callable[..., Any] | Tool | Record | Mapping[str, Any] | tuple[Record | Mapping[str, Any], Callable[..., Any]]"
)
"""What can be listed as a function: see :func:`as_tools`."""

_SAID = "__gigaclient_function__"


class BadArguments(ValueError):
    """The model's arguments do not fit the function; the message, which the model may be told, names the place."""


# -- what a function says of itself ------------------------------------------------------------------------------------


class _Said(NamedTuple):
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
    """Say what a signature and a docstring cannot; the function itself stays as it is.

    Args:
        target: the function, where the decorator is used without parentheses.
        name: the name for the model; the function's own by default.
        description: what it does, for the model; the first paragraph of its docstring by default.
        examples: what users say and the arguments that should come of it, as pairs ``(request, params)``, dicts with
            these two names, or :class:`~gigaclient.types.FunctionFewShot`. The API's documentation strongly advises
            them.

    Raises:
        ConfigError: an example is none, or its arguments do not fit the signature.
    """

    def decorate(target: Any) -> Any:
        said = _Said(name, description, tuple(_example(example) for example in examples))
        try:
            setattr(target, _SAID, said)
        except AttributeError:
            raise ConfigError(
                f"{target!r} takes no decorator: wrap it in a function, or pass Tool(spec, call)"
            ) from None
        if examples:
            signature = _Signature.of(target)
            for example in said.examples:
                signature.check_example(example)
        return target

    return decorate if target is None else decorate(target)


def function_of(target: Callable[..., Any]) -> Function:
    """The specification of a Python function, to be sent as one of ``functions``.

    The name is the function's; the description is the first paragraph of its docstring; parameters are described by
    its type hints, by the docstring (Google, NumPy or reST style) and by ``Annotated[…, "text"]``. A parameter with a
    default may be left out by the model. The return annotation, where it says something, becomes
    ``return_parameters``.

    Raises:
        ConfigError: it has a signature that the model cannot serve; the message says what to change.
    """
    return _Signature.of(target).spec()


class Tool:
    """A function for the model: what it is told, and what is called.

    Args:
        spec: the specification, as a :class:`~gigaclient.types.Function` (for API v2 also a
            ``ChatFunctionSpecification``) or a dict of its fields; sent as it is.
        call: what to call with the arguments by name; None for a function that the service runs itself
            (``{"name": "text2image"}``), or that the caller wants to run by hand.

    Raises:
        ConfigError: ``spec`` is none, or ``call`` cannot be called this way.
    """

    def __init__(self, spec: Record | Mapping[str, Any], call: Callable[..., Any] | None = None) -> None:
        self.spec = spec
        self.name = _spec_name(spec)
        self.call = call
        self._signature = None if call is None else _Signature.of(call, name=self.name, by_hand=True)

    @classmethod
    def of(cls, target: Callable[..., Any]) -> Tool:
        """The tool of a Python function; raises :class:`ConfigError` as :func:`function_of`."""
        signature = _Signature.of(target)
        tool = cls.__new__(cls)
        tool.spec = spec = signature.spec()
        tool.name, tool.call, tool._signature = spec.name, target, signature
        return tool

    def arguments(self, given: Any) -> dict[str, Any]:
        """The model's arguments as keyword arguments of the types that the signature wants.

        Args:
            given: an object, or one written as JSON; None for no arguments.

        Raises:
            BadArguments: they do not fit.
        """
        if self._signature is None:
            raise ConfigError(f"{self.name} has nothing to call")
        return self._signature.convert(as_object(given))

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Call it with what :meth:`arguments` gave: the result as the text of a JSON object.

        Raises:
            ConfigError: the result cannot be written as JSON.
            Exception: whatever the function raises.
        """
        if self.call is None:
            raise ConfigError(f"{self.name} has nothing to call")
        result = self.call(**arguments)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigError(f"{self.name} is asynchronous: give a function that returns when it is done")
        return result_text(result, self.name)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"


def listed(functions: Any) -> list[Any]:
    """What people pass as functions, as a list; raises :class:`ConfigError` for what is none."""
    if isinstance(functions, (str, bytes, Mapping, msgspec.Struct, Tool)) or callable(functions):
        raise ConfigError("functions must be a list, also of one function")
    if not isinstance(functions, Iterable):
        raise ConfigError(f"functions must be a list of Python functions, not {type(functions).__name__}")
    return list(functions)


def as_tools(functions: Any) -> dict[str, Tool]:
    """Whatever people pass as functions, by name.

    Args:
        functions: Python functions; :class:`Tool` objects; specifications (dicts or
            :class:`~gigaclient.types.Function`), alone or as a pair with what to call.

    Raises:
        ConfigError: one of them is none of these, or two have the same name.
    """
    tools: dict[str, Tool] = {}
    for place, given in enumerate(listed(functions)):
        tool = _tool(given, place)
        if tool.name in tools:
            raise ConfigError(f"functions[{place}]: there are two functions called {tool.name}: give one another name")
        tools[tool.name] = tool
    return tools


def _tool(given: Any, place: int) -> Tool:
    if isinstance(given, Tool):
        return given
    if isinstance(given, (Record, Mapping)):
        return Tool(given)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], (Record, Mapping)):
        return Tool(*given)
    if callable(given):
        return Tool.of(given)
    raise ConfigError(
        f"functions[{place}] must be a Python function, a Tool, a specification or a pair (specification, function), "
        f"not {type(given).__name__}"
    )


def _spec_name(spec: Any) -> str:
    # What pydantic makes of a model has the function's name as its title.
    name = spec.get("name") or spec.get("title") if isinstance(spec, Mapping) else getattr(spec, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError("a function's specification needs a name, beside its parameters as a JSON Schema")
    return name


def _example(given: Any) -> FunctionFewShot:
    if isinstance(given, FunctionFewShot):
        return given
    if isinstance(given, Mapping) and given.keys() == {"request", "params"}:
        given = (given["request"], given["params"])
    if isinstance(given, Sequence) and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], Mapping):
        return FunctionFewShot(request=given[0], params=dict(given[1]))
    raise ConfigError('an example is a pair: what a user says, and the arguments: ("How high is the tide?", {…})')


# -- signatures --------------------------------------------------------------------------------------------------------


class _Signature:
    """The parameters of something to call, as a schema and as a way to convert arguments.

    Args:
        target: what is called.
        name: what the model calls it.
        shape: all parameters together, as one object.
        rest: of what shape further arguments are; None where there are none.
        defaults: the parameters that may be left out, each with whether null is a value of it.
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
    def of(cls, target: Any, *, name: str | None = None, by_hand: bool = False) -> _Signature:
        """
        Args:
            target: what is called.
            name: what the model calls it, where that is known already.
            by_hand: whether the specification is the caller's own: parameters without annotations will do then.

        Raises:
            ConfigError: it cannot be called by the model.
        """
        name = name or _name_of(target)
        _check_blocking(target, name)
        parameters, hints = _parameters(target, name, by_hand)
        documented = described(_docstring(target)).parameters
        fields: list[Any] = []
        defaults: dict[str, bool] = {}
        rest: Any = None
        for parameter in parameters:
            hint = hints.get(parameter.name, Any if by_hand else None)
            if parameter.kind is parameter.POSITIONAL_ONLY or (
                parameter.kind is parameter.VAR_POSITIONAL and not by_hand
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
            said = note_of(hint) or documented.get(parameter.name, "")
            noted = Annotated[hint, msgspec.Meta(description=said)] if said else hint
            if parameter.default is parameter.empty:
                fields.append((parameter.name, noted))
            else:
                defaults[parameter.name] = _takes_null(hint)
                fields.append((parameter.name, noted, Omitted(parameter.default)))
        return cls(
            target,
            name,
            _checked_shape(name, fields, forbid=rest is None),
            None if rest is None else _checked_shape(name, rest),
            defaults,
            hints,
        )

    def spec(self) -> Function:
        said: _Said = getattr(_unwrapped(self._target), _SAID, _Said(None, None, ()))
        whole = described(_docstring(self._target))
        schema = self._type_schema.schema
        parameters: dict[str, Any] = {}
        parameters.update((key, schema[key]) for key in ("type", "properties", "required", "$defs") if key in schema)
        if self._rest is not None:
            parameters["additionalProperties"] = self._rest.schema.get("additionalProperties", True)
        return Function(
            name=self._name,
            description=said.description or whole.summary or None,
            parameters=parameters,
            few_shot_examples=list(said.examples) or None,
            return_parameters=_returned(self._hints.get("return"), whole.returns),
        )

    def convert(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the annotations have them; what was left out is left out."""
        # Models write null for what they leave out.
        known = {name: value for name, value in given.items() if value is not None or self._defaults.get(name, True)}
        further: dict[str, Any] = {}
        if self._rest is not None:
            names = self._names
            further = {name: known.pop(name) for name in list(known) if name not in names}
            for name, value in further.items():
                further[name] = self._read(self._rest, {name: value}, further=name)[name]
        struct = self._read(self._type_schema, known)
        values = {name: getattr(struct, name) for name in self._names}
        return {**{name: value for name, value in values.items() if not isinstance(value, Omitted)}, **further}

    def _read(self, type_schema: TypeSchema[Any], given: Mapping[str, Any], further: str = "...") -> Any:
        try:
            return type_schema.read(encode(given, "the arguments"))
        except (ValidationFailed, ConfigError) as error:
            reason = str(error).partition("the answer does not fit: ")[2] or str(error)
        raise BadArguments(f"the arguments of {self._name} do not fit: {reason.replace('$[...]', f'$.{further}')}")

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._type_schema.schema["properties"])

    def check_example(self, example: FunctionFewShot) -> None:
        try:
            self.convert(example.params)
        except BadArguments as error:
            reason = str(error)
        else:
            return
        raise ConfigError(f"an example of {self._name} does not fit it: {reason}")


def _parameters(target: Any, name: str, by_hand: bool) -> tuple[list[inspect.Parameter], dict[str, Any]]:
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
        if by_hand:
            return [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)], {}
        reason = f"its signature cannot be read ({error}): wrap it in a function of your own"
    raise ConfigError(f"{name}: {reason}")


def _hints(target: Any) -> dict[str, Any]:
    target = _unwrapped(target)
    if isinstance(target, type):
        made_by = target.__dict__.get("__init__")
        own = get_type_hints(made_by, include_extras=True) if inspect.isfunction(made_by) else {}
        return {**get_type_hints(target, include_extras=True), **own, "return": Any}
    if not inspect.isroutine(target):
        target = type(target).__call__
    return get_type_hints(target, include_extras=True)


def _unwrapped(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func
    return target


def _name_of(target: Any) -> str:
    if not callable(target):
        raise ConfigError(f"a function is wanted, not {type(target).__name__}")
    plain = _unwrapped(target)
    said: _Said | None = getattr(plain, _SAID, None)
    name = str((said and said.name) or getattr(plain, "__name__", type(plain).__name__))
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
    plain = _unwrapped(target)
    if isinstance(plain, type):
        return plain.__dict__.get("__doc__")  # what a base class says is about the base class
    if inspect.isroutine(plain):
        return inspect.getdoc(plain)
    return getattr(type(plain).__call__, "__doc__", None) or type(plain).__doc__


def _check_blocking(target: Any, name: str) -> None:
    plain = _unwrapped(target)
    for candidate in (plain, getattr(plain, "__call__", None)):  # noqa: B004
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise ConfigError(f"{name} is asynchronous: give a function that returns when it is done")
        if inspect.isgeneratorfunction(candidate):
            raise ConfigError(f"{name} is a generator: give a function that returns its whole result")


def _checked_shape(name: str, wanted: Any, *, forbid: bool = True) -> TypeSchema[Any]:
    """The shape of fields, or of a mapping to ``wanted``; the error names the parameter that has none."""
    reason = None
    try:
        if isinstance(wanted, list):
            kind: Any = msgspec.defstruct(name, wanted, kw_only=True, forbid_unknown_fields=forbid)
            return type_schema_of(kind, strict=False)
        return type_schema_of(dict[str, wanted], strict=False)
    except (ConfigError, TypeError, ValueError) as error:
        reason = str(error)
    for field in wanted if isinstance(wanted, list) else ():
        try:
            type_schema_of(field[1], strict=False)
        except ConfigError as error:
            raise ConfigError(f"{name}: the parameter {field[0]!r}: {error}") from None
    raise ConfigError(f"{name}: {reason}")


def _takes_null(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is Any or hint is None or type(None) in get_args(hint)


def _returned(hint: Any, said: str) -> dict[str, Any] | None:
    """The schema of results, where the annotation says what they are."""
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
            return None  # some of them may be objects by themselves, and are not wrapped then
        schema.update(properties={"result": inner}, required=["result"])
    elif not schema["properties"] and schema.get("additionalProperties") is True:
        return None
    return {**schema, "description": said} if said else schema


# -- arguments and results ---------------------------------------------------------------------------------------------


def as_object(given: Any) -> Mapping[str, Any]:
    """The model's arguments as an object; raises :class:`BadArguments` for what is none."""
    if isinstance(given, (str, bytes)):
        try:
            given = msgspec.json.decode(given) if given.strip() else {}
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise BadArguments("the arguments are not JSON") from None
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadArguments(f"the arguments must be an object, not {type(given).__name__}")
    return given


def result_text(value: Any, name: str = "the function") -> str:
    """A result as the API wants it: the text of a JSON object.

    Mappings, Structs, dataclasses, attrs objects and pydantic models are objects already, and so is a string that is
    the text of one. Anything else becomes ``{"result": …}``. Dates, times and UUIDs are written as strings, sets as
    lists.

    Raises:
        ConfigError: it cannot be written as JSON; the message names the place.
    """
    place = f"the result of {name}"
    try:
        plain = _plain(value)
    except RecursionError:
        raise ConfigError(f"{place} is nested too deep, or holds itself") from None
    if isinstance(plain, str) and _is_object_text(plain):
        return plain
    return encode(plain if isinstance(plain, Mapping) else {"result": plain}, place).decode()


def _is_object_text(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _plain(value: Any) -> Any:
    """``value`` without the types that :func:`~gigaclient._primitives.serialization.encode` does not know."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(inner) for name, inner in fields_of(value).items()}
    if not isinstance(value, type):
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return dump(mode="json")
        if hasattr(type(value), "__dataclass_fields__"):
            return {name: _plain(getattr(value, name)) for name in type(value).__dataclass_fields__}
        if hasattr(type(value), "__attrs_attrs__"):
            return {field.name: _plain(getattr(value, field.name)) for field in type(value).__attrs_attrs__}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(inner) for inner in value), key=lambda inner: (str(type(inner)), str(inner)))
    if isinstance(value, _TEXTS):
        return msgspec.to_builtins(value)
    return value


_TEXTS = (datetime.date, datetime.time, datetime.timedelta, uuid.UUID)
