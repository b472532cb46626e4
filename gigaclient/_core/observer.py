"""Report each call to the hooks of a client."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gigaclient._core.hook_set import Hooks
from gigaclient._core.responses import embedded_error, invalid_response
from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.headers import Headers
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import APIStatusError, GigaClientError, InvalidResponseError
from gigaclient.hooks import EndEvent, RequestEvent, ResponseEvent
from gigaclient.streaming.accumulator import add_usage
from gigaclient.types import Usage

if TYPE_CHECKING:
    from gigaclient.transport import Request, Response

__all__ = ["CallObserver", "extract_summary"]

T = TypeVar("T")

# Names of headers that may hold a secret. A pattern, because each gateway has its own name for the header of its key.
_SECRET_HEADER = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token", re.IGNORECASE)


class CallObserver:
    """Reports one call to the hooks.

    It belongs to the thread of the call. :meth:`end` may be called from any thread, and only the first call counts.
    """

    def __init__(self, hooks: Hooks, request: Request, *, is_stream: bool) -> None:
        self._hooks = hooks
        self._started_at = time.monotonic()
        self._call: dict[str, Any] = {
            "provider": hooks.provider,
            "purpose": hooks.purpose,
            "method": request.method,
            "url": "",
            "request_id": "",
            "model": _model_in(request),
            "is_stream": is_stream,
            "state": {},
        }
        if hooks.read_request and request.body is not None and request.content_type == "application/json":
            hooks.run(hooks.read_request, self._call["state"], request.body)
        self._attempt = 0
        self._sent_at: float | None = None
        self._status: int | None = None
        self._chunks = 0
        self._time_to_first_token_s: float | None = None
        # Popped, which is atomic, by the thread that reports the end: another thread may call close() at that moment.
        self._end_pending = [True]

    # -- attempts ----------------------------------------------------------------------------------------------------

    def begin(self, url: str, request_id: str) -> None:
        """Record the URL and the request id; from now on the end of the call is reported."""
        self._call.update(url=url.partition("?")[0], request_id=request_id)

    def sending(self, headers: Mapping[str, str]) -> None:
        """Report that the next attempt is about to be sent."""
        self._attempt += 1
        self._status = None
        if self._hooks.on_request:
            self._hooks.run(
                self._hooks.on_request,
                RequestEvent(
                    **self._call,
                    attempt=self._attempt,
                    headers=_without_secrets(headers),
                    waited=time.monotonic() - self._started_at,
                ),
            )
        self._sent_at = time.monotonic()

    def response(
        self,
        response: Response | None,
        *,
        request_id: str | None = None,
        error: GigaClientError | None = None,
        retry_in: float | None = None,
    ) -> None:
        """Report the end of an attempt: a response, an error, or both."""
        if self._sent_at is None:
            return  # the attempt ended before it was sent, for example in the queue
        seconds, self._sent_at = time.monotonic() - self._sent_at, None
        self._status = None if response is None else response.status
        if request_id is not None:
            self._call["request_id"] = request_id
        if self._hooks.on_response:
            event = ResponseEvent(
                **self._call,
                attempt=self._attempt,
                seconds=seconds,
                status=self._status,
                headers=Headers(None if response is None else response.masked(response.headers)),
                error=self._without_token(error),
                retry_in=retry_in,
            )
            self._hooks.run(self._hooks.on_response, event)

    def failure(self, error: GigaClientError, response: Response | None, *, retry_in: float | None) -> None:
        """Report the failure of an attempt; ``retry_in`` is the pause before the next one, None if there is none."""
        self.response(response, request_id=error.request_id, error=error, retry_in=retry_in)

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(
        self, error: BaseException | None = None, *, answer: Callable[[], Any] | None = None, closed: bool = False
    ) -> None:
        """Report the end of the call.

        Args:
            error: the error that ended it.
            answer: returns the response, or the part that had arrived, as an object with the API's field names.
            closed: True for a stream that was closed before its end.
        """
        try:
            self._end_pending.pop()
        except IndexError:
            return
        if not self._call["url"]:
            return  # invalid input: nothing was sent
        ours = error if isinstance(error, GigaClientError) else None
        if error is not None and ours is None:
            self.response(None)  # an interrupt: the attempt has not been reported yet
        if not self._hooks.on_end:
            return
        completion = None if answer is None else answer()
        if completion is not None and not isinstance(completion, ResponseSummary):
            self._hooks.run(self._hooks.read_response, self._call["state"], completion)
        event = EndEvent(
            **self._call,
            attempts=self._attempt,
            seconds=time.monotonic() - self._started_at,
            outcome=_describe(error, closed),
            status=self._status,
            error=self._without_token(ours),
            chunks=self._chunks,
            time_to_first_token_s=self._time_to_first_token_s,
            usage=_usage(getattr(completion, "usage", None)),
            model_version=_text(getattr(completion, "model", None)),
            finish_reason=_finish_reason(completion),
        )
        self._hooks.run(self._hooks.on_end, event)

    def _without_token(self, error: GigaClientError | None) -> GigaClientError | None:
        if self._hooks.purpose == "api" or not isinstance(error, (APIStatusError, InvalidResponseError)):
            return error
        # A response of the token endpoint may hold a token or quote the key, and secrets are removed only later.
        if isinstance(error, InvalidResponseError):
            return InvalidResponseError("the token endpoint returned an invalid response")
        return type(error)(
            f"the token endpoint answered with HTTP status {error.status_code}",
            status_code=error.status_code,
            code=error.code if isinstance(error.code, int) else None,
            headers=error.headers,
            request_id=error.request_id,
            retry_after=error.retry_after,
            url=error.url,
        )

    def end_with_body(self, response: Response, accept: str) -> None:
        """Report the end of a call whose body was read whole."""
        summary = None
        failure: GigaClientError | None = None
        if self._hooks.on_end and accept == "application/json":
            # The same checks follow when the caller decodes the body; the hooks must see the same error.
            self._hooks.run(self._hooks.read_response, self._call["state"], response.body)
            summary = extract_summary(response.body)
            if summary is None:
                failure = invalid_response(response, "not JSON")
            elif summary.may_be_an_error:
                failure = embedded_error(response)
        self.end(failure, answer=lambda: summary)

    def count_chunks(self, chunks: Iterator[T]) -> Iterator[T]:
        """Yield ``chunks`` and count them as they are read."""
        for chunk in chunks:
            self._chunks += 1
            if self._time_to_first_token_s is None and getattr(chunk, "text", None):
                self._time_to_first_token_s = time.monotonic() - self._started_at
            yield chunk

    def observe_blocks(self, blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
        """Yield the blocks of a streamed body that is no event stream, and report the end of the call."""
        try:
            yield from blocks
        except GeneratorExit:
            self.end(closed=True)
            raise
        except BaseException as error:
            self.end(error)
            raise
        self.end()


class ResponseSummary(msgspec.Struct):
    """The fields of a whole response that hooks report. They may be missing, or of any type."""

    usage: Any = None
    model: Any = None
    finish_reason: Any = None
    choices: Any = None
    messages: Any = None
    message: Any = None
    detail: Any = None
    error: Any = None

    @property
    def may_be_an_error(self) -> bool:
        """True if the response may be an error object with status 200."""
        return bool(self.message or self.detail or self.error) and not (self.choices or self.messages)


class _Embedding(msgspec.Struct):
    usage: Any = None


class _Embeddings(ResponseSummary):
    data: list[_Embedding] = []  # the vectors themselves are skipped


def extract_summary(body: bytes) -> ResponseSummary | None:
    """Return the fields of ``body`` that hooks report, or None if it is not JSON."""
    for reader in (_embeddings_decoder, _summary_decoder):
        try:
            summary = reader.decode(body)
        except msgspec.ValidationError:
            continue
        except JSON_ERRORS:
            return None
        if isinstance(summary, _Embeddings) and summary.usage is None:
            summary.usage = _sum(usage for usage in (_usage(item.usage) for item in summary.data) if usage is not None)
        return summary
    return ResponseSummary()  # JSON of another shape, such as a list


class _RequestedModel(msgspec.Struct):
    model: Any = None


_summary_decoder = decoder(ResponseSummary)
_embeddings_decoder = decoder(_Embeddings)
_model_decoder = decoder(_RequestedModel)


def _model_in(request: Request) -> str | None:
    if request.body is None or request.content_type != "application/json":
        return None
    try:
        return _text(_model_decoder.decode(request.body).model)
    except JSON_ERRORS:
        return None


def _without_secrets(headers: Mapping[str, str]) -> Headers:
    return Headers(
        {
            name: value
            for name, value in headers.items()
            if not isinstance(value, Secret) and _SECRET_HEADER.search(name) is None
        }
    )


def _describe(error: BaseException | None, closed: bool) -> str:
    if error is None:
        return "closed" if closed else "ok"
    return type(error).__name__ if isinstance(error, GigaClientError) else "interrupted"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _finish_reason(answer: Any) -> str | None:
    objects = [answer]
    for name in ("choices", "messages"):
        items = _get(answer, name)
        if isinstance(items, (list, tuple)):
            objects += items[:1] if name == "choices" else items[::-1]
    return next((reason for object_ in objects if (reason := _text(_get(object_, "finish_reason")))), None)


def _usage(data: Any) -> Usage | None:
    """Return the usage of either API version, as an object or as JSON, under the names of v1."""
    if data is None:
        return None
    prompt = _number(data, "prompt_tokens", "input_tokens")
    completion = _number(data, "completion_tokens", "output_tokens")
    total = _number(data, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    cached = _number(data, "precached_prompt_tokens")
    if cached is None:
        cached = _number(_get(data, "input_tokens_details"), "cached_tokens")
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        total_tokens=total if total is not None else (prompt or 0) + (completion or 0),
        precached_prompt_tokens=cached,
        system_tokens=_number(data, "system_tokens"),
    )


def _sum(usages: Iterable[Usage]) -> Usage | None:
    total: Usage | None = None
    for usage in usages:
        total = add_usage(total, usage)
    return total


def _get(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else getattr(data, name, None)


def _number(data: Any, *names: str) -> int | None:
    for name in names:
        value = _get(data, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
