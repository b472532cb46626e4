from pydantic import BaseModel

from gigachat import GigaChat
from gigachat.models import Chat, JsonSchemaResponseFormat, Messages


class Answer(BaseModel):
    port: str
    metres: int


with GigaChat(model="GigaChat-2-Pro") as client:
    completion, parsed = client.chat_parse("The tide at Murmansk", response_format=Answer, strict=True)
    print("parsed:", type(parsed).__name__, isinstance(parsed.port, str), isinstance(parsed.metres, int))
    print("finished:", completion.choices[0].finish_reason)

    by_hand = client.chat(
        Chat(
            messages=[Messages(role="user", content="The tide at Murmansk")],
            response_format=JsonSchemaResponseFormat(schema=Answer, strict=True),
        )
    )
    print("by hand:", by_hand.choices[0].message.content[:1])
    as_dict = client.chat(
        {
            "messages": [{"role": "user", "content": "The tide at Murmansk"}],
            "response_format": {"type": "json_schema", "schema": Answer.model_json_schema()},
        }
    )
    print("as a dict:", as_dict.choices[0].message.content[:1])
