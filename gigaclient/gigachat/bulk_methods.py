"""Many prompts, and many texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from gigaclient.errors import ConfigError
from gigaclient.gigachat.chat import ChatEndpoints
from gigaclient.gigachat.resources.embeddings import BYTES_AT_ONCE, TEXTS_AT_ONCE

if TYPE_CHECKING:
    import os
    from concurrent.futures import Executor

    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.bulk.results import MapResults
    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.jobs.chat import GigaChatJob
    from gigaclient.gigachat.tool_loop import OnError
    from gigaclient.types.bulk import EmbedResult, MapResult

__all__ = ["ManyEndpoints"]


class ManyEndpoints(ChatEndpoints):
    """The endpoints of chat and embeddings, asked many times at once."""

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
        **options: Any,
    ) -> MapResults[MapResult]:
        """Ask many prompts, as many at a time as the account allows, and give their results one by one.

            for result in giga.map(reviews, template="Positive or negative? {}", checkpoint="results.jsonl"):
                print(result.index, result.text if result.ok else result.error)

        How many go at a time is found out: one first, then more with each success, until the service refuses one. A
        refused prompt is asked again, and ``Retry-After`` is kept to, so none of it is seen in the results.

        Args:
            prompts: any iterable of what ``giga.chat`` takes: a list, a column of a table, a generator without end. It
                is read in the thread that iterates the results, not far ahead. Or a file of prompts, as a
                ``pathlib.Path`` or open: JSON lines (``.jsonl``), or one prompt a line (``.txt``).
            template: the prompt for each item: a text with ``{field}`` for the fields of an item that has some, ``{}``
                for one that has none; or a function that makes the prompt of an item.
            ordered: results in the order of the prompts; False for the order in which they come.
            raise_errors: raise the first error in place of giving its result.
            progress: True for a bar (needs ``gigaclient[progress]``), False for none; by default there is one on a
                terminal and in a notebook if tqdm is installed.
            checkpoint: a file of JSON lines in which every finished item is kept before it is given out. Started again
                with the same file, what it has is not asked again: items are known by their content and options, in
                whatever order they come. Failed ones are asked again.
            max_workers: calls under way at the most, 64 by default. The client's ``max_connections`` holds as well.
            max_tokens_total: ask no more when the next answer would probably exceed it, counting what this run was
                charged for.
            max_seconds: give up what is not finished after so many seconds.
            max_errors_in_row: ask no more after so many failed items in a row.
            executor: where to ask: any ``concurrent.futures.Executor``. In other processes and on other machines the
                client travels by pickle: its key travels along. By default, threads of this process.
            via: ``"batches"`` sends the prompts through ``POST /batches``, for accounts that have it: later, and for
                less. Each is one row of a batch of many; four batches are under way at a time, or ``max_workers``. With
                a checkpoint, a batch is noted as soon as it exists, and a run that is started again waits for it in
                place of creating another. ``max_tokens_total`` knows what a batch cost when it is completed.
            batch_size: with ``via="batches"``, prompts in a batch at the most; 500 by default. The API documents no
                number. A batch goes when it is full, or when the prompts are at their end.
            poll_interval: with ``via="batches"``, seconds before the second look at a batch, 2 by default; each pause
                is half as long again as the one before, up to a minute.
            response_format: a type (or a JSON Schema) as for ``giga.chat_parse``; then ``.value`` is a value of it.
            strict: as for ``giga.chat_parse``.
            functions: as for ``giga.run``; those that are Python functions are called, and ``.run`` is the dialogue.
            max_steps, on_error: as for ``giga.run``.
            options: as for ``giga.chat``, for each of the prompts.

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.MapResult`. ``.stopped`` says why it
            ended early, ``.progress`` how far it came. Nothing is sent before the first result is asked for.

        Raises:
            ConfigError: an argument cannot work, or the checkpoint is no checkpoint. Nothing was sent.

            What one prompt fails with is the ``.error`` of its result. What every further one would fail with is raised
            by the iteration: see :class:`~gigaclient.bulk.results.MapResults`. With ``via="batches"`` that is a
            ForbiddenError as well: batches are not for this plan.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat and, for batches,
        https://developers.sber.ru/docs/ru/gigachat/guides/batches
        """
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.gigachat.jobs import chat as many

        map_options = MapOptions.of(locals())
        self._check_open()
        if via not in ("chat", "batches"):
            raise ConfigError('via must be "chat" or "batches"')
        job: GigaChatJob
        if via == "batches":
            from gigaclient.gigachat.jobs.batches import batch_job  # few accounts have them

            job = batch_job(
                response_format=response_format,
                strict=strict,
                functions=functions,
                executor=executor,
                batch_size=batch_size,
                poll_interval=poll_interval,
                options=options,
            )
        else:
            if batch_size is not None or poll_interval is not None:
                raise ConfigError('batch_size= and poll_interval= are for via="batches"')
            job = many.chat_job(
                response_format=response_format,
                strict=strict,
                functions=functions,
                max_steps=max_steps,
                on_error=on_error,
                options=options,
            )
        return MapResults(self, job, prompts, map_options, template=template)

    def embed_many(
        self,
        texts: Iterable[Any] | os.PathLike[str],
        *,
        model: str = "Embeddings",
        batch_size: int = TEXTS_AT_ONCE,
        batch_bytes: int = BYTES_AT_ONCE,
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
        """The vectors of many texts, one result for each: ``POST /embeddings``, with many texts in each request and as
        many requests at a time as the account allows.

            for result in giga.embed_many(texts, checkpoint="vectors.jsonl"):
                index.add(result.input, result.embedding)

        Args:
            texts: any iterable of texts, without end too; or a file, as for :meth:`map`. It is read in the thread that
                iterates the results, not far ahead. A text is sent when its request is full, when the texts are at
                their end, or when those that are to fill it have taken longer than a second to come.
            model: a model of type ``embedder``: ``Embeddings``, ``Embeddings-2``, ``EmbeddingsGigaR`` …
            batch_size: texts in one request at the most.
            batch_bytes: bytes of one request's body at the most; a single text that is longer goes alone.
            template: the text for each item, as for :meth:`map`: ``"{title}. {body}"``.
            ordered, raise_errors, progress, checkpoint, max_seconds, max_errors_in_row, executor: as for :meth:`map`.
            max_workers: requests under way at the most, 64 by default. The client's ``max_connections`` holds as well.
            max_tokens_total: as for :meth:`map`. A request whose texts would exceed it is not sent.
            options: of each request: ``timeout``, ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            An iterator and context manager of :class:`~gigaclient.types.bulk.EmbedResult`. ``.stopped`` says why it
            ended early, ``.progress`` how far it came. Nothing is sent before the first result is asked for.

        Raises:
            ConfigError: an argument cannot work, or the checkpoint is no checkpoint. Nothing was sent.
            TypeError: there is no option of such a name.

            What one text fails with is the ``.error`` of its result. Where a request is refused because of one of its
            texts (400, 413, 422, or not a vector for each text), it is asked again in halves until that one stands
            alone; any other error is that of all of its texts. What every further one would fail with is raised by the
            iteration: see :class:`~gigaclient.bulk.results.MapResults`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
        """
        from gigaclient.bulk.results import MapOptions, MapResults
        from gigaclient.gigachat.jobs.embeddings import EmbeddingJob

        map_options = MapOptions.of(locals())
        job = EmbeddingJob(model, batch_size, batch_bytes, self._call_settings(options))
        return MapResults(self, job, texts, map_options, template=template)
