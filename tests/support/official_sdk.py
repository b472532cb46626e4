"""Run code that was written for the official SDK with it and with gigaclient, and record what both do."""

from __future__ import annotations

import contextvars
import gc
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from unittest import mock

from gigaclient.testing import GigaChatEmulator
from gigaclient.testing.http_messages import RecordedRequest

__all__ = ["OFFICIAL", "OURS", "Idiom", "Outcome", "Raised", "differs", "idioms_of", "raises", "with_imports_of"]

OFFICIAL, OURS = "gigachat", "gigaclient"

F = TypeVar("F", bound=Callable[..., Any])


def with_imports_of(package: str, code: str) -> str:
    """Replace the module name of the official SDK by ``package``."""
    return re.sub(rf"\b{OFFICIAL}\b", package, code)


# -- idioms --------------------------------------------------------------------------------------------------------


class Raised(frozenset[str]):
    """The names of the classes that catch an exception."""


class _Raises:
    """Equal to an exception that a class of this name catches."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and self._name in other

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"raises({self._name!r})"


def raises(name: str) -> Any:
    """Return a value that equals any exception which ``except <name>`` catches."""
    return _Raises(name)


@dataclass(frozen=True)
class Difference:
    """A difference that is on purpose.

    Attributes:
        row: the name of its row on the page on migration, a key of ``ROWS``.
        official: the result of the official SDK.
        ours: the result of gigaclient.
    """

    row: str
    official: Any
    ours: Any


def differs(row: str, *, official: Any, ours: Any) -> Callable[[F], F]:
    """Mark an idiom that differs on purpose; see :class:`Difference`."""

    def mark(function: F) -> F:
        function.difference = Difference(row, official, ours)  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Outcome:
    """The result of an idiom and the requests that it sent."""

    result: Any
    requests: list[tuple[str, ...]]


@dataclass(frozen=True)
class Idiom:
    """A function in a module of idioms. It returns plain values: what a program would print."""

    path: Path
    name: str

    @property
    def difference(self) -> Difference | None:
        """The difference that is on purpose, or None if both packages do the same."""
        difference: Difference | None = getattr(_functions(self.path, OFFICIAL)[self.name], "difference", None)
        return difference

    def run(self, package: str, emulator: GigaChatEmulator) -> Outcome:
        """Run it with ``package``. The environment and the context of the caller stay unchanged."""
        function = _functions(self.path, package)[self.name]
        with mock.patch.dict(os.environ, emulator.environment), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = contextvars.copy_context().run(_call, function, package, emulator)
            gc.collect()  # clients of the official SDK that were not closed warn here, and not in another test
        return Outcome(result, [_sent(request) for request in emulator.requests])


def idioms_of(path: Path) -> Iterator[Idiom]:
    """Yield the idioms of a module."""
    for name in _functions(path, OFFICIAL):
        yield Idiom(path, name)


@cache
def _functions(path: Path, package: str) -> dict[str, Callable[..., Any]]:
    code = with_imports_of(package, path.read_text("utf-8"))
    module = ModuleType(f"idioms_{path.stem}_{package}")
    sys.modules[module.__name__] = module  # pydantic looks up the names in annotations there
    exec(compile(code, str(path), "exec", dont_inherit=True), vars(module))
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def _call(function: Callable[..., Any], package: str, emulator: GigaChatEmulator) -> Any:
    names = inspect.signature(function).parameters
    arguments: dict[str, Any] = {"emulator": emulator} if "emulator" in names else {}
    client = None
    if "giga" in names:
        client = arguments["giga"] = __import__(package).GigaChat(model="GigaChat-2")
    try:
        return _without_random_ids(function(**arguments))
    except Exception as error:
        classes = [cls for cls in type(error).__mro__ if cls not in (Exception, BaseException, object)]
        # Our own classes have more names than the official ones: "ResponseError" is "APIStatusError" too.
        exceptions = vars(__import__(f"{package}.exceptions", fromlist=["exceptions"]))
        names_there = {name for name, value in exceptions.items() if value in classes and not name.startswith("_")}
        return Raised(names_there | {cls.__name__ for cls in classes})
    finally:
        if client is not None:
            client.close()


# -- results and requests --------------------------------------------------------------------------------------------

_RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _without_random_ids(value: Any) -> Any:
    if isinstance(value, str):
        return _RANDOM.sub("an-id", value)
    if isinstance(value, dict):
        return {_without_random_ids(key): _without_random_ids(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_random_ids(inner) for inner in value]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _sent(request: RecordedRequest) -> tuple[Any, ...]:
    """Return what a recorder of requests compares: the method, the address, the body, and the ids of the caller."""
    ids = {name: request.headers[name] for name in request.headers if name.startswith("x-")}
    if _RANDOM.fullmatch(ids.get("x-request-id", "")):
        del ids["x-request-id"]  # only gigaclient sends one that the program did not set; an idiom states that
    authorization = request.headers.get("authorization", "").partition(" ")[0]
    parts = (request.method, request.path, request.query, authorization, ids, _body(request))
    return tuple(_without_random_ids(part) for part in parts)


def _body(request: RecordedRequest) -> Any:
    # Many requests differ in these two ways; separate idioms state that.
    if request.path.startswith(("/v1/assistants", "/v1/threads")) and request.body:
        return _without_nulls(request.json())
    if request.path.endswith("/delete"):
        return None
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/json"):
        return request.json()
    if content_type.startswith("multipart/"):
        parsed = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + request.body)
        return [
            (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
            for part in parsed.get_payload()
        ]
    return request.body
