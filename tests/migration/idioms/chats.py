"""Chats, streams, structured answers and functions of API v1."""

from __future__ import annotations

import json

import pydantic
from gigachat import Chat, Function, FunctionCall, GigaChat, Messages, MessagesRole
from gigachat.models import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatFunctionCall,
    FewShotExample,
    FunctionParameters,
    FunctionParametersProperty,
    FunctionRanker,
    JsonSchemaResponseFormat,
    Storage,
)
from support.official_sdk import differs, raises

from gigaclient.testing import Fault

COUNT = "Count from 1 to 3"
USER = {"role": "user", "content": COUNT}


def _text(answer):
    return answer.choices[0].message.content


# -- questions -----------------------------------------------------------------------------------------------------


def a_text_is_a_question(giga):
    return _text(giga.chat(COUNT))


def a_text_is_the_payload(giga):
    return _text(giga.chat(payload=COUNT))


def a_dict_is_a_request(giga):
    return _text(giga.chat({"messages": [USER], "temperature": 0.5, "max_tokens": 100}))


def a_request_is_an_object(giga):
    return _text(giga.chat(Chat(messages=[Messages(role=MessagesRole.USER, content=COUNT)], temperature=0.5)))


def a_request_has_all_options(giga):
    chat = Chat(
        messages=[Messages(role="user", content=COUNT)],
        model="GigaChat-2-Pro",
        temperature=1,
        top_p=0.5,
        n=1,
        max_tokens=100,
        repetition_penalty=1.1,
        update_interval=0,
        profanity_check=False,
        flags=["a-flag"],
    )
    return _text(giga.chat(chat))


def a_request_has_roles_as_text(giga):
    return _text(giga.chat(Chat(messages=[Messages(role="system", content="Count."), Messages(**USER)])))


def messages_are_dicts_in_an_object(giga):
    return _text(giga.chat(Chat(messages=[USER])))


def messages_are_objects_in_a_dict(giga):
    return _text(giga.chat({"messages": [Messages(**USER)]}))


def the_role_of_a_dict_is_an_enum(giga):
    return _text(giga.chat({"messages": [{"role": MessagesRole.USER, "content": COUNT}]}))


def a_dialogue_is_continued(giga):
    chat = Chat(messages=[Messages(**USER)])
    answer = giga.chat(chat)
    chat.messages.append(answer.choices[0].message)
    chat.messages.append(Messages(role="user", content="Count from 5 to 6"))
    return _text(giga.chat(chat))


def a_dialogue_is_kept_as_dumps(giga):
    history = [USER]
    history.append(giga.chat({"messages": history}).choices[0].message.model_dump())
    history.append({"role": "user", "content": "Count from 5 to 6"})
    return _text(giga.chat({"messages": history}))


def a_message_has_no_text(giga):
    call = FunctionCall(name="get_tide", arguments={"port": "Kola"})
    messages = [
        Messages(**USER),
        Messages(role=MessagesRole.ASSISTANT, function_call=call),
        Messages(role=MessagesRole.FUNCTION, name="get_tide", content='{"height": 1.8}'),
    ]
    return _text(giga.chat(Chat(messages=messages)))


def a_message_in_a_dict_has_no_text(giga):
    call = {"name": "get_tide", "arguments": {"port": "Kola"}}
    messages = [
        USER,
        {"role": "assistant", "function_call": call},
        {"role": "function", "name": "get_tide", "content": '{"height": 1.8}'},
    ]
    return _text(giga.chat({"messages": messages}))


def a_message_has_an_empty_text(giga):
    return _text(giga.chat({"messages": [{"role": "assistant", "content": ""}, USER]}))


def a_message_has_a_field_that_is_none(giga):
    return _text(giga.chat({"messages": [{**USER, "name": None, "attachments": None}]}))


def a_message_has_the_id_of_an_answer(giga):
    return _text(giga.chat({"messages": [{**USER, "id": "m-1"}]}))


