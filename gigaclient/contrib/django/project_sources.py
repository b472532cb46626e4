"""The modules of a Django project and their source code, without those of installed packages."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import django
from django.apps import AppConfig, apps
from django.conf import settings

__all__ = ["Source", "project_modules", "source_of", "sources_of_settings"]


class Source(NamedTuple):
    """The syntax tree of a module, and the name of its file for messages."""

    name: str
    tree: ast.Module


def sources_of_settings() -> Iterator[Source]:
    """Yield the settings' module and the modules of the project that it imports."""
    first = _settings_module()
    pending = [first] if first is not None else []
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        source = source_of(name)
        if source is None:
            continue
        yield source
        package = name if _is_package(name) else name.rpartition(".")[0]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                origin = ".".join([*base, *([node.module] if node.module else [])])
                pending += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                pending += [alias.name for alias in node.names]


def source_of(name: str, *, only_with: str = "") -> Source | None:
    """Return the source of a loaded module of the project if it contains ``only_with``, otherwise None."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py") or not _is_project_file(path):
        return None
    try:
        text = Path(path).read_text("utf-8")
        return Source(_relative_path(path), ast.parse(text)) if only_with in text else None
    except (OSError, SyntaxError, ValueError):
        return None


def project_modules(app_configs: Sequence[AppConfig] | None) -> list[ModuleType]:
    """Return the loaded modules of the project: its applications, and the package of its URLs."""
    packages = [config.name for config in (apps.get_app_configs() if app_configs is None else app_configs)]
    urls = getattr(settings, "ROOT_URLCONF", None)
    if app_configs is None and isinstance(urls, str):
        # Views are imported with the URLs, which may not be loaded yet.
        try:
            import_module(urls)
        except Exception:
            return []  # Django's own check reports it
        packages.append(urls.rpartition(".")[0] or urls)
    of_settings = _settings_module()
    return [
        module
        for name, module in sorted(sys.modules.items())
        if any(name == package or name.startswith(f"{package}.") for package in packages)
        and name != of_settings
        and _is_project_file(getattr(module, "__file__", None) or "")
    ]


def _settings_module() -> str | None:
    # None inside override_settings.
    name = getattr(settings, "SETTINGS_MODULE", None) or os.environ.get("DJANGO_SETTINGS_MODULE")
    return name if isinstance(name, str) else None


def _is_package(name: str) -> bool:
    return hasattr(sys.modules.get(name), "__path__")


def _is_project_file(path: str) -> bool:
    folders = Path(path).parts
    if "site-packages" in folders or "dist-packages" in folders:
        return False
    return not any(Path(path).is_relative_to(folder) for folder in _LIBRARY_FOLDERS)


_LIBRARY_FOLDERS = tuple(Path(inspect.getfile(module)).parent for module in (ast, django, sys.modules["gigaclient"]))


def _relative_path(path: str) -> str:
    """Return the path without the folders above the project."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return "/".join(Path(path).parts[-2:])
