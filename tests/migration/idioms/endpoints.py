"""Files, embeddings, tokens, models, checks, context variables, API v2, assistants and threads."""

from __future__ import annotations

import base64
import io
import warnings

import pydantic
from gigachat import GigaChat, context, custom_headers_cvar, request_id_cvar, session_id_cvar
from gigachat.exceptions import NotFoundError
from gigachat.models import (
    ChatCompletionRequest,
    ChatContentPart,
    ChatFunctionSpecification,
    ChatMessage,
    ChatModelOptions,
    ChatStorage,
    ChatTool,
    Function,
    Messages,
    ThreadRunOptions,
)
from support.official_sdk import differs, raises

COUNT = "Count from 1 to 3"
OPTIONAL = ["attachments", "content", "data_for_context", "function_call", "functions_state_id", "id_", "name"]
OPTIONAL += ["reasoning_content"]
UNSET = ["description", "file_ids", "instructions", "metadata"]

# -- files ---------------------------------------------------------------------------------------------------------


def bytes_are_uploaded(giga):
    file = giga.upload_file(("notes.txt", b"Some notes"))
    return [file.filename, file.bytes_, file.object_, file.purpose, file.id_ is not None]


def a_file_is_uploaded_with_its_type(giga):
    return giga.upload_file(("notes.txt", b"Some notes", "text/plain")).filename


def a_file_is_uploaded_with_headers(giga):
    return giga.upload_file(("notes.txt", b"Some notes", "text/plain", {"X-Odd": "1"})).filename


def a_stream_of_bytes_is_uploaded(giga):
    return giga.upload_file(("notes.txt", io.BytesIO(b"Some notes"))).bytes_


def an_open_file_is_uploaded(giga, emulator):
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notes.txt")
        with open(path, "wb") as file:
            file.write(b"Some notes")
        with open(path, "rb") as file:
            return giga.upload_file(file).filename


def text_is_uploaded(giga):
    return giga.upload_file(("notes.txt", "Some notes")).bytes_


def a_file_is_uploaded_for_an_assistant(giga):
    return giga.upload_file(("notes.txt", b"Some notes"), purpose="assistant").purpose


def a_file_is_uploaded_for_a_purpose_by_position(giga):
    return giga.upload_file(("notes.txt", b"Some notes"), "general").purpose


def files_are_listed(giga):
    giga.upload_file(("notes.txt", b"Some notes"))
    files = giga.get_files()
    return [[file.filename for file in files.data], sorted(files.x_headers)]


def a_file_is_described(giga):
    file = giga.upload_file(("notes.txt", b"Some notes"))
    return giga.get_file(file.id_).filename


def a_file_is_described_by_its_argument(giga):
    file = giga.upload_file(("notes.txt", b"Some notes"))
    return giga.get_file(file=file.id_).bytes_


def a_file_is_deleted(giga):
    file = giga.upload_file(("notes.txt", b"Some notes"))
    deleted = giga.delete_file(file.id_)
    return [deleted.deleted, deleted.id_ == file.id_, len(giga.get_files().data)]


@differs("deletion", official=False, ours=True)
def the_body_of_a_deletion(giga, emulator):
    giga.delete_file(file=giga.upload_file(("notes.txt", b"Some notes")).id_)
    return emulator.requests[-1].body == b""


def a_missing_file_is_not_found(giga):
    try:
        giga.get_file("77d3fb14-457a-46ba-937e-8d856156d003")
    except NotFoundError as error:
        return error.status_code


def an_image_is_read(giga):
    drawn = giga.chat({"messages": [{"role": "user", "content": "Draw a lake"}], "function_call": "auto"})
    file_id = drawn.choices[0].message.content.partition('src="')[2].partition('"')[0]
    image = giga.get_image(file_id)
    return [base64.b64decode(image.content)[:2], sorted(image.x_headers)]


def an_image_is_read_by_its_argument(giga):
    drawn = giga.chat({"messages": [{"role": "user", "content": "Draw a lake"}], "function_call": "auto"})
    file_id = drawn.choices[0].message.content.partition('src="')[2].partition('"')[0]
    return isinstance(giga.get_image(file_id=file_id).content, str)


# -- other endpoints -----------------------------------------------------------------------------------------------


def embeddings_are_made(giga):
    made = giga.embeddings(["Hello", "world"])
    return [made.object_, made.model, [(item.index, len(item.embedding), item.object_) for item in made.data]]


