from gigachat import GigaChat
from gigachat.models import Chat, Messages, MessagesRole

payload = Chat(
    messages=[Messages(role=MessagesRole.SYSTEM, content="You count and say nothing else.")],
    temperature=0.7,
    max_tokens=100,
)

with GigaChat(model="GigaChat-2", verify_ssl_certs=True) as giga:
    for text in ("Count from 1 to 3", "Count from 2 to 4"):
        payload.messages.append(Messages(role=MessagesRole.USER, content=text))
        response = giga.chat(payload)
        payload.messages.append(response.choices[0].message)
        print("answer:", response.choices[0].message.content)

    print("roles:", [MessagesRole(message.role).value for message in payload.messages])
    print("finished:", response.choices[0].finish_reason, response.choices[0].index)
    print("usage:", response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens)
    print("object:", response.object_, response.model.partition(":")[0], isinstance(response.created, int))
    print("headers:", sorted(response.x_headers), response.x_headers["x-client-id"])

    same = giga.chat({"messages": [{"role": "user", "content": "Count from 1 to 2"}], "temperature": 0.5})
    print("dict:", same.choices[0].message.content)
    print("text:", giga.chat("Count from 5 to 6").choices[0].message.content)

    dumped = same.model_dump(exclude_none=True)
    print("dump:", dumped["choices"][0]["message"], dumped["object_"])
    print("by alias:", same.model_dump(by_alias=True)["object"])
    again = Chat.model_validate(
        {"messages": [{"role": "user", "content": "Count from 7 to 8"}], "model": "GigaChat-2-Pro"}
    )
    print("validated:", again.messages[0].content, again.model)
    print("json:", again.model_dump_json(exclude_none=True, include={"model"}))
    copy = again.model_copy(update={"temperature": 0.1})
    print("copy:", copy.temperature, again.temperature)
    print("asked again:", giga.chat(again).choices[0].message.content)
