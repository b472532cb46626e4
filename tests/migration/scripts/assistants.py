from gigachat import GigaChat
from gigachat.models import Messages, MessagesRole
from gigachat.models.threads import ThreadRunOptions, ThreadStatus

with GigaChat(model="GigaChat-2") as giga:
    made = giga.assistants.create(model="GigaChat-2", name="Helper", instructions="You count.")
    print("assistant:", [assistant.name for assistant in giga.assistants.get(made.assistant_id).data])
    giga.assistants.update(made.assistant_id, name="Counter")
    print("renamed:", giga.assistants.get(made.assistant_id).data[0].name)

    thread = giga.threads.run_messages(
        [Messages(role=MessagesRole.USER, content="Count from 1 to 3")],
        assistant_id=made.assistant_id,
        thread_options=ThreadRunOptions(temperature=0.5),
    )
    print("answer:", thread.message.content, thread.finish_reason, thread.object_)
    pieces = giga.threads.run_messages_stream(["Count from 4 to 6"], thread_id=thread.thread_id)
    print("streamed:", "".join(chunk.choices[0].delta.content or "" for chunk in pieces))

    messages = giga.threads.get_messages(thread.thread_id).messages
    print("messages:", len(messages), messages[0].role in ("user", "assistant"))
    found = giga.threads.retrieve([thread.thread_id]).threads[0]
    print("thread:", found.id_ == thread.thread_id, found.status == ThreadStatus.READY)
    print("deleted:", giga.threads.delete(thread.thread_id), giga.assistants.delete(made.assistant_id).deleted)
