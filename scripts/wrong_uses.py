"""Wrong uses that both type checkers must find: each line with ``# wrong:`` has the error codes of mypy and pyright.

``scripts/check_wrong_uses.py`` compares. Nothing here is run.
"""

from __future__ import annotations

from gigaclient import ChatProvider, FakeGpt, GigaChat
from gigaclient.models import Chat, Messages


def misspelt(giga: GigaChat, fake: FakeGpt, provider: ChatProvider) -> None:
    """Misspell the name of an argument."""
    giga.chat("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.stream("Hi", max_token=5)  # wrong: call-arg, reportCallIssue
    giga.generate("Hi", top=0.5)  # wrong: call-arg, reportCallIssue
    giga.chat.create("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
    giga.chat.stream("Hi", storrage=True)  # wrong: call-arg, reportCallIssue
    giga.run("Hi", functions=[], max_step=5)  # wrong: call-arg, reportCallIssue
    giga.chat.run("Hi", functions=[], temprature=5)  # wrong: call-arg, reportCallIssue
    giga.conversation("Be brief", temprature=5)  # wrong: call-arg, reportCallIssue
    giga.embeddings(["Hi"], timeuot=5)  # wrong: call-arg, reportCallIssue
    giga.get_models(request_idd="x")  # wrong: call-arg, reportCallIssue
    fake.chat("Hi", temprature=0.5)  # wrong: call-arg, reportCallIssue
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
    giga.achat("Hi")  # wrong: attr-defined, reportAttributeAccessIssue
    giga.chat.creat("Hi")  # wrong: attr-defined, reportAttributeAccessIssue
