"""Tests of the emulator's functions: conversion of OpenAPI in JSON and YAML, and validation."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from gigaclient.testing.function_tools import convert, errors, warnings
from gigaclient.testing.routing import Refusal

DESCRIPTION = """\
---
openapi: 3.0.0            # the version
info: {title: Tides, version: "1"}
paths:
  /tides/{port}:
    parameters:
    - {name: X-Trace, in: header}
    get:
      operationId: getTide
      summary: 'The tide: its time and height'
      parameters:
        - name: port
          in: path
          required: true
          description: >-
            The port's name,
            in Latin letters
          schema:
            type: string
        - $ref: '#/components/parameters/days'
      responses:
        '200':
          content:
            application/json:
              schema: {$ref: "#/components/schemas/Tide"}
    post:
      description: |
        Report a tide.
      requestBody:
        content:
          application/json:
            schema:
              $ref: '#/components/schemas/Tide'
      responses: {}
components:
  parameters:
    days:
      name: days
      in: query
      schema: {type: integer, minimum: 1}
  schemas:
    Tide:
      type: object
      required: [height]
      properties:
        height:
          type: number
          enum: [0.5, 1, 2.0]
        note: {type: string}
"""
TIDE = {
    "type": "object",
    "required": ["height"],
    "properties": {"height": {"type": "number", "enum": [0.5, 1, 2.0]}, "note": {"type": "string"}},
}


def test_operations_become_functions_with_resolved_references() -> None:
    get, post = convert(DESCRIPTION.encode())
    assert get == {
        "name": "getTide",
        "description": "The tide: its time and height",
        "parameters": {
            "type": "object",
            "properties": {
                "port": {"type": "string", "description": "The port's name, in Latin letters"},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["port"],
        },
        "return_parameters": TIDE,
    }
    assert post == {
        "name": "post_tides_port",
        "description": "Report a tide.\n",
        "parameters": {"type": "object", "properties": TIDE["properties"], "required": ["height"]},
    }


def test_json_and_yaml_give_the_same_functions() -> None:
    assert convert(json.dumps(yaml.safe_load(DESCRIPTION)).encode()) == convert(DESCRIPTION.encode())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"{",
        b"{}",
        b"[1]",
        b"paths: 1",
        b"paths:\n  /a: 1",
        b'{"paths":{"/a":{"get":{"parameters":[{"$ref":"#/no/such"}]}}}}',
        b'{"paths":{"/a":{"get":{"parameters":[{"$ref":"https://host/a"}]}}}}',
        b'{"paths":{"/a":{"get":{"parameters":[{"$ref":"#/x"}]}}},"x":{"$ref":"#/x"}}',
        b'{"paths":{"/a":{"get":{"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/x"}}}}}}},'
        b'"x":{"properties":{"again":{"$ref":"#/x"}}}}',
        b"[" * 100_000,
    ],
)
def test_an_invalid_description_is_a_400(document: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        convert(document)
    assert caught.value.status == 400


# -- validation ------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "name": "get_tide",
    "description": "The tide at a port",
    "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
    "return_parameters": {"type": "object", "properties": {"height": {"type": ["number", "null"]}}},
    "few_shot_examples": [{"request": "High tide in Murmansk?", "params": {"port": "Murmansk"}}],
}


def test_a_valid_function_has_neither_errors_nor_warnings() -> None:
    assert (list(errors(GOOD)), list(warnings(GOOD))) == ([], [])


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"name": None}, "(root)"),
        ({"name": "2nd"}, "(root).name"),
        ({"name": "имя"}, "(root).name"),
        ({"description": 7}, "(root).description"),
        ({"parameters": None}, "(root)"),
        ({"parameters": "x"}, "(root).parameters"),
        ({"parameters": {"type": "string"}}, "(root).parameters"),
        ({"parameters": {"type": "object", "properties": {"a": {"type": "text"}}}}, "(root).parameters.properties.a"),
        ({"parameters": {"type": "object", "properties": {"a": {}}}}, "(root).parameters.properties.a"),
        ({"parameters": {"type": "object", "properties": []}}, "(root).parameters.properties"),
        ({"parameters": {"type": "object", "required": ["a"]}}, "(root).parameters.required"),
        (
            {"parameters": {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}},
            "(root).parameters.properties.a.items",
        ),
        ({"return_parameters": {"type": "array"}}, "(root).return_parameters"),
        ({"few_shot_examples": {}}, "(root).few_shot_examples"),
        ({"few_shot_examples": [{"params": {}}]}, "(root).few_shot_examples.0"),
        ({"few_shot_examples": [{"request": "x"}]}, "(root).few_shot_examples.0"),
    ],
)
def test_an_error_has_its_location(change: dict[str, Any], location: str) -> None:
    function = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    assert [found for _, found in errors(function)] == [location]


def test_schemas_without_a_type_may_be_valid() -> None:
    fields = {"a": {"enum": [1, 2]}, "b": {"anyOf": [{"type": "string"}]}, "c": {"$ref": "#/$defs/x"}}
    assert list(errors({**GOOD, "parameters": {"type": "object", "properties": fields}})) == []
    assert list(errors({**GOOD, "parameters": {}})) == []
