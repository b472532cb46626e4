"""Images: found in responses, downloaded, shown in notebooks, saved; in base64 as in the official SDK."""

from __future__ import annotations

import base64
import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from support.platform_tools import answer_with, bodies_sent_to

from gigaclient import ChatCompletion, GigaChat, Message
from gigaclient.errors import APITimeoutError, ConfigError, InvalidResponseError, NotFoundError, ServerError
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.testing.files import PICTURE
from gigaclient.types import Choice, GeneratedFile, Image

DRAW = {"messages": "Draw a river", "function_call": "auto"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def completion_of(*texts: str | None) -> ChatCompletion:
    return ChatCompletion(choices=[Choice(message=Message(role="assistant", content=text)) for text in texts])


def image_of(data: bytes, headers: dict[str, str] | None = None) -> Image:
    return Image(content=base64.b64encode(data).decode()).attach(headers=headers)


# -- found in responses ------------------------------------------------------------------------------


def test_a_drawn_picture_is_found_and_fetched_in_one_call(giga: GigaChat) -> None:
    answer = giga.chat("Draw a river", function_call="auto")
    (file,) = answer.images
    assert file.kind == "image"
    assert file.id in answer.text
    (image,) = giga.get_images(answer)
    assert isinstance(image, Image)
    assert image.data == PICTURE
    assert giga.get_image(file.id).data == giga.get_file_content(file.id) == PICTURE


def test_a_streamed_picture_is_found_too(giga: GigaChat) -> None:
    with giga.stream("Draw a river", function_call="auto") as stream:
        answer = stream.result()
    assert [image.data for image in giga.get_images(answer)] == [PICTURE]


def test_pictures_of_an_answer_of_v2_are_fetched_the_same_way(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat.create("Draw a river", tools=["image_generate"], client_id="user-7")
    assert [file.mime for file in answer.images] == ["image/jpeg"]
    assert [image.data for image in giga.get_images(answer)] == [PICTURE]
    assert emulator.requests[-1].headers["x-client-id"] == "user-7"


def test_an_answer_without_pictures_has_none(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat("Count from 1 to 3")
    assert (answer.images, answer.files, giga.get_images(answer)) == ([], [], [])
    assert completion_of().images == completion_of(None, "").files == []
    assert len(emulator.requests) == 1


ONE, TWO = "7c2b9c1e-6d7f-4f0e-8a55-0d9a3a1f6b10", "0f5a7f0c-5f4f-4d5b-8a70-2a7f9d1f2b3c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'<img src="{ONE}" fuse="true"/> A river.', [("image", ONE)]),
        (
            f"Two: <img src='{ONE}' fuse='true'/> and <img fuse=\"true\"  src = \"{TWO}\" >",
            [("image", ONE), ("image", TWO)],
        ),
        (f'<IMG SRC="{ONE}" FUSE="TRUE">', [("image", ONE)]),
        (f'<img\n  alt="a > b"\n src="{ONE}"/>', []),
        (f'<img\n  alt="a river"\n src="{ONE}"\n/>', [("image", ONE)]),
        (f"<img src={ONE} fuse=true/>", [("image", ONE)]),
        (f"<img src={ONE}/>", [("image", ONE)]),
        ('<img src="img-17" fuse="true"/>', [("image", "img-17")]),
        (f'<video cover="{ONE}" src="{TWO}" fuse="true"/>', [("video", TWO), ("cover", ONE)]),
        (f'<audio src="{TWO}" fuse="true"></audio>', [("audio", TWO)]),
        (f'<img src="{ONE}" fuse="true"/> again <img src="{ONE}" fuse="true"/>', [("image", ONE)]),
        (f'<img data-src="{TWO}" src="{ONE}" fuse="true"/>', [("image", ONE)]),
        ('Write <img src="cat.png"> or <img src="https://host/a.jpg">', []),
        ('<img src="" fuse="true"/> <img fuse="true"/> <img>', []),
        (f'<imgs src="{ONE}" fuse="true"/> < img src="{ONE}"/> <image src="{ONE}"/>', []),
        (f'<img src="{ONE}" fuse="true"', []),
        (f"src={ONE} {ONE}", []),
    ],
)
def test_every_form_of_the_markup_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(file.kind, file.id) for file in completion_of(text).files] == expected
    assert [file.id for file in completion_of(text).images] == [name for type_, name in expected if type_ == "image"]


def test_the_pictures_of_all_alternatives_count() -> None:
    answer = completion_of(f'<img src="{ONE}" fuse="true"/>', None, f'<img src="{TWO}" fuse="true"/>')
    assert answer.images == [GeneratedFile(id=ONE, kind="image"), GeneratedFile(id=TWO, kind="image")]


