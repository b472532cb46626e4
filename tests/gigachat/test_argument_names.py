"""The keyword arguments of calls: all are declared, and a misspelt name is an error before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gigaclient
from gigaclient import AuthenticationError, FakeGpt, GigaChat
from gigaclient.gigachat.chat import ChatResource
from gigaclient.gigachat.conversation import Conversation
from gigaclient.gigachat.resources.assistants import AssistantsResource
from gigaclient.gigachat.resources.threads import ThreadsResource
from gigaclient.testing import GigaChatEmulator

ID = "11111111-2222-3333-4444-555555555555"


@dataclass
class Tide:
    metres: float


def get_tide(port: str) -> float:
    """The height of the tide at a port."""
    return 1.8


def from_json(giga: GigaChat, **options: Any) -> None:
    Conversation.from_json(giga, giga.conversation().to_json(), **options)


CALLS: dict[str, Callable[..., Any]] = {
    "chat": lambda giga, **options: giga.chat("Hi", **options),
    "stream": lambda giga, **options: giga.stream("Hi", **options),
    "generate": lambda giga, **options: giga.generate("Hi", **options),
    "chat_parse": lambda giga, **options: giga.chat_parse("Hi", response_format=Tide, **options),
    "run": lambda giga, **options: giga.run("Hi", functions=[get_tide], **options),
    "run_stream": lambda giga, **options: giga.run_stream("Hi", functions=[get_tide], **options),
    "chat.create": lambda giga, **options: giga.chat.create("Hi", **options),
    "chat.stream": lambda giga, **options: giga.chat.stream("Hi", **options),
    "chat.parse": lambda giga, **options: giga.chat.parse("Hi", response_format=Tide, **options),
    "chat.run": lambda giga, **options: giga.chat.run("Hi", functions=[get_tide], **options),
    "chat.run_stream": lambda giga, **options: giga.chat.run_stream("Hi", functions=[get_tide], **options),
    "map": lambda giga, **options: giga.map(["Hi"], **options),
    "map with functions": lambda giga, **options: giga.map(["Hi"], functions=[get_tide], **options),
    "map via batches": lambda giga, **options: giga.map(["Hi"], via="batches", **options),
    "conversation": lambda giga, **options: giga.conversation("Be brief", **options),
    "conversation.ask": lambda giga, **options: giga.conversation(history_tokens=9).ask("Hi", **options),
    "conversation.stream": lambda giga, **options: giga.conversation(functions=[get_tide]).stream("Hi", **options),
    "Conversation.from_json": from_json,
    "embeddings": lambda giga, **options: giga.embeddings(["Hi"], **options),
    "embed_many": lambda giga, **options: giga.embed_many(["Hi"], **options),
    "tokens_count": lambda giga, **options: giga.tokens_count(["Hi"], **options),
    "get_models": lambda giga, **options: giga.get_models(**options),
    "upload_file": lambda giga, **options: giga.upload_file(("a.txt", b"Hi"), **options),
    "get_file_content": lambda giga, **options: giga.get_file_content(ID, **options),
    "create_batch": lambda giga, **options: giga.create_batch(["Hi"], **options),
    "create_batch of texts": lambda giga, **options: giga.create_batch(["Hi"], method="embedder", **options),
    "wait_for_batch": lambda giga, **options: giga.wait_for_batch(ID, **options),
    "filter_check": lambda giga, **options: giga.filter_check("Hi", **options),
    "check_ai": lambda giga, **options: giga.check_ai("Hi", "GigaCheckDetection", **options),
    "request": lambda giga, **options: giga.request("GET", "/models", **options),
    "assistants.create": lambda giga, **options: giga.assistants.create("GigaChat-2", "Helper", **options),
    "threads.run": lambda giga, **options: giga.threads.run(ID, **options),
    "threads.run_messages_stream": lambda giga, **options: giga.threads.run_messages_stream(["Hi"], **options),
    "threads.wait_for_run": lambda giga, **options: giga.threads.wait_for_run(ID, **options),
}


PACKAGE = Path(gigaclient.__file__).parent
SECRET = "Bearer not-for-tracebacks"


def assert_no_secret_in(caught: pytest.ExceptionInfo[BaseException]) -> None:
    ours = [entry for entry in caught.traceback if Path(entry.path).is_relative_to(PACKAGE)]
    assert ours
    assert [entry.name for entry in ours if SECRET in repr(entry.frame.f_locals)] == []


@pytest.mark.parametrize("name", CALLS)
def test_a_misspelt_option_is_an_error_with_names_that_are_close(
    emulator: GigaChatEmulator, giga: GigaChat, name: str
) -> None:
    with pytest.raises(TypeError, match=r"no such argument: max_retry; did you mean .*max_retries") as caught:
        CALLS[name](giga, max_retry=1, authorization=SECRET)
    assert_no_secret_in(caught)
    assert emulator.requests == []


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"conversation", "Conversation.from_json"}))
def test_a_call_that_is_refused_shows_no_token_in_its_traceback(giga: GigaChat, name: str) -> None:
    options = {"raise_errors": True} if name.startswith(("map", "embed_many")) else {}
    with pytest.raises(AuthenticationError) as caught:
        list(CALLS[name](giga, authorization=SECRET, **options))  # most calls raise before anything is iterated
    assert_no_secret_in(caught)


@pytest.mark.parametrize(
    ("name", "misspelt", "meant"),
    [
        *((name, "temprature", "temperature") for name in CALLS if name.startswith(("chat", "stream", "threads.run"))),
        *((name, "strickt", "strict") for name in ("chat_parse", "chat.parse", "map")),
        *((name, "max_step", "max_steps") for name in ("run", "chat.run", "run_stream", "conversation.ask")),
        *((name, "chekpoint", "checkpoint") for name in ("map", "embed_many")),
        *((name, "poll_intervall", "poll_interval") for name in ("wait_for_batch", "threads.wait_for_run", "map")),
        ("conversation", "history_token", "history_tokens"),
        ("create_batch", "temprature", "temperature"),
        ("create_batch of texts", "modell", "model"),
        ("filter_check", "setings", "settings"),
    ],
)
def test_the_error_names_fields_and_parameters_too(giga: GigaChat, name: str, misspelt: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"did you mean (.* or )?{meant}[ ?]"):
        CALLS[name](giga, **{misspelt: 1})


def test_the_error_says_what_to_do(giga: GigaChat) -> None:
    unknown: Any = {"brand_new": 1}
    with pytest.raises(TypeError, match=r"no such argument: brand_new\. A field .* goes into additional_fields=\{…\}$"):
        giga.chat("Hi", **unknown)
    with pytest.raises(TypeError, match=r"no such argument: brand_new\. The call takes agent_id, authorization, "):
        giga.get_models(**unknown)
    with pytest.raises(TypeError, match=r"The call takes agent_id, .*checkpoint, ") as caught:
        giga.embed_many(["Hi"], **unknown)
    assert not {"self", "MapOptions"} & set(str(caught.value).replace(",", "").split())


# Everything that it does not know goes into the body.
UNDECLARED = {"create_generator"}


@pytest.mark.parametrize(
    "class_",
    [GigaChat, FakeGpt, ChatResource, AssistantsResource, ThreadsResource, Conversation],
    ids=lambda it: it.__name__,
)
def test_every_call_declares_its_keyword_arguments(class_: type[Any]) -> None:
    undeclared = set()
    for name, member in inspect.getmembers(class_, callable):
        if name.startswith("_") and name not in ("__call__", "__init__"):
            continue
        if not inspect.isfunction(member) and not inspect.ismethod(member):
            continue
        for parameter in inspect.signature(member).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD and not str(parameter.annotation).startswith("Unpack["):
                undeclared.add(name)
    assert undeclared <= UNDECLARED


# -- the constructors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "misspelt", "meant"),
    [
        (GigaChat, "credential", "credentials"),
        (GigaChat, "time_out", "timeout"),
        (FakeGpt, "access_tokens", "access_token"),
        (FakeGpt, "base_uri", "base_url"),
    ],
)
def test_a_misspelt_argument_of_a_client_is_an_error_with_the_close_name(
    client: type[GigaChat | FakeGpt], misspelt: str, meant: str
) -> None:
    message = f"{client.__name__} has no argument {misspelt}; did you mean (.* or )?{meant}[ ?]"
    with pytest.raises(TypeError, match=message) as caught:
        client(**{misspelt: SECRET})
    assert_no_secret_in(caught)


@pytest.mark.parametrize("client", [GigaChat, FakeGpt])
def test_a_client_shows_the_arguments_of_its_constructor(client: type[GigaChat | FakeGpt]) -> None:
    assert {"base_url", "timeout", "on_end"} <= set(inspect.signature(client).parameters)
    with pytest.raises(TypeError, match=rf"has no argument colour\. help\({client.__name__}\) explains all arguments"):
        client(colour="red")  # type: ignore[call-arg]
