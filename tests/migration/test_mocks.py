"""Replace methods and resources of a client in tests: mock, monkeypatch, assignment, autospec, subclasses."""

from __future__ import annotations

import gc
import inspect
import pydoc
import weakref
from typing import Any
from unittest import mock

import pytest

from gigaclient import FakeGpt, GigaChat
from gigaclient.gigachat.chat import ChatResource
from gigaclient.models import ChatCompletion, Messages

METHODS = sorted(name for name in dir(GigaChat) if not name.startswith("_") and callable(getattr(GigaChat, name)))
RESOURCES = {"chat": "create", "threads": "get_threads", "assistants": "get"}
ANSWER = ChatCompletion(choices=[{"message": {"role": "assistant", "content": "mocked"}, "index": 0}])  # type: ignore[list-item]


@pytest.fixture
def giga() -> Any:
    with GigaChat(access_token="x") as giga:
        yield giga


@pytest.mark.parametrize("name", METHODS)
def test_each_method_and_resource_can_be_replaced_on_an_instance(
    giga: GigaChat, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(giga, name)
    with mock.patch.object(giga, name, return_value="mocked") as replaced:
        assert getattr(giga, name) is replaced
        assert getattr(giga, name)("Hi") == "mocked"
    assert getattr(giga, name) == original
    with monkeypatch.context() as patches:
        patches.setattr(giga, name, lambda *args: "patched")
        assert getattr(giga, name)("Hi") == "patched"
    assert getattr(giga, name) == original
    setattr(giga, name, "assigned")
    assert getattr(giga, name) == "assigned"
    delattr(giga, name)
    assert getattr(giga, name) == original


@pytest.mark.parametrize(("resource", "method"), RESOURCES.items())
def test_methods_of_a_resource_can_be_replaced(giga: GigaChat, resource: str, method: str) -> None:
    with mock.patch.object(getattr(giga, resource), method, return_value="mocked"):
        assert getattr(getattr(giga, resource), method)() == "mocked"
    setattr(getattr(giga, resource), method, lambda: "assigned")
    gc.collect()
    assert getattr(getattr(giga, resource), method)() == "assigned"


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_is_the_same_object_each_time(giga: GigaChat, resource: str) -> None:
    first = getattr(giga, resource)
    assert getattr(giga, resource) is first
    assert getattr(giga.with_options(timeout=5), resource) is not first


def test_a_dropped_client_is_freed_at_once() -> None:
    giga = GigaChat(access_token="x")
    assert giga.chat is giga.chat
    reference = weakref.ref(giga)
    gc.disable()
    try:
        chat = giga.chat
        del giga
        assert reference() is not None  # the resource keeps its client
        del chat
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("class_", [GigaChat, FakeGpt])
def test_a_client_can_be_specified_automatically(class_: Any) -> None:
    spec = mock.create_autospec(class_)
    client = spec(access_token="x")
    client.chat.return_value = ANSWER
    assert client.chat("Hi", temperature=0.5).text == "mocked"
    client.stream("Hi", temperature=0.5)
    with pytest.raises(AttributeError):
        client.nonsense  # noqa: B018


def test_the_resources_of_a_specified_client_have_their_methods() -> None:
    client = mock.create_autospec(GigaChat, instance=True)
    client.chat.create.return_value = "mocked"
    assert client.chat.create([Messages(content="Hi")], temperature=0.5) == "mocked"
    client.threads.get_threads(limit=1)
    with pytest.raises(AttributeError):
        client.chat.nonsense  # noqa: B018


def test_a_subclass_overrides_methods_and_resources() -> None:
    class Counting(GigaChat):
        calls = 0

        def stream(self, *args: Any, **options: Any) -> Any:
            self.calls += 1
            return super().stream(*args, **options)

        def chat(self, messages: Any, **options: Any) -> Any:  # type: ignore[override]
            return f"mine: {messages}"

    with Counting(access_token="x") as giga:
        assert giga.chat("Hi") == "mine: Hi"
        with pytest.raises(TypeError):
            giga.stream(nonsense=1)
        assert giga.calls == 1


def test_help_shows_docstrings_and_signatures(giga: GigaChat) -> None:
    assert list(inspect.signature(giga.chat).parameters) == ["messages", "options"]
    assert "Unpack[ChatOptions]" in str(inspect.signature(giga.chat))
    assert "temperature" in (inspect.getdoc(giga.chat.__call__) or "")
    assert GigaChat.chat is ChatResource
    shown = pydoc.render_doc(GigaChat, renderer=pydoc.plaintext)
    assert "chat = <class" in shown
    assert "calling it uses API v1" in shown
    assert "Send a chat request" in pydoc.render_doc(giga.chat, renderer=pydoc.plaintext)
