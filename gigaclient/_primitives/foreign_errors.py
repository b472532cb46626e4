"""Tell the exceptions of the program from those of libraries, by where they were raised.

A signal handler runs in the middle of a call and may raise anything: Celery's ``SoftTimeLimitExceeded``, RQ's
``JobTimeoutException``, a plain ``TimeoutError``. Such an exception must leave the call unchanged. Libraries wrap it
like a failure of the network, and its class alone does not tell the two apart.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator

__all__ = ["ForeignError", "chain", "foreign_error", "is_foreign"]

# The code that a call runs through.
_OWN_CODE = frozenset(sys.stdlib_module_names) | {
    "OpenSSL",
    "brotli",
    "brotlicffi",
    "certifi",
    "eventlet",
    "filelock",
    "gevent",
    "gigaclient",
    "idna",
    "msgspec",
    "requests",
    "socks",
    "truststore",
    "urllib3",
    "zstandard",
}


class ForeignError(BaseException):
    """Carries a foreign exception, its only argument, past code that would swallow it."""


def is_foreign(error: BaseException) -> bool:
    """Return True when the program raised ``error`` inside our call, and not a library.

    A class that a library defines is the library's, and a class that the program defines is the program's. A built-in
    class is foreign when the innermost frame of its traceback, which raised it, runs code of the program. The frames
    above do not count, because instrumentation wraps the functions of libraries.
    """
    module = type(error).__module__
    if module != builtins.__name__:
        return _root(module) not in _OWN_CODE
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return _root(str(trace.tb_frame.f_globals.get("__name__"))) not in _OWN_CODE


def foreign_error(failure: BaseException) -> BaseException | None:
    """Return the foreign exception that ``failure`` is or was made from, or None.

    Call it outside of the ``except`` clause that caught ``failure``. An exception that the caller of the client handles
    at the moment is a context of ``failure``, but not its cause.
    """
    for error in chain(failure):
        if is_foreign(error):
            _drop_contexts(error)
            return error
    return None


def chain(failure: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all its causes, outermost first, however the libraries nested them."""
    seen: set[int] = set()
    handled = sys.exc_info()[1]
    if handled is not failure:
        seen.add(id(handled))
    pending: list[object] = [failure]
    while pending:
        error = pending.pop(0)
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        pending += [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args]
        pending += [error.__cause__, error.__context__]


def _drop_contexts(error: BaseException) -> None:
    # A library's exception may hold the request, and with it the key.
    if error.__context__ is not None and not is_foreign(error.__context__):
        error.__context__ = None


def _root(module: str) -> str:
    return module.partition(".")[0]
