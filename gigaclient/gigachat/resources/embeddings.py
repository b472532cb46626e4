"""Vectors of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient._core.responses import BufferedResponse
from gigaclient._primitives.deadline import Deadline
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.batching import Parts
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import checked_text, checked_texts
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["BYTES_AT_ONCE", "TEXTS_AT_ONCE", "EmbeddingsEndpoints", "EmbeddingsRequest", "in_order"]

# What Sber's own integrations have sent at once for years; the API documents no number.
TEXTS_AT_ONCE = 90
BYTES_AT_ONCE = 1_000_000

_TAIL = b"]}"


class EmbeddingsEndpoints(APIResource):
    """``/embeddings``."""

    def embeddings(
        self,
        texts: str | Iterable[str],
        model: str = "Embeddings",
        *,
        batch_size: int = TEXTS_AT_ONCE,
        batch_bytes: int = BYTES_AT_ONCE,
        **options: Unpack[CallSettings],
    ) -> types.Embeddings:
        """The vectors of texts: ``POST /embeddings``.

        More texts than one request should take are sent in several, one after the other, and the vectors joined. All
        texts are checked before the first is sent; all requests together keep to the ``deadline``.

        Args:
            texts: one text, or any number of them; none may be empty.
            model: a model of type ``embedder``: ``Embeddings``, ``Embeddings-2``, ``EmbeddingsGigaR`` …
            batch_size: texts in one request at the most.
            batch_bytes: bytes of one request's body at the most; a single text that is longer goes alone.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` … Those that
                are headers go with each request.

        Returns:
            One item for each text, in the texts' order, as ``.data``; the vectors alone as ``.vectors`` (lists of
            floats, 1024 of them for ``Embeddings``); what all of it cost as ``.usage``. Where there were several
            requests, ``.request_id`` and ``.headers`` are the first one's.

        Raises:
            ConfigError: there is no text, or one is empty or no string; nothing was sent.
            NotFoundError: this key has no such model, or it makes no vectors.
            RequestEntityTooLargeError: a text is longer than the model reads.
            PaymentRequiredError: the package for embeddings is used up.
            InvalidResponseError: the answer does not have one vector for each text.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError: as for every call.

            An error after the first request has the vectors that had come as ``.completion``: those of the first
            ``len(error.completion.data)`` texts, which were paid for.

        Repeated after 429 and 5xx and when surely not sent, ``max_retries`` times each request. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
        """
        settings = self._call_settings(options)
        request = EmbeddingsRequest(model, batch_size, batch_bytes)
        encoded = _encoded(checked_texts(texts, "texts"))
        deadline = Deadline(settings.timeouts or self._core.timeouts)
        answers: list[types.Embeddings] = []
        bodies: list[bytes] = []
        try:
            for part in request.parts_of(encoded):
                answered = self._send_with_options(request.request(part), settings, deadline=deadline)
                answer = in_order(answered, len(part))
                for place, item in enumerate(answer.data):
                    if not item.embedding:
                        raise answered.invalid(f"the vector of text {place} is empty")
                answers.append(answer)
                bodies.append(answered.body)
        except GigaClientError as error:
            if answers:
                error.completion = came = _joined(answers, bodies)
                error.message += (
                    f"; {len(came.data)} of {len(encoded)} texts had their vectors by then, which are .completion.data"
                )
                error.args = (error.message,)
            raise
        return answers[0] if len(answers) == 1 else _joined(answers, bodies)


class EmbeddingsRequest:
    """How texts are put into requests.

    Args:
        model: an embedder.
        batch_size: texts in one request at the most.
        batch_bytes: bytes of one request's body at the most.

    Raises:
        ConfigError: an argument cannot work.
    """

    def __init__(self, model: str, batch_size: int, batch_bytes: int) -> None:
        for name, value in (("batch_size", batch_size), ("batch_bytes", batch_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be a whole number, 1 or more")
        self._head = encode({"model": checked_text(model, "model", "name of a model")})[:-1] + b',"input":['
        self._most = batch_size
        self._most_bytes = batch_bytes - len(self._head) - len(_TAIL)

    def parts(self) -> Parts[Any]:
        """Gathers texts for one request; a text counts with its comma."""
        return Parts(self._most, self._most_bytes)

    def parts_of(self, encoded: Iterable[bytes]) -> Iterator[list[bytes]]:
        """Texts as JSON, in lists for one request each."""
        parts = self.parts()
        for text in encoded:
            yield from parts.add(text, len(text) + 1)
        yield from parts.rest()

    def body(self, encoded: Iterable[bytes]) -> bytes:
        """The request's body for texts as JSON."""
        return self._head + b",".join(encoded) + _TAIL

    def request(self, encoded: Iterable[bytes]) -> Request:
        """The request for texts as JSON."""
        return Request("POST", "/embeddings", body=self.body(encoded), retry_safety=RetrySafety.BILLABLE)


def _encoded(texts: list[str]) -> list[bytes]:
    encoded = []
    for place, text in enumerate(texts):
        try:
            encoded.append(encode(text))
        except ConfigError as error:
            reason = error.message.partition(": ")[2]
            raise ConfigError(f"texts[{place}] cannot be sent: {reason}") from None
    return encoded


def in_order(answered: BufferedResponse, wanted: int) -> types.Embeddings:
    """The answer with an item for each of the texts, in their order. A vector may be empty.

    Raises:
        InvalidResponseError: that cannot be told from it: there is no knowing which text a vector belongs to.
    """
    answer = parse_response(answered, types.Embeddings)
    items = answer.data
    if len(items) != wanted:
        raise answered.invalid(f"it has {len(items)} vectors for {wanted} texts")
    places = [item.index for item in items]
    if set(places) != {-1}:  # else the server numbers none of them, and its order is all there is
        if sorted(places) != list(range(wanted)):
            raise answered.invalid(f"its vectors are not numbered from 0 to {wanted - 1}, each once")
        items.sort(key=lambda item: item.index)
    for place, item in enumerate(items):
        item.index = place
    return answer


def _joined(answers: list[types.Embeddings], bodies: list[bytes]) -> types.Embeddings:
    first = answers[0]
    items = [item for answer in answers for item in answer.data]
    for place, item in enumerate(items):
        item.index = place
    whole = types.Embeddings(data=items, model=first.model, object=first.object)
    return whole.attach(raw=tuple(bodies), request_id=first.request_id, headers=first.headers)
