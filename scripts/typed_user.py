"""A user's script, for the type checker: ``mypy --strict`` passes on it, and sees real types rather than ``Any``."""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import assert_type

from gigaclient import APIStatusError, ChatProvider, ChatStream, FakeGpt, GigaChat, StreamInterruptedError
from gigaclient.types import ChatCompletion, ChatCompletionChunk, Message


def one_answer(provider: ChatProvider) -> str:
    """Both providers fit the protocol; messages are a string, dicts or objects."""
    answer = provider.chat("Hello")
    assert_type(answer, ChatCompletion)
    assert_type(answer.text, str)
    provider.chat([{"role": "user", "content": "Hello"}])
    provider.chat([Message(role="user", content="Hello")], temperature=0.5)
    return answer.text


def in_pieces(provider: ChatProvider) -> ChatCompletion:
    """A stream is a context manager and an iterator of chunks, and holds the answer so far."""
    with provider.stream("Hello") as stream:
        assert_type(stream, ChatStream)
        for chunk in stream:
            assert_type(chunk, ChatCompletionChunk)
            assert_type(chunk.text, str)
        assert_type(stream.text, str)
        return stream.result()


def text_alone(provider: ChatProvider) -> Iterator[str]:
    """The generator of text, and what an error carries."""
    try:
        yield from provider.generate("Hello")
    except StreamInterruptedError as error:
        assert_type(error.text, str)
    except APIStatusError as error:
        assert_type(error.status_code, int)


def main() -> None:
    """Clients are context managers that return themselves."""
    with GigaChat(model="GigaChat-2", timeout=30) as giga:
        assert_type(giga, GigaChat)
        one_answer(giga)
        in_pieces(giga)
        assert_type(GigaChat.create_generator(model="GigaChat-2", messages="Hello"), Iterator[str])
    with FakeGpt(base_url="https://chat.example.org") as fake:
        assert_type(fake, FakeGpt)
        for text in text_alone(fake):
            assert_type(text, str)
