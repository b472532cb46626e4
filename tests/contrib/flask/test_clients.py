"""The clients of a Flask app: settings, aliases, and masked secrets."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from support.flask_tools import COUNT
from support.reliability_tools import run_python, together

import gigaclient.contrib.flask as integration
from gigaclient import ConfigError, FakeGpt, GigaChat
from gigaclient.contrib.flask import GigaClient, get_client, gigachat
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator


def test_a_client_is_made_once_at_first_use(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    build = GigaChat.__init__
    monkeypatch.setattr(GigaChat, "__init__", lambda self, **options: (made.append(options), build(self, **options))[1])
    app = Flask("shop")
    app.config["GIGACLIENT"] = dict(emulator.client_options)
    extension = GigaClient()
    extension.init_app(app)
    assert made == []

    def ask(number: int) -> GigaChat:
        with app.app_context():
            return extension.client

    clients = together(ask, 8)
    assert len(made) == 1
    assert {id(client) for client in clients} == {id(clients[0])}
    with app.app_context():
        assert get_client() is extension.get_client("default") is clients[0]
        assert gigachat.model == clients[0].model
        assert isinstance(gigachat, GigaChat)


def test_each_app_has_its_own_client(emulator: GigaChatEmulator) -> None:
    extension = GigaClient()
    clients = []
    for model in ("GigaChat-2", "GigaChat-2-Max"):
        app = Flask(model)
        app.config["GIGACLIENT"] = {**emulator.client_options, "model": model}
        extension.init_app(app)
        with app.app_context():
            clients.append(extension.client)
    assert [client.model for client in clients] == ["GigaChat-2", "GigaChat-2-Max"]


def test_several_clients_go_by_alias(emulator: GigaChatEmulator, fakegpt_emulator: FakeGptEmulator) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = {
        "default": emulator.client_options,
        "cheap": {**emulator.client_options, "model": "GigaChat-2-Lite"},
        "pool": {"provider": "fakegpt", **fakegpt_emulator.client_options},
    }
    GigaClient(app)
    with app.app_context():
        assert get_client("cheap", kind=GigaChat).model == "GigaChat-2-Lite"
        pool = get_client("pool", kind=FakeGpt)
        assert pool.chat("Say fish and nothing else").text == "fish"
        assert get_client("pool") is pool is not get_client("cheap")
        with pytest.raises(ConfigError, match=r"'chaep'.*is it 'cheap'"):
            get_client("chaep")
        with pytest.raises(ConfigError, match="is a FakeGpt, and a GigaChat was requested"):
            get_client("pool", kind=GigaChat)


def test_get_client_returns_a_default_client_of_another_class(fakegpt_emulator: FakeGptEmulator) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = {"provider": "fakegpt", **fakegpt_emulator.client_options}
    extension = GigaClient(app)
    with app.app_context():
        with pytest.raises(ConfigError, match="FakeGpt"):
            _ = extension.client
        assert isinstance(extension.get_client(), FakeGpt)


def test_without_a_setting_the_client_comes_from_the_environment(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    app = Flask("shop")
    GigaClient(app)
    with app.app_context():
        assert gigachat.chat("Say fish and nothing else").text == "fish"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("key", "must be a dict"),
        ({"credential": "c2VjcmV0OnNlY3JldA=="}, "did you mean credentials"),
        ({"default": {"provider": "gigachad"}}, "provider must be"),
        ({"cheap": {"verify": False}}, "alias 'cheap'.*no argument verify"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_when_the_app_is_made(setting: Any, message: str) -> None:
    app = Flask("shop")
    app.config["GIGACLIENT"] = setting
    with pytest.raises(ConfigError, match=message) as raised:
        GigaClient(app)
    assert "c2VjcmV0" not in str(raised.value)


def test_the_configuration_does_not_show_the_key(emulator: GigaChatEmulator) -> None:
    for form in (emulator.client_options, {"default": emulator.client_options}):
        app = Flask("shop")
        app.config["GIGACLIENT"] = form
        GigaClient(app)
        assert emulator.credentials not in repr(app.config)
        assert emulator.credentials in repr(form), "the caller's own dict is not changed"
        with app.app_context():
            assert gigachat.chat("Say fish and nothing else").text == "fish"


def test_a_missing_context_or_extension_is_an_error_with_advice() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        get_client()
    with Flask("shop").app_context(), pytest.raises(ConfigError, match=r"GigaClient\(app\)"):
        get_client()


def test_without_flask_the_import_says_what_to_install() -> None:
    printed = run_python(
        "sys.modules['flask'] = None\n"
        "try:\n    import gigaclient.contrib.flask\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert 'needs flask, which is not installed: pip install "flask>=' in printed


def test_gunicorns_sync_worker_is_warned_of_once(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integration, "_sync_worker_warned", False)
    browser = app.test_client()
    for environment, count in (
        ({"SERVER_SOFTWARE": "Werkzeug/3.1"}, 0),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": True}, 0),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": False}, 1),
        ({"SERVER_SOFTWARE": "gunicorn/23.0", "wsgi.multithread": False}, 1),
    ):
        assert browser.post("/chat", json=COUNT, environ_overrides=environment).data
        assert caplog.text.count("--worker-class gthread") == count
