"""The names of the official SDK: each has a type of ours in the same module."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import traceback
import warnings
from types import ModuleType
from typing import get_args

import pytest

import gigaclient
from gigaclient import GigaChat, client, context, errors, exceptions, models, settings, types
from gigaclient.testing import GigaChatEmulator

# The public names of the official SDK 0.2.3.
MODULES = {
    "assistants": "Assistant AssistantAttachment AssistantDelete AssistantFileDelete Assistants CreateAssistant",
    "auth": "AccessToken Token",
    "base": "APIResponse XHeadersMixin",
    "chat": "Chat ChatCompletion ChatCompletionChunk ChatFunctionCall Choices ChoicesChunk FewShotExample Function "
    "FunctionCall FunctionParameters FunctionParametersProperty FunctionRanker Messages MessagesChunk MessagesRole "
    "Storage Usage",
    "chat_completions": "ChatCompletionChunk ChatCompletionRequest ChatCompletionResponse ChatContentFile "
    "ChatContentPart ChatFilterConfig ChatFilterContentConfig ChatFilterResponseContentConfig ChatFunctionCall "
    "ChatFunctionExample ChatFunctionResult ChatFunctionSpecification ChatFunctionsTool ChatInlineData ChatLogprob "
    "ChatLogprobToken ChatMessage ChatMessageChunk ChatModelOptions ChatRankerOptions ChatReasoning "
    "ChatResponseFormat ChatSource ChatStorage ChatTool ChatToolConfig ChatToolExecution ChatUsage "
    "ChatUsageInputTokensDetails ChatUserInfo ChatWebSearchTool",
    "embeddings": "Embedding Embeddings EmbeddingsUsage",
    "files": "DeletedFile Image UploadedFile UploadedFiles",
    "models": "Model Models",
    "response_format": "JsonSchemaResponseFormat ResponseFormat",
    "threads": "Thread ThreadCompletion ThreadCompletionChunk ThreadMessage ThreadMessageAttachment "
    "ThreadMessageResponse ThreadMessages ThreadMessagesResponse ThreadRunOptions ThreadRunResponse ThreadRunResult "
    "ThreadStatus Threads",
    "tools": "AICheckResult Balance BalanceValue OpenApiFunctions TokensCount",
}
MODELS = {
    *" ".join(MODULES.values()).split(),
    *("PrimaryChatCompletionChunk", "PrimaryChatFunctionCall", "assistants", "threads"),
}
EXCEPTIONS = [
    "AuthenticationError",
    "BadRequestError",
    "ForbiddenError",
    "GigaChatException",
    "LengthFinishReasonError",
    "ModelNotSpecifiedError",
    "NotFoundError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ResponseError",
    "ServerError",
    "UnprocessableEntityError",
]
CONTEXT = [
    "agent_id_cvar",
    "authorization_cvar",
    "chat_completions_url_cvar",
    "chat_url_cvar",
    "client_id_cvar",
    "custom_headers_cvar",
    "operation_id_cvar",
    "request_id_cvar",
    "service_id_cvar",
    "session_id_cvar",
    "trace_id_cvar",
]
TOP = [
    "AuthenticationError",
    "BadRequestError",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choices",
    "Embeddings",
    "ForbiddenError",
    "Function",
    "FunctionCall",
    "FunctionParameters",
    "GigaChat",
    "GigaChatException",
    "GigaChatSyncClient",
    "Image",
    "LengthFinishReasonError",
    "Messages",
    "MessagesRole",
    "Model",
    "ModelNotSpecifiedError",
    "Models",
    "NotFoundError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ResponseError",
    "ServerError",
    "Usage",
    "custom_headers_cvar",
    "request_id_cvar",
    "session_id_cvar",
]
SETTINGS = [
    "access_token",
    "auth_url",
    "base_url",
    "ca_bundle_file",
    "cert_file",
    "credentials",
    "flags",
    "key_file",
    "key_file_password",
    "max_connections",
    "max_retries",
    "model",
    "password",
    "profanity_check",
    "retry_backoff_factor",
    "retry_on_status_codes",
    "scope",
    "ssl_context",
    "timeout",
    "user",
    "verify_ssl_certs",
]
METHODS = [
    "assistants",
    "chat",
    "chat_parse",
    "check_ai",
    "close",
    "delete_file",
    "embeddings",
    "get_balance",
    "get_file",
    "get_files",
    "get_image",
    "get_model",
    "get_models",
    "get_token",
    "openapi_function_convert",
    "stream",
    "threads",
    "tokens_count",
    "upload_file",
]


# -- the names -------------------------------------------------------------------------------------


def names_of(module: ModuleType) -> list[str]:
    """Return the names of the classes in a module."""
    return [name for name, value in vars(module).items() if isinstance(value, type)]


def test_the_models_are_those_of_the_official_sdk() -> None:
    assert MODELS <= {*models.__all__} == {*models.__all__} & {*dir(models)}
    for name in MODELS:
        assert getattr(models, name) is not None


@pytest.mark.parametrize("name", MODULES)
def test_each_module_of_the_models_has_its_names(name: str) -> None:
    module = importlib.import_module(f"gigaclient.models.{name}")
    assert {*MODULES[name].split()} <= {*names_of(module)}
    for inner in names_of(module):
        if not (name == "chat_completions" and inner in MODULES["chat"].split()):
            assert getattr(module, inner) is getattr(models, inner)


def test_names_of_both_chat_versions_are_distinguished() -> None:
    second = importlib.import_module("gigaclient.models.chat_completions")
    assert models.PrimaryChatCompletionChunk is second.ChatCompletionChunk is not models.ChatCompletionChunk
    assert models.PrimaryChatFunctionCall is second.ChatFunctionCall is not models.ChatFunctionCall


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        *((f"gigaclient.models.{name}", types) for name in MODULES),
        ("gigaclient.exceptions", errors),
        ("gigaclient.client", gigaclient),
    ],
)
def test_each_of_them_is_one_of_ours_and_nothing_else_is_there(name: str, owner: ModuleType) -> None:
    module = importlib.import_module(name)
    ours = {id(getattr(owner, inner)) for inner in owner.__all__}
    assert [inner for inner in names_of(module) if id(getattr(module, inner)) not in ours] == []
    statements = ast.parse(inspect.getsource(module)).body
    assert {type(statement) for statement in statements} <= {ast.Expr, ast.ImportFrom, ast.Assign}


def test_the_other_modules_have_theirs() -> None:
    assert sorted(exceptions.__all__) == sorted(EXCEPTIONS)
    assert sorted(context.__all__) == sorted(CONTEXT)
    assert client.GigaChatSyncClient is client.GigaChat is GigaChat
    assert [name for name in TOP if not hasattr(gigaclient, name)] == []
    assert [name for name in SETTINGS if name not in inspect.signature(GigaChat.__init__).parameters] == []
    assert [name for name in METHODS if not hasattr(GigaChat, name)] == []


def test_programs_can_name_the_types_of_resources_files_and_settings(gigachat_emulator: GigaChatEmulator) -> None:
    from gigaclient._types import FileContent, FileTypes
    from gigaclient.assistants import AssistantsSyncClient
    from gigaclient.resources import ChatNamespace
    from gigaclient.resources.chat import ChatNamespace as SameNamespace
    from gigaclient.threads import ThreadsSyncClient

    with GigaChat(**gigachat_emulator.client_options) as giga:
        assert isinstance(giga.assistants, AssistantsSyncClient)
        assert isinstance(giga.threads, ThreadsSyncClient)
        assert isinstance(giga.chat, ChatNamespace)
        file: FileTypes = ("notes.txt", b"text")
        assert giga.upload_file(file).filename == "notes.txt"
    assert ChatNamespace is SameNamespace
    assert {str, bytes} <= {*get_args(FileContent)} <= {*get_args(FileTypes)}


def test_the_settings_are_those_of_a_client_without_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "dmVyeTpzZWNyZXQ=")
    monkeypatch.setenv("GIGACHAT_TIMEOUT", "7")
    read = settings.Settings(scope="GIGACHAT_API_CORP")
    assert (read.base_url, read.auth_url) == (settings.BASE_URL, settings.AUTH_URL)
    assert (read.credentials, read.scope, read.timeout) == ("dmVyeTpzZWNyZXQ=", "GIGACHAT_API_CORP", 7.0)
    assert (read.verify_ssl_certs, read.max_retries, read.flags) == (True, 2, None)
    assert "dmVyeTpzZWNyZXQ" not in repr(read)
    assert settings.ENV_PREFIX + "SCOPE" == "GIGACHAT_SCOPE"
    with pytest.raises(errors.ConfigError, match="timeout"):
        settings.Settings(timeout=-1)


def test_an_unknown_name_is_an_attribute_error() -> None:
    for module in (gigaclient, models):
        with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
            module.Nonsense  # noqa: B018


def test_the_models_are_loaded_at_first_use() -> None:
    code = (
        "import sys, json, gigaclient; a = sorted(sys.modules); import gigaclient.models; b = sorted(sys.modules);"
        "gigaclient.models.Messages; c = sorted(sys.modules);"
        "print(json.dumps([a, sorted({*b} - {*a}), sorted({*c} - {*b})]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    first, with_models, with_messages = json.loads(run.stdout)
    assert not [name for name in first if name.startswith(("gigaclient.models", "gigaclient.exceptions"))]
    assert "gigaclient.types.conversions" not in first
    assert with_models == ["gigaclient.models"]
    assert [name for name in with_messages if name.startswith("gigaclient.types.")] == ["gigaclient.types.parameters"]


# -- missing names -----------------------------------------------------------------------------


def test_the_asynchronous_client_is_missing_with_a_reason() -> None:
    with pytest.raises(AttributeError, match=r"synchronous.*asyncio\.to_thread"):
        gigaclient.GigaChatAsyncClient  # noqa: B018
    with pytest.raises(ImportError, match=r"synchronous.*asyncio\.to_thread"):
        exec("from gigaclient import GigaChatAsyncClient")
    assert not hasattr(gigaclient, "GigaChatAsyncClient")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("client", "GigaChatAsyncClient"),
        ("threads", "ThreadsAsyncClient"),
        ("assistants", "AssistantsAsyncClient"),
        ("resources", "AsyncChatNamespace"),
        ("resources.chat", "AsyncChatNamespace"),
    ],
)
def test_each_asynchronous_name_is_missing_with_a_reason(module: str, name: str) -> None:
    with pytest.raises(ImportError, match=rf"no {name}: .*asyncio\.to_thread"):
        exec(f"from gigaclient.{module} import {name}")
    assert not hasattr(importlib.import_module(f"gigaclient.{module}"), name)


@pytest.mark.parametrize("name", ["api_key", "token_expiry_buffer_ms", "use_auth", "verbose", "verify", "verify_ssl"])
def test_arguments_that_other_clients_have_are_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(TypeError, match=f"no argument {name}: (leave it out|pass )") as caught:
        GigaChat(credentials="very-secret", **{name: "also-secret"})
    frames = traceback.walk_tb(caught.value.__traceback__)
    shown = [repr(frame.f_locals) for frame, _ in frames if "gigaclient/gigachat" in frame.f_code.co_filename]
    assert shown
    assert not [local for local in shown if "secret" in local]


def test_a_class_of_the_users_own_may_have_such_arguments() -> None:
    class Mine(GigaChat):
        def __init__(self, *, verbose: bool) -> None:
            super().__init__(credentials="eDp5")
            self.verbose = verbose

    with Mine(verbose=True) as giga:
        assert giga.verbose


def test_help_shows_the_arguments() -> None:
    assert list(inspect.signature(GigaChat).parameters) == list(inspect.signature(GigaChat.__init__).parameters)[1:]


def test_any_other_argument_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        GigaChat(nonsense=1)  # type: ignore[call-arg]


def test_verification_that_is_off_is_warned_of_once_with_the_advice_to_delete_it(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    options = {**gigachat_emulator.client_options, "verify_ssl_certs": False}
    del options["ca_bundle_file"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with GigaChat(**options) as giga:
            giga.chat("Hello")
            giga.with_options(timeout=5).chat("Hello")
    assert len(caught) == 1
    assert "Delete it" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_an_argument_equal_to_the_default_keeps_the_bundle_of_the_environment(
    gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(gigachat_emulator.client_options)
    monkeypatch.setenv("GIGACHAT_CA_BUNDLE_FILE", options.pop("ca_bundle_file"))
    monkeypatch.setenv("GIGACHAT_VERIFY_SSL_CERTS", "false")
    with GigaChat(**options, verify_ssl_certs=True) as giga:
        assert giga.chat("Count from 1 to 2").text == "1, 2"


# -- exceptions ------------------------------------------------------------------------------------


def test_errors_are_constructed_as_the_official_ones() -> None:
    url, body = "https://api.giga.chat/v1/chat/completions", b'{"status": 429, "message": "Too Many Requests"}'
    error = exceptions.RateLimitError(url, 429, body, {"Retry-After": "2"})
    assert (error.url, error.status_code, error.content, error.headers["retry-after"]) == (url, 429, body, "2")
    assert (error.retry_after, error.message) == (2.0, "Too Many Requests")
    assert error.body == {"status": 429, "message": "Too Many Requests"}
    assert str(error) == "429: Too Many Requests"
    by_name = exceptions.ServerError(url=url, status_code=503, content=b"<html>", headers=None)
    assert (by_name.url, by_name.status_code, by_name.content, by_name.body) == (url, 503, b"<html>", "<html>")
    waits = exceptions.RateLimitError(url=url, status_code=429, content=body, headers={"Retry-After": "3"})
    assert waits.retry_after == 3.0
    bare = exceptions.NotFoundError(url, 404, None, None)
    assert (str(bare), bare.content, dict(bare.headers)) == ("404: HTTP status 404", b"", {})
    assert pickle.loads(pickle.dumps(error)).retry_after == 2.0
    assert exceptions.RateLimitError(url, 429, body, {"Retry-After": "soon"}).retry_after is None
    with pytest.raises(TypeError):
        exceptions.RateLimitError(url, 429, body, {}, "more")


def test_the_other_errors_are_constructed_as_the_official_ones() -> None:
    completion = models.ChatCompletion(choices=[{"message": {"role": "assistant", "content": "[1,"}, "index": 0}])
    error = exceptions.LengthFinishReasonError(completion)
    assert (error.completion, error.text) == (completion, "[1,")
    assert "token limit" in str(error)
    assert "name one" in str(exceptions.ModelNotSpecifiedError())
    assert str(exceptions.GigaChatException("own words")) == "own words"


def test_the_official_exceptions_catch_what_is_raised(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        for error_type in (exceptions.NotFoundError, exceptions.ResponseError, exceptions.GigaChatException):
            with pytest.raises(error_type) as caught:
                giga.chat("Hello", model="GigaChat-99")
    error = caught.value
    assert isinstance(error, exceptions.ResponseError)
    assert error.status_code == 404
    assert json.loads(error.content)["message"] == "No such model"
    assert error.headers["Content-Type"].startswith("application/json")
    assert error.url == f"{gigachat_emulator.base_url}/chat/completions"


def test_the_address_of_an_error_has_no_query(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga, pytest.raises(exceptions.NotFoundError) as caught:
        giga.request("GET", "/absent", query={"token": "very-secret"})
    assert caught.value.url == f"{gigachat_emulator.base_url}/absent"


def test_a_refused_key_is_in_none_of_the_attributes(gigachat_emulator: GigaChatEmulator) -> None:
    from gigaclient.testing import Fault

    key = gigachat_emulator.credentials
    gigachat_emulator.inject(
        Fault(status=400, body={"code": 4, "message": f"bad key {key}"}), times=None, path="/oauth"
    )
    with GigaChat(**gigachat_emulator.client_options) as giga, pytest.raises(exceptions.AuthenticationError) as caught:
        giga.chat("Hello", max_retries=0)
    error = caught.value
    assert error.url == gigachat_emulator.auth_url
    assert b"bad key" in error.content
    assert key not in repr(vars(error)) + str(error) + repr(error.content)


@pytest.mark.parametrize("model", ["", "  "])
def test_a_model_that_is_empty_is_refused_before_anything_is_sent(
    gigachat_emulator: GigaChatEmulator, model: str
) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        for request in (models.Chat(messages=[{"role": "user", "content": "Hi"}], model=model), "Hi"):
            options = {"model": model} if request == "Hi" else {}
            with pytest.raises(exceptions.ModelNotSpecifiedError, match="model is empty"):
                giga.chat(request, **options)
    assert gigachat_emulator.requests == []


def test_a_class_as_response_format_is_sent_to_chat_parse(gigachat_emulator: GigaChatEmulator) -> None:
    class Tide:
        port: str

    with GigaChat(**gigachat_emulator.client_options) as giga, pytest.raises(errors.ConfigError, match="chat_parse"):
        giga.chat("Hi", response_format=Tide)
