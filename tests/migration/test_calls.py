"""Calls of programs for the official SDK: arguments, tokens, environment, gateways, and names of async methods."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pydantic
import pytest

from gigaclient import AuthenticationError, ConfigError, FakeGpt, GigaChat
from gigaclient.models import Chat, ChatCompletionRequest, Messages
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator
from gigaclient.testing.fault_server import Answer, Server


@pytest.fixture
def emulator(gigachat_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return gigachat_emulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Any:
    with GigaChat(**emulator.client_options) as giga:
        yield giga


@pytest.fixture
def options_without_key(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of a client; the authorization key is in the environment."""
    options = dict(emulator.client_options)
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", options.pop("credentials"))
    return options


def body(emulator: GigaChatEmulator, index: int = -1) -> Any:
    return json.loads(emulator.requests[index].body)


# -- payload= and the names of arguments -------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["Count from 1 to 2", Chat(messages=[Messages(content="Count from 1 to 2")])])
def test_the_messages_may_be_called_payload(giga: GigaChat, payload: Any) -> None:
    assert giga.chat(payload=payload).text == "1, 2"
    assert giga.stream(payload=payload).result().text == "1, 2"
    assert "".join(giga.generate(payload=payload)) == "1, 2"
    assert giga.chat.create(payload=payload).text == "1, 2"
    assert giga.chat.stream(payload=payload).result().text == "1, 2"
    assert giga.chat_parse(payload=payload, response_format={"type": "object"})[0].text
    assert giga.chat.parse(payload=payload, response_format={"type": "object"})[0].text


def test_messages_are_passed_once(giga: GigaChat) -> None:
    for call in (giga.chat, giga.stream, giga.chat.create, giga.chat.stream):
        with pytest.raises(TypeError, match="two names of one argument"):
            call("Hi", payload="Hi")
        with pytest.raises(TypeError, match="messages are missing"):
            call()


