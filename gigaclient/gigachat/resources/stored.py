"""What the server keeps: assistants and threads. Stand-dependent, so few programs ever load more than this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient.gigachat.resource import APIResource

if TYPE_CHECKING:
    from gigaclient.gigachat.resources.assistants import AssistantsResource
    from gigaclient.gigachat.resources.threads import ThreadsResource

__all__ = ["StoredEndpoints"]


class StoredEndpoints(APIResource):
    """``/assistants`` and ``/threads``."""

    @property
    def assistants(self) -> AssistantsResource:
        """Models with instructions, functions and files, kept on the server: ``giga.assistants.create(…)``.

        Stand-dependent, not in the public OpenAPI: many servers answer 404.
        """
        from gigaclient.gigachat.resources.assistants import AssistantsResource

        return AssistantsResource(self)

    @property
    def threads(self) -> ThreadsResource:
        """Dialogues that the server keeps, and the runs that answer them: ``giga.threads.run_messages(…)``.

        Stand-dependent, not in the public OpenAPI: many servers answer 404.
        """
        from gigaclient.gigachat.resources.threads import ThreadsResource

        return ThreadsResource(self)
