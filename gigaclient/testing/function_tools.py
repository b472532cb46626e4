"""Endpoints of the GigaChat emulator for functions: convert OpenAPI to functions, and validate functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from gigaclient.testing.routing import INVALID_JSON, AnyAnswer, Refusal, Route, RoutedRequest

__all__ = ["FunctionTools", "convert", "errors", "warnings"]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*\Z")
_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_RULES_VERSION = "9.2.1"
_MAX_DEPTH = 40


class FunctionTools:
    """``/functions/convert`` and ``/functions/validate``."""

    def __init__(self) -> None:
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/functions/convert", self._convert),
            Route("POST", "v1", "/functions/validate", self._validate),
        )

    def _convert(self, call: RoutedRequest) -> AnyAnswer:
        return call.answer({"functions": convert(call.request.body)})

    def _validate(self, call: RoutedRequest) -> AnyAnswer:
        function = call.json()
        if not isinstance(function, dict):
            raise Refusal(400, INVALID_JSON)
        result: dict[str, Any] = {
            "status": 200,
            "message": "Function is valid",
            "json_ai_rules_version": _RULES_VERSION,
        }
        found_errors = [_issue(*error) for error in errors(function)]
        found_warnings = [_issue(*warning) for warning in warnings(function)]
        if found_errors:
            result.update(message="Incorrect function syntax", errors=found_errors)
        elif found_warnings:
            result["warnings"] = found_warnings
        return call.answer(result)


def _issue(description: str, location: str) -> dict[str, str]:
    return {"description": description, "schema_location": location}


# --- OpenAPI ----------------------------------------------------------------------------------------------------


def convert(document: bytes) -> list[dict[str, Any]]:
    """Convert an OpenAPI description (JSON or YAML) to functions; raise :class:`Refusal` for an invalid one."""
    try:
        # Every JSON document is YAML. The round trip through JSON converts dates and keys that are numbers.
        root = json.loads(json.dumps(yaml.safe_load(document), default=str))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        root = None
    paths = root.get("paths") if isinstance(root, dict) else None
    if not isinstance(paths, dict):
        # Invented: the documentation gives the status 400, but no text.
        raise Refusal(400, "Invalid OpenAPI specification")
    functions = []
    for path, operations in paths.items():
        if not isinstance(operations, dict):
            raise Refusal(400, "Invalid OpenAPI specification")
        for method in _METHODS:
            operation = operations.get(method)
            if isinstance(operation, dict):
                functions.append(_function(root, path, method, operation, operations.get("parameters")))
    return functions


def _function(root: Any, path: str, method: str, operation: Mapping[str, Any], shared: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in [*_objects(root, shared), *_objects(root, operation.get("parameters"))]:
        name = str(parameter.get("name", ""))
        description = {"description": parameter["description"]} if parameter.get("description") else {}
        properties[name] = {**_expand(root, parameter.get("schema") or {"type": "string"}), **description}
        if parameter.get("required") and name not in required:
            required.append(name)
    body = _json_schema(root, _resolve(root, operation.get("requestBody")))
    if isinstance(body.get("properties"), dict):
        properties.update(body["properties"])
        required += [name for name in body.get("required") or () if name not in required]
    elif body:
        properties["body"] = body
    function: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9_]+", "_", str(operation.get("operationId") or f"{method}{path}")).strip("_"),
        "description": str(operation.get("description") or operation.get("summary") or ""),
        "parameters": {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
        },
    }
    responses: Any = operation.get("responses")
    responses = responses if isinstance(responses, dict) else {}
    success = next((responses[code] for code in ("200", 200, "201", 201, "default") if code in responses), None)
    returned = _json_schema(root, _resolve(root, success))
    if returned:
        function["return_parameters"] = returned
    return function


def _objects(root: Any, listed: Any) -> Iterator[Mapping[str, Any]]:
    for item in listed if isinstance(listed, list) else ():
        found = _resolve(root, item)
        if isinstance(found, dict) and found.get("in") != "header":
            yield found


def _json_schema(root: Any, body: Any) -> dict[str, Any]:
    content = body.get("content") if isinstance(body, dict) else None
    media = content.get("application/json") if isinstance(content, dict) else None
    found = _expand(root, media.get("schema")) if isinstance(media, dict) else None
    return found if isinstance(found, dict) else {}


def _resolve(root: Any, value: Any) -> Any:
    seen = 0
    while isinstance(value, dict) and isinstance(value.get("$ref"), str):
        value = _follow(root, value["$ref"])
        seen += 1
        if seen > _MAX_DEPTH:
            raise Refusal(400, "Invalid OpenAPI specification")
    return value


def _follow(root: Any, reference: str) -> Any:
    found = root
    if not reference.startswith("#/"):
        raise Refusal(400, "Invalid OpenAPI specification")
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise Refusal(400, "Invalid OpenAPI specification")
        found = found[name]
    return found


def _expand(root: Any, value: Any, depth: int = 0) -> Any:
    """Replace all references in ``value`` by their targets."""
    if depth > _MAX_DEPTH:
        raise Refusal(400, "Invalid OpenAPI specification")
    value = _resolve(root, value)
    if isinstance(value, dict):
        return {name: _expand(root, inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(root, inner, depth + 1) for inner in value]
    return value


# --- validation -------------------------------------------------------------------------------------------------


def errors(function: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the errors that make a function unusable, with their locations."""
    name = function.get("name")
    if not isinstance(name, str) or not name:
        yield "name is required", "(root)"
    elif not _NAME.match(name):
        yield "name may hold Latin letters, digits (not leading), underscores, hyphens and dots", "(root).name"
    if not isinstance(function.get("description") or "", str):
        yield "description must be a string", "(root).description"
    parameters = function.get("parameters")
    if parameters is None:
        yield "parameters is required", "(root)"
    else:
        yield from _schema_errors(parameters, "(root).parameters", top=True)
    if function.get("return_parameters") is not None:
        yield from _schema_errors(function["return_parameters"], "(root).return_parameters", top=True)
    examples = function.get("few_shot_examples")
    if examples is not None and not isinstance(examples, list):
        yield "few_shot_examples must be an array", "(root).few_shot_examples"
        return
    for number, example in enumerate(examples or ()):
        if not isinstance(example, dict) or not isinstance(example.get("request"), str):
            yield "request is required", f"(root).few_shot_examples.{number}"
        elif not isinstance(example.get("params"), dict):
            yield "params is required", f"(root).few_shot_examples.{number}"


