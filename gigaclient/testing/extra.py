"""The one sentence people read when the extra is not installed."""

from __future__ import annotations

__all__ = ["extra_is_missing"]


def extra_is_missing(error: ImportError) -> ImportError:
    """The error to raise in place of ``error`` when a package of the extra ``testing`` cannot be imported."""
    return ImportError(
        f'gigaclient.testing needs the package "{error.name}", which is not installed. '
        'Install the extra: pip install "gigaclient[testing]"',
        name=error.name,
    )
