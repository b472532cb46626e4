import json

from gigachat import GigaChat
from gigachat.models import (
    Chat,
    ChatFunctionCall,
    FewShotExample,
    Function,
    FunctionParameters,
    FunctionParametersProperty,
    Messages,
    MessagesRole,
)

tide = Function(
    name="get_tide",
    description="The height of the tide at a port",
    parameters=FunctionParameters(
        type="object",
        properties={
            "port": FunctionParametersProperty(type="string", description="Name of the port"),
            "unit": {"type": "string", "enum": ["m", "ft"]},
        },
        required=["port"],
    ),
    few_shot_examples=[FewShotExample(request="Tide at Murmansk?", params={"port": "Murmansk", "unit": "m"})],
)
print("type:", tide.parameters.type_, tide.parameters.properties["port"].type_)

payload = Chat(
    messages=[Messages(role=MessagesRole.USER, content="What is the tide at Murmansk now?")],
    functions=[tide],
    function_call="auto",
)
with GigaChat(model="GigaChat-2-Pro") as giga:
    message = giga.chat(payload).choices[0].message
    call = message.function_call
    print("call:", call.name, call.arguments["port"], message.functions_state_id is not None)
    payload.messages.append(message)
    payload.messages.append(
        Messages(role=MessagesRole.FUNCTION, name=call.name, content=json.dumps({"height": 1.8, "unit": "m"}))
    )
    print("answer:", giga.chat(payload).choices[0].message.content)

    forced = Chat(
        messages=[Messages(role="user", content="Hello")],
        functions=[{"name": "get_tide", "description": "tide", "parameters": {"type": "object", "properties": {}}}],
        function_call=ChatFunctionCall(name="get_tide", partial_arguments={"port": "Kola"}),
    )
    print("functions:", forced.functions[0].name)
    answer = giga.chat(forced)
    print("forced:", answer.choices[0].finish_reason, answer.choices[0].message.function_call.arguments["port"])
