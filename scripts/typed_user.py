"""A user's script for the type checker: ``mypy --strict`` passes on it, and sees real types rather than ``Any``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from gigaclient import APIStatusError, ChatProvider, ChatStream, FakeGpt, GigaChat, StreamInterruptedError
from gigaclient.functions import function
from gigaclient.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatUsage,
    MapResult,
    Message,
    Run,
    Step,
    Usage,
)


def one_answer(provider: ChatProvider) -> str:
    """Call either provider through the protocol; messages are a string, dicts or objects."""
    answer = provider.chat("Hello")
    assert_type(answer, ChatCompletion)
    assert_type(answer.text, str)
    provider.chat([{"role": "user", "content": "Hello"}])
    provider.chat([Message(role="user", content="Hello")], temperature=0.5)
    return answer.text


def in_pieces(provider: ChatProvider) -> ChatCompletion:
    """Read a stream: a context manager and an iterator of chunks that holds the answer so far."""
    with provider.stream("Hello") as stream:
        assert_type(stream, ChatStream)
        for chunk in stream:
            assert_type(chunk, ChatCompletionChunk)
            assert_type(chunk.text, str)
        assert_type(stream.text, str)
        return stream.result()


def text_alone(provider: ChatProvider) -> Iterator[str]:
    """Read the generator of text, and the fields of an error."""
    try:
        yield from provider.generate("Hello")
    except StreamInterruptedError as error:
        assert_type(error.text, str)
    except APIStatusError as error:
        assert_type(error.status_code, int)


@dataclass
class Tide:
    """The type of a structured answer."""

    port: str
    metres: float


@function(examples=[("How high is the tide in Murmansk?", {"port": "Murmansk"})])
def get_tide(port: str) -> Tide:
    """The height of the tide at a port."""
    return Tide(port, 1.8)


def values(giga: GigaChat) -> None:
    """Parse answers: the requested type is the returned type, in both API versions."""
    answer, tide = giga.chat_parse("Hello", response_format=Tide)
    assert_type(answer, ChatCompletion)
    assert_type(tide, Tide)
    assert_type(giga.chat_parse("Hello", response_format=list[Tide])[1], list[Tide])
    assert_type(giga.chat.parse("Hello", response_format=Tide), tuple[ChatCompletionResponse, Tide])
    assert_type(giga.chat_parse("Hello", response_format={"type": "object"})[1], Any)


def many(giga: GigaChat, fake: FakeGpt) -> None:
    """Send many prompts: the requested type is that of the results' values."""
    results = giga.map(["Hello"], response_format=Tide, checkpoint=Path("tides.jsonl"), temperature=0.1)
    for result in results:
        assert_type(result, MapResult[Tide])
        if result.ok:
            assert_type(result.value, Tide)
    assert_type(next(giga.map(["Hello"], response_format=list[Tide])).value, list[Tide])
    assert_type(next(giga.map(["Hello"], response_format={"type": "object"})).value, Any)
    print_all([*giga.map(["Hello"], template="{}"), *fake.map(["Hello"])])


def print_all(results: list[MapResult]) -> None:
    """Take results without naming the type of their values."""
    for result in results:
        assert_type(result.text, str)
        assert_type(result.usage, Usage | None)


def functions(giga: GigaChat) -> None:
    """Call decorated functions, which keep their types; a run and the events of its stream are typed."""
    assert_type(get_tide("Murmansk"), Tide)
    assert_type(giga.run("Hello", functions=[get_tide]), Run[ChatCompletion, Usage])
    assert_type(giga.chat.run("Hello", functions=[get_tide]), Run[ChatCompletionResponse, ChatUsage])
    with giga.run_stream("Hello", functions=[get_tide]) as stream:
        for event in stream:
            assert_type(event, ChatCompletionChunk | Step)
            assert_type(event.text, str)
        assert_type(stream.result().completion, ChatCompletion)
    conversation = giga.conversation("Answer briefly.", functions=[get_tide])
    assert_type(conversation.ask("Hello", temperature=0.5, functions=[get_tide], max_steps=3), ChatCompletion)
    for chunk in conversation.stream("Hello"):
        assert_type(chunk, ChatCompletionChunk)


def main() -> None:
    """Use clients as context managers that return themselves."""
    with GigaChat(model="GigaChat-2", timeout=30) as giga:
        assert_type(giga, GigaChat)
        one_answer(giga)
        in_pieces(giga)
        values(giga)
        functions(giga)
        assert_type(GigaChat.create_generator(model="GigaChat-2", messages="Hello"), Iterator[str])
    with FakeGpt(base_url="https://chat.example.org") as fake:
        assert_type(fake, FakeGpt)
        many(giga, fake)
        for text in text_alone(fake):
            assert_type(text, str)
