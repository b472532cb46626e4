"""A chat page on Flask: ``python examples/flask_chat/app.py --emulator``, or without the option with a key.

The key is in GIGACHAT_CREDENTIALS. For production:
``gunicorn --worker-class gthread --threads 16 --chdir examples/flask_chat "app:create_app()"``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.serving import make_server

from gigaclient.contrib.flask import GigaClient, gigachat, messages_from_json, stream_response
from gigaclient.types import Message

PAGE = Path(__file__).resolve().parent.parent / "chat_page"
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
NO_KEY = "There is no key: set GIGACHAT_CREDENTIALS, or start with --emulator, which needs none."


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the app. Options of the client are in ``config["GIGACLIENT"]`` or in the environment."""
    app = Flask(__name__, static_folder=PAGE, static_url_path="")
    app.config["MAX_CONTENT_LENGTH"] = 512 * 1024
    app.config["TRUSTED_HOSTS"] = os.environ.get("FLASK_TRUSTED_HOSTS", ",".join(HOSTS)).split(",")
    app.config.update(config or {})
    GigaClient(app)

    @app.before_request
    def check_host() -> None:
        # Against DNS rebinding: the page of another site could reach this server under the name of that site.
        request.trusted_hosts = app.config["TRUSTED_HOSTS"]
        if not request.host:  # reading it raises the error 400 for another host
            raise BadRequest("the request names no host")

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/models")
    def models() -> Response:
        chat_models = [model.id for model in gigachat.get_models(deadline=10).data if model.type == "chat"]
        return jsonify(models=chat_models, default=gigachat.model)

    @app.post("/chat")
    def chat() -> Response:
        # Pages of other sites cannot send JSON here without a CORS preflight, so this view needs no CSRF token.
        messages, model = read_question()
        return stream_response(gigachat.stream(messages, model=model))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        # In the form of gigaclient's errors, so that the page understands both.
        status = error.code or 500
        return jsonify(status=status, type=error.name, message=error.description), status

    return app


def read_question() -> tuple[list[Message], str | None]:
    """Validate the request of the page: it is untrusted, and the owner of the key pays for it."""
    try:
        body = request.get_json()
        messages = messages_from_json(body)
    except RecursionError:
        raise BadRequest("the JSON is nested too deep") from None
    except ValueError as error:
        raise BadRequest(str(error)) from None
    model = body.get("model")
    if model is not None and not (isinstance(model, str) and model and model.isprintable()):
        raise BadRequest("model must be the name of a model, or left out")
    return messages, model


def port(text: str) -> int:
    """Parse a port number."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def interrupt(*_: object) -> None:
    """Handle SIGTERM like Ctrl-C, so that everything is cleaned up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description="A chat page on Flask, for this machine.")
    parser.add_argument("--emulator", action="store_true", help="answer from the emulator, without a key")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=port, default=5000, help="port to listen at; 0 is a free one (default: 5000)")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, interrupt)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        config: dict[str, Any] = {}
        if "FLASK_TRUSTED_HOSTS" not in os.environ:
            config["TRUSTED_HOSTS"] = [*HOSTS, arguments.host]
        if arguments.emulator:
            from gigaclient.testing import GigaChatEmulator

            emulator = stack.enter_context(GigaChatEmulator(answer_pause_s=0.3, event_pause_s=0.05))
            config["GIGACLIENT"] = emulator.client_options
        elif not any(os.environ.get(f"GIGACHAT_{name}") for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER")):
            sys.stderr.write(NO_KEY + "\n")
            return 2
        server = make_server(arguments.host, arguments.port, create_app(config), threaded=True)
        sys.stdout.write(f"http://{arguments.host}:{server.port}/\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