def a_message_has_attachments(giga):
    file = giga.upload_file(("notes.txt", b"Some notes", "text/plain"))
    return bool(_text(giga.chat(Chat(messages=[Messages(role="user", content="Read", attachments=[file.id_])]))))


def a_message_has_a_functions_state(giga):
    message = Messages(role="user", content=COUNT, functions_state_id="77d3fb14-457a-46ba-937e-8d856156d003")
    return _text(giga.chat(Chat(messages=[message])))


def a_request_has_additional_fields(giga):
    chat = Chat(messages=[Messages(**USER)], additional_fields={"brand_new": {"deep": [1, None]}})
    return _text(giga.chat(chat))


def additional_fields_do_not_win(giga):
    return _text(giga.chat(Chat(messages=[USER], temperature=0.5, additional_fields={"temperature": 1, "new": 2})))


@differs("unknown-fields", official=None, ours=1)
def a_dict_has_a_field_that_is_unknown(giga, emulator):
    giga.chat({"messages": [USER], "brand_new": 1})
    return emulator.chats[-1].get("brand_new")


@differs("unknown-fields", official=None, ours=1)
def a_request_has_a_field_that_is_unknown(giga, emulator):
    giga.chat(Chat(messages=[USER], brand_new=1))
    return emulator.chats[-1].get("brand_new")


def a_request_is_stored(giga):
    answer = giga.chat(Chat(messages=[USER], storage=Storage(is_stateful=True)))
    return [_text(answer), answer.thread_id is not None]


def a_stored_request_names_no_model(giga, emulator):
    thread = giga.chat(Chat(messages=[USER], storage=Storage(is_stateful=True))).thread_id
    giga.chat(Chat(messages=[USER], storage=Storage(is_stateful=True, thread_id=thread)))
    return "model" in emulator.chats[-1]


def a_storage_is_a_dict(giga):
    return _text(giga.chat({"messages": [USER], "storage": {"is_stateful": True, "limit": 5, "metadata": {"a": 1}}}))


def reasoning_has_an_effort(giga):
    return _text(giga.chat(Chat(messages=[USER], reasoning_effort="high")))


def functions_are_ranked(giga):
    return _text(giga.chat(Chat(messages=[USER], function_ranker=FunctionRanker(enabled=True, top_n=3))))


def a_request_says_that_it_streams(giga):
    return _text(giga.chat(Chat(messages=[USER], stream=True)))


@differs("filled-in", official="GigaChat-2", ours=None)
def a_request_is_filled_in(giga):
    chat = Chat(messages=[USER])
    giga.chat(chat)
    return chat.model


def a_request_is_sent_twice(giga):
    chat = Chat(messages=[USER])
    return [_text(giga.chat(chat)), _text(giga.chat(chat))]


def a_request_is_changed_between_two_calls(giga, emulator):
    chat = Chat(messages=[USER])
    giga.chat(chat)
    chat.temperature = 0.2
    chat.max_tokens = 50
    giga.chat(chat)
    return [emulator.chats[-1]["temperature"], emulator.chats[-1]["max_tokens"]]


def text_in_russian_is_sent_as_it_is(giga, emulator):
    giga.chat("Привет")
    return "Привет".encode() in emulator.requests[-1].body


@differs("list-alone", official=raises("ValidationError"), ours="1, 2, 3")
def a_list_alone_is_refused(giga):
    return _text(giga.chat([USER]))


@differs("wrong-arguments", official=raises("ValidationError"), ours=raises("ConfigError"))
def a_request_without_messages_is_refused(giga):
    giga.chat({"temperature": 0.5})


@differs("checked-before", official=raises("ValidationError"), ours=raises("BadRequestError"))
def a_role_that_does_not_exist_is_refused(giga):
    giga.chat({"messages": [{"role": "narrator", "content": "Hi"}]})


@differs("constructor", official=raises("ValidationError"), ours="constructed")
def a_value_of_a_wrong_type_is_refused_by_the_constructor():
    Chat(messages=[USER], temperature="warm")
    return "constructed"