def _schema_errors(schema: Any, location: str, *, top: bool = False) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict):
        yield "must be an object", location
        return
    types = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]
    yield from _type_errors(schema, types, location, top)
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        yield "properties must be an object", f"{location}.properties"
        return
    for name, inner in (properties or {}).items():
        yield from _schema_errors(inner, f"{location}.properties.{name}")
    for name in schema.get("required") or ():
        if name not in (properties or {}):
            yield f"required property {name} is not described", f"{location}.required"
    if "array" in types and "items" in schema:
        yield from _schema_errors(schema["items"], f"{location}.items")


def _type_errors(schema: Mapping[str, Any], types: list[Any], location: str, top: bool) -> Iterator[tuple[str, str]]:
    type_ = schema.get("type")
    if type_ is None:
        combined = any(word in schema for word in ("$ref", "anyOf", "oneOf", "allOf", "enum", "const"))
        if not combined and not (top and not schema):
            yield "property type is missing", location
    elif not all(name in _TYPES for name in types):
        yield f"unknown type {type_}", location
    elif top and type_ != "object":
        yield "type must be object", location


def warnings(function: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield suggestions that would improve a function, with their locations."""
    if not function.get("description"):
        yield "description is missing", "(root)"
    if not function.get("few_shot_examples"):
        yield "consider adding call examples", "(root).parameters"
    if not function.get("return_parameters"):
        yield "return_parameters are missing", "(root)"
