"""The methods for many prompts and many texts: ``giga.map`` and ``giga.embed_many``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from gigaclient._core.call_arguments import check_names
from gigaclient.errors import ConfigError
from gigaclient.gigachat.attachments import CHAT_ARGUMENTS
from gigaclient.gigachat.chat import ChatEndpoints
from gigaclient.gigachat.resources.embeddings import MAX_BYTES, MAX_TEXTS

if TYPE_CHECKING:
    import os
    from concurrent.futures import Executor

    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.bulk.results import MapResults
    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.jobs.chat import GigaChatJob
    from gigaclient.gigachat.tool_loop import OnError
    from gigaclient.types.bulk import EmbedResult, MapResult
    from gigaclient.types.options import PromptOptions

    class MapArguments(PromptOptions, total=False):
        """The keyword arguments that both overloads of :meth:`BulkEndpoints.map` take."""

        template: str | Callable[[Any], Any] | None
        ordered: bool
        raise_errors: bool
        progress: bool | None
        checkpoint: str | os.PathLike[str] | None
        max_workers: int | None
        max_tokens_total: int | None
        max_seconds: float | None
        max_errors_in_row: int | None
        executor: Executor | None
        via: Literal["chat", "batches"]
        batch_size: int | None
        poll_interval: float | None
        strict: bool
        functions: Iterable[AnyFunction] | None
        max_steps: int
        on_error: OnError
        on_result: Callable[[Any], Any] | None
        repair: bool
        keep_blocked: bool


__all__ = ["BulkEndpoints"]

T = TypeVar("T")


class BulkEndpoints(ChatEndpoints):
    """Chat and embeddings for many inputs."""

    @overload
    def map(
        self,
        prompts: Iterable[Any] | os.PathLike[str],
        *,
        response_format: type[T],
        **arguments: Unpack[MapArguments],
    ) -> MapResults[MapResult[T]]: ...

    @overload
    def map(
        self,
        prompts: Iterable[Any] | os.PathLike[str],
        *,
        response_format: Any = None,
        **arguments: Unpack[MapArguments],
    ) -> MapResults[MapResult[Any]]: ...

    def map(
        self,
        prompts: Iterable[Any] | os.PathLike[str],
        *,
        template: str | Callable[[Any], Any] | None = None,
        ordered: bool = True,
        raise_errors: bool = False,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        max_tokens_total: int | None = None,
        max_seconds: float | None = None,
        max_errors_in_row: int | None = None,
        executor: Executor | None = None,
        via: Literal["chat", "batches"] = "chat",
        batch_size: int | None = None,
        poll_interval: float | None = None,
        response_format: Any = None,
        strict: bool = True,
        functions: Iterable[AnyFunction] | None = None,
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_result: Callable[[Any], Any] | None = None,
        repair: bool = True,
        keep_blocked: bool = False,
        **options: Unpack[PromptOptions],
    ) -> MapResults[MapResult[Any]]:
        """Send many prompts, as many at a time as the account allows, and yield their results one by one.

            for result in giga.map(reviews, template="Positive or negative? {}", checkpoint="results.jsonl"):
                print(result.index, result.text if result.ok else result.error)

        The number of concurrent requests starts at one and grows with each success until the service refuses a request.
        Refused prompts are retried after ``Retry-After``, so the results show no refusals.

        Args:
            prompts: any iterable of inputs for ``giga.chat``: a list, a column of a table, an endless generator. It is
                read in the thread that iterates the results, not far ahead. Or a file of prompts, as a
                ``pathlib.Path`` or open: JSON lines (``.jsonl``), or one prompt a line (``.txt``).
            template: the prompt for each item: a text with ``{field}`` for the fields of an item that has some, ``{}``
                for one that has none; or a function that makes the prompt of an item.
            ordered: results in the order of the prompts; False for the order of completion.
            raise_errors: raise the first error instead of yielding its result.
            progress: True for a bar (needs ``gigaclient[progress]``), False for none; by default there is one on a
                terminal and in a notebook if tqdm is installed.
            checkpoint: a file of JSON lines that stores every finished item before its result is yielded. A later run
                with the same file skips stored items and repeats failed ones. Items are recognised by content and
                options, in any order.
            max_workers: the maximum number of concurrent calls, 64 by default. ``max_connections`` also applies.
            max_tokens_total: send no more when the next response would probably exceed it; counts the tokens charged in
                this run.
            max_seconds: cancel what is not finished after so many seconds.
            max_errors_in_row: send no more after so many failed items in a row.
            executor: any ``concurrent.futures.Executor`` that runs the calls; threads of this process by default. For
                other processes and machines the client is pickled, and its key with it.
            via: ``"batches"`` sends the prompts through ``POST /batches``, for accounts that have it: slower, and
                cheaper. Each prompt is one row of a batch; up to four batches, or ``max_workers``, run at once. A
                checkpoint notes a batch as soon as it exists, and a later run waits for it instead of creating another.
                ``max_tokens_total`` counts a batch when it is completed.
            batch_size: with ``via="batches"``, the maximum prompts in a batch; 500 by default, as the API documents no
                number. A batch is sent when it is full, or when there are no more prompts.
            poll_interval: with ``via="batches"``, seconds before the second poll of a batch, 2 by default; each pause
                is 1.5 times the last, up to a minute.
            response_format: a type (or a JSON Schema) as for ``giga.chat_parse``; then ``.value`` is a value of it.
            strict: as for ``giga.chat_parse``.
            functions: as for ``giga.run``; Python functions are called, and ``.run`` is the dialogue.
            max_steps: as for ``giga.run``.
            on_error: as for ``giga.run``.
            on_result: as for ``giga.run``.
            repair: as for ``giga.chat_parse``, and with ``functions`` as for ``giga.run``.
            keep_blocked: a response that the filter blocked counts as answered. By default its ``error`` is a
                ``ContentFilterError``. A checkpoint stores it in both cases, and it is not sent again.
            options: as for ``giga.chat``, for each of the prompts.

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.MapResult`. ``.stopped`` says why it
            ended early, ``.progress`` shows its progress. Nothing is sent before the first result is requested.

        Raises:
            ConfigError: an argument cannot work, or the checkpoint file is not a checkpoint. Nothing was sent.

            The error of one prompt is the ``.error`` of its result. An error that every further prompt would have is
            raised by the iteration: see :class:`~gigaclient.bulk.results.MapResults`. With ``via="batches"`` that
            includes ForbiddenError: batches are not part of the plan.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat and, for batches,
        https://developers.sber.ru/docs/ru/gigachat/guides/batches
        """
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.gigachat.jobs.chat import chat_job

        arguments = locals()
        map_options = MapOptions.of(arguments)
        check_names(options, CHAT_ARGUMENTS, arguments)
        self._check_open()
        if via not in ("chat", "batches"):
            raise ConfigError('via must be "chat" or "batches"')
        job: GigaChatJob
        if via == "batches":
            from gigaclient.gigachat.jobs.batches import batch_job  # loaded late: few accounts have batches

            if executor is not None:
                raise ConfigError('via="batches" does not use an executor: leave executor= out')
            job = batch_job(
                response_format,
                functions,
                options,
                strict=strict,
                repair=repair,
                keep_blocked=keep_blocked,
                batch_size=batch_size,
                poll_interval=poll_interval,
            )
        else:
            if batch_size is not None or poll_interval is not None:
                raise ConfigError('batch_size= and poll_interval= are for via="batches"')
            run_options = {"max_steps": max_steps, "on_error": on_error, "on_result": on_result}
            job = chat_job(
                response_format,
                functions,
                options,
                run_options,
                strict=strict,
                repair=repair,
                keep_blocked=keep_blocked,
            )
        return MapResults(self, job, prompts, map_options, template=template)

    def embed_many(
        self,
        texts: Iterable[Any] | os.PathLike[str],
        *,
        model: str = "Embeddings",
        batch_size: int = MAX_TEXTS,
        batch_bytes: int = MAX_BYTES,
        template: str | Callable[[Any], Any] | None = None,
        ordered: bool = True,
        raise_errors: bool = False,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        max_tokens_total: int | None = None,
        max_seconds: float | None = None,
        max_errors_in_row: int | None = None,
        executor: Executor | None = None,
        **options: Unpack[CallSettings],
    ) -> MapResults[EmbedResult]:
        """Return the vectors of many texts, one result each: ``POST /embeddings``.

        Each request has many texts, and as many requests run at a time as the account allows.

            for result in giga.embed_many(texts, checkpoint="vectors.jsonl"):
                index.add(result.input, result.embedding)

        Args:
            texts: any iterable of texts, also an endless one; or a file, as for :meth:`map`. It is read in the thread
                that iterates the results, not far ahead. A request is sent when it is full, when there are no more
                texts, or when filling it takes longer than a second.
            model: a model of type ``embedder``: ``Embeddings``, ``Embeddings-2``, ``EmbeddingsGigaR`` …
            batch_size: the maximum number of texts in one request.
            batch_bytes: the maximum bytes of one request's body; a longer text is sent in its own request.
            template: the text for each item, as for :meth:`map`: ``"{title}. {body}"``.
            ordered: as for :meth:`map`.
            raise_errors: as for :meth:`map`.
            progress: as for :meth:`map`.
            checkpoint: as for :meth:`map`.
            max_seconds: as for :meth:`map`.
            max_errors_in_row: as for :meth:`map`.
            executor: as for :meth:`map`.
            max_workers: the maximum number of concurrent requests, 64 by default. ``max_connections`` also applies.
            max_tokens_total: as for :meth:`map`. A request whose texts would exceed it is not sent.
            options: of each request: ``timeout``, ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.EmbedResult`. ``.stopped`` says why it
            ended early, ``.progress`` shows its progress. Nothing is sent before the first result is requested.

        Raises:
            ConfigError: an argument cannot work, or the checkpoint file is not a checkpoint. Nothing was sent.
            TypeError: an option has an unknown name.

            The error of one text is the ``.error`` of its result. A request that fails because of one of its texts
            (400, 413, 422, or not a vector for each text) is split in halves until that text is alone. Any other error
            is that of all its texts. An error that every further text would have is raised by the iteration: see
            :class:`~gigaclient.bulk.results.MapResults`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
        """
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.gigachat.jobs.embeddings import EmbeddingJob

        arguments = locals()
        map_options = MapOptions.of(arguments)
        job = EmbeddingJob(model, batch_size, batch_bytes, self._call_settings(options, arguments))
        return MapResults(self, job, texts, map_options, template=template)