def embeddings_are_made_by_a_model(giga):
    return giga.embeddings(["Hello"], model="EmbeddingsGigaR").model


def embeddings_are_made_by_names(giga):
    return giga.embeddings(texts=["Hello"], model="Embeddings").data[0].usage.prompt_tokens


def tokens_are_counted(giga):
    return [(count.tokens, count.characters, count.object_) for count in giga.tokens_count(["Hello", "world!"])]


def tokens_are_counted_by_names(giga):
    return giga.tokens_count(input_=["Hello"], model="GigaChat-2-Max")[0].characters


def models_are_listed(giga):
    models = giga.get_models()
    return [models.object_, sorted(models.x_headers), [model.id_ for model in models.data]]


def a_model_is_described(giga):
    model = giga.get_model("GigaChat-2")
    return [model.id_, model.object_, model.owned_by]


def a_model_is_described_by_its_argument(giga):
    return giga.get_model(model="GigaChat-2-Pro").id_


@differs("similar-names", official=[404, 1], ours=[404, 2])
def a_missing_model_is_not_described(giga, emulator):
    try:
        giga.get_model("GigaChat-99")
    except NotFoundError as error:
        return [error.status_code, len(emulator.requests)]


def the_balance_is_read(giga):
    return [(item.usage, item.value) for item in giga.get_balance().balance]


def a_text_is_checked(giga):
    checked = giga.check_ai("A text that somebody wrote. " * 20, "GigaCheckDetection")
    return [checked.category, checked.characters, checked.tokens, checked.ai_intervals]


def a_text_is_checked_by_names(giga):
    return giga.check_ai(text="A text. " * 20, model="GigaCheckDetection").category


OPENAPI = """
openapi: 3.0.0
info: {title: Tides, version: "1"}
servers: [{url: https://tides.example}]
paths:
  /tide:
    get:
      operationId: get_tide
      description: The tide
      parameters:
        - {name: port, in: query, required: true, description: A port, schema: {type: string}}
      responses: {"200": {description: ok}}
"""


def a_document_of_openapi_is_converted(giga):
    functions = giga.openapi_function_convert(OPENAPI).functions
    return [[function.name for function in functions], type(functions[0]).__name__]


@differs("function-schema", official="object", ours=raises("AttributeError"))
def a_converted_function_has_parameters_as_objects(giga):
    return giga.openapi_function_convert(openapi_function=OPENAPI).functions[0].parameters.type_


# -- context variables -----------------------------------------------------------------------------------------------


def the_ids_of_a_program_are_sent(giga, emulator):
    session_id_cvar.set("session-1")
    request_id_cvar.set("request-1")
    for name in ("client_id", "service_id", "operation_id", "trace_id", "agent_id"):
        getattr(context, f"{name}_cvar").set(f"{name}-1")
    echoed = giga.chat(COUNT).x_headers
    names = ("session", "request", "client", "service", "operation", "trace", "agent")
    return [echoed, [emulator.requests[-1].headers[f"x-{name}-id"] for name in names]]


@differs("request-id", official=False, ours=True)
def a_request_has_an_id_that_the_program_did_not_set(giga, emulator):
    giga.chat(COUNT)
    return "x-request-id" in emulator.requests[-1].headers


def headers_of_a_program_are_sent(giga, emulator):
    custom_headers_cvar.set({"X-Custom-Header": "custom", "X-Session-ID": "mine"})
    giga.chat(COUNT)
    return [emulator.requests[-1].headers[name] for name in ("x-custom-header", "x-session-id")]


def headers_of_a_program_are_sent_with_a_stream(giga, emulator):
    custom_headers_cvar.set({"X-Custom-Header": "custom"})
    list(giga.stream(COUNT))
    return emulator.requests[-1].headers["x-custom-header"]


def a_variable_is_reset(giga, emulator):
    token = session_id_cvar.set("session-1")
    giga.chat(COUNT)
    session_id_cvar.reset(token)
    giga.chat(COUNT)
    return "x-session-id" in emulator.requests[-1].headers


def authorization_is_in_a_variable(giga, emulator):
    context.authorization_cvar.set(f"Bearer {emulator.issue_token()}")
    return [giga.chat(COUNT).choices[0].message.content, emulator.oauth_calls]


def the_address_of_a_chat_is_in_a_variable(giga, emulator):
    context.chat_url_cvar.set("/v1/chat/completions")
    return giga.chat(COUNT).choices[0].message.content


