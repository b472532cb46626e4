"""Settings of the site for tests. The addresses and the key of an emulator come from the environment."""

from __future__ import annotations

import os

FOLDER = os.environ.get("SITE_FOLDER", "")

SECRET_KEY = "of a site for tests"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
INSTALLED_APPS = ["gigaclient.contrib.django"]
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", "contrib.django_site.middleware.shouting"]
ROOT_URLCONF = "contrib.django_site.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/db" if FOLDER else ":memory:"}}
USE_TZ = True

GIGACLIENT = {
    "default": {"max_retries": 0},
    "hasty": {"max_retries": 0, "timeout": (30, 0.5)},
    "nowhere": {"max_retries": 0, "base_url": "https://127.0.0.1:1/v1"},
    # Another address of the same API: a concurrency limit learned there does not apply to this alias.
    "many": {"max_retries": 0, "base_url": os.environ.get("GIGACHAT_BASE_URL", "").replace("/v1", "/api/v1") or None},
    "broken": {"timeout": "soon"},
}

SILENCED_SYSTEM_CHECKS = ["gigaclient.E003"]  # tests need the alias "broken"
