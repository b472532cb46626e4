from gigachat import GigaChat
from gigachat.models import (
    ChatCompletionRequest,
    ChatFunctionSpecification,
    ChatMessage,
    ChatModelOptions,
    ChatTool,
)

tide = ChatFunctionSpecification(
    name="get_tide",
    description="The height of the tide at a port",
    parameters={"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
)

with GigaChat(model="GigaChat-2-Pro") as client:
    response = client.chat.create("Count from 1 to 3")
    print("answer:", response.messages[0].content[0].text)
    print("role:", response.messages[0].role, response.usage.total_tokens > 0)

    text = ""
    for chunk in client.chat.stream("Count from 1 to 3"):
        if chunk.messages and chunk.messages[0].content:
            text += chunk.messages[0].content[0].text or ""
    print("streamed:", text)

    request = ChatCompletionRequest(
        messages=[ChatMessage(role="user", content="What is the tide at Murmansk?")],
        model_options=ChatModelOptions(temperature=0.5),
        tools=[ChatTool(functions={"specifications": [tide]})],
    )
    message = client.chat.create(request).messages[0]
    call = message.function_call
    for part in message.content or []:
        call = call or part.function_call
    print("call:", call.name, type(call.arguments).__name__)