@differs("checked-before", official=raises("ValidationError"), ours=raises("BadRequestError"))
def a_value_of_a_wrong_type_is_refused_by_the_call(giga):
    giga.chat({"messages": [USER], "temperature": "warm"})


@differs("checked-before", official=0.5, ours=raises("BadRequestError"))
def a_number_as_text_is_a_number(giga, emulator):
    giga.chat({"messages": [USER], "temperature": "0.5"})
    return emulator.chats[-1]["temperature"]


# -- answers -------------------------------------------------------------------------------------------------------


def an_answer_has_its_fields(giga):
    answer = giga.chat(COUNT)
    choice = answer.choices[0]
    return [
        *(type(answer) is ChatCompletion, answer.object_, answer.model.partition(":")[0], choice.index),
        *(choice.finish_reason, choice.message.role, choice.message.function_call, isinstance(answer.created, int)),
        *(answer.thread_id, answer.message_id),
    ]


def an_answer_has_its_usage(giga):
    usage = giga.chat(COUNT).usage
    return [usage.total_tokens, usage.prompt_tokens, usage.completion_tokens, usage.precached_prompt_tokens]


def an_answer_has_headers(giga):
    return sorted(giga.chat(COUNT).x_headers)


def the_role_of_an_answer_is_a_text(giga):
    role = giga.chat(COUNT).choices[0].message.role
    return [role == MessagesRole.ASSISTANT, role == "assistant", f"{role}"]


def an_answer_is_dumped(giga):
    dumped = giga.chat(COUNT).model_dump(exclude_none=True)
    return [dumped["choices"], dumped["usage"], dumped["object_"]]


def an_answer_is_dumped_by_the_names_of_the_api(giga):
    return giga.chat(COUNT).model_dump(by_alias=True, exclude_none=True, exclude={"x_headers", "created"})


@differs("headers-in-dumps", official=["x-client-id", "x-request-id", "x-session-id"], ours=raises("KeyError"))
def the_headers_are_in_a_dump(giga):
    return sorted(giga.chat(COUNT).model_dump()["x_headers"])


def an_answer_is_dumped_as_json(giga):
    return json.loads(giga.chat(COUNT).model_dump_json(include={"choices", "object_"}, exclude_none=True))


@differs("unknown-fields", official=False, ours=True)
def an_answer_with_a_field_that_is_unknown(giga, emulator):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"choices": [choice], "created": 1, "model": "m", "usage": usage, "object": "chat.completion", "new": 1}
    emulator.inject(Fault(body=body))
    return hasattr(giga.chat(COUNT), "new")


# -- streams -------------------------------------------------------------------------------------------------------


def a_stream_is_read(giga):
    return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream(COUNT))


def a_stream_of_an_object_is_read(giga):
    chat = Chat(messages=[Messages(**USER)], temperature=0.5, update_interval=0.1)
    return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream(chat))


def a_stream_of_a_dict_is_read(giga):
    return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream({"messages": [USER]}))


def a_chunk_has_its_fields(giga):
    chunks = list(giga.stream(COUNT))
    first = chunks[0]
    return [
        *(isinstance(first, ChatCompletionChunk), first.object_, first.model.partition(":")[0]),
        *(first.choices[0].index, first.choices[0].delta.role, first.choices[0].finish_reason, first.usage),
        *(chunks[-1].choices[0].finish_reason, chunks[-1].usage.total_tokens),
    ]


def a_chunk_has_headers(giga):
    return sorted(next(iter(giga.stream(COUNT))).x_headers)


def the_deltas_of_a_stream(giga):
    return [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in giga.stream(COUNT)]


def a_stream_is_left_early(giga):
    for chunk in giga.stream("Count from 1 to 9"):
        return chunk.choices[0].delta.content


def a_stream_is_an_iterator(giga):
    stream = giga.stream(COUNT)
    return [iter(stream) is stream, next(stream).object_]


def a_stream_is_closed(giga):
    stream = giga.stream(COUNT)
    next(stream)
    stream.close()
    return list(stream)


