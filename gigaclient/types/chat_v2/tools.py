"""The tools that the model may use: the service's, and the caller's functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient.errors import ConfigError
from gigaclient.types.base import Record
from gigaclient.types.chat import Function
from gigaclient.types.chat_v2.conversion import to_record, to_records

__all__ = [
    "ChatFunctionExample",
    "ChatFunctionSpecification",
    "ChatFunctionsTool",
    "ChatTool",
    "ChatToolConfig",
    "ChatWebSearchTool",
]


TOOLS = (
    "code_interpreter",
    "get_datetime",
    "image_generate",
    "memory",
    "model_3d_generate",
    "url_content_extraction",
    "web_search",
)
"""The names of the service's tools in ``tools``."""


class ChatToolConfig(Record):
    """The rule that the model must, may or must not use tools.

    Attributes:
        mode: ``auto``, ``none``, ``forced`` (with one of the names) or ``any`` (of the caller's functions).
        tool_name: the forced tool of the service.
        function_name: the forced function of the caller.
        functions_names_any: functions of the caller, at least one of which must be called, for ``any``.
    """

    mode: str | None = None
    tool_name: str | None = None
    function_name: str | None = None
    functions_names_any: list[str] | None = None


class ChatFunctionExample(Record):
    """An example for a function: a user's request, and the arguments for it."""

    request: str
    params: dict[str, Any]


class ChatFunctionSpecification(Record):
    """A function that the model may call.

    Attributes:
        name: Latin letters, digits (not first) and underscores are safe everywhere.
        parameters: JSON Schema of the arguments, sent unchanged.
        description: its purpose, for the model.
        few_shot_examples: examples; the API's documentation strongly recommends them.
        return_parameters: JSON Schema of the result.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    few_shot_examples: list[ChatFunctionExample] | None = None
    return_parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.few_shot_examples = to_records(self.few_shot_examples, ChatFunctionExample)

    @classmethod
    def _prepared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return Function._prepared(fields)


def specification(value: Any) -> Any:
    """Convert a JSON Schema with a title into a function's fields; return anything else unchanged."""
    return Function._prepared(dict(value)) if isinstance(value, Mapping) else value


class ChatFunctionsTool(Record):
    """The caller's functions, all in one tool."""

    specifications: list[ChatFunctionSpecification] | None = None

    def __post_init__(self) -> None:
        functions: Any = self.specifications
        if isinstance(functions, (list, tuple)):
            self.specifications = [to_record(specification(item), ChatFunctionSpecification) for item in functions]


class ChatWebSearchTool(Record):
    """The service's web search.

    Attributes:
        type: ``web_search``, ``actual_info_web_search`` or ``safe_search``.
        indexes, flags: by agreement with the service.
    """

    type: str | None = None
    indexes: list[str] | None = None
    flags: list[str] | None = None


class ChatTool(Record):
    """A tool; exactly one field is set. ``{}`` enables a tool without settings."""

    code_interpreter: dict[str, Any] | None = None
    image_generate: dict[str, Any] | None = None
    web_search: ChatWebSearchTool | None = None
    url_content_extraction: dict[str, Any] | None = None
    model_3d_generate: dict[str, Any] | None = None
    functions: ChatFunctionsTool | None = None
    get_datetime: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.web_search = to_record(self.web_search, ChatWebSearchTool)
        self.functions = to_record(self.functions, ChatFunctionsTool)

    @classmethod
    def model_validate(cls, obj: Any) -> ChatTool:
        """Create a tool from a dict or its name."""
        return super().model_validate(named_tool(obj))


def named_tool(value: Any) -> Any:
    """Convert a tool name such as ``"image_generate"`` to ``{"image_generate": {}}``; return others unchanged."""
    if not isinstance(value, str):
        return value
    if value not in TOOLS:
        raise ConfigError(
            f"there is no built-in tool {value!r}; the built-in tools are {', '.join(TOOLS)}. Pass your own functions "
            'in functions=[…], and any other tool as {"name": {…}}'
        )
    return {value: {}}
