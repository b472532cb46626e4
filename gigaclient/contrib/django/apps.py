"""The application that ``INSTALLED_APPS`` names."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from gigaclient.contrib.client_registry import SETTING, mask_secrets

__all__ = ["GigaClientConfig"]


class GigaClientConfig(AppConfig):
    """Register the system checks, and mask the secrets in the setting.

    Django's error pages and mails print all settings, except those whose names are on a list of words; ``credentials``
    is not on it. So the values in ``settings.GIGACLIENT`` are replaced by equal strings whose ``repr`` and ``str`` are
    masked.
    """

    name = "gigaclient.contrib.django"
    label = "gigaclient"
    verbose_name = "gigaclient"

    def ready(self) -> None:
        """Mask the secrets and register the checks; Django calls it when all applications are loaded."""
        from gigaclient.contrib.django import checks  # imports both clients

        mask_secrets(getattr(settings, SETTING, None))
        checks.register_all()
