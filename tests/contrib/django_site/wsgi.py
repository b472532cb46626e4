"""The application for ``gunicorn --preload``. It uses the client before the workers are forked."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "contrib.django_site.settings")
application = get_wsgi_application()

from gigaclient.contrib.django import get_client  # noqa: E402

get_client().chat("Hello from the master")