@differs("stream-starts", official=0, ours=1)
def a_stream_sends_its_request_when_it_is_read(giga, emulator):
    giga.stream(COUNT)
    return len(emulator.chats)


@differs("stream-cut", official="1, 2,", ours=raises("StreamInterruptedError"))
def a_stream_is_cut(emulator):
    emulator.inject(Fault(end_after_events=2, no_end_marker=True))
    with GigaChat(model="GigaChat-2", max_retries=0) as giga:
        return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream("Count from 1 to 9"))


@differs("stream-again", official="1, 2,1, 2, 3", ours=raises("StreamInterruptedError"))
def a_stream_breaks_and_may_be_tried_again(emulator):
    emulator.inject(Fault(reset_after_events=2))
    with GigaChat(model="GigaChat-2", max_retries=1, retry_backoff_factor=0.01) as giga:
        return "".join(chunk.choices[0].delta.content or "" for chunk in giga.stream(COUNT))


def a_stream_with_functions_is_read(giga):
    chat = Chat(messages=[{"role": "user", "content": "The tide at Kola?"}], functions=[_tide()], function_call="auto")
    calls = [chunk.choices[0].delta.function_call for chunk in giga.stream(chat)]
    return [call.name for call in calls if call]


# -- functions -----------------------------------------------------------------------------------------------------


def _tide(**fields):
    parameters = FunctionParameters(
        type="object",
        properties={"port": FunctionParametersProperty(type="string", description="A port")},
        required=["port"],
    )
    return Function(name="get_tide", description="The tide", parameters=parameters, **fields)


def _asked(giga, function, **options):
    messages = [{"role": "user", "content": "What is the tide at Kola?"}]
    answer = giga.chat(Chat(messages=messages, functions=[function], **options))
    return answer.choices[0].message


def a_function_is_called(giga):
    message = _asked(giga, _tide(), function_call="auto")
    call = message.function_call
    return [call.name, sorted(call.arguments), message.functions_state_id is not None, message.content]


def a_function_gets_its_result(giga):
    chat = Chat(messages=[{"role": "user", "content": "The tide at Kola?"}], functions=[_tide()], function_call="auto")
    chat.messages.append(giga.chat(chat).choices[0].message)
    chat.messages.append(Messages(role="function", name="get_tide", content=json.dumps({"height": 1.8})))
    return bool(_text(giga.chat(chat)))


def a_function_is_forced(giga):
    message = _asked(giga, _tide(), function_call=ChatFunctionCall(name="get_tide", partial_arguments={"port": "Kola"}))
    return [message.function_call.name, message.function_call.arguments["port"]]


def a_function_is_forced_by_a_dict(giga):
    return _asked(giga, _tide(), function_call={"name": "get_tide"}).function_call.name


def functions_are_off(giga):
    return _asked(giga, _tide(), function_call="none").function_call


def a_function_has_examples(giga):
    example = FewShotExample(request="Tide at Kola?", params={"port": "Kola"})
    returns = {"type": "object", "properties": {"height": {"type": "number"}}}
    return bool(_asked(giga, _tide(few_shot_examples=[example], return_parameters=returns)))


def a_parameter_has_no_description(giga):
    parameters = FunctionParameters(properties={"port": FunctionParametersProperty(type="string")})
    return bool(_asked(giga, Function(name="get_tide", parameters=parameters)))


def a_parameter_has_no_type(giga):
    parameters = FunctionParameters(properties={"port": FunctionParametersProperty(description="A port")})
    return bool(_asked(giga, Function(name="get_tide", parameters=parameters)))


def a_parameter_is_an_array_or_an_object(giga):
    inner = FunctionParametersProperty(type="object", properties={"name": {"type": "string", "description": "A name"}})
    ports = FunctionParametersProperty(type="array", description="Ports", items={"type": "string"}, enum=["Kola"])
    parameters = FunctionParameters(properties={"ports": ports, "place": inner})
    return bool(_asked(giga, Function(name="get_tide", parameters=parameters)))


