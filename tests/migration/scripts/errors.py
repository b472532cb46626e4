import base64
import uuid

from gigachat import GigaChat
from gigachat.exceptions import (
    AuthenticationError,
    BadRequestError,
    GigaChatException,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    UnprocessableEntityError,
)
from gigachat.models import Chat, Messages


def ask(what, **options):
    try:
        with GigaChat(model="GigaChat-2", **options) as client:
            print("answer:", client.chat(what).choices[0].message.content)
    except AuthenticationError as e:
        print("authentication:", e.status_code)
    except RateLimitError as e:
        print("rate:", e.retry_after)
    except NotFoundError as e:
        print(
            "not found:",
            e.status_code,
            b"No such model" in e.content,
            e.headers.get("Content-Type", "").partition(";")[0],
        )
    except UnprocessableEntityError as e:
        print("unprocessable:", e.status_code, e.content.decode()[:40])
    except (BadRequestError, ServerError) as e:
        print("other:", type(e).__name__, str(e.url).endswith("/chat/completions"))
    except GigaChatException as e:
        print("any:", type(e).__name__)


ask("Count from 1 to 2")
ask({"messages": [{"role": "user", "content": "Hi"}], "model": "GigaChat-99"})
ask(Chat(messages=[Messages(role="user", content="Hi")], repetition_penalty=-1))
ask("Hi", credentials=base64.b64encode(f"{uuid.uuid4()}:{uuid.uuid4()}".encode()).decode())
try:
    GigaChat(model="GigaChat-2").chat(Chat(messages=[Messages(role="user", content="Hi")], model="GigaChat-98"))
except ResponseError as e:
    print("response error:", e.status_code)
