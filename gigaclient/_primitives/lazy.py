"""Names of a module that are imported at their first use, or are missing for a reason (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FrameType
from typing import Any

__all__ = ["async_names", "lazy_names", "no_async"]


def lazy_names(
    namespace: dict[str, Any], modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        namespace: the ``globals()`` of the package; an imported name is stored there.
        modules: the module of each name, absolute or relative to the package (``".files"``).
    """

    def get(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(module, namespace["__name__"]), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *namespace["__all__"]})

    return get, names


def async_names(module: str, *names: str, otherwise: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """Return the function ``__getattr__`` of a module that lacks the official SDK's asynchronous ``names``.

    Args:
        module: the name of the module.
        names: names whose error says what to use instead.
        otherwise: the function for other names.
    """

    def get(name: str) -> Any:
        if name in names:
            # "from … import …" replaces the message of an AttributeError, so raise an ImportError there.
            raise (ImportError if _in_import(sys._getframe(1)) else AttributeError)(no_async(name))
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


def no_async(name: str) -> str:
    """Return the message of the error about an asynchronous name of the official SDK."""
    return (
        f"gigaclient is synchronous and has no {name}: use a client from as many threads as you like; from a "
        "coroutine, await asyncio.to_thread(giga.chat, messages)"
    )


def _in_import(frame: FrameType) -> bool:
    import opcode

    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]
