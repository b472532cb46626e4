"""The sentence that says how to install a missing optional package."""

from __future__ import annotations

import re

__all__ = ["extra_is_missing", "install_command"]


def extra_is_missing(feature: str, package: str | None, extra: str) -> str:
    """Return the error text for a feature whose package is not installed.

    Args:
        feature: what cannot be used without the package, such as "a progress bar".
        package: the name of the missing package.
        extra: the extra of gigaclient that has the package.
    """
    return f"{feature} needs {package}, which is not installed: {install_command(extra)}"


def install_command(extra: str) -> str:
    """Return the pip command that installs the packages of ``extra``.

    The command names the packages and not ``gigaclient[extra]``, because pip looks for gigaclient itself on an index
    while it was perhaps installed from a wheel or from a clone.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires("gigaclient") or []
    except PackageNotFoundError:  # the sources are on sys.path without being installed
        requirements = []
    marker = re.compile(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""")
    packages = [name.strip() for name, _, condition in (text.partition(";") for text in requirements)
                if marker.search(condition)]  # fmt: skip
    if not packages:
        return f'pip install ".[{extra}]" in a clone of the repository'
    return "pip install " + " ".join(f'"{package}"' for package in packages)
