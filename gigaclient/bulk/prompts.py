"""The inputs of a run over many prompts: any iterable or a file; and the prompt made of each input.

Nothing of pandas, polars, numpy, Django or a database is imported: their objects are recognised by their attributes.
"""

from __future__ import annotations

import datetime
import inspect
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gigaclient.bulk.input_files import BadLine, PromptFile
from gigaclient.bulk.templates import BYTES, Template, field_names, is_missing, join_names, unwrap
from gigaclient.errors import ConfigError
from gigaclient.types import Chat, Message

__all__ = ["Prompts"]


class Prompts:
    """The inputs of a run, and the prompt for each of them.

    Args:
        prompts: any iterable: lists, generators (infinite ones too), sets, columns of pandas, polars and numpy,
            querysets, cursors; rows, with a ``template``. A path or an open file is read line by line: ``.jsonl`` and
            ``.ndjson`` hold JSON on each line, ``.txt`` a prompt on each line. An open file without a name, such as
            ``sys.stdin``, holds JSON lines. Blank lines are skipped.
        template: how to make the prompt. In a string, ``{name}`` stands for that field of the input, and ``{}``,
            ``{0}`` or ``{input}`` for an input without fields; ``{{`` and ``}}`` are braces, and any other brace, as in
            JSON, stands for itself. A function receives the input and returns the prompt.

    Raises:
        ConfigError: these cannot be prompts, or the template is invalid; the message says what to pass.
    """

    def __init__(self, prompts: Any, template: str | Callable[[Any], Any] | None = None) -> None:
        self._fill = _template_function(template)
        self._total: int | None = None
        if isinstance(prompts, os.PathLike) or callable(getattr(prompts, "read", None)):
            self._inputs: Any = PromptFile(prompts)
            return
        problem = _problem_with(prompts, has_template=template is not None)
        if problem is not None:
            raise ConfigError(problem)
        self._inputs = prompts
        # Not of lazy objects, which len() would load: a column of dask, a queryset of Django.
        lazy = any(hasattr(type(prompts), name) for name in ("__dask_graph__", "_fetch_all"))
        if hasattr(type(prompts), "__len__") and not lazy:
            self._total = len(prompts)

    @property
    def total(self) -> int | None:
        """The number of inputs; None if counting would consume or load them. The lines of a file are counted."""
        return self._inputs.count() if isinstance(self._inputs, PromptFile) else self._total

    def __iter__(self) -> Iterator[Any]:
        """Yield the inputs one at a time, as they were passed.

        A file that was opened here is closed at the end, or when the iterator is closed.

        Raises:
            ConfigError: the file cannot be read, or is not text in UTF-8.
        """
        if isinstance(self._inputs, PromptFile):
            yield from self._inputs.read()
            return
        # Not "yield from", which would close the caller's cursor or generator together with this one.
        for input_ in self._inputs:  # noqa: UP028
            yield input_

    def prompt_for(self, input_: Any) -> Any:
        """Return the prompt for one input: a string, a list of messages, or a whole request.

        Raises:
            ConfigError: the input cannot be a prompt; the message says what to change.
            Exception: any exception of a function passed as ``template``.
        """
        if input_.__class__ is BadLine:
            raise ConfigError(input_.problem)
        return _prompt(input_) if self._fill is None else self._fill(input_)


def _problem_with(prompts: Any, *, has_template: bool) -> str | None:
    """Return why ``prompts`` is not a collection of prompts, and what to pass; None if it is one."""
    class_ = type(prompts)
    type_name = class_.__name__
    if isinstance(prompts, str):
        return "a string is one prompt: put it into a list; a file is passed as a pathlib.Path"
    if isinstance(prompts, BYTES):
        return "the prompts are bytes: decode them, and put the string into a list; a file is passed as a pathlib.Path"
    if isinstance(prompts, msgspec.Struct) or (
        isinstance(prompts, Mapping) and not {"messages", "prompt"}.isdisjoint(prompts)
    ):
        return f"a {type_name} is one prompt: put it into a list"
    if isinstance(prompts, Mapping):
        return f"a {type_name} is not a list of prompts: pass its .values(), or a list of such rows with template="
    # Looked up on the class, because some tables compute theirs.
    if hasattr(class_, "columns") and not callable(class_.columns):
        return (
            f'a {type_name} is a table: pass one column, as in table["text"], or its rows with template=, as in '
            'df.to_dict("records") of pandas and df.iter_rows(named=True) of polars'
        )
    dimensions = getattr(prompts, "ndim", 1)
    if isinstance(dimensions, int) and dimensions != 1:
        return f"an array of {dimensions} dimensions is not a list of prompts: pass one of its columns"
    if not hasattr(class_, "__iter__") and not hasattr(class_, "__getitem__"):
        if hasattr(class_, "__aiter__"):
            return f"the prompts are asynchronous ({type_name}), which is not supported: gather them into a list"
        return f"the prompts must be a list, a file or anything else that can be iterated, not {type_name}"
    if not has_template and isinstance(prompts, (list, tuple)) and prompts and _is_message(prompts[0]):
        return "these messages are one prompt together: put their list into a list"
    return None


def _template_function(template: Any) -> Callable[[Any], Any] | None:
    """Return the function that makes a prompt of an input; None if inputs are prompts."""
    if template is None:
        return None
    if isinstance(template, str):
        return Template(template).fill
    if not callable(template):
        raise ConfigError(f"template must be a string that names fields, or a function, not {type(template).__name__}")
    if inspect.iscoroutinefunction(template) or inspect.isasyncgenfunction(template):
        raise ConfigError("template is an asynchronous function: pass an ordinary one")
    function = template

    def fill(input_: Any) -> Any:
        prompt = function(input_)
        if prompt is None:
            raise ConfigError("template returned None: what it returns is the prompt")
        return _prompt(prompt)

    return fill


def _prompt(input_: Any) -> Any:
    """Return the prompt that an input is by itself."""
    type_ = input_.__class__
    if type_ is str or type_ is list or type_ is Chat:
        return input_
    input_ = unwrap(input_)
    if isinstance(input_, str):
        return str.__str__(input_)
    if isinstance(input_, (list, Chat)) or (isinstance(input_, Mapping) and "messages" in input_):
        return input_
    if isinstance(input_, tuple) and input_ and all(map(_is_message, input_)):
        return list(input_)
    if isinstance(input_, Mapping) and isinstance(input_.get("prompt"), str):
        return str.__str__(input_["prompt"])
    raise ConfigError(_problem_with_input(input_))


def _problem_with_input(input_: Any) -> str:
    """Return why an input is not a prompt, and what to do."""
    type_name = type(input_).__name__
    if is_missing(input_):
        return f"there is no prompt: the input is {input_}; leave such inputs out"
    if _is_message(input_):
        return "a single message is not a prompt: pass a string, or put the message into a list"
    if isinstance(input_, BYTES):
        return "the input is bytes: decode it to a string first"
    if isinstance(input_, (numbers.Number, datetime.date)):
        return f'a prompt is text, and the input is of type {type_name}: template="… {{}} …" makes text of it'
    names = field_names(input_)
    if names is not None:
        return f"the input has the fields {join_names(names)}: pass template= to make a prompt of them"
    if isinstance(input_, tuple):
        return f"the input is a row of {len(input_)} values: a function as template= makes a prompt of it"
    return f"an input of type {type_name} is not a prompt: pass template= to make a prompt of it"


def _is_message(value: Any) -> bool:
    return isinstance(value, Message) or (
        isinstance(value, Mapping) and "role" in value and "content" in value and "messages" not in value
    )
