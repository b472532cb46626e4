"""Detect texts written by a model, and check messages with the content filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient import types
from gigaclient._core.call_arguments import check_names
from gigaclient._core.messages import as_messages, as_request, encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient.errors import ForbiddenError
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import advising, checked_text
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.protocols import Messages
    from gigaclient.types.options import FilterOptions

__all__ = ["ModerationEndpoints"]

_FILTER_FIELDS = frozenset({"settings", "functions", "additional_fields"})


class ModerationEndpoints(APIResource):
    """``/ai/check`` and ``/filter/check``."""

    def check_ai(self, text: str, model: str, **options: Unpack[CallSettings]) -> types.AICheckResult:
        """Check if a text was written by a model: ``POST /ai/check``.

        Args:
            text: at least 20 words, or the server rejects it; Russian is recognised best.
            model: ``GigaCheckDetection``, which also reports the positions, or ``GigaCheckClassification``.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            ``.category`` is ``ai``, ``human`` or ``mixed``; ``.ai_intervals`` are ranges of characters.

        Raises:
            ConfigError: the text is empty or not a string.
            ForbiddenError: the plan of this key does not include the check.
            BadRequestError, UnprocessableEntityError: the text is too short.
            NotFoundError: this key has no such model.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Retried after 429 and 5xx, and if certainly not sent. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-ai-check
        """
        body = {"input": checked_text(text, "text"), "model": checked_text(model, "model", "name of a model")}
        with advising(ForbiddenError, "the AI check is for companies that pay as they go (GIGACHAT_API_CORP)"):
            request = Request("POST", "/ai/check", body=encode(body), retry_safety=RetrySafety.BILLABLE)
            return self._request(request, types.AICheckResult, options)

    def filter_check(
        self, messages: Messages, model: str = "GigaFilter", **fields: Unpack[FilterOptions]
    ) -> types.FilterCheck:
        """Check if the content filter would block messages: ``POST /filter/check``.

        By agreement with Sber; other keys are rejected.

        Args:
            messages: a string (one user message), or a list of dicts or :class:`~gigaclient.types.Message`.
            model: a model of type ``filter``.
            fields: further fields of the body: ``settings`` (a dict of ``neuro``, ``blacklist``, ``whitelist`` and
                ``unnormalized_history``, each True or False), ``functions``, and ``additional_fields`` for those that
                the API adds later; and call options, as for :meth:`check_ai`.

        Returns:
            ``.is_profane`` is True if it would; ``.usage.filter_tokens`` is the cost of the check.

        Raises:
            ConfigError: the messages are invalid.
            TypeError: a field has an unknown name.
            NotFoundError, ForbiddenError: this address or this key does not offer the check.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Retried after 429 and 5xx, and if certainly not sent. Source: the official SDK for Java; the endpoint has no
        page at https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
        """
        check_names(fields, _FILTER_FIELDS)
        options = {name: value for name, value in fields.items() if name in CALL_OPTIONS}
        given = {name: value for name, value in fields.items() if name not in CALL_OPTIONS and value is not None}
        body = as_request({**given, "messages": as_messages(messages)})
        body["model"] = checked_text(model, "model", "name of a model")
        return self._request(
            Request("POST", "/filter/check", body=encode(body), retry_safety=RetrySafety.BILLABLE),
            types.FilterCheck,
            options,
        )
