"""What the emulated service does with descriptions of functions: makes them of OpenAPI, and finds fault with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, json_answer

__all__ = ["FunctionTools", "convert", "faults", "hints"]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_NAME = re.compile(r"[A-Za-z_.\-][A-Za-z0-9_.\-]*\Z")
_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_RULES = "9.2.1"
_DEEPEST = 40


class FunctionTools:
    """``/functions/convert`` and ``/functions/validate``."""

    def __init__(self) -> None:
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/functions/convert", self._convert),
            Route("POST", "v1", "/functions/validate", self._validate),
        )

    def _convert(self, call: RoutedRequest) -> AnyAnswer:
        return json_answer(200, {"functions": convert(call.request.body)}, call.headers)

    def _validate(self, call: RoutedRequest) -> AnyAnswer:
        function = call.json()
        if not isinstance(function, dict):
            raise Refusal(400, INVALID_JSON)
        verdict: dict[str, Any] = {"status": 200, "message": "Function is valid", "json_ai_rules_version": _RULES}
        wrong = [_issue(*fault) for fault in faults(function)]
        better = [_issue(*hint) for hint in hints(function)]
        if wrong:
            verdict.update(message="Incorrect function syntax", errors=wrong)
        elif better:
            verdict["warnings"] = better
        return json_answer(200, verdict, call.headers)


def _issue(description: str, place: str) -> dict[str, str]:
    return {"description": description, "schema_location": place}


# --- from OpenAPI -----------------------------------------------------------------------------------------------


def convert(document: bytes) -> list[dict[str, Any]]:
    """The functions that an OpenAPI description (JSON or YAML) is made into; :class:`Refusal` when it is none."""
    try:
        # JSON is YAML as well. There and back, for what YAML has and JSON has not: dates, numbers as keys.
        described = json.loads(json.dumps(yaml.safe_load(document), default=str))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        described = None
    paths = described.get("paths") if isinstance(described, dict) else None
    if not isinstance(paths, dict):
        # Invented: that it is a 400 is documented, its text is not.
        raise Refusal(400, "Invalid OpenAPI specification")
    functions = []
    for path, operations in paths.items():
        if not isinstance(operations, dict):
            raise Refusal(400, "Invalid OpenAPI specification")
        for method in _METHODS:
            operation = operations.get(method)
            if isinstance(operation, dict):
                functions.append(_function(described, path, method, operation, operations.get("parameters")))
    return functions


def _function(root: Any, path: str, method: str, operation: Mapping[str, Any], shared: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in [*_objects(root, shared), *_objects(root, operation.get("parameters"))]:
        name = str(parameter.get("name", ""))
        described = {"description": parameter["description"]} if parameter.get("description") else {}
        properties[name] = {**_plain(root, parameter.get("schema") or {"type": "string"}), **described}
        if parameter.get("required") and name not in required:
            required.append(name)
    body = _json_schema(root, _resolved(root, operation.get("requestBody")))
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
    good = next((responses[code] for code in ("200", 200, "201", 201, "default") if code in responses), None)
    returned = _json_schema(root, _resolved(root, good))
    if returned:
        function["return_parameters"] = returned
    return function


def _objects(root: Any, listed: Any) -> Iterator[Mapping[str, Any]]:
    for item in listed if isinstance(listed, list) else ():
        found = _resolved(root, item)
        if isinstance(found, dict) and found.get("in") != "header":
            yield found


def _json_schema(root: Any, body: Any) -> dict[str, Any]:
    content = body.get("content") if isinstance(body, dict) else None
    media = content.get("application/json") if isinstance(content, dict) else None
    found = _plain(root, media.get("schema")) if isinstance(media, dict) else None
    return found if isinstance(found, dict) else {}


def _resolved(root: Any, value: Any) -> Any:
    seen = 0
    while isinstance(value, dict) and isinstance(value.get("$ref"), str):
        value = _at(root, value["$ref"])
        seen += 1
        if seen > _DEEPEST:
            raise Refusal(400, "Invalid OpenAPI specification")
    return value


def _at(root: Any, reference: str) -> Any:
    found = root
    if not reference.startswith("#/"):
        raise Refusal(400, "Invalid OpenAPI specification")
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise Refusal(400, "Invalid OpenAPI specification")
        found = found[name]
    return found


def _plain(root: Any, value: Any, depth: int = 0) -> Any:
    """``value`` with what it refers to in place of the references."""
    if depth > _DEEPEST:
        raise Refusal(400, "Invalid OpenAPI specification")
    value = _resolved(root, value)
    if isinstance(value, dict):
        return {name: _plain(root, inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(root, inner, depth + 1) for inner in value]
    return value


# --- what is wrong ----------------------------------------------------------------------------------------------


def faults(function: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What makes a function unusable, and where."""
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
        yield from _schema_faults(parameters, "(root).parameters", top=True)
    if function.get("return_parameters") is not None:
        yield from _schema_faults(function["return_parameters"], "(root).return_parameters", top=True)
    shots = function.get("few_shot_examples")
    if shots is not None and not isinstance(shots, list):
        yield "few_shot_examples must be an array", "(root).few_shot_examples"
        return
    for number, shot in enumerate(shots or ()):
        if not isinstance(shot, dict) or not isinstance(shot.get("request"), str):
            yield "request is required", f"(root).few_shot_examples.{number}"
        elif not isinstance(shot.get("params"), dict):
            yield "params is required", f"(root).few_shot_examples.{number}"


def _schema_faults(schema: Any, place: str, *, top: bool = False) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict):
        yield "must be an object", place
        return
    combined = any(word in schema for word in ("$ref", "anyOf", "oneOf", "allOf", "enum", "const"))
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if kind is None:
        if not combined and not (top and not schema):
            yield "property type is missing", place
    elif not all(one in _TYPES for one in kinds):
        yield f"unknown type {kind}", place
    elif top and kind != "object":
        yield "type must be object", place
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        yield "properties must be an object", f"{place}.properties"
        return
    for name, inner in (properties or {}).items():
        yield from _schema_faults(inner, f"{place}.properties.{name}")
    for name in schema.get("required") or ():
        if name not in (properties or {}):
            yield f"required property {name} is not described", f"{place}.required"
    if "array" in kinds and "items" in schema:
        yield from _schema_faults(schema["items"], f"{place}.items")


def hints(function: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What would make a function better, and where."""
    if not function.get("description"):
        yield "description is missing", "(root)"
    if not function.get("few_shot_examples"):
        yield "consider adding call examples", "(root).parameters"
    if not function.get("return_parameters"):
        yield "return_parameters are missing", "(root)"
