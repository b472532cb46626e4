"""Embedding vectors of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient._core.responses import invalid_response
from gigaclient._primitives.deadline import Deadline
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import checked_text, checked_texts
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.gigachat.batching import Batcher
    from gigaclient.transport import Response

__all__ = ["MAX_BYTES", "MAX_TEXTS", "EmbeddingsEndpoints", "EmbeddingsRequest", "in_order"]

# The batch sizes of Sber's own integrations; the API documents no limit.
MAX_TEXTS = 90
MAX_BYTES = 1_000_000

_TAIL = b"]}"


class EmbeddingsEndpoints(APIResource):
    """``/embeddings``."""

    def embeddings(
        self,
        texts: str | Iterable[str],
        model: str = "Embeddings",
        *,
        batch_size: int = MAX_TEXTS,
        batch_bytes: int = MAX_BYTES,
        **options: Unpack[CallSettings],
    ) -> types.Embeddings:
        """Return the embedding vectors of texts: ``POST /embeddings``.

        Texts that do not fit into one request are sent in several, one after the other. All texts are checked before
        the first request. The ``deadline`` limits all requests together.

        Args:
            texts: one text or several; none may be empty.
            model: a model of type ``embedder``: ``Embeddings``, ``Embeddings-2``, ``EmbeddingsGigaR`` …
            batch_size: the maximum number of texts in one request.
            batch_bytes: the maximum size of a request body in bytes; a longer text is sent alone.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` … Headers are
                sent with each request.

        Returns:
            One item for each text, in the same order, as ``.data``; the vectors as ``.vectors`` (lists of floats, 1024
            for ``Embeddings``); the total cost as ``.usage``. After several requests ``.request_id`` and ``.headers``
            are those of the first.

        Raises:
            ConfigError: there is no text, or one is empty or not a string; nothing was sent.
            NotFoundError: this key has no such model, or it is not an embedder.
            RequestEntityTooLargeError: a text is longer than the model accepts.
            PaymentRequiredError: the package for embeddings is used up.
            InvalidResponseError: the response does not have one vector for each text.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError: as for every call.

            An error after the first request holds the vectors so far as ``.completion``: those of the first
                ``len(error.completion.data)`` texts, which were billed.

        Each request is retried after 429 and 5xx, and if certainly not sent, up to ``max_retries`` times. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
        """
        settings = self._call_settings(options)
        request = EmbeddingsRequest(model, batch_size, batch_bytes)
        encoded = _encoded(checked_texts(texts, "texts"))
        deadline = Deadline(settings.timeouts or self._executor.timeouts)
        answers: list[types.Embeddings] = []
        bodies: list[bytes] = []
        try:
            for part in request.parts_of(encoded):
                response = self._send_with_options(request.request(part), settings, deadline=deadline)
                answer = in_order(response, len(part))
                for index, item in enumerate(answer.data):
                    if not item.embedding:
                        raise invalid_response(response, f"the vector of text {index} is empty")
                answers.append(answer)
                bodies.append(response.body)
        except GigaClientError as error:
            if answers:
                error.completion = received = _joined(answers, bodies)
                count = f"{len(received.data)} of {len(encoded)} texts"
                error.message += f"; {count} had their vectors by then, which are .completion.data"
                error.args = (error.message,)
            raise
        return answers[0] if len(answers) == 1 else _joined(answers, bodies)


class EmbeddingsRequest:
    """Split texts into request bodies.

    Args:
        model: an embedder.
        batch_size: the maximum number of texts in one request.
        batch_bytes: the maximum size of a request body in bytes.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(self, model: str, batch_size: int, batch_bytes: int) -> None:
        for name, value in (("batch_size", batch_size), ("batch_bytes", batch_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be a whole number, 1 or more")
        self._head = encode({"model": checked_text(model, "model", "name of a model")})[:-1] + b',"input":['
        self._max_items = batch_size
        self._max_bytes = batch_bytes - len(self._head) - len(_TAIL)

    def parts(self) -> Batcher[Any]:
        """Return a collector of texts for one request; a text's size includes its comma."""
        from gigaclient.gigachat.batching import Batcher

        return Batcher(self._max_items, self._max_bytes)

    def parts_of(self, encoded: Iterable[bytes]) -> Iterator[list[bytes]]:
        """Yield lists of encoded texts, one list for each request."""
        parts = self.parts()
        for text in encoded:
            yield from parts.add(text, len(text) + 1)
        yield from parts.rest()

    def body(self, encoded: Iterable[bytes]) -> bytes:
        """Return the request body for encoded texts."""
        return self._head + b",".join(encoded) + _TAIL

    def request(self, encoded: Iterable[bytes]) -> Request:
        """Return the request for encoded texts."""
        return Request("POST", "/embeddings", body=self.body(encoded), retry_safety=RetrySafety.BILLABLE)


def _encoded(texts: list[str]) -> list[bytes]:
    encoded = []
    for index, text in enumerate(texts):
        try:
            encoded.append(encode(text))
        except ConfigError as error:
            reason = error.message.partition(": ")[2]
            raise ConfigError(f"texts[{index}] cannot be sent: {reason}") from None
    return encoded


def in_order(response: Response, count: int) -> types.Embeddings:
    """Return the response with one item for each text, in the order of the texts. A vector may be empty.

    Raises:
        InvalidResponseError: the response does not say which text a vector belongs to.
    """
    answer = parse_response(response, types.Embeddings)
    items = answer.data
    if len(items) != count:
        raise invalid_response(response, f"it has {len(items)} vectors for {count} texts")
    indexes = [item.index for item in items]
    if set(indexes) != {-1}:  # without any index the server's order counts
        if sorted(indexes) != list(range(count)):
            raise invalid_response(response, f"its vectors are not numbered from 0 to {count - 1}, each once")
        items.sort(key=lambda item: item.index)
    for index, item in enumerate(items):
        item.index = index
    return answer


def _joined(answers: list[types.Embeddings], bodies: list[bytes]) -> types.Embeddings:
    first = answers[0]
    items = [item for answer in answers for item in answer.data]
    for index, item in enumerate(items):
        item.index = index
    joined = types.Embeddings(data=items, model=first.model, object=first.object)
    return joined.attach(raw=tuple(bodies), request_id=first.request_id, headers=first.headers)
