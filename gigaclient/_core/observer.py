"""Report each call to the hooks of a client."""

from __future__ import annotations

import logging
import pickle
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.headers import Headers
from gigaclient._primitives.secret import Secret
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError, InvalidResponseError
from gigaclient.hooks import EndEvent, RequestEvent, ResponseEvent
from gigaclient.streaming.accumulator import summed
from gigaclient.types import Usage

__all__ = ["CallObserver", "Hooks", "check_picklable", "extract_summary"]

T = TypeVar("T")

_log = logging.getLogger("gigaclient")

# Names of headers that hold a secret, or may: nobody says in advance what a gateway calls the one for its key.
_TELLING = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token", re.IGNORECASE)


class Hooks:
    """The hooks of a client, for one purpose. It holds nothing that changes but which hooks were complained about."""

    def __init__(
        self,
        provider: str,
        purpose: Literal["api", "token"],
        *,
        on_request: tuple[Callable[[RequestEvent], object], ...],
        on_response: tuple[Callable[[ResponseEvent], object], ...],
        on_end: tuple[Callable[[EndEvent], object], ...],
    ) -> None:
        self.provider = provider
        self.purpose = purpose
        self.on_request = on_request
        self.on_response = on_response
        self.on_end = on_end
        self._complained: set[int] = set()

    def tell(self, hooks: tuple[Callable[[T], object], ...], event: T) -> None:
        """Call each of ``hooks``; none of them can hurt the call or keep the next from being told."""
        for hook in hooks:
            try:
                hook(event)
            except Exception as error:
                if id(hook) not in self._complained:
                    self._complained.add(id(hook))
                    name = getattr(hook, "__qualname__", type(hook).__qualname__)
                    _log.warning(
                        "the hook %s raised %s and was passed over; the call goes on, and this is not said again",
                        name,
                        type(error).__name__,
                        exc_info=error,
                    )


