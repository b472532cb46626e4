"""The site that tests visit. Addresses and the key come from the environment, where an emulator is."""

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
    # The other address of the same API: what one learns there of limits does not count here.
    "many": {"max_retries": 0, "base_url": os.environ.get("GIGACHAT_BASE_URL", "").replace("/v1", "/api/v1") or None},
    "broken": {"timeout": "soon"},
}

SILENCED_SYSTEM_CHECKS = ["gigaclient.E003"]  # one of them is broken so that tests can ask for it
