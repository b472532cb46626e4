"""The error message for a missing extra."""

from __future__ import annotations

__all__ = ["extra_is_missing"]


def extra_is_missing(error: ImportError) -> ImportError:
    """Return the error to raise instead of ``error`` when a package of the extra ``testing`` is missing."""
    return ImportError(
        f'gigaclient.testing needs the package "{error.name}", which is not installed. '
        'Install the extra: pip install "gigaclient[testing]"',
        name=error.name,
    )
