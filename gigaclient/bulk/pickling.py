"""Pickles of clients, jobs, tasks and results for other processes."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from typing import Any

import msgspec

from gigaclient.bulk.tasks import TaskResult
from gigaclient.errors import ConfigError, GigaClientError

__all__ = ["PROCESSES_PREFIX", "Pickled", "describe_error", "make_picklable", "pickle_once", "pickle_value"]

PROCESSES_PREFIX = "executor= runs in other processes, and "
"""The beginning of messages about objects that cannot be pickled."""

_MAX_MESSAGE_CHARACTERS = 300

# msgspec caches this attribute on a class at first use. It cannot be pickled.
_MSGSPEC_CACHE = "__msgspec_cache__"


class Pickled:
    """A pickle for another process. Its ``repr`` shows no content: executors log the arguments of failed calls.

    Args:
        content: the pickle.
        content_id: identifies the content.
    """

    __slots__ = ("_content", "content_id")

    def __init__(self, content: bytes, content_id: str) -> None:
        self._content = content
        self.content_id = content_id

    def open(self) -> Any:
        """Unpickle and return the content."""
        return pickle.loads(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._content, self.content_id)

    def __repr__(self) -> str:
        return f"<Pickled: {len(self._content)} bytes>"

    def __dask_tokenize__(self) -> str:
        # Dask takes equal arguments for equal results: a repeated task would get its old 429 again.
        return self.content_id


def pickle_once(value: Any, name: str) -> Pickled:
    """Pickle an object that all tasks share; equal content has an equal id.

    Raises:
        ConfigError: ``name`` cannot be pickled.
    """
    try:
        content = pickle_value(value)
    except ConfigError as error:
        reason = error.message
    except Exception as error:
        advice = "define functions, types and hooks at the top of a module"
        reason = f"{name} cannot be pickled ({describe_error(error)}): {advice}"
    else:
        return Pickled(content, hashlib.sha256(content).hexdigest())
    raise ConfigError(PROCESSES_PREFIX + reason)


def pickle_value(value: Any) -> bytes:
    """Pickle ``value`` so that other processes can read it.

    Classes and functions of a script or notebook cannot be imported elsewhere. The pickler of Dask and Ray includes
    their code.
    """
    cloudpickle = sys.modules.get("cloudpickle") or sys.modules.get("ray.cloudpickle")
    if cloudpickle is None:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except ConfigError:
        raise
    except Exception:
        return _pickle_with_code(value, cloudpickle)
    return content if b"__main__" not in content else _pickle_with_code(value, cloudpickle)


def _pickle_with_code(value: Any, cloudpickle: Any) -> bytes:
    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type) and _MSGSPEC_CACHE in vars(obj):
                delattr(obj, _MSGSPEC_CACHE)  # msgspec creates it again when needed
            reduced = super().reducer_override(obj)
            if reduced is not NotImplemented and isinstance(obj, msgspec.StructMeta):
                raise ConfigError(  # it would lose its fields
                    f"the msgspec.Struct {obj.__qualname__} of a script or notebook cannot be pickled: define it in a "
                    "module that the workers have, or make it a dataclass"
                )
            return reduced

    buffer = io.BytesIO()
    Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def make_picklable(task_result: TaskResult) -> TaskResult:
    """Remove the parts of ``task_result`` that cannot be pickled. The answer always can."""
    if not _is_picklable(task_result.run):
        task_result.run = None
    if not _is_picklable(task_result.value):
        task_result.value = None
        task_result.error = GigaClientError(
            "the value of the answer cannot come back from another process: define its type at the top of a module"
        )
    error = task_result.error
    if error is not None and not _is_picklable(error):
        if isinstance(error, GigaClientError):
            error.run = None
        if not _is_picklable(error):
            task_result.error = GigaClientError(describe_error(error))
    return task_result


def _is_picklable(value: Any) -> bool:
    if value is None:
        return True
    try:
        pickle.loads(pickle_value(value))
    except Exception:
        return False
    return True


def describe_error(error: BaseException) -> str:
    """Return the class and the beginning of the message."""
    text = str(error)
    text = text if len(text) <= _MAX_MESSAGE_CHARACTERS else text[: _MAX_MESSAGE_CHARACTERS - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