def the_address_of_a_v2_chat_is_in_a_variable(giga):
    context.chat_completions_url_cvar.set("/v2/chat/completions")
    return giga.chat.create(COUNT).messages[0].content[0].text


def custom_headers_win_over_the_authorization(giga, emulator):
    custom_headers_cvar.set({"Authorization": "Bearer wrong"})
    giga.chat(COUNT)


# -- API v2 --------------------------------------------------------------------------------------------------------


def _texts(answer):
    return [part.text for message in answer.messages or [] for part in message.content or []]


def a_v2_answer_is_read(giga):
    answer = giga.chat.create(COUNT)
    return [_texts(answer), answer.messages[0].role, answer.usage.total_tokens > 0, answer.finish_reason]


def a_v2_request_is_the_payload(giga):
    return _texts(giga.chat.create(payload=COUNT))


def a_v2_request_is_a_dict(giga):
    message = {"role": "user", "content": [{"text": COUNT}]}
    return _texts(giga.chat.create({"messages": [message], "model_options": {"temperature": 0.5}}))


def a_v2_request_has_texts(giga):
    return _texts(giga.chat.create({"messages": [{"role": "user", "content": COUNT}]}))


def a_v2_request_is_an_object(giga):
    request = ChatCompletionRequest(
        messages=[
            ChatMessage(role="system", content="You count."),
            ChatMessage(role="user", content=[ChatContentPart(text=COUNT)]),
        ],
        model="GigaChat-2-Pro",
        model_options=ChatModelOptions(temperature=0.5, top_p=0.5, max_tokens=100, repetition_penalty=1.1),
        user_info={"timezone": "Europe/Moscow"},
        flags=["a-flag"],
    )
    return _texts(giga.chat.create(request))


def a_v2_dialogue_is_continued(giga):
    messages = [ChatMessage(role="user", content=COUNT)]
    messages.append(giga.chat.create(ChatCompletionRequest(messages=messages)).messages[0])
    messages.append(ChatMessage(role="user", content="Count from 5 to 6"))
    return _texts(giga.chat.create(ChatCompletionRequest(messages=messages)))


def a_v2_request_checks_no_profanity(giga):
    messages = [{"role": "user", "content": COUNT}]
    return _texts(giga.chat.create(ChatCompletionRequest(messages=messages, profanity_check=False)))


def a_v2_client_checks_profanity():
    with GigaChat(model="GigaChat-2", profanity_check=True) as giga:
        return _texts(giga.chat.create(COUNT))


def a_v2_request_is_stored(giga):
    request = ChatCompletionRequest(messages=[{"role": "user", "content": COUNT}], storage=True)
    return giga.chat.create(request).thread_id is not None


def a_v2_request_continues_a_thread(giga, emulator):
    first = giga.chat.create(ChatCompletionRequest(messages=[{"role": "user", "content": COUNT}], storage=True))
    storage = ChatStorage(thread_id=first.thread_id)
    giga.chat.create(ChatCompletionRequest(messages=[{"role": "user", "content": "Hi"}], storage=storage))
    return "model" in emulator.chats[-1]


def _specification():
    schema = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
    return ChatFunctionSpecification(name="get_tide", description="The tide", parameters=schema)


def a_v2_function_is_called(giga):
    tools = [ChatTool(functions={"specifications": [_specification()]})]
    messages = [{"role": "user", "content": "What is the tide at Kola?"}]
    answer = giga.chat.create(ChatCompletionRequest(messages=messages, tools=tools))
    calls = [part.function_call for message in answer.messages for part in message.content or [] if part.function_call]
    return [(call.name, sorted(call.arguments)) for call in calls]


def a_v2_function_is_a_schema_with_a_title(giga, emulator):
    schema = {"title": "get_tide", "description": "The tide", "properties": {"port": {"type": "string"}}}
    tools = [{"functions": {"specifications": [schema]}}]
    giga.chat.create({"messages": [{"role": "user", "content": "Hi"}], "tools": tools})
    return emulator.chats[-1]["tools"]


def a_v2_tool_is_a_name(giga):
    return _texts(giga.chat.create({"messages": [{"role": "user", "content": COUNT}], "tools": ["web_search"]}))


@differs("wrong-arguments", official=raises("ValidationError"), ours=raises("ConfigError"))
def a_v2_tool_that_does_not_exist_is_refused(giga):
    giga.chat.create({"messages": [{"role": "user", "content": COUNT}], "tools": ["nonsense"]})


