"""Wrong uses that both type checkers must find: each line with ``# wrong:`` has the error codes of mypy and pyright.

``scripts/check_wrong_uses.py`` compares. Nothing here is run.
"""

from __future__ import annotations

from dataclasses import dataclass

from gigaclient import ChatProvider, FakeGpt, GigaChat
from gigaclient.models import Chat, Messages


@dataclass
class City:
    """The type of a structured answer."""

    name: str


def misspelt(giga: GigaChat, fake: FakeGpt, provider: ChatProvider) -> None:
    """Misspell the name of an argument."""
    giga.chat("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.stream("Hi", max_token=5)  # wrong: call-arg, reportCallIssue
    giga.generate("Hi", top=0.5)  # wrong: call-arg, reportCallIssue
    giga.chat_parse("Hi", response_format=City, strickt=True)  # wrong: call-overload, reportCallIssue
    giga.chat.create("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.chat.stream("Hi", storrage=True)  # wrong: call-arg, reportCallIssue
    giga.chat.parse("Hi", response_format=City, temprature=0.5)  # wrong: call-overload, reportCallIssue
    giga.run("Hi", functions=[], max_step=5)  # wrong: call-arg, reportCallIssue
    giga.run_stream("Hi", functions=[], temprature=5)  # wrong: call-arg, reportCallIssue
    giga.chat.run("Hi", functions=[], temprature=5)  # wrong: call-arg, reportCallIssue
    giga.chat.run_stream("Hi", functions=[], temprature=5)  # wrong: call-arg, reportCallIssue
    giga.conversation("Be brief", temprature=5)  # wrong: call-arg, reportCallIssue
    giga.conversation().ask("Hi", temprature=5)  # wrong: call-arg, reportCallIssue
    giga.conversation().stream("Hi", max_step=5)  # wrong: call-arg, reportCallIssue
    giga.map(["Hi"], temprature=5)  # wrong: call-overload, reportCallIssue
    giga.map(["Hi"], response_format=City, chekpoint="x")  # wrong: call-overload, reportCallIssue
    giga.embed_many(["Hi"], max_worker=5)  # wrong: call-arg, reportCallIssue
    giga.embeddings(["Hi"], timeuot=5)  # wrong: call-arg, reportCallIssue
    giga.get_models(request_idd="x")  # wrong: call-arg, reportCallIssue
    giga.create_batch(["Hi"], temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.wait_for_batch("id", poll_intervall=5)  # wrong: call-arg, reportCallIssue
    giga.filter_check("Hi", setings={})  # wrong: call-arg, reportCallIssue
    giga.threads.run("id", temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.threads.wait_for_run("id", poll_intervall=5)  # wrong: call-arg, reportCallIssue
    fake.chat("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    fake.map(["Hi"], temprature=0.5)  # wrong: call-arg, reportCallIssue
    provider.chat("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    GigaChat(credential="x")  # wrong: call-arg, reportCallIssue
    Messages(rol="user")  # wrong: call-arg, reportCallIssue
    Chat(messages=[], temprature=1)  # wrong: call-arg, reportCallIssue


def mistyped(giga: GigaChat) -> None:
    """Pass a value of a wrong type."""
    giga.chat("Hi", temperature="hot")  # wrong: arg-type, reportArgumentType
    giga.chat(5)  # wrong: arg-type, reportArgumentType
    giga.chat.create("Hi", max_tokens="many")  # wrong: arg-type, reportArgumentType
    giga.chat("Hi", timeout="soon")  # wrong: arg-type, reportArgumentType
    GigaChat(max_retries="many")  # wrong: arg-type, reportArgumentType


def misread(giga: GigaChat) -> None:
    """Read what an answer does not have."""
    print(giga.chat("Hi").txt)  # wrong: attr-defined, reportAttributeAccessIssue
    print(giga.chat("Hi").usage.total_tokens)  # wrong: union-attr, reportOptionalMemberAccess
    result = next(giga.map(["Hi"], response_format=City))
    print(result.value.population)  # wrong: attr-defined, reportAttributeAccessIssue
    giga.achat("Hi")  # wrong: attr-defined, reportAttributeAccessIssue
    giga.chat.creat("Hi")  # wrong: attr-defined, reportAttributeAccessIssue
