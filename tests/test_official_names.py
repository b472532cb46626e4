"""``gigaclient.models`` and ``gigaclient.exceptions``: the official SDK's names, and ours behind them."""

from __future__ import annotations

import ast
import inspect
import json
from types import ModuleType
from typing import Any

import pytest

from gigaclient import GigaChat, errors, exceptions, models, types
from gigaclient.exceptions import GigaChatException, NotFoundError, ResponseError
from gigaclient.models import Chat, Function, FunctionCall, Messages, MessagesRole
from gigaclient.testing import GigaChatEmulator

CALL = FunctionCall(name="tide", arguments={"port": "N"})


@pytest.mark.parametrize(("names", "home"), [(models, types), (exceptions, errors)], ids=["models", "exceptions"])
def test_each_name_is_one_of_ours_and_nothing_else_is_there(names: ModuleType, home: ModuleType) -> None:
    ours = {id(getattr(home, name)) for name in home.__all__}
    assert [name for name in names.__all__ if id(getattr(names, name)) not in ours] == []
    statements = ast.parse(inspect.getsource(names)).body
    assert {type(statement) for statement in statements} == {ast.Expr, ast.ImportFrom, ast.Assign}


def test_the_official_exceptions_catch_what_is_raised(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        for kind in (NotFoundError, ResponseError, GigaChatException):
            with pytest.raises(kind):
                giga.chat("Hello", model="GigaChat-99")


def test_a_request_written_with_the_official_names_is_sent(gigachat_emulator: GigaChatEmulator) -> None:
    request = Chat(
        messages=[
            Messages(role=MessagesRole.SYSTEM, content="Be brief."),
            Messages(role=MessagesRole.USER, content="Hello"),
            Messages(
                role=MessagesRole.ASSISTANT,
                content="",
                function_call=FunctionCall(name="tide", arguments={"port": "N"}),
            ),
            Messages(role=MessagesRole.FUNCTION, content='{"height_m": 1.8}', name="tide"),
        ],
        functions=[Function(name="tide", parameters={"type": "object", "properties": {"port": {"type": "string"}}})],
        temperature=0.5,
    )
    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = giga.chat(request)
    sent: dict[str, Any] = json.loads(gigachat_emulator.requests[-1].body)
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "function"]
    assert sent["messages"][2]["function_call"] == {"name": "tide", "arguments": {"port": "N"}}
    assert sent["temperature"] == 0.5
    assert answer.choices[0].message.role == MessagesRole.ASSISTANT
