"""Response headers with case-insensitive names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Headers"]


class Headers(dict[str, str]):
    """A dict with names in lower case that looks names up in any case (RFC 9110, section 5.1)."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()} if headers else {})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name.lower() if isinstance(name, str) else name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the header, or ``default`` when the response has none of this name."""
        return super().get(name.lower(), default)

    def __reduce__(self) -> tuple[type[Headers], tuple[dict[str, str]]]:
        return Headers, (dict(self),)

    def __copy__(self) -> Headers:
        return Headers(self)

    copy = __copy__