@pytest.mark.parametrize(
    "hostile", ["<img " * 100_000, "<img " + "a " * 250_000 + ">", "<img a=" + " " * 500_000 + ">", "<" * 500_000]
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    started_at = time.process_time()
    assert completion_of(hostile).files == []
    assert time.process_time() - started_at < 2


# -- downloads ---------------------------------------------------------------------------------------


def test_several_pictures_come_in_the_order_of_the_answer(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.answer(f'<img src="{TWO}" fuse="true"/> and <img src="{ONE}" fuse="true"/>')
    answer = giga.chat("anything")
    assert len(giga.get_images(answer)) == 2
    assert [request.path for request in emulator.requests[-2:]] == [
        f"/v1/files/{TWO}/content",
        f"/v1/files/{ONE}/content",
    ]


def test_any_object_with_images_is_accepted(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    class Answer:
        images = (GeneratedFile(id=emulator.files.create_image(_client(emulator)), kind="image", mime="image/jpeg"),)

    assert [image.data for image in giga.get_images(Answer())] == [PICTURE]  # type: ignore[arg-type]


def _client(emulator: GigaChatEmulator) -> str:
    return base64.b64decode(emulator.credentials).decode().partition(":")[0]


@pytest.mark.parametrize("wrong", ["text", None, ["id"], Message(content="x")])
def test_an_object_without_images_is_refused(giga: GigaChat, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="needs an answer"):
        giga.get_images(wrong)


def test_the_client_id_of_the_response_is_used(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat("Draw a river", function_call="auto", client_id="user-7")
    assert [image.data for image in giga.get_images(answer)] == [PICTURE]
    assert emulator.requests[-1].headers["x-client-id"] == "user-7"
    for options in ({"client_id": "user-8"}, {"headers": {"X-Client-ID": "user-8"}}):
        with pytest.raises(NotFoundError):
            giga.get_images(answer, **options)
    with pytest.raises(NotFoundError, match="client_id"):
        giga.get_image(answer.images[0])
    assert giga.get_image(answer.images[0], client_id="user-7").data == PICTURE


def test_the_deadline_is_for_all_pictures_together(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.answer(" ".join(f'<img src="{ONE[:-2]}{number:02}" fuse="true"/>' for number in range(20)))
    answer = giga.chat("anything")
    before = len(emulator.requests)
    emulator.inject(Fault(before_s=0.3), path="/content", times=None)
    with pytest.raises(APITimeoutError):
        giga.get_images(answer, deadline=1.0)
    assert len(emulator.requests) - before <= 4


def test_a_picture_has_the_ids_of_its_call(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    image = giga.get_images(giga.chat("Draw a river", function_call="auto"), request_id="mine")[0]
    assert image.request_id == "mine" == emulator.requests[-1].headers["x-request-id"]
    assert image.headers["content-type"] == "image/jpeg"


def test_text_is_not_accepted_as_a_picture(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(html=True), path="/content")
    with pytest.raises(InvalidResponseError, match="not an image"):
        giga.get_image("i")
    answer_with(emulator, "/content", {"id": "f", "object": "file"})
    with pytest.raises(InvalidResponseError, match="not an image"):
        giga.get_image("i")
    answer_with(emulator, "/content", {"status": 500, "message": "Internal Server Error"})
    with pytest.raises(ServerError):
        giga.get_image("i")
    answer_with(emulator, "/content", PICTURE, kind="text/plain")
    assert giga.get_image("i").mime == "image/jpeg"
    answer_with(emulator, "/content", b"of a kind to come", kind="application/octet-stream")
    assert giga.get_image("i").data == b"of a kind to come"


def test_a_picture_is_a_file_that_is_read_and_never_lost_in_half(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    file = emulator.files.create_image(_client(emulator))
    emulator.inject(Fault(cut_after_bytes=100), path="/content")
    with pytest.raises(Exception, match="cut short"):
        giga.get_image(file)
    assert bodies_sent_to(emulator, "/content")[-1].headers["accept"] == "*/*"


# -- the type Image ----------------------------------------------------------------------------------


def test_content_is_base64_as_the_official_sdk_has_it(giga: GigaChat) -> None:
    image = giga.get_images(giga.chat("Draw a river", function_call="auto"))[0]
    assert isinstance(image.content, str)
    assert base64.b64decode(image.content) == image.data == PICTURE
    assert json.loads(image.model_dump_json())["content"] == image.content == image.raw["content"]
    assert pickle.loads(pickle.dumps(image)).data == PICTURE


@pytest.mark.parametrize(
    ("data", "headers", "mime"),
    [
        (PICTURE, None, "image/jpeg"),
        (PNG, {"content-type": "image/jpeg"}, "image/png"),
        (b"GIF89a", None, "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", None, "image/webp"),
        (b"II*\0", None, "image/tiff"),
        (b"MM\0*", None, "image/tiff"),
        (b"BM\1\2\3\4\0\0\0\0", None, "image/bmp"),
        (b"something new", {"content-type": "image/new; q=1"}, "image/new"),
        (b"something new", {"content-type": "application/octet-stream"}, None),
        (b"", None, None),
    ],
    ids=str,
)
def test_the_type_is_detected_from_the_first_bytes(
    data: bytes, headers: dict[str, str] | None, mime: str | None
) -> None:
    image = image_of(data, headers)
    assert image.mime == mime
    assert repr(image) == f"<Image {mime or 'of unknown type'}, {len(data)} bytes>"


def test_notebooks_get_the_right_mime_type() -> None:
    jpeg, png, other = image_of(PICTURE), image_of(PNG), image_of(b"GIF89a")
    assert (jpeg._repr_jpeg_(), jpeg._repr_png_()) == (PICTURE, None)
    assert (png._repr_jpeg_(), png._repr_png_()) == (None, PNG)
    assert (other._repr_jpeg_(), other._repr_png_()) == (None, None)


def test_a_picture_is_saved(tmp_path: Path) -> None:
    path = image_of(PICTURE).save(tmp_path / "a.jpg")
    assert path == tmp_path / "a.jpg"
    image_of(PNG).save(str(path))
    assert path.read_bytes() == PNG
    with pytest.raises(OSError, match="No such file"):
        image_of(PNG).save(tmp_path / "no" / "a.png")
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_an_image_that_is_not_base64_has_a_repr() -> None:
    assert repr(Image(content="abc")) == "<Image of unknown type, 2 bytes>"
