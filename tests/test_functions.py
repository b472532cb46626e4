"""Python functions for the model: specifications, and lists of functions."""

from __future__ import annotations

import datetime
import functools
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import pydantic
import pytest
from support.function_examples import Place, Point, convert, get_tide

from gigaclient.errors import ConfigError
from gigaclient.functions import BadArguments, Tool, as_tools, function, function_of
from gigaclient.schema.docstrings import parse_docstring
from gigaclient.types import Function, FunctionFewShot


def parameters_of(target: Callable[..., Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = function_of(target).parameters or {}
    return parameters


# -- specifications --------------------------------------------------------------------------------


def test_a_function_is_described_by_its_signature_and_docstring() -> None:
    assert function_of(get_tide) == Function(
        name="get_tide",
        description="The height of the tide at a port.",
        parameters={
            "type": "object",
            "properties": {
                "port": {"type": "string", "description": "the port's name, in English."},
                "day": {"type": "string", "format": "date", "description": "today when left out."},
                "unit": {"type": "string", "enum": ["m", "ft"], "default": "m"},
                "ahead": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 7,
                    "default": 0,
                    "description": "how many days from then.",
                },
                "place": {
                    "type": "object",
                    "title": "Place",
                    "description": "A place at sea.",
                    "properties": {"name": {"type": "string"}, "depth": {"type": "number"}},
                    "required": ["name"],
                },
                "depth": {"type": "number", "description": "under the keel, in metres", "default": 1.5},
            },
            "required": ["port"],
        },
        few_shot_examples=[
            FunctionFewShot(request="How high is the tide in Murmansk?", params={"port": "Murmansk", "unit": "ft"})
        ],
        return_parameters={
            "type": "object",
            "properties": {"result": {"type": "number"}},
            "required": ["result"],
            "description": "the height above the datum.",
        },
    )


GOOGLE = """What it does.

    Args:
        port (str): the port,
            by name.
        day, hour: when.
        **others: more
    """
NUMPY = """What it does.

    Parameters
    ----------
    port : str
        the port,
        by name.
    day, hour : int, optional
        when.

    Returns
    -------
    float
        metres
    """
REST = """What it does.

    :param str port: the port,
        by name.
    :param day: when.
    :param hour: when.
    :type hour: int
    :returns: metres
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_of_three_styles_are_read(text: str) -> None:
    docstring = parse_docstring(text)
    assert docstring.summary == "What it does."
    assert {name: docstring.parameters[name] for name in ("port", "day", "hour")} == {
        "port": "the port, by name.",
        "day": "when.",
        "hour": "when.",
    }
    assert docstring.returns in ("metres", "")
    assert (docstring.returns == "") is (text is GOOGLE)


def test_a_docstring_of_a_single_section_is_read() -> None:
    def f(port: str) -> None:
        """Args:
        port: the port.
        """

    assert function_of(f).description is None
    assert parameters_of(f)["properties"]["port"]["description"] == "the port."


def test_a_function_without_a_docstring_has_no_description() -> None:
    def f(port: str) -> None: ...

    assert function_of(f) == Function(
        name="f",
        parameters={"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
    )


def test_the_decorator_sets_name_description_and_examples_and_returns_the_function_unchanged() -> None:
    @function(name="look_up", description="Looks it up.", examples=[{"request": "What is x?", "params": {"what": "x"}}])
    def поиск(what: str) -> str:
        return what * 2

    assert поиск("a") == "aa"
    spec = function_of(поиск)
    assert (spec.name, spec.description) == ("look_up", "Looks it up.")
    assert spec.few_shot_examples == [FunctionFewShot(request="What is x?", params={"what": "x"})]

    @function
    def plain(what: str) -> None:
        """Plain."""

    assert function_of(plain).description == "Plain."


@pytest.mark.parametrize(
    "examples", [["Hello"], [("Hello", {"what": 1})], [("Hello", {"whom": "x"})], [{"request": "Hello"}]]
)
def test_an_example_that_does_not_fit_is_refused_by_the_decorator(examples: list[Any]) -> None:
    def f(what: str) -> None: ...

    with pytest.raises(ConfigError, match="example"):
        function(examples=examples)(f)


def test_field_of_pydantic_describes_a_parameter_as_annotation_or_as_default() -> None:
    def f(
        port: Annotated[str, pydantic.Field(description="the port")],
        day: str = pydantic.Field(description="the day"),
        ahead: int = pydantic.Field(default=3, description="the days"),
        names: list[str] = pydantic.Field(default_factory=list, description="some names"),  # noqa: B008
    ) -> list[Any]:
        return [port, day, ahead, names]

    parameters = parameters_of(f)
    descriptions = {name: schema["description"] for name, schema in parameters["properties"].items()}
    assert descriptions == {"port": "the port", "day": "the day", "ahead": "the days", "names": "some names"}
    assert parameters["required"] == ["port", "day"]
    assert parameters["properties"]["ahead"]["default"] == 3
    assert f(**convert(f, {"port": "a", "day": "b"})) == ["a", "b", 3, []]
    assert f(**convert(f, {"port": "a", "day": "b", "ahead": 4, "names": ["c"]})) == ["a", "b", 4, ["c"]]


def test_without_docstrings_a_warning_says_what_the_model_does_not_get() -> None:
    script = textwrap.dedent(
        """
        import warnings
        from typing import Annotated
        from gigaclient.functions import function, function_of

        def bare(port: str, day: Annotated[str, "the day"]) -> None:
            "Lost."

        @function(description="Kept.")
        def described(day: Annotated[str, "the day"]) -> None: ...

        warnings.simplefilter("always")
        with warnings.catch_warnings(record=True) as caught:
            print(function_of(bare).description, function_of(described).description)
        for warning in caught:
            print(warning.message)
        """
    )
    done = subprocess.run([sys.executable, "-OO", "-c", script], check=True, timeout=50, capture_output=True, text=True)
    first, *warnings = done.stdout.splitlines()
    assert first == "None Kept."
    (warning,) = warnings
    assert "-OO removes docstrings" in warning
    assert "no description of bare, port:" in warning


class Harbour:
    """A harbour."""

    def depth(self, berth: int = 1) -> float:
        """The depth at a berth."""
        return berth * 2.0

    def __call__(self, berth: int) -> float:
        return berth * 3.0

    async def later(self, berth: int) -> float:
        return 0.0


def test_methods_callable_objects_classes_and_partials_are_functions_as_well() -> None:
    assert function_of(Harbour().depth).description == "The depth at a berth."
    assert Tool.of(Harbour().depth).run({"berth": 2}) == '{"result":4.0}'
    assert (function_of(Harbour()).name, function_of(Harbour()).description) == ("Harbour", "A harbour.")
    assert function_of(Place).name == "Place"
    assert Tool.of(Place).run(convert(Place, {"name": "x"})) == '{"name":"x","depth":null}'
    assert function_of(Point).description is None, "the docstring of pydantic's base class is not used"
    bound = functools.partial(get_tide, port="Kem")
    assert "port" not in parameters_of(bound)["properties"]
    assert function_of(bound).name == "get_tide"


def test_a_wrapped_function_is_described_like_the_function_inside() -> None:
    def logged(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return f(*args, **kwargs)

        return wrapper

    assert function_of(logged(get_tide)) == function_of(get_tide)


def test_additional_arguments_are_accepted_by_a_function_with_kwargs() -> None:
    def total(base: int, **more: int) -> int:
        return base + sum(more.values())

    assert parameters_of(total)["additionalProperties"] == {"type": "integer"}
    assert Tool.of(total).run(convert(total, {"base": 1, "a": "2", "b": 3})) == '{"result":6}'
    with pytest.raises(BadArguments, match="b"):
        convert(total, {"base": 1, "b": "many"})


@pytest.mark.parametrize(
    ("returned", "schema"),
    [
        (Place, {"properties": {"name": {"type": "string"}, "depth": {"type": "number"}}, "required": ["name"]}),
        (
            list[int],
            {"properties": {"result": {"type": "array", "items": {"type": "integer"}}}, "required": ["result"]},
        ),
        (dict[str, int], {"properties": {}, "additionalProperties": {"type": "integer"}}),
    ],
)
def test_a_return_annotation_becomes_return_parameters(returned: Any, schema: dict[str, Any]) -> None:
    def f() -> Any: ...

    f.__annotations__["return"] = returned
    found = function_of(f).return_parameters or {}
    assert found["type"] == "object"
    assert {name: found[name] for name in schema} == schema


@pytest.mark.parametrize("returned", [None, Any, dict, object, complex, Place | None])
def test_a_return_annotation_without_a_definite_schema_is_ignored(returned: Any) -> None:
    def f() -> Any: ...

    f.__annotations__["return"] = returned
    assert function_of(f).return_parameters is None


def unannotated(x): ...  # type: ignore[no-untyped-def]
def positional(x: int, /) -> None: ...
def several(*x: int) -> None: ...
def open_ended(**x) -> None: ...  # type: ignore[no-untyped-def]
async def asynchronous() -> None: ...
def generator() -> Iterator[int]:
    yield 1


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


def web_search(query: str) -> None: ...
def text2image(query: str) -> None: ...
def погода(город: str) -> None: ...
def odd(x: complex) -> None: ...
def odd_union(x: list[complex | Place]) -> None: ...
def unresolved(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (unannotated, "annotate 'x'"),
        (positional, "'x' has none"),
        (several, "a parameter that is a list"),
        (open_ended, "annotate 'x'"),
        (asynchronous, "asynchronous"),
        (Harbour().later, "asynchronous"),
        (functools.partial(asynchronous), "asynchronous"),
        (generator, "returns its whole result"),
        (asynchronous_generator, "asynchronous"),
        (web_search, 'name="my_web_search"'),
        (text2image, "the service itself"),
        (погода, "Latin letters"),
        (lambda: 1, "Latin letters"),
        (odd, "the parameter 'x': complex"),
        (odd_union, "the parameter 'x': complex has no JSON Schema"),
        (unresolved, "'Nowhere', which its module does not have"),
        (dict, "wrap it in a function"),
        ("get_tide", "not str"),
    ],
)
def test_a_callable_that_the_model_cannot_call_is_refused_with_advice(target: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        function_of(target)


# -- lists of functions -----------------------------------------------------------------------------

SPEC = {"name": "get_depth", "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}}


def test_all_forms_of_functions_can_be_listed_together() -> None:
    seen = []
    tools = as_tools(
        [
            get_tide,
            Tool(SPEC, lambda port: seen.append(port)),
            ({**SPEC, "name": "pair"}, lambda **arguments: seen.append(arguments)),
            (Function(name="untyped"), lambda *rest, port=None: seen.append(port)),
            Function(name="by_hand"),
            {"name": "text2image"},
        ]
    )
    assert list(tools) == ["get_tide", "get_depth", "pair", "untyped", "by_hand", "text2image"]
    assert tools["get_depth"].spec == SPEC
    for name in ("get_depth", "pair", "untyped"):
        tools[name].run(tools[name].arguments({"port": "Kem"}))
    assert seen == ["Kem", {"port": "Kem"}, "Kem"]
    assert tools["by_hand"].call is None
    with pytest.raises(ConfigError, match="nothing to call"):
        tools["by_hand"].run({})


def test_the_annotations_of_a_separate_implementation_are_kept() -> None:
    def depth(port: str, at: datetime.date) -> None: ...

    tool = Tool(SPEC, depth)
    assert tool.arguments({"port": "x", "at": "2026-10-02"})["at"] == datetime.date(2026, 10, 2)
    with pytest.raises(BadArguments, match="get_depth"):
        tool.arguments({"port": 1, "at": "2026-10-02"})


@pytest.mark.parametrize(
    ("functions", "advice"),
    [
        (get_tide, "must be a list"),
        (SPEC, "must be a list"),
        ("get_tide", "must be a list"),
        (None, "must be a list"),
        ([5], r"functions\[0\] must be"),
        ([get_tide, get_tide], "two functions called get_tide"),
        ([{"parameters": {}}], "needs a name"),
        ([("get_tide", get_tide)], "must be a Python function"),
    ],
)
def test_an_invalid_list_of_functions_is_refused_with_advice(functions: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        as_tools(functions)


def visit(
    places: list[Place | Point], at: Point | str = "", first: Annotated[Place | Point | None, "where"] = None
) -> None:
    """Visit places."""


def test_unions_of_models_serve_as_parameters() -> None:
    properties = parameters_of(visit)["properties"]
    assert [member["title"] for member in properties["places"]["items"]["anyOf"]] == ["Place", "Point"]
    assert [member["type"] for member in properties["at"]["anyOf"]] == ["object", "string"]
    assert properties["first"]["description"] == "where"
    assert [member["type"] for member in properties["first"]["anyOf"]] == ["object", "object"]
    arguments = {"places": [{"name": "pier"}, {"lat": 1}], "at": {"lat": 2}, "first": {"lat": 3, "lon": 4}}
    assert convert(visit, arguments) == {
        "places": [Place("pier"), Point(lat=1)],
        "at": Point(lat=2),
        "first": Point(lat=3, lon=4),
    }
    assert convert(visit, {"places": '[{"name": "pier"}]', "at": "home"}) == {"places": [Place("pier")], "at": "home"}
    with pytest.raises(BadArguments, match=r"none of Place, Point .*\$\.places\[0\]"):
        convert(visit, {"places": [{"depth": 1}]})


def test_literals_serve_as_parameters() -> None:
    def f(mode: Literal["fast", "slow"]) -> None: ...

    assert parameters_of(f)["properties"]["mode"]["enum"] == ["fast", "slow"]
    with pytest.raises(BadArguments, match=r"\$\.mode"):
        convert(f, {"mode": "medium"})


def test_importing_gigaclient_loads_neither_functions_nor_schemas() -> None:
    script = (
        "import sys, gigaclient; assert not [n for n in sys.modules if n.startswith(('gigaclient.functions', "
        "'gigaclient.schema'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=50)
