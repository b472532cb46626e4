"""The tools of a v2 request, and the choice among them, from all accepted forms. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient.errors import ConfigError
from gigaclient.gigachat.v2.request_values import as_dict, as_fields, as_list
from gigaclient.types import Function
from gigaclient.types.chat import as_schema
from gigaclient.types.chat_v2 import TOOLS, ChatFunctionSpecification, ChatFunctionsTool, named_tool, specification

__all__ = ["tool_config_of", "tools_of"]


def tools_of(tools: Any, functions: Any) -> list[dict[str, Any]]:
    """Return the tools in the form of the API: one field each, and all functions in one tool."""
    items: list[dict[str, Any]] = []
    specifications: dict[Any, Any] = {}
    position: int | None = None
    for tool in as_list(tools):
        found, others = _split_tool(tool)
        items.extend(others)
        if found is not None:
            position = len(items) if position is None else position
            specifications.update((spec.get("name"), spec) for spec in map(_specification, found))
    added = list(map(_specification, as_list(functions)))
    specifications.update((spec.get("name"), spec) for spec in added)
    if specifications:
        items.insert(
            len(items) if position is None else position,
            {"functions": {"specifications": list(specifications.values())}},
        )
    return items


def _split_tool(tool: Any) -> tuple[list[Any] | None, list[dict[str, Any]]]:
    """Return the functions that a tool describes, or None, and the service's tools."""
    if isinstance(tool, (Function, ChatFunctionSpecification)):
        return [tool], []
    if isinstance(tool, ChatFunctionsTool):
        return as_list(tool.specifications), []
    fields = as_fields(named_tool(tool))
    if not isinstance(fields, dict):
        raise ConfigError(
            f"a tool is a name, a dict or a ChatTool, not {type(tool).__name__}; run() takes functions of Python"
        )
    if fields.get("type") == "function" and isinstance(fields.get("function"), Mapping):  # the form of other APIs
        return [fields["function"]], []
    if isinstance(fields.get("name"), str) or "properties" in fields:
        return [fields], []
    found = None
    if "functions" in fields:
        described = fields.pop("functions")
        inner = as_fields(described)
        found = as_list(inner.get("specifications") if isinstance(inner, dict) else inner)
    elif not fields:
        raise ConfigError('a tool has one field, such as {"web_search": {}}')
    return found, [{name: {} if value is True else value} for name, value in fields.items() if value is not False]


def _specification(value: Any) -> dict[str, Any]:
    described = specification(as_fields(as_schema(value)))
    if not isinstance(described, dict):
        raise ConfigError(
            f"a function is described by a dict with its name, description and parameters, not by "
            f"{type(value).__name__}; run() takes functions of Python"
        )
    if not isinstance(described.get("name"), str) or not described["name"]:
        raise ConfigError("a function needs a name")
    return {"parameters": {"type": "object", "properties": {}}, **described}


def tool_config_of(value: Any, tools: list[dict[str, Any]]) -> Any:
    """Return the tool config in the form of the API, from a mode, a name or an object."""
    functions = [spec["name"] for tool in tools for spec in tool.get("functions", {}).get("specifications", ())]
    if isinstance(value, str):
        if value in ("auto", "none", "any"):
            return {"mode": value}
        if value == "required":  # the form of other APIs
            return {"mode": "any"}
        if value == "forced":
            raise ConfigError('tool_config "forced" needs a name: pass the name of the function or tool instead')
        is_tool = value not in functions and (value in TOOLS or any(value in tool for tool in tools))
        return {"mode": "forced", "tool_name" if is_tool else "function_name": value}
    config = as_dict(value, "tool_config")
    if config.get("type") == "function" and isinstance(config.get("function"), Mapping):
        config = dict(config["function"])
    if "name" in config and "mode" not in config:  # the form of API v1
        if config.get("partial_arguments"):
            raise ConfigError("partial_arguments have no counterpart in API v2: say in the prompt what they shall be")
        return tool_config_of(str(config["name"]), tools)
    names = [name for name in ("tool_name", "function_name") if config.get(name)]
    if names:
        config.setdefault("mode", "forced")
    if config.get("mode") == "forced" and len(names) != 1:
        raise ConfigError(
            'tool_config "forced" needs exactly one of function_name (yours) and tool_name (the service\'s)'
        )
    return config
