"""Hooks that tell PyInstaller which modules and files of the package a program needs.

PyInstaller finds this package through the entry point ``pyinstaller40``. It reads the imports in the source, so it
misses modules that are loaded by name at first use, and it does not know that the certificate is data.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__all__ = ["files_in", "get_hook_dirs", "modules_in"]


def get_hook_dirs() -> list[str]:
    """Return the folder of the hooks."""
    return list(__path__)


def modules_in(package: str, *, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Return the names of all modules in ``package``, apart from those that start with one of ``leave_out``."""
    spec = find_spec(package)  # without importing what may need an extra
    found: list[str] = []
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None, f"{package}."):
        if not module.name.startswith(leave_out):
            found += [module.name, *(modules_in(module.name) if module.ispkg else ())]
    return found


def files_in(package: str, *suffixes: str) -> list[tuple[str, str]]:
    """Return the files of ``package`` with these suffixes, each with the folder that it belongs into."""
    folder = Path(import_module(package).__path__[0])
    return [(str(path), package.replace(".", "/")) for path in folder.iterdir() if path.suffix in suffixes]
