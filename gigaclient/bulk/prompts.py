"""What goes into a run over many prompts: anything that can be iterated, or a file; and what is asked for each input.

Nothing of pandas, polars, numpy, Django or a database is imported: their objects are known by what they have.
"""

from __future__ import annotations

import datetime
import inspect
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gigaclient.bulk.input_files import BadLine, Lines
from gigaclient.bulk.templates import BYTES, Template, is_missing, listed, names_of, unwrapped
from gigaclient.errors import ConfigError
from gigaclient.types import Chat, Message

__all__ = ["Prompts"]


class Prompts:
    """The inputs of a run, and the prompt that each of them stands for.

    Args:
        prompts: anything that can be iterated: lists, generators (without an end as well), sets, columns of pandas,
            polars and numpy, querysets, cursors; rows, with a ``template``. A path or an open file is read line by
            line: ``.jsonl`` and ``.ndjson`` hold JSON on each line, ``.txt`` a prompt on each line, and an open file
            without a name, such as ``sys.stdin``, JSON. Blank lines are left out.
        template: what the prompt is made of. In a string, ``{name}`` stands for that field of the input, and ``{}``,
            ``{0}`` or ``{input}`` for an input without fields; ``{{`` and ``}}`` are braces, and any other brace, as
            in JSON, stands for itself. A function gets the input, and what it returns is the prompt.

    Raises:
        ConfigError: these cannot be prompts, or the template can be none; the message says what to pass.
    """

    def __init__(self, prompts: Any, template: str | Callable[[Any], Any] | None = None) -> None:
        self._fill = _filling(template)
        self._total: int | None = None
        if isinstance(prompts, os.PathLike) or callable(getattr(prompts, "read", None)):
            self._inputs: Any = Lines(prompts)
            return
        problem = _what_is_wrong(prompts, has_template=template is not None)
        if problem is not None:
            raise ConfigError(problem)
        self._inputs = prompts
        # Not of what would have to be loaded for it: a lazy column of dask, a queryset of Django.
        lazy = any(hasattr(type(prompts), name) for name in ("__dask_graph__", "_fetch_all"))
        if hasattr(type(prompts), "__len__") and not lazy:
            self._total = len(prompts)

    @property
    def total(self) -> int | None:
        """How many inputs there are; None where only asking for them would tell. The lines of a file are counted."""
        return self._inputs.count() if isinstance(self._inputs, Lines) else self._total

    def __iter__(self) -> Iterator[Any]:
        """The inputs as they were passed, one at a time.

        A file that was opened here is closed at the end, or when the iterator is.

        Raises:
            ConfigError: the file cannot be read, or is no text in UTF-8.
        """
        if isinstance(self._inputs, Lines):
            yield from self._inputs.read()
            return
        # Not "yield from", which would close a cursor or a generator of the caller's together with this one.
        for given in self._inputs:  # noqa: UP028
            yield given

    def ask(self, given: Any) -> Any:
        """The prompt of one input: a string, a list of messages, or a whole request.

        Raises:
            ConfigError: the input can be no prompt; the message says what to change.
            Exception: whatever a function given as ``template`` raised.
        """
        if given.__class__ is BadLine:
            raise ConfigError(given.problem)
        return _prompt(given) if self._fill is None else self._fill(given)


def _what_is_wrong(prompts: Any, *, has_template: bool) -> str | None:
    """Why ``prompts`` is no collection of prompts, and what to pass; None where nothing is."""
    cls = type(prompts)
    kind = cls.__name__
    if isinstance(prompts, str):
        return "a string is one prompt: put it into a list; a file is passed as a pathlib.Path"
    if isinstance(prompts, BYTES):
        return "the prompts are bytes: decode them, and put the string into a list; a file is passed as a pathlib.Path"
    if isinstance(prompts, msgspec.Struct) or (
        isinstance(prompts, Mapping) and not {"messages", "prompt"}.isdisjoint(prompts)
    ):
        return f"a {kind} is one prompt: put it into a list"
    if isinstance(prompts, Mapping):
        return f"a {kind} is no list of prompts: pass its .values(), or a list of such with template="
    # On the class, because some tables compute theirs.
    if hasattr(cls, "columns") and not callable(cls.columns):
        return (
            f'a {kind} is a table: pass one column, as in table["text"], or its rows with template=, as in '
            'df.to_dict("records") of pandas and df.iter_rows(named=True) of polars'
        )
    dimensions = getattr(prompts, "ndim", 1)
    if isinstance(dimensions, int) and dimensions != 1:
        return f"an array of {dimensions} dimensions is no list of prompts: pass one column of it"
    if not hasattr(cls, "__iter__") and not hasattr(cls, "__getitem__"):
        if hasattr(cls, "__aiter__"):
            return f"the prompts are asynchronous ({kind}), and this does not wait for such: gather them into a list"
        return f"the prompts must be a list, a file or anything else that can be iterated, not {kind}"
    if not has_template and isinstance(prompts, (list, tuple)) and prompts and _is_message(prompts[0]):
        return "these messages are one prompt together: put their list into a list"
    return None


def _filling(template: Any) -> Callable[[Any], Any] | None:
    """What makes a prompt of an input; None where inputs are prompts."""
    if template is None:
        return None
    if isinstance(template, str):
        return Template(template).fill
    if not callable(template):
        raise ConfigError(f"template must be a string that names fields, or a function, not {type(template).__name__}")
    if inspect.iscoroutinefunction(template) or inspect.isasyncgenfunction(template):
        raise ConfigError("template is an asynchronous function: pass an ordinary one")
    function = template

    def fill(given: Any) -> Any:
        prompt = function(given)
        if prompt is None:
            raise ConfigError("template returned None: what it returns is the prompt")
        return _prompt(prompt)

    return fill


def _prompt(given: Any) -> Any:
    """The prompt that an input is by itself."""
    kind = given.__class__
    if kind is str or kind is list or kind is Chat:
        return given
    given = unwrapped(given)
    if isinstance(given, str):
        return str.__str__(given)
    if isinstance(given, (list, Chat)) or (isinstance(given, Mapping) and "messages" in given):
        return given
    if isinstance(given, tuple) and given and all(map(_is_message, given)):
        return list(given)
    if isinstance(given, Mapping) and isinstance(given.get("prompt"), str):
        return str.__str__(given["prompt"])
    raise ConfigError(_what_is_missing(given))


def _what_is_missing(given: Any) -> str:
    """Why an input is no prompt, and what to do."""
    kind = type(given).__name__
    if is_missing(given):
        return f"there is no prompt: the input is {given}; leave such inputs out"
    if _is_message(given):
        return "a message is no prompt of its own: a prompt is a string, or a list of messages"
    if isinstance(given, BYTES):
        return "the input is bytes: decode it to a string first"
    if isinstance(given, (numbers.Number, datetime.date)):
        return f'a prompt is text, and the input is of type {kind}: template="… {{}} …" makes text of it'
    names = names_of(given)
    if names is not None:
        return f"the input has the fields {listed(names)}: template= says what is asked of them"
    if isinstance(given, tuple):
        return f"the input is a row of {len(given)} values: a function as template= makes a prompt of it"
    return f"an input of type {kind} is no prompt: template= makes prompts of inputs"


def _is_message(value: Any) -> bool:
    return isinstance(value, Message) or (
        isinstance(value, Mapping) and "role" in value and "content" in value and "messages" not in value
    )
