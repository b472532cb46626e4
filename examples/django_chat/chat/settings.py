"""Settings of the example. The key is only in the environment, as ``GIGACHAT_CREDENTIALS``."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "chat_page"

INSTALLED_APPS = ["gigaclient.contrib.django", "chat"]

# Any option of GigaChat can be set here. The others are read from GIGACHAT_* in the environment.
GIGACLIENT = {
    "default": {"timeout": (5, 60), "deadline": 300},
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

DATA_UPLOAD_MAX_MEMORY_SIZE = 512 * 1024

ROOT_URLCONF = "chat.urls"
WSGI_APPLICATION = "chat.wsgi.application"

# A new key for each start is enough, because nothing signed has to outlive the process.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(50)
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")

TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django.request": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "gigaclient": {"handlers": ["console"], "level": "WARNING"},
    },
}
