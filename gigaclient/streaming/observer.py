"""The observer of a call and its stream, and the one of clients without hooks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Protocol, TypeVar

__all__ = ["NULL_OBSERVER", "Observer"]

T = TypeVar("T")


class Observer(Protocol):
    """Follow one call: its attempts, its chunks and its end."""

    def begin(self, url: str, request_id: str) -> None:
        """Note that the call can be sent: its end will be reported."""

    def sending(self, headers: Mapping[str, str]) -> None:
        """Report that the next attempt is sent."""

    def response(self, status: int | None, headers: Mapping[str, str], *, request_id: str | None = None) -> None:
        """Report the response of an attempt."""

    def failure(self, error: Any, response: Any, *, retry_in: float | None) -> None:
        """Report the failure of an attempt; ``retry_in`` is the pause before the next one, None if there is none."""

    def count_chunks(self, chunks: Iterator[T]) -> Iterator[T]:
        """Count ``chunks`` as they are read."""

    def observe_blocks(self, blocks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Report the end of a body that is read block by block."""

    def end(
        self, error: BaseException | None = None, *, answer: Callable[[], Any] | None = None, closed: bool = False
    ) -> None:
        """Report the end of the call; ``answer`` returns the completion so far."""

    def end_with_body(self, response: Any, accept: str) -> None:
        """Report the end of a call whose body was read whole."""


class _NullObserver:
    """Report nothing."""

    def begin(self, url: str, request_id: str) -> None:
        """Do nothing."""

    def sending(self, headers: Mapping[str, str]) -> None:
        """Do nothing."""

    def response(self, status: int | None, headers: Mapping[str, str], *, request_id: str | None = None) -> None:
        """Do nothing."""

    def failure(self, error: Any, response: Any, *, retry_in: float | None) -> None:
        """Do nothing."""

    def count_chunks(self, chunks: Iterator[T]) -> Iterator[T]:
        """Return ``chunks``."""
        return chunks

    def observe_blocks(self, blocks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Return ``blocks``."""
        return blocks

    def end(
        self, error: BaseException | None = None, *, answer: Callable[[], Any] | None = None, closed: bool = False
    ) -> None:
        """Do nothing."""

    def end_with_body(self, response: Any, accept: str) -> None:
        """Do nothing."""


NULL_OBSERVER: Observer = _NullObserver()
