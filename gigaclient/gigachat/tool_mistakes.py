"""The errors that the model receives: of its invalid calls, and of functions that fail. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gigaclient._core.messages import encode
from gigaclient.errors import ConfigError
from gigaclient.functions import Tool

__all__ = ["Mistakes", "error_text"]

# Limits what the model is charged for when an error message is a chain of causes or a page of HTML.
_MAX_ERROR_CHARACTERS = 1000
_MAX_SCHEMA_CHARACTERS = 4000


def error_text(problem: str) -> str:
    """Return the text of the JSON object that reports an error to the model."""
    return encode({"error": problem[:_MAX_ERROR_CHARACTERS]}).decode()


class Mistakes:
    """The invalid calls of one dialogue. The same mistake is never answered in the same words twice."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = tools
        self._counts: Counter[tuple[str, str]] = Counter()

    def answer(self, name: str, mistake: str) -> tuple[str, str]:
        """Count a mistake in a call of the function ``name``; return the error and its JSON text."""
        mistake = mistake[:_MAX_ERROR_CHARACTERS]
        self._counts[name, mistake] += 1
        count = self._counts[name, mistake]
        tool = self._tools.get(name)
        if count == 1:
            error = f"{mistake}. Correct that and call again"
        elif count == 2 and tool is not None:
            schema = _schema_of(tool)
            error = f"{mistake}. This mistake is the same as before. Send arguments that fit this JSON Schema: {schema}"
        else:
            error = f"{mistake}. This is mistake number {count} of the same kind: answer without this call"
        return error, encode({"error": error}).decode()


def _schema_of(tool: Tool) -> str:
    try:
        return encode(tool.parameters or {}).decode()[:_MAX_SCHEMA_CHARACTERS]
    except ConfigError:  # a specification of the caller that has no JSON form was refused before
        return "{}"