class CallObserver:
    """One call, and what its hooks have been told of it.

    It belongs to the thread of the call; :meth:`end` may come from any, and only the first one counts.
    """

    def __init__(self, hooks: Hooks, *, method: str, body: bytes | None, is_stream: bool) -> None:
        self._hooks = hooks
        self._started_at = time.monotonic()
        self._call: dict[str, Any] = {
            "provider": hooks.provider,
            "purpose": hooks.purpose,
            "method": method,
            "url": "",
            "request_id": "",
            "model": None if body is None else _model_in(body),
            "is_stream": is_stream,
            "state": {},
        }
        self._attempt = 0
        self._sent_at: float | None = None
        self._status: int | None = None
        self._chunks = 0
        self._time_to_first_token_s: float | None = None
        # Taken by whoever tells of the end, in one step: close() may come from another thread at the same moment.
        self._end_to_tell = [True]

    # -- attempts ----------------------------------------------------------------------------------------------------

    def begin(self, url: str, request_id: str) -> None:
        """The call can be sent: from now on its end will be told."""
        self._call.update(url=url.partition("?")[0], request_id=request_id)

    def sending(self, headers: Mapping[str, str]) -> None:
        """The next attempt is about to be sent."""
        self._attempt += 1
        self._status = None
        if self._hooks.on_request:
            self._hooks.tell(
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
        status: int | None,
        headers: Mapping[str, str],
        *,
        request_id: str | None = None,
        error: GigaClientError | None = None,
        retry_in: float | None = None,
    ) -> None:
        """The attempt has come to something."""
        if self._sent_at is None:
            return  # it ended before it was sent, as one that stands in the queue may
        seconds, self._sent_at = time.monotonic() - self._sent_at, None
        self._status = status
        if request_id is not None:
            self._call["request_id"] = request_id
        if self._hooks.on_response:
            event = ResponseEvent(
                **self._call,
                attempt=self._attempt,
                seconds=seconds,
                status=status,
                headers=Headers(headers),
                error=self._shown(error),
                retry_in=retry_in,
            )
            self._hooks.tell(self._hooks.on_response, event)

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self, error: BaseException | None = None, *, answer: Any = None, closed: bool = False) -> None:
        """The call is over. ``answer`` is the answer, or what had come of it, as an object with the API's names."""
        try:
            self._end_to_tell.pop()
        except IndexError:
            return
        if not self._call["url"]:
            return  # nothing could have been sent: bad input is no call
        ours = error if isinstance(error, GigaClientError) else None
        if error is not None and ours is None:
            self.response(self._status, {})  # an interrupt comes between the two
        if not self._hooks.on_end:
            return
        event = EndEvent(
            **self._call,
            attempts=self._attempt,
            seconds=time.monotonic() - self._started_at,
            outcome=_outcome(error, closed),
            status=self._status,
            error=self._shown(ours),
            chunks=self._chunks,
            time_to_first_token_s=self._time_to_first_token_s,
            usage=_usage(getattr(answer, "usage", None)),
            model_version=_text(getattr(answer, "model", None)),
            finish_reason=_finish_reason(answer),
        )
        self._hooks.tell(self._hooks.on_end, event)

    def _shown(self, error: GigaClientError | None) -> GigaClientError | None:
        if self._hooks.purpose == "api" or not isinstance(error, (APIStatusError, InvalidResponseError)):
            return error
        # What the token endpoint says may hold a token, or quote the key, and has not been read yet.
        if isinstance(error, InvalidResponseError):
            return InvalidResponseError("the token endpoint's answer is not what it should be")
        return type(error)(
            f"the token endpoint answered with HTTP status {error.status_code}",
            status_code=error.status_code,
            code=error.code if isinstance(error.code, int) else None,
            headers=error.headers,
            request_id=error.request_id,
            retry_after=error.retry_after,
            url=error.url,
        )

    @property
    def reads_answers(self) -> bool:
        """Whether somebody wants to know what is in the answer."""
        return bool(self._hooks.on_end)

    def counted(self, chunks: Iterator[T]) -> Iterator[T]:
        """``chunks``, counted as they are read."""
        for chunk in chunks:
            self._chunks += 1
            if self._time_to_first_token_s is None and getattr(chunk, "text", None):
                self._time_to_first_token_s = time.monotonic() - self._started_at
            yield chunk

    def observed(self, blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
        """The blocks of a body that is read as it comes and is no event stream: the end is theirs."""
        try:
            yield from blocks
        except GeneratorExit:
            self.end(closed=True)
            raise
        except BaseException as error:
            self.end(error)
            raise
        self.end()


def check_picklable(hooks: Mapping[str, tuple[Any, ...]]) -> None:
    """Hooks travel with their client where they can.

    Raises:
        ConfigError: one of them cannot be pickled.
    """
    for name, functions in hooks.items():
        for function in functions:
            try:
                pickle.dumps(function)
            except Exception:
                reason = (
                    f"a client whose {name}= cannot be pickled cannot be pickled either: define the hook at the top of "
                    f"a module, or pickle client.with_options({name}=()) and set it again on the other side"
                )
            else:
                continue
            raise ConfigError(reason)


class ResponseSummary(msgspec.Struct):
    """What is of interest in an answer that came in one piece. Fields may be missing, or be anything."""

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
        """Whether an error object in place of an answer could look so."""
        return bool(self.message or self.detail or self.error) and not (self.choices or self.messages)


class _Embedding(msgspec.Struct):
    usage: Any = None


class _Embeddings(ResponseSummary):
    data: list[_Embedding] = []  # the vectors themselves are skipped


def extract_summary(body: bytes) -> ResponseSummary | None:
    """What is of interest in ``body``; None when that is not JSON."""
    for reader in (_embeddings_decoder, _told_decoder):
        try:
            told = reader.decode(body)
        except msgspec.ValidationError:
            continue
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if isinstance(told, _Embeddings) and told.usage is None:
            told.usage = _sum(usage for usage in (_usage(item.usage) for item in told.data) if usage is not None)
        return told
    return ResponseSummary()  # JSON of another shape, a list for one


class _Asked(msgspec.Struct):
    model: Any = None


_told_decoder = decoder(ResponseSummary)
_embeddings_decoder = decoder(_Embeddings)
_asked_decoder = decoder(_Asked)


def _model_in(body: bytes) -> str | None:
    try:
        return _text(_asked_decoder.decode(body).model)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _without_secrets(headers: Mapping[str, str]) -> Headers:
    return Headers(
        {
            name: value
            for name, value in headers.items()
            if not isinstance(value, Secret) and _TELLING.search(name) is None
        }
    )


def _outcome(error: BaseException | None, closed: bool) -> str:
    if error is None:
        return "closed" if closed else "ok"
    return type(error).__name__ if isinstance(error, GigaClientError) else "interrupted"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _finish_reason(answer: Any) -> str | None:
    places = [answer]
    for name in ("choices", "messages"):
        listed = _get(answer, name)
        if isinstance(listed, (list, tuple)):
            places += listed[:1] if name == "choices" else listed[::-1]
    return next((reason for place in places if (reason := _text(_get(place, "finish_reason")))), None)


def _usage(told: Any) -> Usage | None:
    """Usage of either version of the API, or of one of its objects in JSON, under the names of v1."""
    if told is None:
        return None
    prompt = _number(told, "prompt_tokens", "input_tokens")
    completion = _number(told, "completion_tokens", "output_tokens")
    total = _number(told, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    cached = _number(told, "precached_prompt_tokens")
    if cached is None:
        cached = _number(_get(told, "input_tokens_details"), "cached_tokens")
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        total_tokens=total if total is not None else (prompt or 0) + (completion or 0),
        precached_prompt_tokens=cached,
        system_tokens=_number(told, "system_tokens"),
    )


def _sum(usages: Iterable[Usage]) -> Usage | None:
    total: Usage | None = None
    for usage in usages:
        total = summed(total, usage)
    return total


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _number(thing: Any, *names: str) -> int | None:
    for name in names:
        value = _get(thing, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
