import base64
import pathlib
import re

from gigachat import GigaChat
from gigachat.models import Chat, Messages, MessagesRole

pathlib.Path("lake.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))

with GigaChat(model="GigaChat-2-Max") as giga:
    with open("lake.png", "rb") as picture:
        uploaded = giga.upload_file(picture)
    print("uploaded:", uploaded.filename, uploaded.bytes_, uploaded.object_, uploaded.purpose)
    found = giga.get_file(uploaded.id_)
    print("found:", found.id_ == uploaded.id_, [file.filename for file in giga.get_files().data])
    answer = giga.chat(
        Chat(messages=[Messages(role=MessagesRole.USER, content="What is in the picture?", attachments=[uploaded.id_])])
    )
    print("answer:", bool(answer.choices[0].message.content))
    print("deleted:", giga.delete_file(uploaded.id_).deleted)
    print("left:", len(giga.get_files().data))

    drawn = giga.chat(
        Chat(messages=[Messages(role=MessagesRole.USER, content="Draw a picture of a lake")], function_call="auto")
    )
    file_id = re.search(r'<img src="(.+?)"', drawn.choices[0].message.content).group(1)
    image = giga.get_image(file_id)
    pathlib.Path("lake.jpg").write_bytes(base64.b64decode(image.content))
    print("image:", pathlib.Path("lake.jpg").read_bytes()[:3] == b"\xff\xd8\xff")