def a_v2_request_has_a_state_of_tools_by_an_older_name(giga):
    message = {"role": "user", "content": COUNT, "functions_state_id": "77d3fb14-457a-46ba-937e-8d856156d003"}
    return _texts(giga.chat.create({"messages": [message]}))


def a_v2_request_has_a_field_that_is_unknown(giga):
    return _texts(giga.chat.create({"messages": [{"role": "user", "content": COUNT}], "brand_new": 1}))


def a_v2_request_reasons(giga):
    return _texts(giga.chat.create({"messages": [{"role": "user", "content": COUNT}], "reasoning": {"effort": "low"}}))


def a_v2_stream_is_read(giga):
    chunks = list(giga.chat.stream(COUNT))
    return ["".join(text or "" for chunk in chunks for text in _texts(chunk)), chunks[0].event]


def a_v2_stream_of_an_object_is_read(giga):
    request = ChatCompletionRequest(messages=[{"role": "user", "content": COUNT}])
    return "".join(text or "" for chunk in giga.chat.stream(request) for text in _texts(chunk))


def the_usage_of_a_v2_stream(giga):
    return [chunk.usage.total_tokens for chunk in giga.chat.stream(COUNT) if chunk.usage]


class Harbour(pydantic.BaseModel):
    name: str
    depth: int | None = None


def a_v2_answer_is_parsed(giga):
    answer, parsed = giga.chat.parse("A harbour", response_format=Harbour)
    return [type(parsed).__name__, type(answer).__name__]


def the_schema_of_a_v2_answer_is_sent(giga, emulator):
    giga.chat.parse("A harbour", response_format=Harbour, strict=False)
    return emulator.chats[-1]["model_options"]


def a_v2_request_has_a_response_format(giga):
    format_ = {"type": "json_schema", "schema": Harbour, "strict": True}
    request = {"messages": [{"role": "user", "content": "A harbour"}], "response_format": format_}
    return bool(_texts(giga.chat.create(request)))


@differs("no-model", official=raises("ModelNotSpecifiedError"), ours=["1, 2, 3"])
def no_model_is_named_in_v2():
    with GigaChat() as giga:
        return _texts(giga.chat.create(COUNT))


# -- assistants and threads ----------------------------------------------------------------------------------------


def _assistant(giga):
    return giga.assistants.create(model="GigaChat-2", name="Counter", instructions="You count.").assistant_id


def an_assistant_is_created(giga, emulator):
    made = giga.assistants.create("GigaChat-2", "Counter", instructions="You count.", description="It counts")
    body = emulator.requests[-1].json()
    return [bool(made.assistant_id), made.created_at > 0, {name: value for name, value in body.items() if value}]


def an_assistant_has_functions(giga, emulator):
    parameters = {"type": "object", "properties": {"port": {"type": "string", "description": "A port"}}}
    functions = [Function(name="get_tide", description="The tide", parameters=parameters)]
    giga.assistants.create("GigaChat-2", "Counter", functions=functions, metadata={"a": "b"})
    return emulator.requests[-1].json()["functions"]


@differs("nulls", official=[*UNSET, "model", "name"], ours=["model", "name"])
def the_fields_of_an_assistant_that_are_not_set(giga, emulator):
    giga.assistants.create("GigaChat-2", "Counter")
    return sorted(emulator.requests[-1].json())


def assistants_are_listed(giga):
    assistant = _assistant(giga)
    found = giga.assistants.get().data
    return [[item.name for item in found], found[0].assistant_id == assistant, found[0].model]


def an_assistant_is_read(giga):
    return [item.instructions for item in giga.assistants.get(assistant_id=_assistant(giga)).data]


def an_assistant_is_changed(giga):
    changed = giga.assistants.update(_assistant(giga), name="Adder", description="It adds")
    return [changed.name, changed.description, changed.instructions]


@differs("nulls", official=["assistant_id", *UNSET, "name"], ours=["assistant_id", "name"])
def the_fields_of_a_change_that_are_not_set(giga, emulator):
    giga.assistants.update(_assistant(giga), name="Adder")
    return sorted(emulator.requests[-1].json())


def an_assistant_is_deleted(giga):
    assistant = _assistant(giga)
    deleted = giga.assistants.delete(assistant)
    return [deleted.deleted, deleted.assistant_id == assistant, giga.assistants.get().data]


