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

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, overload

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.schema.arguments import BadArguments, as_object
from gigaclient.schema.results import result_text
from gigaclient.schema.signature import Signature, unwrap
from gigaclient.schema.validation import ValidationFailed
from gigaclient.types import Function, FunctionFewShot, Record

__all__ = [
    "BUILT_IN",
    "AnyFunction",
    "BadArguments",
    "Tool",
    "as_function_list",
    "as_object",
    "as_tools",
    "function",
    "function_of",
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
            signature = Signature.of(target, _name_of(target))
            for example in overrides.examples:
                _check_example(example, signature)
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
    return _spec(target, Signature.of(target, _name_of(target)))


def _spec(target: Any, signature: Signature) -> Function:
    overrides = _overrides_of(target)
    description = overrides.description or signature.docstring.summary or None
    parameters = signature.parameters()
    if sys.flags.optimize > 1:
        _warn_of_lost_docstrings(signature.name, description, parameters)
    return Function(
        name=signature.name,
        description=description,
        parameters=parameters,
        few_shot_examples=list(overrides.examples) or None,
        return_parameters=signature.return_parameters(),
    )


def _warn_of_lost_docstrings(name: str, description: str | None, parameters: Mapping[str, Any]) -> None:
    lost = [] if description else [name]
    lost += [parameter for parameter, schema in parameters["properties"].items() if "description" not in schema]
    if lost:
        warnings.warn(
            f"{name}: python -OO removes docstrings, and the model gets no description of {', '.join(lost)}: write "
            '@function(description="…"), and Annotated[…, "…"] or Field(description="…") for parameters',
            UserWarning,
            stacklevel=4,
        )


def _overrides_of(target: Any) -> _Overrides:
    overrides: _Overrides = getattr(unwrap(target), _OVERRIDES_ATTRIBUTE, _Overrides(None, None, ()))
    return overrides


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
        self._signature = None if call is None else Signature.of(call, self.name, with_own_spec=True)

    @classmethod
    def of(cls, target: Callable[..., Any]) -> Tool:
        """Make the tool of a Python function; raise :class:`ConfigError` as :func:`function_of` does."""
        signature = Signature.of(target, _name_of(target))
        tool = cls.__new__(cls)
        tool.spec = _spec(target, signature)
        tool.name, tool.call, tool._signature = signature.name, target, signature
        return tool

    def arguments(self, arguments: Any, *, repair: bool = True, repairs: list[str] | None = None) -> dict[str, Any]:
        """Convert the model's arguments to keyword arguments of the types in the signature.

        Args:
            arguments: a mapping, or the JSON of an object; None for no arguments.
            repair: mend JSON that is not valid, and read JSON text where the signature has a list or an object.
            repairs: gets a sentence for each thing that was mended.

        Raises:
            BadArguments: they do not fit.
        """
        if self._signature is None:
            raise ConfigError(f"{self.name} has nothing to call")
        mended: list[str] = []
        try:
            converted = self._signature.convert(
                as_object(arguments, repair=repair, repairs=mended), repair=repair, repairs=mended
            )
        except ValidationFailed as error:
            reason = str(error)
        else:
            if repairs is not None:
                repairs.extend(mended)
            return converted
        raise BadArguments(reason)

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Call the function with the result of :meth:`arguments`; return its result as a JSON object.

        Raises:
            ConfigError: the result has no form in JSON; see :func:`result_text`.
            Exception: any exception of the function.
        """
        return self.text_of(self.result(arguments))

    def result(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with the result of :meth:`arguments`; return its result.

        Raises:
            Exception: any exception of the function.
        """
        if self.call is None:
            raise ConfigError(f"{self.name} has nothing to call")
        return self.call(**arguments)

    def text_of(self, result: Any) -> str:
        """Return a result of the function as the text of a JSON object.

        Raises:
            ConfigError: the result is a coroutine, or has no form in JSON; see :func:`result_text`.
        """
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigError(f"{self.name} is asynchronous: pass a function that returns when it is done")
        return result_text(result, self.name)

    @property
    def parameters(self) -> Any:
        """The JSON Schema of its parameters in the specification; None if it has none."""
        spec = self.spec
        return spec.get("parameters") if isinstance(spec, Mapping) else getattr(spec, "parameters", None)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"


def as_function_list(functions: Any) -> list[Any]:
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
    for index, item in enumerate(as_function_list(functions)):
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


def _name_of(target: Any) -> str:
    if not callable(target):
        raise ConfigError(f"a function is needed, not {type(target).__name__}")
    unwrapped = unwrap(target)
    name = str(_overrides_of(target).name or getattr(unwrapped, "__name__", type(unwrapped).__name__))
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the model cannot call {name!r}: use Latin letters, digits and underscores; give it another name with "
            '@function(name="…")'
        )
    if name in BUILT_IN:
        raise ConfigError(
            f"{name} is a function of the service itself, which would run instead: give yours another name with "
            f'@function(name="my_{name}")'
        )
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


def _check_example(example: FunctionFewShot, signature: Signature) -> None:
    try:
        signature.convert(example.params)
    except ValidationFailed as error:
        reason = str(error)
    else:
        return
    raise ConfigError(f"an example of {signature.name} does not fit it: {reason}")
