import uuid

import gigachat.context
from gigachat import GigaChat, custom_headers_cvar, request_id_cvar, session_id_cvar
from gigachat.context import chat_url_cvar, client_id_cvar, operation_id_cvar

session_id_cvar.set("session-1")
request_id_cvar.set("request-1")
client_id_cvar.set("client-1")
operation_id_cvar.set(str(uuid.uuid4()))
custom_headers_cvar.set({"X-Custom-Header": "custom"})
gigachat.context.trace_id_cvar.set("trace-1")
chat_url_cvar.set("/chat/completions")

with GigaChat(model="GigaChat-2") as client:
    response = client.chat("Count from 1 to 2")
    print(
        "echoed:",
        response.x_headers["x-request-id"],
        response.x_headers["x-session-id"],
        response.x_headers["x-client-id"],
    )

token = GigaChat().get_token().access_token
gigachat.context.authorization_cvar.set(f"Bearer {token}")
with GigaChat(model="GigaChat-2") as client:
    print("answer:", client.chat("Count from 1 to 2").choices[0].message.content)