def a_function_has_no_parameters(giga):
    return bool(_asked(giga, Function(name="get_tide", description="The tide")))


def a_function_is_a_dict(giga):
    properties = {"port": {"type": "string", "description": "A port"}}
    parameters = {"type": "object", "properties": properties, "required": ["port"]}
    return bool(_asked(giga, {"name": "get_tide", "description": "The tide", "parameters": parameters}))


def a_function_is_a_dict_in_a_dict(giga):
    properties = {"port": {"type": "string", "description": "A port"}}
    function = {"name": "get_tide", "parameters": {"type": "object", "properties": properties}}
    return _text(giga.chat({"messages": [USER], "functions": [function]}))


def a_function_in_a_dict_has_a_parameter_without_a_description(giga):
    properties = {"port": {"type": "string"}, "place": {"type": "object", "properties": {"name": {"type": "string"}}}}
    function = {"name": "get_tide", "parameters": {"type": "object", "properties": properties}}
    return _text(giga.chat({"messages": [USER], "functions": [function]}))


@differs(
    "function-schema",
    official={"type": "object", "properties": {"port": {"type": "object", "description": "A port"}}},
    ours={"properties": {"port": {"description": "A port"}}},
)
def a_function_in_a_dict_has_parameters_without_a_type(giga, emulator):
    function = {"name": "get_tide", "parameters": {"properties": {"port": {"description": "A port"}}}}
    giga.chat({"messages": [USER], "functions": [function]})
    return emulator.chats[-1]["functions"][0]["parameters"]


@differs("function-schema", official=["description", "type"], ours=["default", "description", "minimum", "type"])
def a_function_has_a_schema_with_more_keywords(giga, emulator):
    properties = {"metres": {"type": "integer", "description": "Height", "minimum": 1, "default": 3}}
    _asked(giga, Function(name="get_tide", parameters={"type": "object", "properties": properties}))
    return sorted(emulator.chats[-1]["functions"][0]["parameters"]["properties"]["metres"])


def a_function_is_a_schema_with_a_title(giga, emulator):
    schema = {"title": "get_tide", "description": "The tide", "properties": {"port": {"type": "string"}}}
    _asked(giga, Function(**schema))
    return [emulator.chats[-1]["functions"][0]["name"], emulator.chats[-1]["functions"][0]["description"]]


@differs(
    "function-schema",
    official=["Tide", "The tide.", ["description", "name", "parameters"], ["description", "type"]],
    ours=["Tide", "The tide.", ["description", "name", "parameters"], ["description", "title", "type"]],
)
def a_function_is_the_schema_of_a_pydantic_model(giga, emulator):
    class Tide(pydantic.BaseModel):
        """The tide."""

        port: str = pydantic.Field(description="A port")

    _asked(giga, Function.model_validate(Tide.model_json_schema()))
    sent = emulator.chats[-1]["functions"][0]
    return [sent["name"], sent["description"], sorted(sent), sorted(sent["parameters"]["properties"]["port"])]


@differs("function-schema", official=None, ours=["port"])
def the_required_parameters_of_such_a_schema(giga, emulator):
    class Tide(pydantic.BaseModel):
        """The tide."""

        port: str = pydantic.Field(description="A port")

    _asked(giga, Function.model_validate(Tide.model_json_schema()))
    return emulator.chats[-1]["functions"][0]["parameters"].get("required")


def the_parameters_of_a_function_are_objects():
    parameters = _tide().parameters
    return [parameters.type_, parameters.required, parameters.properties["port"].description]


@differs("function-schema", official="string", ours=raises("AttributeError"))
def the_parameters_in_a_dict_are_objects():
    schema = {"type": "object", "properties": {"port": {"type": "string"}}}
    return Function(name="get_tide", parameters=schema).parameters.properties["port"].type_


def a_description_that_is_not_set_is_empty():
    return FunctionParametersProperty(type="string").description


def the_arguments_of_a_call_are_a_dict():
    call = FunctionCall(name="get_tide", arguments={"port": "Kola"})
    return [call.name, call.arguments["port"], FunctionCall(name="now").arguments]


