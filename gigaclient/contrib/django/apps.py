"""The application that ``INSTALLED_APPS`` names."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from gigaclient.contrib.client_registry import SETTING, seal

__all__ = ["GigaClientConfig"]


class GigaClientConfig(AppConfig):
    """Registers the system checks, and has the setting's secrets not show themselves.

    Django's pages and mails about errors print all settings, and leave out what a list of words tells them to, which
    ``credentials`` is not on. So these values are replaced in ``settings.GIGACLIENT`` by the same strings with a mask
    as their ``repr`` and ``str``.
    """

    name = "gigaclient.contrib.django"
    label = "gigaclient"
    verbose_name = "gigaclient"

    def ready(self) -> None:
        from gigaclient.contrib.django import checks  # registers them

        seal(getattr(settings, SETTING, None))
        checks.register_all()
