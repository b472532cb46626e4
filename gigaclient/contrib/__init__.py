"""Integrations of web frameworks, notebooks and other libraries. Import each by its full name.

:mod:`gigaclient.contrib.event_stream` needs no framework. The others need an extra: ``gigaclient.contrib.flask`` needs
``gigaclient[flask]``, and so do ``django``, ``jupyter``, ``langchain`` and ``llm``; ``opentelemetry`` needs
``gigaclient[otel]``.
"""

from __future__ import annotations