# -- structured answers ----------------------------------------------------------------------------------------------


class Harbour(pydantic.BaseModel):
    name: str
    country: str | None = None


class Tide(pydantic.BaseModel):
    """A tide."""

    port: str = pydantic.Field(description="A port")
    metres: int
    harbour: Harbour


def an_answer_is_parsed(giga):
    completion, parsed = giga.chat_parse("The tide at Kola", response_format=Tide)
    return [type(parsed).__name__, isinstance(parsed.port, str), completion.choices[0].finish_reason]


def the_schema_of_a_model_with_titles_is_sent(giga, emulator):
    giga.chat_parse("The tide at Kola", response_format=Harbour)
    return emulator.chats[-1]["response_format"]


def the_schema_of_nested_models_is_sent(giga, emulator):
    giga.chat_parse("The tide at Kola", response_format=Tide, strict=False)
    return emulator.chats[-1]["response_format"]


def a_strict_schema_is_sent(giga, emulator):
    giga.chat_parse("The tide at Kola", response_format=Tide, strict=True)
    return emulator.chats[-1]["response_format"]


def a_request_is_parsed(giga):
    chat = Chat(messages=[Messages(role="user", content="The tide at Kola")], temperature=0.5)
    return type(giga.chat_parse(chat, response_format=Tide)[1]).__name__


def a_dict_is_parsed(giga):
    messages = [{"role": "user", "content": "The tide at Kola"}]
    return type(giga.chat_parse({"messages": messages}, response_format=Tide)[1]).__name__


def the_payload_is_parsed(giga):
    return type(giga.chat_parse(payload="The tide at Kola", response_format=Tide)[1]).__name__


def a_schema_is_in_the_request(giga, emulator):
    format_ = JsonSchemaResponseFormat(schema=Tide, strict=True)
    giga.chat(Chat(messages=[USER], response_format=format_))
    return emulator.chats[-1]["response_format"]


def a_schema_in_the_request_is_a_dict(giga):
    format_ = {"type": "json_schema", "schema": Tide.model_json_schema(), "strict": True}
    return bool(_text(giga.chat({"messages": [USER], "response_format": format_})))


@differs("wrong-arguments", official=raises("TypeError"), ours=raises("ConfigError"))
def a_class_in_a_request_is_refused(giga):
    giga.chat({"messages": [USER], "response_format": Tide})


def an_answer_that_is_cut_is_not_parsed(giga, emulator):
    choice = {"index": 0, "message": {"role": "assistant", "content": '{"port"'}, "finish_reason": "length"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"choices": [choice], "created": 1, "model": "m", "usage": usage, "object": "chat.completion"}
    emulator.inject(Fault(body=body))
    from gigachat.exceptions import LengthFinishReasonError

    try:
        giga.chat_parse("The tide", response_format=Tide)
    except LengthFinishReasonError as error:
        return error.completion.choices[0].message.content


def _answered(emulator, content):
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"choices": [choice], "created": 1, "model": "m", "usage": usage, "object": "chat.completion"}
    emulator.inject(Fault(body=body))


@differs("unreadable-answer", official=raises("JSONDecodeError"), ours=raises("InvalidResponseError"))
def an_answer_that_is_no_json_is_an_error(giga, emulator):
    _answered(emulator, "no JSON at all")
    giga.chat_parse("The tide", response_format=Harbour)


@differs("unreadable-answer", official=raises("ValidationError"), ours=raises("InvalidResponseError"))
def an_answer_that_does_not_fit_is_an_error(giga, emulator):
    _answered(emulator, '{"port": 1}')
    giga.chat_parse("The tide", response_format=Harbour)


@differs("code-block", official=raises("JSONDecodeError"), ours="Kola")
def an_answer_in_a_code_block_is_an_error(giga, emulator):
    _answered(emulator, '```json\n{"name": "Kola"}\n```')
    return giga.chat_parse("The tide", response_format=Harbour)[1].name
