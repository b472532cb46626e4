"""Integrations of web frameworks, notebooks and other libraries. Import each by its full name.

:mod:`gigaclient.contrib.event_stream` needs no framework, ``gigaclient.contrib.flask`` needs ``gigaclient[flask]``,
``gigaclient.contrib.django`` needs ``gigaclient[django]``, ``gigaclient.contrib.jupyter`` needs
``gigaclient[jupyter]``, ``gigaclient.contrib.opentelemetry`` needs ``gigaclient[otel]``.
"""

from __future__ import annotations