def a_thread_is_created(giga):
    return bool(giga.threads.create_thread())


def messages_are_added_to_a_thread(giga, emulator):
    thread = giga.threads.create_thread()
    messages = ["Hello", {"role": "user", "content": "there"}, Messages(role="user", content="!")]
    added = giga.threads.add_messages(thread, messages)
    sent = emulator.requests[-1].json()["messages"]
    return [added.thread_id == thread, len(added.messages), [(message["role"], message["content"]) for message in sent]]


def a_message_is_added_to_a_thread(giga):
    thread = giga.threads.create_thread()
    return len(giga.threads.add_message(thread, "Hello").messages)


@differs("nulls", official=[*OPTIONAL, "role"], ours=["content", "role"])
def the_fields_of_an_added_message_that_are_not_set(giga, emulator):
    giga.threads.add_message(giga.threads.create_thread(), "Hello")
    return sorted(emulator.requests[-1].json()["messages"][0])


def a_thread_is_read(giga):
    thread = giga.threads.create_thread()
    giga.threads.add_messages(thread, ["Hello"])
    messages = giga.threads.get_messages(thread, limit=5).messages
    return [(message.role, message.content, message.attachments) for message in messages]


def threads_are_listed(giga):
    thread = giga.threads.create_thread()
    found = giga.threads.list(limit=5).threads
    same = [item.id_ == thread for item in giga.threads.get_threads().threads]
    return [found[0].id_ == thread, found[0].status == "ready", found[0].run_lock, same]


def threads_are_read_by_their_ids(giga):
    thread = giga.threads.create_thread()
    return [item.id_ == thread for item in giga.threads.retrieve([thread]).threads]


def a_thread_is_deleted(giga):
    return giga.threads.delete(giga.threads.create_thread())


def a_thread_is_run_and_its_result_is_read(giga):
    import time

    thread = giga.threads.create_thread()
    giga.threads.add_messages(thread, [COUNT])
    run = giga.threads.run(thread, assistant_id=_assistant(giga))
    for _ in range(100):
        result = giga.threads.get_run(thread)
        if result.status != "in_progress":
            break
        time.sleep(0.05)
    return [run.thread_id == thread, result.status == "ready", [message.content for message in result.messages]]


def messages_are_run(giga):
    answer = giga.threads.run_messages([COUNT], model="GigaChat-2")
    return [answer.message.content, answer.finish_reason, answer.object_, answer.usage.total_tokens > 0]


def messages_are_run_with_options(giga, emulator):
    options = ThreadRunOptions(temperature=0.5, max_tokens=50)
    giga.threads.run_messages([COUNT], model="GigaChat-2", thread_options=options)
    body = emulator.requests[-1].json()
    return [body["temperature"], body["max_tokens"], [message["content"] for message in body["messages"]]]


@differs("nulls", official=["assistant_id", "messages", "model", "thread_id"], ours=["messages", "model"])
def the_fields_of_a_run_that_are_not_set(giga, emulator):
    giga.threads.run_messages([COUNT], model="GigaChat-2")
    return sorted(emulator.requests[-1].json())


def the_model_of_an_assistant_wins(giga, emulator):
    giga.threads.run_messages([COUNT], assistant_id=_assistant(giga), model="GigaChat-2-Pro")
    return emulator.requests[-1].json().get("model")


def messages_are_run_again(giga):
    first = giga.threads.run_messages([COUNT], model="GigaChat-2")
    return giga.threads.rerun_messages(first.thread_id).message.content


def messages_are_run_as_a_stream(giga):
    chunks = list(giga.threads.run_messages_stream([COUNT], model="GigaChat-2"))
    return ["".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[0].object_]


def messages_are_run_again_as_a_stream(giga):
    first = giga.threads.run_messages([COUNT], model="GigaChat-2")
    chunks = giga.threads.rerun_messages_stream(first.thread_id)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def a_thread_is_run_as_a_stream(giga):
    thread = giga.threads.create_thread()
    giga.threads.add_messages(thread, [COUNT])
    chunks = giga.threads.run_stream(thread, assistant_id=_assistant(giga))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def an_older_name_of_the_options_is_warned_of(giga):
    thread = giga.threads.create_thread()
    giga.threads.add_messages(thread, [COUNT])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        giga.threads.run(thread, assistant_id=_assistant(giga), options=ThreadRunOptions(temperature=0.5))
    return [warning.category.__name__ for warning in caught]
