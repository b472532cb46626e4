"""The Django integration in one process: responses, errors, and masked secrets."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.django_tools import configured, site
from support.reliability_tools import wait_until
from support.web import events, names, pumps, text_of

configured()

from django.conf import settings  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import method_decorator  # noqa: E402
from django.views import View  # noqa: E402

from gigaclient import ChatStream, ConfigError, GigaChat, RateLimitError  # noqa: E402
from gigaclient._primitives.extras import install_command  # noqa: E402
from gigaclient.contrib.client_registry import mask_secrets  # noqa: E402
from gigaclient.contrib.django import (  # noqa: E402
    EventStreamResponse,
    astream_response,
    error_response,
    errors_as_json,
    get_client,
    stream_response,
)
from gigaclient.contrib.django import clients as clients_module  # noqa: E402
from gigaclient.testing import Fault, GigaChatEmulator  # noqa: E402

KEY = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwOjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMQ=="


@pytest.fixture(autouse=True)
def _no_clients_left() -> Iterator[None]:
    clients_module._clients.reset()
    yield
    clients_module._clients.reset()


@pytest.fixture
def emulator(gigachat_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    """Start an emulator that ``GIGACLIENT`` points at, on a site with the URLs of the test views."""
    options = {**gigachat_emulator.client_options, "max_retries": 0}
    with site(), override_settings(GIGACLIENT={"default": options, "hasty": {**options, "timeout": (30, 0.5)}}):
        yield gigachat_emulator
        gc.collect()
    wait_until(lambda: gigachat_emulator.open_streams == 0, what="the end of all streams")
    wait_until(lambda: not pumps(), what="the end of the threads that read streams")


# -- responses ---------------------------------------------------------------------------------------------------------


def test_the_test_client_gets_whole_events(emulator: GigaChatEmulator) -> None:
    response = Client().get("/chat", headers={"accept-encoding": "gzip"})
    assert response.status_code == 200
    assert not response.is_async
    found = events(response.getvalue())
    assert text_of(found) == "1, 2, 3, 4, 5"
    assert names(found)[-1] == "done"


def test_the_asynchronous_test_client_gets_them_from_sync_and_async_views(emulator: GigaChatEmulator) -> None:
    async def visit() -> None:
        for view in ("/achat", "/chat"):
            response = await AsyncClient().get(view)
            assert response.status_code == 200
            if view == "/achat":
                assert response.is_async
            body = b"".join([piece async for piece in response])
            assert text_of(events(body)) == "1, 2, 3, 4, 5"
            response.close()

    Client().get("/chat").getvalue()  # must leave no state that affects the requests below
    asyncio.run(visit())


def test_an_async_view_under_wsgi_streams_to_a_plain_iterator(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=3))
    response = Client().get("/achat")
    assert not response.is_async
    pieces = iter(response)
    assert b"1" in next(pieces)  # while the answer is still incomplete
    response.close()


def test_a_view_called_directly_supports_both_kinds_of_iteration(emulator: GigaChatEmulator) -> None:
    from contrib.django_site import views

    body = b"".join(views.chat(RequestFactory().get("/")))
    assert text_of(events(body)) == "1, 2, 3, 4, 5"

    async def ask() -> bytes:
        response = await views.achat(AsyncRequestFactory().get("/"))
        return b"".join([piece async for piece in response])

    assert text_of(events(asyncio.run(ask()))) == "1, 2, 3, 4, 5"


def test_a_response_that_is_never_read_ends_the_call(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2))
    response = stream_response(get_client().stream("Count from 1 to 5"))
    wait_until(lambda: emulator.open_streams == 1, what="the call")
    assert response.body.text
    del response
    gc.collect()
    wait_until(lambda: emulator.open_streams == 0, what="the end of the call")


def test_the_caller_sets_render_status_and_headers(emulator: GigaChatEmulator) -> None:
    response = stream_response(
        lambda: get_client().stream("Count from 1 to 2"),
        status=203,
        headers={"X-Model": "GigaChat-2", "cache-control": "no-store"},
        render=lambda chunk: {"piece": chunk.text},
    )
    assert isinstance(response, EventStreamResponse)
    assert (response.status_code, response["X-Model"], response["Cache-Control"]) == (203, "GigaChat-2", "no-store")
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert "piece" in events(b"".join(response))[0].json


def test_stream_response_refuses_to_block_an_event_loop_and_closes_the_stream(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2))
    opened: list[ChatStream] = []

    async def view() -> None:
        opened.append(get_client().stream("Count from 1 to 5"))
        stream_response(opened[0])

    with pytest.raises(ConfigError, match="return await astream_response"):
        asyncio.run(view())
    assert opened[0].closed


def test_astream_response_leaves_the_loop_free_while_it_waits(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(before_s=0.5))
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def view() -> bytes:
        ticking = asyncio.create_task(tick())
        response = await astream_response(lambda: get_client().stream("Count from 1 to 5"))
        assert turns > 3
        ticking.cancel()
        return b"".join([piece async for piece in response])

    assert text_of(events(asyncio.run(view()))) == "1, 2, 3, 4, 5"


@pytest.mark.parametrize("opened_before", [True, False])
def test_a_cancelled_astream_response_closes_the_stream(emulator: GigaChatEmulator, opened_before: bool) -> None:
    emulator.inject(Fault(stall_after_events=0))

    async def view() -> None:
        source: Any = lambda: get_client().stream("Count from 1 to 5")  # noqa: E731
        if opened_before:
            source = await asyncio.to_thread(source)
        waiting = asyncio.create_task(astream_response(source))
        while not emulator.open_streams:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(asyncio.wait_for(view(), 20))
    wait_until(lambda: emulator.open_streams == 0, what="the end of the call")
    wait_until(lambda: not _openers(), what="the end of the thread")


def _openers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gigaclient-first-chunk"]


# -- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_becomes_json_with_its_status_and_retry_after() -> None:
    response = error_response(RateLimitError("Too Many Requests", status_code=429, retry_after=1.2, request_id="r-1"))
    assert response.status_code == 429
    assert (response["Retry-After"], response["Cache-Control"]) == ("2", "no-store")
    payload = json.loads(response.content)
    assert payload["type"] == "RateLimitError"
    assert (payload["retry_after"], payload["request_id"]) == (1.2, "r-1")


def _limited(*_: Any, **__: Any) -> HttpResponse:
    raise RateLimitError("Too Many Requests", status_code=429)


async def _limited_async(*_: Any, **__: Any) -> HttpResponse:
    raise RateLimitError("Too Many Requests", status_code=429)


async def _well_async(*_: Any) -> HttpResponse:
    return JsonResponse({"well": True})


def _wrong(*_: Any) -> HttpResponse:
    raise LookupError("not ours")


@method_decorator(errors_as_json, name="dispatch")
class Limited(View):
    get = _limited


@method_decorator(errors_as_json, name="dispatch")
class LimitedAsync(View):
    get = _limited_async


urlpatterns = [
    path("plain", _limited),
    path("sync", errors_as_json(_limited)),
    path("async", errors_as_json(_limited_async)),
    path("class", Limited.as_view()),
    path("async-class", LimitedAsync.as_view()),
    path("well", errors_as_json(_well_async)),
    path("wrong", errors_as_json(_wrong)),
]


@pytest.fixture
def views() -> Iterator[None]:
    """Configure a site with the views above."""
    urls = type("Urls", (), {"urlpatterns": urlpatterns})
    with site(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        yield


@pytest.mark.parametrize("address", ["/sync", "/async", "/class", "/async-class"])
def test_the_decorator_makes_statuses_of_errors(views: None, address: str, caplog: pytest.LogCaptureFixture) -> None:
    response = Client().get(address)
    assert response.status_code == 429
    assert response.json()["type"] == "RateLimitError"
    assert [record.levelname for record in caplog.records if record.name == "django.request"] == ["WARNING"]
    assert "Too Many Requests" in caplog.text


@pytest.mark.parametrize("address", ["/async", "/class", "/async-class"])
def test_the_decorator_does_so_in_an_event_loop(views: None, address: str) -> None:
    assert asyncio.run(AsyncClient().get(address)).status_code == 429


def test_the_decorator_leaves_answers_and_other_errors_alone(views: None) -> None:
    assert Client().get("/well").json() == {"well": True}
    with pytest.raises(LookupError):
        Client().get("/wrong")
    with pytest.raises(RateLimitError):
        Client().get("/plain")


def test_the_middleware_does_it_for_every_view(views: None) -> None:
    with override_settings(MIDDLEWARE=["gigaclient.contrib.django.middleware.ErrorsAsJsonMiddleware"]):
        assert Client().get("/plain").status_code == 429
        assert asyncio.run(AsyncClient().get("/plain")).status_code == 429


def test_a_mistake_in_the_settings_is_in_the_log_and_not_on_the_page(
    emulator: GigaChatEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    response = Client().post("/chat", {"alias": "nobody"}, content_type="application/json")
    assert response.status_code == 500
    assert "nobody" not in response.content.decode()
    record = next(record for record in caplog.records if record.name == "django.request")
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert "has no alias 'nobody'" in caplog.text


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_a_page_about_an_error_shows_no_secret(views: None) -> None:
    setting = {
        "default": {"credentials": KEY, "proxy": f"http://me:{KEY}@proxy.example:3128"},
        "pool": {"provider": "fakegpt", "headers": {"Cookie": KEY}},
    }
    client = Client(raise_request_exception=False)
    with override_settings(DEBUG=True, GIGACLIENT=setting):
        assert KEY in client.get("/wrong").content.decode(), "Django leaves these out by itself now"
        mask_secrets(settings.GIGACLIENT)
        for accept in ("text/html", "text/plain"):
            page = client.get("/wrong", headers={"accept": accept}).content.decode()
            assert "LookupError" in page
            index = page.find(KEY)
            assert index < 0, page[index - 300 : index]
        assert settings.GIGACLIENT["default"]["credentials"] == KEY
        assert get_client(kind=GigaChat)


def test_a_page_about_a_setting_that_cannot_work_shows_no_secret() -> None:
    def view(*_: Any) -> HttpResponse:
        get_client()
        raise AssertionError("the setting was accepted")

    urls = type("Urls", (), {"urlpatterns": [path("", view)]})
    for setting in ({"credentials": KEY[:40]}, {"api_key": KEY}, {"credentials": KEY, "timeout": -1}):
        with site(ROOT_URLCONF=urls, MIDDLEWARE=[], DEBUG=True), override_settings(GIGACLIENT=setting):
            mask_secrets(settings.GIGACLIENT)
            page = Client(raise_request_exception=False).get("/").content.decode()
        assert "ConfigError" in page
        assert KEY[:40] not in page


def test_the_application_masks_the_secrets_of_the_setting_when_it_is_ready() -> None:
    run = subprocess.run([sys.executable, "-c", _READY], capture_output=True, text=True, timeout=50, check=False)
    assert run.stdout == "{'credentials': '***'}\n", run.stderr


_READY = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["gigaclient.contrib.django"], GIGACLIENT={"credentials": "a secret"})
django.setup()
print(settings.GIGACLIENT)
"""


# -- the extra ---------------------------------------------------------------------------------------------------------


def test_without_django_one_sentence_says_what_to_install() -> None:
    script = "import sys; sys.modules['django'] = None; import gigaclient.contrib.django"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    last = run.stderr.strip().splitlines()[-1]
    text = "ImportError: gigaclient.contrib.django needs Django, which is not installed: "
    assert last == text + install_command("django")
    assert "During handling" not in run.stderr
