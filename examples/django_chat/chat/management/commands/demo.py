"""The command ``python manage.py demo``: serve the site with an emulator of GigaChat."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
from typing import Any

from django.core.management import BaseCommand, CommandError, call_command


class Command(BaseCommand):
    """Starts the site and the emulator, and stops both with Ctrl-C."""

    help = "Serve the chat page with an emulator of GigaChat behind it: no key, nothing leaves this machine."
    requires_system_checks = ()  # runserver runs them, with the emulator's settings

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""
        parser.add_argument("--port", type=int, default=8000, help="0 for a free one; the address is printed")
        parser.add_argument("--pause", type=float, default=0.05, help="seconds between two pieces of an answer")
        parser.add_argument("--asgi", action="store_true", help="serve it by uvicorn instead of Django's own server")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until Ctrl-C."""
        from gigaclient.testing import GigaChatEmulator

        with GigaChatEmulator(event_pause_s=options["pause"]) as emulator:
            os.environ.update(emulator.environment)
            if options["asgi"]:
                self._serve_asgi(options["port"])
            else:
                call_command("runserver", f"127.0.0.1:{options['port']}", use_reloader=False)

    def _serve_asgi(self, port: int) -> None:
        try:
            import uvicorn
        except ImportError:
            raise CommandError("--asgi needs uvicorn: pip install uvicorn") from None
        with socket.create_server(("127.0.0.1", port)) as listener:
            self.stdout.write(f"Serving on http://127.0.0.1:{listener.getsockname()[1]}/")
            self.stdout.flush()
            server = uvicorn.Server(uvicorn.Config("chat.asgi:application", log_level="warning", lifespan="off"))
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its end
                server.run(sockets=[listener])
