"""Integrations of web frameworks and notebooks. Import each by its full name.

:mod:`gigaclient.contrib.event_stream` needs no framework, ``gigaclient.contrib.flask`` needs ``gigaclient[flask]``,
``gigaclient.contrib.django`` needs ``gigaclient[django]``, ``gigaclient.contrib.jupyter`` needs
``gigaclient[jupyter]``.
"""

from __future__ import annotations
