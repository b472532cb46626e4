"""System checks: each reports its problem, nothing else, and shows no secret."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.django_tools import clean_environment, configured

configured()

import django  # noqa: E402
from django.core.checks import CheckMessage, run_checks  # noqa: E402
from django.test import override_settings  # noqa: E402

from gigaclient import FakeGpt, GigaChat  # noqa: E402
from gigaclient.contrib.django.checks import MESSAGES, TAG  # noqa: E402

KEY = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwOjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMQ=="
GOOD = {"credentials": KEY}


def run_gigaclient_checks(setting: Any = GOOD, **others: Any) -> list[CheckMessage]:
    """Return the messages of ``manage.py check --tag gigaclient``."""
    with override_settings(**{"GIGACLIENT": setting, "ROOT_URLCONF": None, **others}):
        messages = run_checks(tags=[TAG])
    for message in messages:
        assert str(message.id) in MESSAGES
        assert message.hint, f"{message.id} has no hint"
        assert KEY not in str(message)
    return messages


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("gigaclient.") for message in messages]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Return a function that writes modules of a project and returns the unique name of its package."""
    name = f"shop_{len(sys.modules)}"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(**modules: str) -> str:
        (folder / "__init__.py").touch()
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(text).replace("SHOP", name), "utf-8")
        return name

    yield write
    for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[loaded]


# -- the setting -------------------------------------------------------------------------------------------------------


def test_good_settings_are_passed_over() -> None:
    assert run_gigaclient_checks() == []
    assert (
        run_gigaclient_checks(
            {"default": GOOD, "pool": {"provider": "fakegpt", "base_url": "https://chat.example.org"}}
        )
        == []
    )


@pytest.mark.parametrize("provider", ["gigachat", "fakegpt"])
def test_verification_that_is_off_is_an_error(provider: str) -> None:
    options = {"provider": provider, "verify_ssl_certs": False}
    messages = run_gigaclient_checks({"default": GOOD, "loose": options | (GOOD if provider == "gigachat" else {})})
    assert ids(messages) == ["E001"]
    assert messages[0].is_serious()
    assert "alias 'loose'" in messages[0].msg


def test_verification_that_the_environment_turns_off_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_VERIFY_SSL_CERTS", "false")
    assert ids(run_gigaclient_checks()) == ["E001"]


def test_each_option_that_there_is_not_is_named() -> None:
    messages = run_gigaclient_checks({"default": {**GOOD, "modell": "x", "api_key": KEY}})
    assert ids(messages) == ["E002", "E002"]
    assert "did you mean model?" in messages[0].msg
    assert "pass credentials=" in messages[1].msg


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({**GOOD, "timeout": "soon"}, "timeout: must be a number"),
        ({"credentials": f"{KEY} ключ"}, "credentials: is not base64"),
        ({**GOOD, "ca_bundle_file": "nowhere.pem"}, "nowhere.pem"),
        ({"provider": "gigchat"}, "provider must be"),
        ({"provider": "fakegpt", "base_url": "chat.example.org"}, "base_url: must be an address"),
    ],
)
def test_options_that_cannot_work_say_why(setting: dict[str, Any], message: str) -> None:
    messages = run_gigaclient_checks(setting)
    assert ids(messages) == ["E003"]
    assert message in messages[0].msg
    assert KEY[:40] not in str(messages[0])


@pytest.mark.parametrize("setting", [KEY, 1, [GOOD], {"default": GOOD, "model": "x"}])
def test_a_setting_of_another_form_is_an_error(setting: Any) -> None:
    assert ids(run_gigaclient_checks(setting)) == ["E004"]


def test_an_old_django_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django, "VERSION", (4, 1, 13, "final", 0))
    assert ids(run_gigaclient_checks()) == ["E005"]


def test_a_missing_key_is_a_warning_until_the_environment_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = run_gigaclient_checks({})
    assert ids(messages) == ["W006"]
    assert not messages[0].is_serious()
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", KEY)
    assert run_gigaclient_checks({}) == []


# -- the source --------------------------------------------------------------------------------------------------------


def test_a_key_in_the_settings_source_is_found_where_it_is_written(shop: Callable[..., str]) -> None:
    name = shop(
        base=f"""\
        import os
        KEY = os.environ.get("SHOP_KEY", "{KEY}")
        """,
        settings="""\
        from .base import *
        GIGACLIENT = {"default": {"credentials": KEY}, "pool": {"provider": "fakegpt"}}
        """,
    )
    settings_module = __import__(f"{name}.settings", fromlist=["GIGACLIENT"])
    messages = run_gigaclient_checks(settings_module.GIGACLIENT, SETTINGS_MODULE=f"{name}.settings")
    assert ids(messages) == ["W001"]
    assert messages[0].msg == f"GIGACLIENT, alias 'default': credentials is written in {name}/base.py, line 2."


