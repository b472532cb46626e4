"""Our types in models of pydantic and in routes of FastAPI, and objects of pydantic in our calls."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pydantic
import pytest
from fastapi import FastAPI

from gigaclient.models import (
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Function,
    FunctionParametersProperty,
    Messages,
    Models,
    Usage,
)

ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Да", "id": 7}, "index": 0, "finish_reason": "stop"}],
    "created": 1790000001,
    "model": "GigaChat-2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    "brand_new": [1],
}


class Dialogue(pydantic.BaseModel):
    """A model with fields of our types."""

    first: Messages
    answers: list[ChatCompletion] = []
    by_name: dict[str, Usage] = {}
    either: Messages | str = ""


# -- fields and adapters -----------------------------------------------------------------------------


def test_a_model_has_fields_of_our_types() -> None:
    made = Dialogue(first={"role": "user", "content": "Hi"}, answers=[ANSWER], either={"role": "user"})  # type: ignore[arg-type, list-item]
    assert made.first == Messages(role="user", content="Hi")
    assert type(made.answers[0]) is ChatCompletion
    assert made.either == Messages(role="user")
    assert Dialogue(first=made.first, either="text").first is made.first
    for again in (
        Dialogue.model_validate_json(made.model_dump_json()),
        Dialogue.model_validate(made.model_dump()),
        Dialogue.model_validate(made.model_dump(by_alias=True)),
        made.model_copy(deep=True),
    ):
        assert again == made


def test_a_model_dumps_our_types_by_its_own_rules() -> None:
    made = Dialogue(first=Messages(content="Hi"), answers=[ChatCompletion.model_validate(ANSWER)])
    assert made.model_dump(exclude_none=True)["first"] == {"role": "user", "content": "Hi"}
    dumped = json.loads(made.model_dump_json())["answers"][0]
    assert (dumped["object_"], dumped["choices"][0]["message"]["id_"], dumped["brand_new"]) == (
        "chat.completion",
        7,
        [1],
    )
    by_alias = made.model_dump(by_alias=True, mode="json")["answers"][0]
    assert (by_alias["object"], by_alias["choices"][0]["message"]["id"]) == ("chat.completion", 7)
    assert made.model_dump(include={"first": {"content"}}) == {"first": {"content": "Hi"}}


def test_an_invalid_value_is_a_validation_error_with_our_reason() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"not a Message: .*`\$\.content`"):
        Dialogue(first={"role": "user", "content": 5})  # type: ignore[arg-type]


def test_an_adapter_reads_writes_and_describes_our_types() -> None:
    adapter: pydantic.TypeAdapter[list[Models]] = pydantic.TypeAdapter(list[Models])
    listed = adapter.validate_json('[{"data": [{"id": "m"}]}]')
    assert listed[0].data[0].id == "m"
    assert adapter.dump_python(listed, exclude_none=True) == [{"data": [{"id_": "m"}]}]
    schema = adapter.json_schema()
    assert schema["items"] == {"$ref": "#/$defs/Models"}
    assert schema["$defs"]["Models"]["properties"]["data"]["items"] == {"$ref": "#/$defs/Model"}
    assert schema["$defs"]["Model"]["required"] == ["id"]


def test_a_type_that_contains_itself_is_described() -> None:
    schema = pydantic.TypeAdapter(FunctionParametersProperty).json_schema()
    assert list(schema["$defs"]) == ["FunctionParametersProperty"]
    made = pydantic.TypeAdapter(FunctionParametersProperty).validate_python({"properties": {"a": {"type": "string"}}})
    assert made.properties == {"a": FunctionParametersProperty(type="string")}


def test_pydantic_is_not_imported_by_us() -> None:
    code = (
        "import sys; from gigaclient.models import Chat, ChatCompletion;"
        "dict(Chat(messages=[{'role': 'user', 'content': 'Hi'}]));"
        "ChatCompletion.model_validate({'choices': []}).model_dump();"
        "print([name for name in sys.modules if name.startswith('pydantic')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


# -- objects of pydantic in our types -----------------------------------------------------------------------


class Official:
    """Models as the official SDK has them."""

    class Message(pydantic.BaseModel):
        role: str
        content: str = ""
        name: str | None = None
        id_: str | None = pydantic.Field(default=None, alias="id")

    class Parameters(pydantic.BaseModel):
        type_: str = pydantic.Field(default="object", alias="type")
        properties: dict[str, Any] | None = None

    class Function(pydantic.BaseModel):
        name: str
        parameters: Any = None


def test_pydantic_objects_are_accepted_where_ours_are() -> None:
    message = Official.Message(role="user", content="Hi", id="m")
    chat = Chat(
        messages=[message],  # type: ignore[list-item]
        functions=[Official.Function(name="f", parameters=Official.Parameters())],  # type: ignore[list-item]
    )
    assert chat.messages == [Messages(role="user", content="Hi", id="m")]
    assert chat.functions == [Function(name="f", parameters={"type": "object"})]
    assert Function(name="f", parameters=Official.Parameters()).parameters == {"type": "object"}  # type: ignore[arg-type]
    assert Messages.model_validate(message) == chat.messages[0]
    assert Chat.model_validate({"messages": [message]}).messages == chat.messages


# -- FastAPI ---------------------------------------------------------------------------------------------


def asked(app: FastAPI, path: str, body: Any) -> tuple[int, Any]:
    """Send one request to an application in this thread, and return the status and the decoded body."""
    sent: list[dict[str, Any]] = []
    received = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        return received.pop(0) if received else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST" if body is not None else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    # Coroutines, because FastAPI runs other routes in a thread that outlives the test.
    @app.post("/typed")
    async def typed(chat: Chat) -> ChatCompletion:
        return ChatCompletion.model_validate({**ANSWER, "model": chat.model})

    @app.post("/untyped", response_model=None)
    async def untyped(chat: Chat) -> Any:
        return ChatCompletion.model_validate({**ANSWER, "model": chat.model})

    @app.post("/request")
    async def request(request: ChatCompletionRequest) -> list[Messages]:
        return [Messages(content=message.text) for message in request.messages]

    @app.post("/chunk")
    async def chunk(chat: Chat) -> ChatCompletionChunk:
        return ChatCompletionChunk(choices=[{"delta": {"content": "Да"}, "index": 0}])  # type: ignore[list-item]

    return app


def test_a_route_reads_a_request_from_the_body_and_answers_the_fields(app: FastAPI) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": "GigaChat-2-Pro"}
    for path in ("/typed", "/untyped"):
        status, answer = asked(app, path, body)
        assert status == 200
        assert answer["choices"][0]["message"]["content"] == "Да"
        assert (answer["model"], answer["object"], answer["usage"]["total_tokens"]) == (
            "GigaChat-2-Pro",
            "chat.completion",
            4,
        )
        assert {"_raw", "raw", "_hidden", "object_"}.isdisjoint(answer)
    assert asked(app, "/request", body)[1][0]["content"] == "Hi"
    assert asked(app, "/chunk", body)[1]["choices"][0]["delta"]["content"] == "Да"


def test_a_route_refuses_a_body_that_is_no_request(app: FastAPI) -> None:
    status, answer = asked(app, "/typed", {"messages": 5})
    assert status == 422
    assert "not a Chat" in answer["detail"][0]["msg"]


def test_the_types_are_in_the_description_of_the_application(app: FastAPI) -> None:
    status, described = asked(app, "/openapi.json", None)
    assert status == 200
    assert described["components"]["schemas"]["Chat"]["required"] == ["messages"]
    body = described["paths"]["/typed"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Chat"}
