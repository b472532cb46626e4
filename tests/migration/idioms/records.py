"""Use requests and answers as objects: fields, dumps, copies, validation."""

from __future__ import annotations

import copy
import json
import pickle

import pydantic
from gigachat.models import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionRequest,
    ChatMessage,
    Function,
    FunctionCall,
    FunctionParameters,
    FunctionParametersProperty,
    JsonSchemaResponseFormat,
    Messages,
    MessagesRole,
    Model,
    Token,
    UploadedFile,
    Usage,
)
from support.official_sdk import differs, raises

ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Yes", "id": 7}, "index": 0, "finish_reason": "stop"}],
    "created": 1790000001,
    "model": "GigaChat-2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
USER = {"role": "user", "content": "Hi"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "precached_prompt_tokens": None}


def a_message_without_text_has_an_empty_one():
    return Messages(role="user").content


@differs("role", official=raises("ValidationError"), ours="user")
def a_message_without_a_role_is_refused():
    return Messages(content="Hi").role


def a_role_is_stored_as_text():
    return [Messages(role=MessagesRole.USER).role, type(Messages(role=MessagesRole.USER).role).__name__]


@differs("unknown-fields", official=False, ours=True)
def a_message_has_a_field_that_is_unknown():
    return hasattr(Messages(role="user", brand_new=1), "brand_new")


def a_request_of_v2_keeps_a_field_that_is_unknown():
    return ChatMessage(role="user", content="Hi", brand_new=1).brand_new


def nested_dicts_become_objects():
    chat = Chat(messages=[USER], functions=[{"name": "now"}], storage={"is_stateful": True})
    return [isinstance(chat.messages[0], Messages), chat.functions[0].name, chat.storage.is_stateful]


def a_nested_call_becomes_an_object():
    message = Messages(role="assistant", function_call={"name": "now", "arguments": {"a": 1}})
    return [message.function_call.name, message.function_call.arguments]


def fields_are_assigned():
    message = Messages(role="user", content="Hi")
    message.content = "Ho"
    return message.content


def objects_are_compared():
    return [Messages(**USER) == Messages(**USER), Messages(**USER) == Messages(role="user", content="Ho")]


def an_object_is_not_its_dict():
    return Messages(**USER) == USER


def an_object_prints_its_fields():
    return "content='Hi'" in repr(Messages(**USER))


@differs("class-names", official="Messages", ours="Message")
def a_class_has_its_name():
    return Messages.__name__


@differs("new-fields", official=USAGE, ours={**USAGE, "system_tokens": None})
def an_object_is_a_series_of_pairs():
    return dict(Usage(**USAGE))


@differs("new-fields", official=USAGE, ours={**USAGE, "system_tokens": None})
def an_object_has_vars():
    return vars(Usage(**USAGE))


def an_object_is_made_json_by_its_vars():
    return json.loads(json.dumps(Chat(messages=[USER]).messages[0], default=vars))["content"]


def a_message_is_dumped():
    return Messages(**USER).model_dump(exclude_none=True)


def a_message_without_text_is_dumped():
    return Messages(role="user").model_dump(exclude_none=True)


@differs("new-fields", official=USAGE, ours={**USAGE, "system_tokens": None})
def a_usage_is_dumped():
    return Usage(**USAGE).model_dump()


def a_dump_has_the_names_of_python():
    return JsonSchemaResponseFormat(schema={"type": "object"}).model_dump()


def a_dump_has_the_names_of_the_api():
    return JsonSchemaResponseFormat(schema={"type": "object"}).model_dump(by_alias=True, exclude_none=True)


def a_dump_has_some_fields():
    return Messages(**USER).model_dump(include={"content"})


def a_dump_omits_some_fields():
    return Messages(**USER).model_dump(exclude={"content"}, exclude_none=True)


def a_dump_omits_what_was_not_set():
    return Messages(role="user", content="Hi").model_dump(exclude_unset=True)


@differs("exclude-unset", official={**USER, "name": None}, ours=USER)
def a_dump_has_none_that_was_set():
    return Messages(role="user", content="Hi", name=None).model_dump(exclude_unset=True)


def a_dump_omits_defaults_but_not_the_role():
    return Messages(role="user", content="Hi").model_dump(exclude_defaults=True)


def a_dump_omits_what_is_the_default():
    return Chat(messages=[USER], temperature=0.5).model_dump(exclude_defaults=True)["temperature"]


def a_dump_is_json():
    return json.loads(Chat(messages=[USER]).model_dump_json(exclude_none=True))


def a_dump_as_json_is_on_lines():
    return Usage(**USAGE).model_dump_json(indent=2, include={"total_tokens"})


def a_dump_for_json_has_plain_values():
    return Messages(role=MessagesRole.USER, content="Hi").model_dump(mode="json", exclude_none=True)


def a_dict_of_pydantic_1():
    return Messages(**USER).dict(exclude_none=True)


def json_of_pydantic_1():
    return json.loads(Messages(**USER).json(exclude_none=True))


def a_copy_of_pydantic_1():
    return Messages(**USER).copy(update={"content": "Ho"}).content


def an_object_is_parsed_as_in_pydantic_1():
    return Messages.parse_obj(USER).content


def an_object_is_copied_with_a_change():
    message = Messages(**USER)
    return [message.model_copy(update={"content": "Ho"}).content, message.content]


