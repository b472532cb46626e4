"""Both providers implement the interface, with every method and argument."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import gigaclient
from gigaclient import ChatProvider, ChatStream, FakeGpt, GigaChat
from gigaclient.gigachat.chat import ChatResource
from gigaclient.types import ChatCompletion

PROVIDERS = [GigaChat, FakeGpt]
METHODS = ["chat", "stream", "generate", "close", "create_generator"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_implements_the_interface(provider: Any) -> None:
    client = provider(access_token="0123456789abcdef0123456789abcdef")
    try:
        assert isinstance(client, ChatProvider)
        assert issubclass(provider, ChatProvider)
    finally:
        client.close()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_a_context_manager_that_closes(provider: Any) -> None:
    with provider(access_token="0123456789abcdef0123456789abcdef") as client:
        assert not client.closed
    assert client.closed


def test_the_interface_is_what_is_documented() -> None:
    public = {name for name in vars(ChatProvider) if not name.startswith("_")}
    assert public == set(METHODS)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("method", METHODS)
def test_whatever_the_interface_takes_a_provider_takes(provider: Any, method: str) -> None:
    wanted = inspect.signature(getattr(ChatProvider, method)).parameters
    found = getattr(provider, method)
    # `chat` is an object that is called: compare the arguments of that.
    offered = inspect.signature(ChatResource.__call__ if found is ChatResource else found).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in offered.values())
    for name, parameter in wanted.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            assert takes_any
            continue
        assert name in offered, name
        if parameter.default is not parameter.empty:
            assert offered[name].default == parameter.default, name
    for name, parameter in offered.items():
        optional = parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD
        assert name in wanted or optional, f"{name} is more than the interface promises to pass"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_method_of_the_interface_says_what_it_does(provider: Any) -> None:
    for method in METHODS:
        assert inspect.getdoc(getattr(provider, method))


def test_another_class_does_not_implement_the_interface() -> None:
    class Half:
        def chat(self) -> None: ...

    assert not isinstance(Half(), ChatProvider)


def test_the_interface_itself_is_a_context_manager() -> None:
    assert callable(ChatProvider.__enter__)
    assert callable(ChatProvider.__exit__)


def test_a_class_of_the_user_may_implement_the_interface() -> None:
    class Echo:
        def chat(self, messages: Any, **options: Any) -> ChatCompletion:
            return ChatCompletion()

        def stream(self, messages: Any, **options: Any) -> ChatStream:
            raise NotImplementedError

        def generate(self, messages: Any, **options: Any) -> Iterator[str]:
            yield str(messages)

        def close(self) -> None: ...

        def __enter__(self) -> Echo:
            return self

        def __exit__(self, *error: object) -> None: ...

        @classmethod
        def create_generator(
            cls, model: str | None, messages: Any, stream: bool = True, proxy: str | None = None, **kwargs: Any
        ) -> Iterator[str]:
            yield str(messages)

    echo: ChatProvider = Echo()
    assert isinstance(echo, ChatProvider)
    with echo as provider:
        assert list(provider.generate("hi")) == ["hi"]


def test_the_names_of_the_interface_are_at_the_top() -> None:
    for name in (
        "GigaChat",
        "FakeGpt",
        "ChatProvider",
        "ChatStream",
        "ChatCompletion",
        "ChatCompletionChunk",
        "Message",
    ):
        assert name in gigaclient.__all__
        assert getattr(gigaclient, name)
