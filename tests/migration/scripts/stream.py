from gigachat import GigaChat
from gigachat.models import Chat, ChatCompletionChunk, Messages, MessagesRole

giga = GigaChat(model="GigaChat-2")
payload = Chat(messages=[Messages(role=MessagesRole.USER, content="Count from 1 to 5")], update_interval=0)
whole = ""
for chunk in giga.stream(payload):
    assert isinstance(chunk, ChatCompletionChunk)
    delta = chunk.choices[0].delta
    whole += delta.content or ""
    if chunk.choices[0].finish_reason:
        print("finished:", chunk.choices[0].finish_reason, chunk.usage is not None)
print("answer:", whole)

for number, chunk in enumerate(giga.stream("Count from 1 to 9")):
    print("piece:", number, chunk.object_)
    if number == 1:
        break
giga.close()
