"""Threads: dialogues that the server stores, and their messages.

Stand-dependent, not in the public OpenAPI: the official SDK is the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient._core.responses import embedded_error
from gigaclient.gigachat.resources._thread_requests import (
    MessageLike,
    checked_id,
    checked_ids,
    message_list,
    path_with_query,
    target_fields,
)
from gigaclient.gigachat.resources._validation import checked_texts
from gigaclient.gigachat.resources.thread_runs import ThreadRuns
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["ThreadsResource"]


class ThreadsResource(ThreadRuns):
    """``giga.threads``. Stand-dependent, not in the public OpenAPI.

    It has no state: read ``giga.threads`` wherever it is needed.
    """

    def get_threads(
        self,
        assistants_ids: Iterable[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.Threads:
        """List threads: ``GET /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistants_ids: ids of assistants; only their threads are returned.
            limit: the maximum number of results.
            before: Unix time in seconds; only older ones are returned.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The threads in the server's order, as ``.threads``.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: this server does not support threads.
            APIStatusError: the server rejected the request.
            APIConnectionError, APITimeoutError, TLSError: there was no response.
            InvalidResponseError: the response is not what the API promises.

        Source: https://github.com/ai-forever/gigachat
        """
        query: list[tuple[str, str]] = []
        if assistants_ids is not None:
            query += [
                ("assistants_ids", assistant_id) for assistant_id in checked_ids(assistants_ids, "assistants_ids")
            ]
        path = path_with_query("/threads", query, limit, before)
        return self._request(Request("GET", path), types.Threads, options)

    list = get_threads

    def create_thread(self, **options: Unpack[CallSettings]) -> str:
        """Create an empty thread: ``POST /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            options: call options, as for :meth:`get_threads`.

        Returns:
            Its id.

        Raises:
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        return self._request(
            Request("POST", "/threads", body=b"{}", retry_safety=RetrySafety.NON_IDEMPOTENT), types.Thread, options
        ).id

    def retrieve(self, threads_ids: str | Iterable[str], **options: Unpack[CallSettings]) -> types.Threads:
        """Return threads by their ids: ``POST /threads/retrieve``. Stand-dependent, not in the public OpenAPI.

        Args:
            threads_ids: one id or several.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The threads, as ``.threads``; ``.status`` and ``.run_lock`` show a run in progress.

        Raises:
            ConfigError: there are no ids. Nothing was sent.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = encode({"threads_ids": checked_texts(threads_ids, "threads_ids")})
        return self._request(Request("POST", "/threads/retrieve", body=body), types.Threads, options)

    def delete(self, thread_id: str, **options: Unpack[CallSettings]) -> bool:
        """Delete a thread: ``POST /threads/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            options: call options, as for :meth:`get_threads`.

        Returns:
            True. The server reports no details.

        Raises:
            ConfigError: ``thread_id`` is not an id. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        # Not IDEMPOTENT: a repeated request would report that the thread does not exist.
        body = encode({"thread_id": checked_id(thread_id)})
        response = self._send(
            Request("POST", "/threads/delete", body=body, retry_safety=RetrySafety.NON_IDEMPOTENT), options
        )
        refusal = embedded_error(response)
        if refusal is not None:
            raise refusal
        return True

    def get_messages(
        self,
        thread_id: str,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.ThreadMessages:
        """List the messages of a thread: ``GET /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            limit: the maximum number of results.
            before: Unix time in seconds; only older ones are returned.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The messages in the server's order, as ``.messages``.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        path = path_with_query("/threads/messages", [("thread_id", checked_id(thread_id))], limit, before)
        return self._request(Request("GET", path), types.ThreadMessages, options)

    def add_message(
        self, thread_id: str, message: MessageLike, **options: Unpack[CallSettings]
    ) -> types.ThreadMessagesResponse:
        """Add a message to a thread: ``POST /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            message: a text (of the user), a dict or a :class:`~gigaclient.types.Message`.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The thread's id and the message's.

        Raises:
            ConfigError: it is not a message. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        return self.add_messages(checked_id(thread_id), [message], **options)

    def add_messages(
        self,
        thread_id: str | None = None,
        messages: MessageLike | Iterable[MessageLike] | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        **options: Unpack[CallSettings],
    ) -> types.ThreadMessagesResponse:
        """Add messages to a thread: ``POST /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread; None creates one.
            messages: texts (of the user), dicts or :class:`~gigaclient.types.Message`, also mixed.
            assistant_id: the assistant that answers in a new thread.
            model: the model that answers; sent only without a thread and an assistant, which have their own.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The thread's id and those of the messages.

        Raises:
            ConfigError: there are no messages, or an item is not a message. Nothing was sent.
            NotFoundError: there is no such thread, or no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body = {"messages": message_list(messages), **target_fields(thread_id, assistant_id, model)}
        request = Request("POST", "/threads/messages", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadMessagesResponse, options)
