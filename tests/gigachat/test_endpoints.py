"""Check every endpoint by one table: path, retry safety, options, errors, docstring and emulator route.

A public method without a row fails, so a new endpoint needs a new row.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Struct
from support.stream_tools import WAIT_SECONDS

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from gigaclient.gigachat.chat import ChatResource
from gigaclient.gigachat.resources.assistants import AssistantsResource
from gigaclient.gigachat.resources.threads import ThreadsResource
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.transport.request import RetrySafety

IDEMPOTENT, BILLABLE, NON_IDEMPOTENT = RetrySafety.IDEMPOTENT, RetrySafety.BILLABLE, RetrySafety.NON_IDEMPOTENT

OWNERS: dict[str, type[Any]] = {
    "": GigaChat,
    "chat": ChatResource,
    "assistants": AssistantsResource,
    "threads": ThreadsResource,
}


class Tide(Struct):
    """The type of a structured response."""

    port: str


@dataclass(frozen=True)
class Endpoint:
    """One row of the table.

    Attributes:
        method, version, path: the request line; ``{name}`` stands for one segment.
        retry_safety: the effect of sending the request twice.
        call: calls the method with the client, the result of ``prepare`` and call options; reads a stream to its end.
        prepare: creates objects that the call needs.
        scope: the plan of the client, for endpoints that not all plans have.
    """

    method: str
    version: str
    path: str
    retry_safety: RetrySafety
    call: Callable[..., Any]
    prepare: Callable[[GigaChat], Any] = lambda giga: None
    scope: str = "GIGACHAT_API_PERS"

    def matches(self, request: Any) -> bool:
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(f"/{self.version}{self.path}"))
        return request.method == self.method and re.fullmatch(pattern, request.path) is not None


def a_file(giga: GigaChat) -> str:
    return giga.upload_file(("note.txt", b"Hello")).id


def a_picture(giga: GigaChat) -> str:
    return giga.chat("Draw a picture of a cat", function_call="auto").images[0].id


def a_batch(giga: GigaChat) -> str:
    return giga.create_batch(["Hello"]).id


def an_assistant(giga: GigaChat) -> str:
    return giga.assistants.create("GigaChat-2", "Helper").assistant_id


def an_assistant_with_a_file(giga: GigaChat) -> tuple[str, str]:
    file = giga.upload_file(("note.txt", b"Hello"), purpose="assistant").id
    return giga.assistants.create("GigaChat-2", "Helper", file_ids=[file]).assistant_id, file


def a_thread(giga: GigaChat) -> str:
    # Threads are made by their first message; an empty one has no model to answer with.
    return giga.threads.add_messages(messages=["Hello"], model="GigaChat-2").thread_id


def an_answered_thread(giga: GigaChat) -> str:
    thread = a_thread(giga)
    giga.threads.run_messages(["And again"], thread_id=thread)
    return thread


def a_running_thread(giga: GigaChat) -> str:
    thread = a_thread(giga)
    giga.threads.run(thread)
    return thread


OPENAPI = json.dumps(
    {
        "openapi": "3.0.0",
        "info": {"title": "Tides", "version": "1"},
        "paths": {
            "/tide": {
                "get": {
                    "operationId": "get_tide",
                    "summary": "The tide at a port",
                    "parameters": [{"name": "port", "in": "query", "required": True, "schema": {"type": "string"}}],
                    "responses": {"200": {"description": "ok"}},
                }
            }
        },
    }
)
TWENTY_WORDS = " ".join(["The lake is calm and the boats are in the harbour"] * 3)
CHAT = ("POST", "v1", "/chat/completions", BILLABLE)
CHAT_V2 = ("POST", "v2", "/chat/completions", BILLABLE)

ROWS: dict[str, Endpoint] = {
    "chat": Endpoint(*CHAT, lambda giga, _, **options: giga.chat("Hello", **options)),
    "stream": Endpoint(*CHAT, lambda giga, _, **options: giga.stream("Hello", **options).result()),
    "generate": Endpoint(*CHAT, lambda giga, _, **options: list(giga.generate("Hello", **options))),
    "chat_parse": Endpoint(
        *CHAT, lambda giga, _, **options: giga.chat_parse("The tide", response_format=Tide, **options)
    ),
    "chat.create": Endpoint(*CHAT_V2, lambda giga, _, **options: giga.chat.create("Hello", **options)),
    "chat.stream": Endpoint(*CHAT_V2, lambda giga, _, **options: giga.chat.stream("Hello", **options).result()),
    "chat.parse": Endpoint(
        *CHAT_V2, lambda giga, _, **options: giga.chat.parse("The tide", response_format=Tide, **options)
    ),
    "get_models": Endpoint("GET", "v1", "/models", IDEMPOTENT, lambda giga, _, **options: giga.get_models(**options)),
    "get_model": Endpoint(
        "GET", "v1", "/models/{model}", IDEMPOTENT, lambda giga, _, **options: giga.get_model("GigaChat-2", **options)
    ),
    "embeddings": Endpoint(
        "POST", "v1", "/embeddings", BILLABLE, lambda giga, _, **options: giga.embeddings(["Hello"], **options)
    ),
    "tokens_count": Endpoint(
        "POST", "v1", "/tokens/count", IDEMPOTENT, lambda giga, _, **options: giga.tokens_count(["Hello"], **options)
    ),
    "upload_file": Endpoint(
        "POST",
        "v1",
        "/files",
        NON_IDEMPOTENT,
        lambda giga, _, **options: giga.upload_file(("a.txt", b"Hello"), **options),
    ),
    "get_files": Endpoint("GET", "v1", "/files", IDEMPOTENT, lambda giga, _, **options: giga.get_files(**options)),
    "get_file": Endpoint(
        "GET", "v1", "/files/{id}", IDEMPOTENT, lambda giga, file, **options: giga.get_file(file, **options), a_file
    ),
    "get_file_content": Endpoint(
        "GET",
        "v1",
        "/files/{id}/content",
        IDEMPOTENT,
        lambda giga, file, **options: giga.get_file_content(file, **options),
        a_picture,
    ),
    "get_image": Endpoint(
        "GET",
        "v1",
        "/files/{id}/content",
        IDEMPOTENT,
        lambda giga, file, **options: giga.get_image(file, **options),
        a_picture,
    ),
    "delete_file": Endpoint(
        "POST",
        "v1",
        "/files/{id}/delete",
        IDEMPOTENT,
        lambda giga, file, **options: giga.delete_file(file, **options),
        a_file,
    ),
    "get_balance": Endpoint(
        "GET", "v1", "/balance", IDEMPOTENT, lambda giga, _, **options: giga.get_balance(**options)
    ),
    "openapi_function_convert": Endpoint(
        "POST",
        "v1",
        "/functions/convert",
        IDEMPOTENT,
        lambda giga, _, **options: giga.openapi_function_convert(OPENAPI, **options),
    ),
    "validate_function": Endpoint(
        "POST",
        "v1",
        "/functions/validate",
        IDEMPOTENT,
        lambda giga, _, **options: giga.validate_function({"name": "tide"}, **options),
    ),
    "check_ai": Endpoint(
        "POST",
        "v1",
        "/ai/check",
        BILLABLE,
        lambda giga, _, **options: giga.check_ai(TWENTY_WORDS, "GigaCheckDetection", **options),
        scope="GIGACHAT_API_CORP",
    ),
    "filter_check": Endpoint(
        "POST", "v1", "/filter/check", BILLABLE, lambda giga, _, **options: giga.filter_check("Hello", **options)
    ),
    "create_batch": Endpoint(
        "POST", "v1", "/batches", NON_IDEMPOTENT, lambda giga, _, **options: giga.create_batch(["Hello"], **options)
    ),
    "get_batches": Endpoint(
        "GET", "v1", "/batches", IDEMPOTENT, lambda giga, _, **options: giga.get_batches(**options)
    ),
    "get_batch": Endpoint(
        "GET", "v1", "/batches", IDEMPOTENT, lambda giga, batch, **options: giga.get_batch(batch, **options), a_batch
    ),
    "assistants.get": Endpoint(
        "GET", "v1", "/assistants", IDEMPOTENT, lambda giga, _, **options: giga.assistants.get(**options)
    ),
    "assistants.create": Endpoint(
        "POST",
        "v1",
        "/assistants",
        NON_IDEMPOTENT,
        lambda giga, _, **options: giga.assistants.create("GigaChat-2", "Helper", **options),
    ),
    "assistants.update": Endpoint(
        "POST",
        "v1",
        "/assistants/modify",
        IDEMPOTENT,
        lambda giga, id, **options: giga.assistants.update(id, name="Other", **options),
        an_assistant,
    ),
    "assistants.delete": Endpoint(
        "POST",
        "v1",
        "/assistants/delete",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.assistants.delete(id, **options),
        an_assistant,
    ),
    "assistants.delete_file": Endpoint(
        "POST",
        "v1",
        "/assistants/files/delete",
        NON_IDEMPOTENT,
        lambda giga, ids, **options: giga.assistants.delete_file(*ids, **options),
        an_assistant_with_a_file,
    ),
    "threads.get_threads": Endpoint(
        "GET", "v1", "/threads", IDEMPOTENT, lambda giga, _, **options: giga.threads.get_threads(**options)
    ),
    "threads.list": Endpoint(
        "GET", "v1", "/threads", IDEMPOTENT, lambda giga, _, **options: giga.threads.list(**options)
    ),
    "threads.create_thread": Endpoint(
        "POST", "v1", "/threads", NON_IDEMPOTENT, lambda giga, _, **options: giga.threads.create_thread(**options)
    ),
    "threads.retrieve": Endpoint(
        "POST",
        "v1",
        "/threads/retrieve",
        IDEMPOTENT,
        lambda giga, id, **options: giga.threads.retrieve([id], **options),
        a_thread,
    ),
    "threads.delete": Endpoint(
        "POST",
        "v1",
        "/threads/delete",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.delete(id, **options),
        a_thread,
    ),
    "threads.get_messages": Endpoint(
        "GET",
        "v1",
        "/threads/messages",
        IDEMPOTENT,
        lambda giga, id, **options: giga.threads.get_messages(id, **options),
        a_thread,
    ),
    "threads.add_message": Endpoint(
        "POST",
        "v1",
        "/threads/messages",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.add_message(id, "Hello", **options),
        a_thread,
    ),
    "threads.add_messages": Endpoint(
        "POST",
        "v1",
        "/threads/messages",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.add_messages(id, ["Hello"], **options),
        a_thread,
    ),
    "threads.run": Endpoint(
        "POST",
        "v1",
        "/threads/run",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.run(id, **options),
        a_thread,
    ),
    "threads.get_run": Endpoint(
        "GET",
        "v1",
        "/threads/run",
        IDEMPOTENT,
        lambda giga, id, **options: giga.threads.get_run(id, **options),
        a_running_thread,
    ),
    "threads.run_stream": Endpoint(
        "POST",
        "v1",
        "/threads/run",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.run_stream(id, **options).result(),
        a_thread,
    ),
    "threads.run_messages": Endpoint(
        "POST",
        "v1",
        "/threads/messages/run",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.run_messages(["Hello"], thread_id=id, **options),
        a_thread,
    ),
    "threads.run_messages_stream": Endpoint(
        "POST",
        "v1",
        "/threads/messages/run",
        NON_IDEMPOTENT,
        lambda giga, id, **options: giga.threads.run_messages_stream(["Hello"], thread_id=id, **options).result(),
        a_thread,
    ),
    "threads.rerun_messages": Endpoint(
        "POST",
        "v1",
        "/threads/messages/rerun",
        BILLABLE,
        lambda giga, id, **options: giga.threads.rerun_messages(id, **options),
        an_answered_thread,
    ),
    "threads.rerun_messages_stream": Endpoint(
        "POST",
        "v1",
        "/threads/messages/rerun",
        BILLABLE,
        lambda giga, id, **options: giga.threads.rerun_messages_stream(id, **options).result(),
        an_answered_thread,
    ),
}

NO_ENDPOINT = {
    "assistants": "the resource of assistants",
    "base_url": "a setting",
    "batch_results": "get_batch, and the content of its file",
    "close": "closes connections",
    "closed": "whether they are closed",
    "conversation": "keeps a history and asks through chat",
    "create_generator": "makes a client and asks through generate",
    "embed_many": "embeddings, many times at once",
    "get_images": "get_image for each of an answer's images",
    "token": "get_token, as an attribute",
    "get_token": "the token endpoint, by itself: tests/gigachat/test_oauth.py",
    "map": "chat, many times at once",
    "model": "a setting",
    "request": "any endpoint: tests/gigachat/test_raw.py",
    "run": "asks through chat, as often as the functions need",
    "chat.run": "asks through chat.create, as often as the functions need",
    "run_stream": "asks through stream, as often as the functions need",
    "chat.run_stream": "asks through chat.stream, as often as the functions need",
    "stats": "how things stand in this process",
    "threads": "the resource of threads",
    "threads.wait_for_run": "get_run, until the run has ended",
    "wait_for_batch": "get_batch, until the batch has ended",
    "with_options": "a copy",
}


def public_names() -> list[str]:
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, owner in OWNERS.items()
        for name in dir(owner)
        if not name.startswith("_")
    ]


def function_of(name: str) -> Any:
    prefix, _, method = name.rpartition(".")
    return ChatResource.__call__ if name == "chat" else getattr(OWNERS[prefix], method)


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


class Case:
    """A row with its client options, and the objects that its call needs."""

    def __init__(self, emulator: GigaChatEmulator, row: Endpoint) -> None:
        self._options: dict[str, Any] = {
            **emulator.client_options,
            "credentials": emulator.add_credentials(row.scope),
            "scope": row.scope,
            "timeout": WAIT_SECONDS,
            "retry_backoff_factor": 0.0,
        }
        # A separate client, so that the examined call starts on a new connection.
        with self.client() as giga:
            self.known = row.prepare(giga)

    def client(self) -> GigaChat:
        return GigaChat(**self._options)


every_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))

# -- completeness of the table ----------------------------------------------------------------------------


def test_every_public_method_has_a_row_or_a_reason_to_have_none() -> None:
    named = ROWS.keys() | NO_ENDPOINT.keys()
    assert [name for name in public_names() if name not in named] == []


def test_every_row_and_reason_names_an_existing_method() -> None:
    assert sorted((ROWS.keys() | NO_ENDPOINT.keys()) - set(public_names())) == []
    assert sorted(ROWS.keys() & NO_ENDPOINT.keys()) == []


def undocumented(name: str) -> list[str]:
    """Return the parts that the docstring of a method lacks."""
    function = function_of(name)
    docstring = inspect.getdoc(function) or ""
    parts = {"Args:": "Args:", "Returns:": "Returns:", "Raises:": "Raises:", "Source:": r"Source:[\s\S]*https://\S+"}
    missing = [part for part, pattern in parts.items() if not re.search(pattern, docstring)]
    arguments = docstring.partition("Args:")[2].partition("Returns:")[0]
    for parameter in list(inspect.signature(function).parameters)[1:]:
        if not re.search(rf"^\s+(?:\w+, )*{parameter}(?:, \w+)*:", arguments, re.MULTILINE):
            missing.append(parameter)
    return missing


def test_the_docstrings_have_arguments_result_errors_and_source() -> None:
    # ChatProvider documents "generate".
    assert {name: undocumented(name) for name in ROWS if name != "generate" and undocumented(name)} == {}
    others = [name.rpartition(".") for name in NO_ENDPOINT if name in public_names()]
    assert [method for prefix, _, method in others if not inspect.getdoc(getattr(OWNERS[prefix], method))] == []


def test_the_emulator_has_every_route(emulator: GigaChatEmulator) -> None:
    routes = {(route.method, route.version, route.path) for route in emulator.routes}
    assert {(row.method, row.version, row.path) for row in ROWS.values()} - routes == set()


# -- behaviour of each call -------------------------------------------------------------------

STATUSES: dict[int, type[APIStatusError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
}


@every_row
def test_the_request_has_the_path_and_options_of_the_row(emulator: GigaChatEmulator, row: Endpoint) -> None:
    case = Case(emulator, row)
    with case.client() as giga:
        before = len(emulator.requests)
        row.call(giga, case.known, headers={"X-Mine": "1"}, request_id="row-1", session_id="s-1", deadline=WAIT_SECONDS)
    sent = emulator.requests[before:]
    assert len(sent) == 1
    request = sent[0]
    assert row.matches(request), f"{request.method} {request.path}"
    assert request.headers["authorization"].startswith("Bearer ")
    assert request.headers["user-agent"].startswith("gigaclient/")
    assert request.headers["x-mine"] == "1"
    assert request.headers["x-session-id"] == "s-1"
    assert request.headers["x-request-id"] == "row-1"


@every_row
def test_the_call_takes_a_timeout(emulator: GigaChatEmulator, row: Endpoint) -> None:
    case = Case(emulator, row)
    with case.client() as giga:
        giga.get_token()
        emulator.inject(Fault(before_s=float("inf")), times=None)
        with pytest.raises(APITimeoutError):
            row.call(giga, case.known, timeout=(WAIT_SECONDS, 0.1), max_retries=0)


@every_row
def test_an_error_status_is_raised_as_its_class(emulator: GigaChatEmulator, row: Endpoint) -> None:
    case = Case(emulator, row)
    for status, error_type in STATUSES.items():
        emulator.clear()
        emulator.inject(Fault(status=status, headers={"X-Request-Id": "theirs"}), times=None)
        with case.client() as giga, pytest.raises(error_type) as caught:
            row.call(giga, case.known, max_retries=0)
        assert type(caught.value) is error_type
        assert caught.value.status_code == status
        assert caught.value.request_id == "theirs"
        assert caught.value.url is not None
        assert caught.value.url.startswith(emulator.api_server.url)


@every_row
def test_the_call_is_retried_as_the_row_says(emulator: GigaChatEmulator, row: Endpoint) -> None:
    def tries(fault: Fault) -> int:
        case = Case(emulator, row)
        emulator.clear()
        with case.client() as giga:
            giga.get_token()
            emulator.inject(fault, times=1)
            before = len(emulator.requests)
            with contextlib.suppress(APIStatusError, APIConnectionError):
                row.call(giga, case.known, max_retries=1)
        return len(emulator.requests) - before

    assert tries(Fault(status=503)) == 2
    assert tries(Fault(status=500)) == (1 if row.retry_safety is NON_IDEMPOTENT else 2)
    assert tries(Fault(reset=True)) == (2 if row.retry_safety is IDEMPOTENT else 1)