def test_a_misspelt_name_is_a_type_error_with_names_that_are_close(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    misspelt: Any = {"temprature": 0.5}
    for call in (giga.chat, giga.stream, giga.generate, giga.chat.create, giga.chat.stream):
        with pytest.raises(
            TypeError, match=r"no such argument: temprature; did you mean temperature.*additional_fields"
        ):
            call("Hi", **misspelt)
    for call in (giga.chat_parse, giga.chat.parse):
        with pytest.raises(TypeError, match="did you mean temperature"):
            call("Hi", response_format={"type": "object"}, **misspelt)
    for start in (giga.map, giga.conversation):
        with pytest.raises(TypeError, match="did you mean temperature"):
            start(["Hi"] if start == giga.map else "Hi", **misspelt)
    with pytest.raises(TypeError, match="did you mean temperature"):
        giga.run("Hi", functions=[], **misspelt)
    assert emulator.requests == []


def test_a_field_that_is_new_goes_into_additional_fields(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for call in (giga.chat, giga.chat.create):
        call("Hi", additional_fields={"brand_new": 1})
        assert body(emulator)["brand_new"] == 1
    list(GigaChat.create_generator("GigaChat-2", "Hi", brand_new=2, **emulator.client_options))
    assert body(emulator)["brand_new"] == 2


def test_fakegpt_takes_the_same_arguments(fakegpt_emulator: FakeGptEmulator) -> None:
    with FakeGpt(**fakegpt_emulator.client_options) as fake:
        assert fake.chat(payload="Count from 1 to 2").text == "1, 2"
        fake.chat("Hi", temperature=0.5, history_and_training_disabled=False)
        for call in (fake.chat, fake.stream, fake.generate):
            with pytest.raises(TypeError, match="did you mean conversation_id"):
                call("Hi", conversation_ids="1")


# -- objects of pydantic -----------------------------------------------------------------------------------------


class OfficialMessage(pydantic.BaseModel):
    role: str
    content: str = ""
    name: str | None = None


class OfficialChat(pydantic.BaseModel):
    messages: list[OfficialMessage]
    temperature: float | None = None
    model: str | None = None


def test_requests_and_messages_of_the_official_sdk_are_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    message: Any = OfficialMessage(role="user", content="Hi")
    request: Any = OfficialChat(messages=[message], temperature=0.5)
    v1 = [{"role": "user", "content": "Hi"}]
    for call in (giga.chat, giga.stream):
        call(request)
        assert (body(emulator)["messages"], body(emulator)["temperature"]) == (v1, 0.5)
        call([message, Messages(content="there")])
        assert body(emulator)["messages"] == [*v1, {"role": "user", "content": "there"}]
        call({"messages": [message]})
        assert body(emulator)["messages"] == v1
    for call in (giga.chat.create, giga.chat.stream):
        call(request)
        assert body(emulator)["model_options"] == {"temperature": 0.5}
        call([message])
        assert body(emulator)["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]
    assert giga.conversation(messages=[message]).messages == v1


# -- tokens ----------------------------------------------------------------------------------------------------


def test_the_token_in_use_is_an_attribute(giga: GigaChat) -> None:
    assert giga.token is None
    giga.chat("Hi")
    assert giga.token == giga.get_token().access_token
    assert giga.get_token().tok == giga.token
    with GigaChat(access_token="mine") as other:
        assert other.token == "mine"


def test_a_stale_token_is_renewed_by_the_key_of_the_environment(options_without_key: dict[str, Any]) -> None:
    with GigaChat(**options_without_key, access_token="stale") as giga:
        assert giga.chat("Count from 1 to 2").text == "1, 2"
        assert giga.token not in ("stale", None)


# -- the environment -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("lower", [False, True])
def test_variables_may_be_in_lower_case_and_in_quotes(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch, quote: str, lower: bool
) -> None:
    settings = {**emulator.environment, "GIGACHAT_TIMEOUT": "7", "GIGACHAT_MAX_RETRIES": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name.lower() if lower else name, f"{quote}{value}{quote}")
    with GigaChat() as giga:
        assert giga.chat("Count from 1 to 2").text == "1, 2"
        assert (giga._settings.read_timeout, giga._settings.max_retries) == (7.0, 0)


def test_the_usual_name_wins_over_one_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("gigachat_model", "lower")
    with GigaChat(access_token="x") as giga:
        assert giga.model == "lower"
    monkeypatch.setenv("GIGACHAT_MODEL", "upper")
    with GigaChat(access_token="x") as giga:
        assert giga.model == "upper"
    monkeypatch.setenv("GIGACHAT_MODEL", '""')
    with GigaChat(access_token="x") as giga:
        assert giga.model == "GigaChat-2"


# -- gateways --------------------------------------------------------------------------------------------------------


def test_a_client_without_authentication_sends_no_credentials(
    emulator: GigaChatEmulator, options_without_key: dict[str, Any]
) -> None:
    with GigaChat(**options_without_key, auth=None) as giga:
        assert giga.token is None
        with pytest.raises(AuthenticationError):
            giga.chat("Hi")
        with pytest.raises(ConfigError, match="there is no token"):
            giga.get_token()
        token = emulator.issue_token()
        assert giga.chat("Count from 1 to 2", authorization=f"Bearer {token}").text == "1, 2"
    assert [request.path for request in emulator.requests] == ["/v1/chat/completions"] * 2
    assert "authorization" not in emulator.requests[0].headers


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"credentials": "eDp5", "auth": None}, "leave credentials out"),
        ({"access_token": "x", "auth": None}, "leave access_token out"),
        ({"auth": "basic"}, 'must be "auto", or None'),
    ],
)
def test_authentication_is_automatic_or_none(arguments: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        GigaChat(**arguments)


@pytest.mark.parametrize("name", ["base_url", "auth_url", "v2_url"])
def test_plain_http_of_another_machine_must_be_permitted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address: Any = {name: "http://gateway.example/v1"}
    with pytest.raises(ConfigError, match="allow_http=True"):
        GigaChat(**address)
    with GigaChat(**address, allow_http=True) as giga:
        assert getattr(giga._settings, name) == "http://gateway.example/v1"
    monkeypatch.setenv("GIGACHAT_ALLOW_HTTP", "true")
    GigaChat(**address).close()


def test_fakegpt_permits_plain_http_too() -> None:
    with pytest.raises(ConfigError, match="allow_http=True"):
        FakeGpt("http://gateway.example")
    FakeGpt("http://gateway.example", allow_http=True).close()


def test_the_token_address_may_have_no_path() -> None:
    token = json.dumps({"access_token": "a-token", "expires_at": 0}).encode()
    with Server(lambda request: Answer(200, {"Content-Type": "application/json"}, token)) as server:
        with GigaChat(credentials="eDp5", auth_url=server.url) as giga:
            assert giga.get_token().access_token == "a-token"
        assert [request.path for request in server.requests] == ["/"]


# -- headers of the response -----------------------------------------------------------------------------------------


def test_every_answer_and_chunk_has_the_ids_of_its_response(giga: GigaChat) -> None:
    ids: Any = {"request_id": "r-1", "session_id": "s-1"}
    answers: list[Any] = [
        giga.chat("Hi", **ids),
        giga.chat.create("Hi", **ids),
        *giga.stream("Count from 1 to 2", **ids),
        *giga.chat.stream("Count from 1 to 2", **ids),
        giga.stream("Hi", **ids).result(),
        giga.embeddings(["a"], **ids),
        *giga.tokens_count(["a"], **ids),
        giga.get_models(**ids),
    ]
    for answer in answers:
        assert answer.x_headers["x-request-id"] == "r-1", type(answer)
        assert answer.x_headers["x-session-id"] == "s-1", type(answer)
        assert answer.x_headers.keys() == {"x-request-id", "x-session-id", "x-client-id"}


# -- async ---------------------------------------------------------------------------------------------------------


def test_asynchronous_methods_are_missing_with_what_to_use(giga: GigaChat) -> None:
    for name in ("achat", "astream", "aget_models", "a_threads", "a_assistants", "aclose", "aupload_file"):
        with pytest.raises(AttributeError, match=rf"no {name}: .*asyncio\.to_thread\(giga\.chat"):
            getattr(giga, name)
    with pytest.raises(AttributeError, match="object has no attribute 'nonsense'"):
        giga.nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(giga, "achat")


def test_async_with_says_what_to_use(giga: GigaChat) -> None:
    async def main() -> None:
        async with giga:  # type: ignore[attr-defined]
            pass

    with pytest.raises(TypeError, match=r"no async with: .*asyncio\.to_thread"):
        asyncio.run(main())


def test_a_coroutine_calls_in_a_thread(giga: GigaChat) -> None:
    async def main() -> list[str]:
        prompts = ("Count from 1 to 2", "Count from 3 to 4")
        answers = await asyncio.gather(*(asyncio.to_thread(giga.chat, prompt) for prompt in prompts))
        return [answer.text for answer in answers]

    assert asyncio.run(main()) == ["1, 2", "3, 4"]


def test_a_request_of_v2_may_be_validated_and_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    request = ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], "brand_new": 1})
    giga.chat.create(ChatCompletionRequest(**request.model_dump()))
    assert body(emulator)["brand_new"] == 1
