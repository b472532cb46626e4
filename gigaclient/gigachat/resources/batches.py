"""Batches: many requests in one file, processed later."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import msgspec.structs

from gigaclient import types
from gigaclient._core.call_arguments import check_names
from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.responses import decode, embedded_error, invalid_response
from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError, ForbiddenError, GigaClientError, NotFoundError
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import advising
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types.coercion import coerce

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.transport import Response
    from gigaclient.types.options import BatchOptions, PollSettings

__all__ = ["BatchesEndpoints"]

_FORBIDDEN_ADVICE = "batches are for pay-as-you-go accounts alone (scope GIGACHAT_API_CORP)"


class BatchesEndpoints(APIResource):
    """``/batches``, for pay-as-you-go accounts."""

    def create_batch(
        self,
        requests: Iterable[Any] | bytes | str | os.PathLike[str],
        *,
        method: str = "chat_completions",
        **options: Unpack[BatchOptions],
    ) -> types.Batch:
        """Submit many requests for later processing: ``POST /batches``.

        Args:
            requests: an iterable, read once. Each item is what ``giga.chat`` takes (a string, a list of messages, a
                :class:`~gigaclient.types.Chat`, a dict with ``"messages"``); for ``embedder`` a text, a list of texts
                or a dict with ``"input"``. An item with an id is a pair ``("id", request)`` or
                ``{"id": …, "request": …}``; the others get the ids ``row-1``, ``row-2`` … by position. A file of such
                rows (JSON Lines) is sent unchanged: pass its path, its bytes or the open file.
            method: ``chat_completions`` or ``embedder``.
            options: body fields of each request (``model``, ``temperature`` …; for ``embedder`` only ``model``) and
                call options: ``timeout``, ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            The batch. Keep its ``.id``; ``.requests`` maps ids to requests.

        Raises:
            ConfigError: a request cannot be sent, two have the same id, or there are none. Nothing was sent.
            TypeError: an option has an unknown name.
            ForbiddenError: the plan of this key has no batches.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Retried only if the server rejected it unprocessed or certainly did not receive it, so nothing is billed twice.
        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-batches
        """
        from gigaclient.gigachat import batch_file

        self._check_open()
        if method not in batch_file.METHODS:
            raise ConfigError(f"method must be one of {', '.join(batch_file.METHODS)}, not {method!r}")
        check_names(options, batch_file.METHODS[method])
        arguments: Any = options  # not a copy: the next call hides the secrets in it
        settings = call_options(arguments, self._executor.timeouts, self._settings.session_id)
        content = _content(requests)
        if content is None:
            content, by_id = batch_file.encode_requests(requests, method, options, self._settings.body_defaults)
        else:
            fields = sorted(options.keys() - CALL_OPTIONS)
            if fields:
                raise ConfigError(f"a file is sent unchanged: {', '.join(fields)} must be in its rows")
            by_id = batch_file.read_requests(content)
        return _attach_requests(self._create_batch(content, method, settings), by_id)

    def _create_batch(self, content: bytes, method: str, settings: RequestOptions) -> types.Batch:
        """Send the file of a batch; return the batch without its requests."""
        request = Request(
            "POST",
            "/batches",
            body=content,
            content_type="application/octet-stream",
            query={"method": method},
            retry_safety=RetrySafety.NON_IDEMPOTENT,
        )
        response = self._send_batch_request(request, settings)
        batches = _parse_batches(response).batches
        if not batches:
            raise invalid_response(response, "it names no batch")
        return batches[0]

    def get_batches(self, **options: Unpack[CallSettings]) -> types.Batches:
        """List the batches of this key: ``GET /batches``.

        Args:
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            The batches in the server's order, as ``.batches``.

        Raises:
            ForbiddenError: the plan of this key has no batches.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-batches
        """
        return self._list_batches({}, options)

    def get_batch(self, batch_id: str | types.Batch, **options: Unpack[CallSettings]) -> types.Batch:
        """Return a batch with its status: ``GET /batches?batch_id=``.

        Args:
            batch_id: its id; or the batch, whose ``.requests`` are then copied to the result.
            options: call options, as for :meth:`get_batches`.

        Returns:
            The batch; ``.done`` is True when it is completed, ``.request_counts`` shows the progress.

        Raises:
            NotFoundError: this key has no such batch.
            ForbiddenError: the plan of this key has no batches.
            ConfigError: ``batch_id`` is not an id.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-batches
        """
        id_ = _batch_id(batch_id)
        found = self._list_batches({"batch_id": id_}, options)
        for batch in found.batches:
            if batch.id.lower() == id_.lower():
                return _attach_requests(batch, batch_id.requests if isinstance(batch_id, types.Batch) else {})
        raise NotFoundError(
            f"Batch task not found: the server knows no batch {id_!r}",
            status_code=404,
            body=found.raw,
            headers=found.headers,
            request_id=found.request_id,
        )

    def wait_for_batch(
        self,
        batch: str | types.Batch,
        *,
        poll_interval: float = 2.0,
        timeout: float | None = None,
        **options: Unpack[PollSettings],
    ) -> types.Batch:
        """Poll until a batch is completed: ``GET /batches?batch_id=``.

        Args:
            batch: the batch, or its id.
            poll_interval: seconds before the second request. Each pause is 1.5 times the previous one, up to a minute
                (or to ``poll_interval``, if that is longer).
            timeout: seconds for the whole wait; None sets no limit.
            options: call options of each request: ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            The completed batch, for :meth:`batch_results`.

        Raises:
            APITimeoutError: (a ``TimeoutError``) it was not completed in time; ``.completion`` is the batch as last
                seen. The batch continues on the server: call this method again.
            APIConnectionError: another thread called ``close()``.
            NotFoundError: this key has no such batch.
            ConfigError, APIStatusError, InvalidResponseError: as for :meth:`get_batch`. Temporary failures (429, 5xx, a
                broken connection) are raised only after more than five in a row.

        An unknown status does not end the wait. Source: https://developers.sber.ru/docs/ru/gigachat/guides/batches
        """
        from gigaclient.gigachat.polling import poll

        id_ = _batch_id(batch)
        self._call_settings(options, ("poll_interval",))
        if isinstance(batch, types.Batch) and batch.done:
            return batch

        def describe(seen: types.Batch | None) -> str:
            counts = seen.request_counts if seen is not None else None
            rows = f", {counts.completed or 0} of {counts.total} rows answered" if counts is not None else ""
            state = f"still {seen.status}{rows}" if seen is not None else "in an unknown state"
            return f"the batch {id_} is {state}"

        return poll(
            self._executor,
            functools.partial(self.get_batch, batch),
            lambda seen: seen.done,
            describe,
            options=options,
            poll_interval=poll_interval,
            timeout=timeout,
        )

    def batch_results(
        self, batch: str | types.Batch, *, requests: Any = None, **options: Unpack[CallSettings]
    ) -> list[types.BatchResult]:
        """Download the results of a completed batch, matched to its requests: ``GET /files/{output_file_id}/content``.

        Args:
            batch: the batch, or its id.
            requests: the requests as passed to :meth:`create_batch`, or a dict of them by id; by default
                ``batch.requests``.
            options: call options, as for :meth:`get_batches`.

        Returns:
            One result for each request, in the order of the requests. Rows of unknown requests come last. A row that
            failed, cannot be read or is missing has an ``.error``; the other rows are not affected.

        Raises:
            ConfigError: the batch is not completed yet.
            StreamInterruptedError: the download was cut, and so were its retries; ``.completion`` is the list of
                results so far.
            NotFoundError: there is no such batch, or its file was deleted.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/batches
        """
        from gigaclient.gigachat import batch_file
        from gigaclient.gigachat.resources._batch_results import download_results

        settings = self._call_settings(options)
        if not isinstance(batch, types.Batch) or batch.output_file_id is None:
            batch = self.get_batch(batch, **options)
        if batch.output_file_id is None:
            raise ConfigError(
                f"the batch {batch.id} is {batch.status or 'not completed'}, and has no results yet: "
                "wait_for_batch() waits for them"
            )
        known: Mapping[str, Any] = batch.requests
        if requests is not None:
            content = _content(requests)
            if content is not None:
                known = batch_file.read_requests(content)
            else:
                known = requests if isinstance(requests, Mapping) else dict(batch_file.with_ids(requests))
        results = download_results(self, batch.output_file_id, known, settings)
        return batch_file.in_order(results, known)

    def _list_batches(self, query: Mapping[str, str], options: Mapping[str, Any]) -> types.Batches:
        settings = self._call_settings(options)
        if not any(name.lower() == "content-type" for name in settings.headers):
            # The API requires the header although the request has no body.
            headers = {**settings.headers, "Content-Type": "application/json"}
            settings = msgspec.structs.replace(settings, headers=headers)
        return _parse_batches(self._send_batch_request(Request("GET", "/batches", query=query), settings))

    def _send_batch_request(self, request: Request, settings: RequestOptions) -> Response:
        with (
            advising(ForbiddenError, _FORBIDDEN_ADVICE),
            advising(NotFoundError, "get_batches() lists those of this key"),
        ):
            return self._send_with_options(request, settings)


def _parse_batches(response: Response) -> types.Batches:
    """Return the batches of any known response shape: ``{"batches": […]}``, a list, or a single batch."""
    data: Any = decode(response, decoder(object))
    items = data.get("batches", [data]) if isinstance(data, dict) else data
    failure: GigaClientError | None = None
    batches: list[types.Batch] = []
    try:
        for item in [] if items is None and data is not None else items:
            if item is None:
                continue
            batch = coerce(item, types.Batch)
            batches.append(batch.attach(raw=item, request_id=response.request_id, headers=response.headers))
    except (*JSON_ERRORS, TypeError) as error:
        failure = embedded_error(response) or invalid_response(response, str(error))
    if failure is not None:
        raise failure
    listed = types.Batches(batches=batches)
    return listed.attach(raw=response.body, request_id=response.request_id, headers=response.headers)


def _batch_id(batch: Any) -> str:
    batch_id = batch.id if isinstance(batch, types.Batch) else batch
    if not isinstance(batch_id, str) or not batch_id:
        raise ConfigError(f"a batch is named by its id, a string, not {batch_id!r}")
    return batch_id


def _attach_requests(batch: types.Batch, requests: Mapping[str, Any]) -> types.Batch:
    if requests:
        batch._store(requests=requests)
    return batch


def _content(requests: Any) -> bytes | None:
    """Return the content of a batch file that exists already; None for requests that are still to be encoded."""
    if isinstance(requests, (bytes, bytearray, memoryview)):
        return bytes(requests)
    if isinstance(requests, (str, os.PathLike)):
        return _content_of_file(requests)
    if callable(getattr(requests, "read", None)):
        content = requests.read()
        return content.encode() if isinstance(content, str) else bytes(content)
    return None


def _content_of_file(name: str | os.PathLike[str]) -> bytes:
    try:
        with open(os.path.expanduser(name), "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ConfigError(
        f"the file {os.fspath(name)[:200]!r} cannot be read ({reason}); to send a single prompt, pass a list: [prompt]"
    )
