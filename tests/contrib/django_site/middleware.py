"""Middleware that wraps what is streamed, as Django's documentation says that it be done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def shouting(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """For requests that want it, each streamed piece has its text in capital letters."""
    if iscoroutinefunction(get_response):

        async def in_loop(request: HttpRequest) -> Any:
            return _shouted(request, await get_response(request))

        return in_loop

    def in_thread(request: HttpRequest) -> Any:
        return _shouted(request, get_response(request))

    return in_thread


def _shouted(request: HttpRequest, response: Any) -> Any:
    if "shout" in request.GET and response.streaming:
        wrap = _in_loop if response.is_async else _in_thread
        response.streaming_content = wrap(response.streaming_content)
    return response


def _loud(piece: bytes) -> bytes:
    return piece.replace("раз".encode(), "РАЗ".encode())


def _in_thread(pieces: Any) -> Iterator[bytes]:
    for piece in pieces:
        yield _loud(piece)


async def _in_loop(pieces: Any) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield _loud(piece)
