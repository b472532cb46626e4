"""The lines that ``map`` and ``batch create`` take: of a file or a pipe, with a template; and JSON Schemas."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from gigaclient.cli.console import piped_input
from gigaclient.cli.exit_codes import with_commands
from gigaclient.cli.options import combine, file_text
from gigaclient.errors import ConfigError

__all__ = ["NOT_JSON_SUFFIXES", "line_options", "read_prompts", "read_schema", "read_template", "row_template"]

_LINE_SUFFIXES = (".jsonl", ".ndjson", ".txt")
_TABLE_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
NOT_JSON_SUFFIXES = (".txt", *_TABLE_DELIMITERS)

line_options = combine(
    click.option("--template", metavar="TEXT", help="The question: {field} stands for a field, {} for a whole line."),
    click.option("--template-file", type=click.Path(dir_okay=False), metavar="PATH", help="The same, from a file."),
    click.option("--lines", is_flag=True, help="Each line is a question, not JSON; always so in a .txt file."),
)
"""``--template``, ``--template-file`` and ``--lines``."""


def read_prompts(file: str | None, lines: bool, stack: contextlib.ExitStack) -> Any:
    """Return the prompts of FILE or the pipe; ``stack`` closes the file that is opened for them.

    Raises:
        click.UsageError: there is no such file, or its name does not say what it holds.
    """
    if file is None or file == "-":
        if file is None and not piped_input():
            raise click.UsageError("there are no prompts: name a file, or pipe JSON lines in")
        stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
        return _questions(stream, "standard input") if lines else stream
    path = Path(file).expanduser()
    suffix = path.suffix.lower()
    if not lines and suffix in _LINE_SUFFIXES:
        return path
    if not lines and suffix and suffix not in _TABLE_DELIMITERS:
        known = ", ".join((*_LINE_SUFFIXES, *_TABLE_DELIMITERS))
        raise click.UsageError(
            f"{file}: a file of prompts ends in {known}; with --lines, any file works, and each line is a question"
        )
    try:
        stream = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    else:
        if lines:
            return _questions(stream, file)
        return _rows(stream, file, _TABLE_DELIMITERS[suffix]) if suffix in _TABLE_DELIMITERS else stream
    raise click.UsageError(f"{file}: {reason}")


def _questions(stream: IO[Any], name: str) -> Iterator[str]:
    for line in _text(stream, name):
        question = line.rstrip("\r\n")
        if question.strip():
            yield question


def _rows(stream: IO[Any], name: str, delimiters: str) -> Iterator[dict[str, Any]]:
    lines = _text(stream, name)
    headings = next(lines, "")
    # Spreadsheets separate columns by semicolons if the decimal separator is a comma.
    delimiter = max(delimiters, key=headings.count)
    try:
        for row in csv.DictReader(itertools.chain([headings], lines), delimiter=delimiter, restkey="more"):
            # An empty cell means no value, not an empty text.
            yield {name: value or None for name, value in row.items()}
    except csv.Error as error:
        reason = str(error)
    else:
        return
    raise ConfigError(f"{name} cannot be read as a table: {reason}")


def _text(stream: IO[Any], name: str) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            text = line if isinstance(line, str) else line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text = None
        if text is None:
            raise ConfigError(f"{name}, line {number}, is not text in UTF-8: save the file as that")
        yield text


def read_template(template: str | None, path: str | None) -> str | None:
    """Return the template of ``--template`` or ``--template-file``.

    Raises:
        click.UsageError: both are set, or the file cannot be read.
    """
    if path is None:
        return template
    if template is not None:
        raise click.UsageError("--template and --template-file exclude each other: leave one out")
    return file_text(path).rstrip("\n")


def read_schema(path: str) -> dict[str, Any]:
    """Return the JSON Schema in the file of ``--schema``.

    Raises:
        click.UsageError: it cannot be read, or is not a JSON object.
    """
    text = file_text(path)
    try:
        schema = json.loads(text)
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(schema, dict):
            return schema
        reason = "it is not an object"
    raise click.UsageError(f"{path} is not a JSON Schema: {reason}")


def row_template(prompts: Any, template: str | None, system: str | None) -> str | Callable[[Any], Any] | None:
    """Return the template for rows: ``template``, with the system message ``system`` if there is one.

    Raises:
        click.UsageError: the template does not fit the prompts.
    """
    from gigaclient.bulk.prompts import Prompts

    try:
        converter = Prompts(prompts, template)
    except ConfigError as error:
        reason = with_commands(error.message)
    else:
        return template if not system else lambda row: _with_system(converter.prompt_for(row), system)
    raise click.UsageError(reason)


def _with_system(prompt: Any, system: str) -> Any:
    """Add a system message to ``prompt``, unless it has one."""
    if isinstance(prompt, Mapping):
        return {**prompt, "messages": _with_system(prompt["messages"], system)}
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if isinstance(messages, list) and not any(_is_system(message) for message in messages):
        return [{"role": "system", "content": system}, *messages]
    return messages


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"
