"""Imports, and names that programs use."""

from __future__ import annotations

import importlib

from support.official_sdk import differs, raises


def _names(module, *names):
    found = importlib.import_module(module)
    return [name for name in names if not hasattr(found, name)]


def the_package_has_the_client_and_the_common_types():
    return _names(
        "gigachat",
        *("GigaChat", "GigaChatSyncClient", "Chat", "ChatCompletion", "ChatCompletionChunk", "Messages"),
        *("MessagesRole", "Function", "FunctionCall", "FunctionParameters", "Choices", "Usage", "Embeddings"),
        *("Image", "Model", "Models"),
    )


def the_package_has_the_exceptions():
    return _names(
        "gigachat",
        *("GigaChatException", "ResponseError", "AuthenticationError", "RateLimitError", "BadRequestError"),
        *("ForbiddenError", "LengthFinishReasonError", "ModelNotSpecifiedError", "NotFoundError"),
        *("RequestEntityTooLargeError", "ServerError"),
    )


def the_package_has_three_context_variables():
    return _names("gigachat", "session_id_cvar", "request_id_cvar", "custom_headers_cvar")


def one_class_has_both_names_of_the_synchronous_client():
    from gigachat import GigaChat, GigaChatSyncClient

    return issubclass(GigaChat, GigaChatSyncClient)


def the_client_is_in_its_module():
    from gigachat import GigaChat
    from gigachat.client import GigaChat as SameClient

    return GigaChat is SameClient


def the_models_have_modules():
    from gigachat.models.assistants import Assistant
    from gigachat.models.auth import AccessToken, Token
    from gigachat.models.base import APIResponse, XHeadersMixin
    from gigachat.models.chat import Chat
    from gigachat.models.chat_completions import ChatCompletionRequest
    from gigachat.models.embeddings import Embeddings
    from gigachat.models.files import UploadedFile
    from gigachat.models.models import Models
    from gigachat.models.response_format import JsonSchemaResponseFormat
    from gigachat.models.threads import Thread
    from gigachat.models.tools import Balance

    found = [Assistant, AccessToken, Token, APIResponse, XHeadersMixin, Chat, ChatCompletionRequest, Embeddings]
    found += [UploadedFile, Models, JsonSchemaResponseFormat, Thread, Balance]
    return all(isinstance(each, type) for each in found)


def both_versions_of_a_chunk_have_names():
    from gigachat.models import ChatCompletionChunk, PrimaryChatCompletionChunk
    from gigachat.models.chat_completions import ChatCompletionChunk as Second

    return PrimaryChatCompletionChunk is Second and Second is not ChatCompletionChunk


def all_exceptions_have_one_base():
    from gigachat import exceptions

    return [
        issubclass(getattr(exceptions, name), exceptions.GigaChatException)
        for name in ("ResponseError", "RateLimitError", "LengthFinishReasonError", "ModelNotSpecifiedError")
    ]


def status_errors_are_response_errors():
    from gigachat import exceptions

    names = ("BadRequestError", "AuthenticationError", "ForbiddenError", "NotFoundError", "ServerError")
    names += ("RequestEntityTooLargeError", "UnprocessableEntityError", "RateLimitError")
    return [issubclass(getattr(exceptions, name), exceptions.ResponseError) for name in names]


def all_context_variables_are_in_their_module():
    return _names(
        "gigachat.context",
        *("authorization_cvar", "client_id_cvar", "request_id_cvar", "session_id_cvar", "service_id_cvar"),
        *("operation_id_cvar", "trace_id_cvar", "agent_id_cvar", "custom_headers_cvar", "chat_url_cvar"),
        "chat_completions_url_cvar",
    )


def a_context_variable_has_a_default():
    from gigachat import context

    return [
        context.session_id_cvar.get(),
        context.custom_headers_cvar.get(),
        context.chat_url_cvar.get(),
        context.chat_completions_url_cvar.get(),
    ]


def the_defaults_of_addresses_are_in_the_settings():
    from gigachat.settings import AUTH_URL, BASE_URL, ENV_PREFIX, SCOPE

    return [AUTH_URL, BASE_URL, ENV_PREFIX, SCOPE]


def the_types_of_files_have_names():
    return _names("gigachat._types", "FileContent", "FileTypes")


def the_classes_of_resources_have_names(giga):
    from gigachat.assistants import AssistantsSyncClient
    from gigachat.resources import ChatNamespace
    from gigachat.threads import ThreadsSyncClient

    return [
        isinstance(giga.assistants, AssistantsSyncClient),
        isinstance(giga.threads, ThreadsSyncClient),
        isinstance(giga.chat, ChatNamespace),
    ]


def a_resource_is_one_object(giga):
    return [giga.chat is giga.chat, giga.threads is giga.threads, giga.assistants is giga.assistants]


def roles_are_strings():
    from gigachat.models import MessagesRole

    return [MessagesRole.USER == "user", MessagesRole("system").value, [role.name for role in MessagesRole]]


def the_states_of_a_thread_are_strings():
    from gigachat.models.threads import ThreadStatus

    return [ThreadStatus.READY == "ready", [status.value for status in ThreadStatus]]


def a_program_that_logs_gets_the_logger_of_the_package():
    import logging

    import gigachat

    return [bool(logging.getLogger(gigachat.__name__).handlers), logging.getLogger(gigachat.__name__).level]


@differs("async", official=True, ours=raises("ImportError"))
def the_asynchronous_client_is_imported():
    from gigachat import GigaChatAsyncClient

    return bool(GigaChatAsyncClient)


@differs("async", official=[True] * 5, ours=[False] * 5)
def the_client_has_asynchronous_methods(giga):
    return [hasattr(giga, name) for name in ("achat", "astream", "aget_models", "aembeddings", "aclose")]


@differs("async", official="entered", ours=raises("TypeError"))
def a_coroutine_enters_the_client():
    import asyncio

    from gigachat import GigaChat

    async def main():
        async with GigaChat(model="GigaChat-2"):
            return "entered"

    return asyncio.run(main())


@differs("async", official="1, 2", ours=raises("AttributeError"))
def a_coroutine_asks():
    import asyncio

    from gigachat import GigaChat

    async def main():
        giga = GigaChat(model="GigaChat-2")
        answer = await giga.achat("Count from 1 to 2")
        await giga.aclose()
        return answer.choices[0].message.content

    return asyncio.run(main())


@differs("internals", official="imported", ours=raises("ImportError"))
def the_api_module_is_imported():
    importlib.import_module("gigachat.api.chat")
    return "imported"


@differs("internals", official="imported", ours=raises("ImportError"))
def the_retry_module_is_imported():
    importlib.import_module("gigachat.retry")
    return "imported"


@differs("internals", official="imported", ours=raises("ImportError"))
def the_authentication_module_is_imported():
    importlib.import_module("gigachat.authentication")
    return "imported"