def an_object_is_copied():
    chat = Chat(messages=[USER])
    return [copy.copy(chat).messages is chat.messages, copy.deepcopy(chat) == chat]


def an_object_is_pickled():
    return pickle.loads(pickle.dumps(Chat(messages=[USER]))) == Chat(messages=[USER])


def a_dict_is_validated():
    answer = ChatCompletion.model_validate(ANSWER)
    return [answer.choices[0].message.content, answer.usage.total_tokens, answer.object_]


def json_is_validated():
    return ChatCompletion.model_validate_json(json.dumps(ANSWER)).choices[0].message.content


def an_object_is_validated():
    message = Messages(**USER)
    return Messages.model_validate(message) is message


@differs("role", official=raises("ValidationError"), ours="validated")
def a_missing_field_is_not_validated():
    Messages.model_validate({"content": "Hi"})
    return "validated"


@differs("odd-answers", official=raises("ValidationError"), ours=None)
def a_missing_field_of_an_answer_is_not_validated():
    return ChatCompletion.model_validate({"choices": []}).created


@differs("wrong-arguments", official=raises("ValidationError"), ours=raises("ConfigError"))
def a_wrong_type_is_not_validated():
    Chat.model_validate({"messages": [USER], "temperature": "warm"})


def a_wrong_type_is_a_value_error():
    try:
        Chat.model_validate({"messages": [USER], "temperature": "warm"})
    except ValueError:
        return "caught"


def an_object_is_rebuilt_from_its_dump_by_aliases():
    answer = ChatCompletion.model_validate(ANSWER)
    return ChatCompletion.model_validate(answer.model_dump(by_alias=True)) == answer


def a_request_is_rebuilt_from_its_dump():
    chat = Chat(messages=[USER], functions=[{"name": "now"}])
    again = Chat(**chat.model_dump())
    return [again == chat, isinstance(again.messages[0], Messages)]


def a_message_is_rebuilt_from_its_dump():
    message = Messages(role="assistant", function_call={"name": "now", "arguments": {}})
    return Messages(**message.model_dump()) == message


def an_answer_is_rebuilt_from_json():
    answer = ChatCompletion.model_validate(ANSWER)
    return ChatCompletion.model_validate_json(answer.model_dump_json(by_alias=True)) == answer


def the_id_of_a_message_has_a_name_of_python():
    return ChatCompletion.model_validate(ANSWER).choices[0].message.id_


def files_have_names_of_python():
    file = UploadedFile(id="f", object="file", bytes=5, created_at=1, filename="a", purpose="general")
    return [file.id_, file.object_, file.bytes_]


def a_model_has_names_of_python():
    model = Model(id="m", object="model", owned_by="somebody")
    return [model.id_, model.object_, model.owned_by, model.x_headers]


def a_parameter_has_names_of_python():
    parameters = FunctionParameters(properties={"a": {"type": "string"}})
    return [parameters.type_, parameters.properties["a"].type_, FunctionParametersProperty().type_]


def a_title_becomes_the_name_of_a_function():
    function = Function.model_validate({"title": "tide", "properties": {"port": {"type": "string"}}})
    return [function.name, function.parameters is not None]


def tokens_have_fields():
    return [Token(tok="t", exp=1).tok, AccessToken(access_token="t", expires_at=1).expires_at]


def the_content_of_a_v2_message_is_parts():
    message = ChatMessage(role="user", content="Hi")
    return [message.content[0].text, ChatMessage(role="user", content=["a", {"text": "b"}]).content[1].text]


def the_response_format_of_a_v2_request_is_an_option():
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "Hi"}], reasoning={"effort": "high"})
    return [request.model_options.reasoning.effort, request.reasoning.effort]


def an_object_has_a_schema():
    return Usage.model_json_schema()["properties"]["total_tokens"]["type"]


def a_dump_as_json_has_no_spaces():
    return FunctionCall(name="now", arguments={"a": "я"}).model_dump_json(exclude_none=True)


def an_object_is_a_field_of_a_pydantic_model():
    class Saved(pydantic.BaseModel):
        message: Messages
        usage: Usage | None = None

    saved = Saved(message=USER)
    return [saved.message.content, Saved.model_validate_json(saved.model_dump_json()) == saved]


def an_adapter_reads_a_list():
    found = pydantic.TypeAdapter(list[Messages]).validate_python([USER])
    return [isinstance(found[0], Messages), found[0].content]


@differs("pydantic", official=True, ours=False)
def an_object_is_a_pydantic_model():
    return isinstance(Messages(**USER), pydantic.BaseModel)


@differs("pydantic", official=True, ours=raises("AttributeError"))
def an_object_has_model_fields():
    return "content" in Messages.model_fields


@differs("pydantic", official=["content", "role"], ours=raises("AttributeError"))
def the_fields_that_were_set():
    return sorted(Messages(**USER).model_fields_set)


def a_class_is_derived_with_a_field():
    class Mine(Messages):
        note: str = ""

    return [Mine(role="user", content="Hi", note="later").note, Mine(role="user").note]


@differs("pydantic", official="Hi", ours=raises("AttributeError"))
def an_object_is_constructed_without_checks():
    return Messages.model_construct(role="user", content="Hi").content