def test_a_key_from_elsewhere_is_not_taken_for_one_in_the_source(shop: Callable[..., str]) -> None:
    name = shop(settings="GIGACLIENT = None\n")
    __import__(f"{name}.settings")
    assert run_gigaclient_checks(SETTINGS_MODULE=f"{name}.settings") == []


def test_a_client_in_the_settings_is_found() -> None:
    with GigaChat(credentials=KEY) as giga:
        messages = run_gigaclient_checks(GIGA=giga)
    assert ids(messages) == ["W002"]
    assert "settings.GIGA " in messages[0].msg


def test_a_client_made_at_import_is_found_in_the_views(shop: Callable[..., str]) -> None:
    name = shop(
        urls="""\
        from SHOP import views
        urlpatterns = []
        """,
        views="""\
        from gigaclient import FakeGpt
        fake = FakeGpt("https://chat.example.org")
        """,
    )
    messages = run_gigaclient_checks(ROOT_URLCONF=f"{name}.urls")
    assert ids(messages) == ["W003"]
    assert messages[0].msg.startswith(f"{name}.views.fake is a client")
    assert isinstance(sys.modules[f"{name}.views"].fake, FakeGpt)


_VIEWS = """\
import asyncio
from django.http import StreamingHttpResponse
from gigaclient.contrib.django import astream_response, get_client, stream_response


def buffered(request):
    return StreamingHttpResponse(get_client().generate("Hello!"))


def good(request):
    return stream_response(get_client().stream("Hello!"))


async def stopped(request):
    answer = get_client().chat("Hello!")
    return stream_response(get_client().stream(answer.text))


async def also_good(request):
    await asyncio.to_thread(get_client().chat, "Hello!")
    return await astream_response(lambda: get_client().stream("Hello!"))


urlpatterns = []
"""


def test_what_stops_an_event_loop_is_found_in_async_views(shop: Callable[..., str]) -> None:
    name = shop(urls=_VIEWS)
    messages = run_gigaclient_checks(ROOT_URLCONF=f"{name}.urls")
    assert ids(messages) == ["W007"] * 2
    lines = {message.msg.partition(":")[0]: message for message in messages}
    assert set(lines) == {f"{name}/urls.py, line 15", f"{name}/urls.py, line 16"}
    assert "asyncio.to_thread(get_client().chat" in str(lines[f"{name}/urls.py, line 15"].hint)


def test_a_plain_generator_is_found_where_the_site_is_for_asgi(shop: Callable[..., str]) -> None:
    name = shop(urls=_VIEWS)
    messages = run_gigaclient_checks(ROOT_URLCONF=f"{name}.urls", ASGI_APPLICATION="shop.asgi.application")
    (warning,) = [message for message in messages if message.id == "gigaclient.W004"]
    assert warning.msg.startswith(f"{name}/urls.py, line 7:")


def test_an_old_django_under_asgi_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django, "VERSION", (4, 2, 30, "final", 0))
    assert run_gigaclient_checks() == []
    assert ids(run_gigaclient_checks(ASGI_APPLICATION="shop.asgi.application")) == ["W005"]


# -- manage.py ---------------------------------------------------------------------------------------------------------


def test_manage_py_check_says_it_and_the_ids_silence_it(tmp_path: Path) -> None:
    (tmp_path / "own_settings.py").write_text(
        "import os\n"
        'INSTALLED_APPS = ["gigaclient.contrib.django"]\n'
        'SECRET_KEY = "x"\n'
        f'GIGACLIENT = {{"credentials": "{KEY}", "verify_ssl_certs": False}}\n'
        'SILENCED_SYSTEM_CHECKS = os.environ.get("SILENCED", "").split()\n'
    )

    def check(silenced: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", "check"],
            cwd=tmp_path,
            env=clean_environment(DJANGO_SETTINGS_MODULE="own_settings", PYTHONPATH=str(tmp_path), SILENCED=silenced),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    loud, quiet = check(""), check("gigaclient.E001 gigaclient.W001")
    assert loud.returncode == 1
    assert "gigaclient.E001" in loud.stderr
    assert "(gigaclient.W001) GIGACLIENT, alias 'default': credentials is written in own_settings.py, line 4" in (
        loud.stderr
    )
    assert quiet.returncode == 0, quiet.stderr
    assert KEY not in loud.stderr + loud.stdout + quiet.stderr + quiet.stdout
