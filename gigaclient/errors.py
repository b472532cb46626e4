"""Everything gigaclient raises.

::

    GigaClientError
    ├── ConfigError (ValueError)              these settings or arguments cannot work; nothing was sent
    │   └── ModelNotSpecifiedError            a call names a model, and the name is empty
    ├── APIConnectionError                    no answer: refused, reset, DNS, proxy
    │   ├── TLSError                          the certificate was not accepted
    │   └── APITimeoutError (TimeoutError)    no answer in time; .timeout_kind says which timeout expired
    ├── StreamInterruptedError                the stream broke or ended early; .text and .completion hold what had come
    ├── InvalidResponseError (RuntimeError)   an answer came that is not what the API promises
    ├── LengthFinishReasonError               structured output cut by the token limit; .completion
    ├── TooManyStepsError                     the model went on calling functions; .run holds what was done
    └── APIStatusError                        .status_code .message .code .body .headers .request_id .retry_after .url
        ├── BadRequestError 400      ├── AuthenticationError 401    ├── PaymentRequiredError 402
        ├── ForbiddenError 403       ├── NotFoundError 404          ├── RequestEntityTooLargeError 413
        ├── UnprocessableEntityError 422   ├── RateLimitError 429   └── ServerError 5xx

Every one of them can be pickled, and none holds a key, a token, a password, an ``Authorization`` header or a prepared
request. An error met inside a stream carries what had arrived before it as ``.text`` and ``.completion``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gigaclient._primitives.headers import Headers

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigError",
    "ForbiddenError",
    "GigaClientError",
    "InvalidResponseError",
    "LengthFinishReasonError",
    "ModelNotSpecifiedError",
    "NotFoundError",
    "PaymentRequiredError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "ServerError",
    "StreamInterruptedError",
    "TLSError",
    "TooManyStepsError",
    "UnprocessableEntityError",
]


def _restore(cls: type[GigaClientError], args: tuple[Any, ...], state: dict[str, Any]) -> GigaClientError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class GigaClientError(Exception):
    """The root: ``except GigaClientError`` catches whatever this package raises.

    Attributes:
        request_id: the ``X-Request-Id`` of the call, to quote to the service's support; None before anything was sent.
        attempts: one line for each try that was made before this error was given to the caller, oldest first.
        text: what a stream had delivered before the error; empty outside a stream.
        completion: the same as an answer of the call's type, such as :class:`~gigaclient.types.ChatCompletion`; None
            outside a stream.
        run: the :class:`~gigaclient.types.Run` that it ended, as far as its turns were complete; None outside one.
    """

    request_id: str | None = None
    attempts: tuple[str, ...] = ()
    text: str = ""
    completion: Any = None
    run: Any = None

    def __init__(self, message: str = "", *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if request_id is not None:
            self.request_id = request_id

    def __str__(self) -> str:
        tail = f" (request {self.request_id})" if self.request_id else ""
        tries = f" [{len(self.attempts)} attempts: {'; '.join(self.attempts)}]" if len(self.attempts) > 1 else ""
        return f"{self.message}{tail}{tries}"

    # The default of BaseException calls the class with `args` alone, which loses keyword arguments and fails for
    # classes that require them: errors travel between processes whole.
    def __reduce__(self) -> tuple[Callable[..., GigaClientError], tuple[Any, ...]]:
        return _restore, (type(self), self.args, self.__dict__.copy())


class ConfigError(GigaClientError, ValueError):
    """These settings or arguments cannot work. Nothing was sent; the message says what to change."""


class ModelNotSpecifiedError(ConfigError):
    """A call names a model, and the name is empty. One that names none at all goes to the client's own."""


class APIConnectionError(GigaClientError):
    """No answer came: the name did not resolve, the connection was refused, reset or cut, or a proxy failed.

    Attributes:
        sent: False when the request surely never reached the server, so that repeating it is harmless.
    """

    sent: bool = True

    def __init__(self, message: str = "", *, request_id: str | None = None, sent: bool = True) -> None:
        super().__init__(message, request_id=request_id)
        self.sent = sent


class TLSError(APIConnectionError):
    """The server's certificate was not accepted, so nothing was sent.

    Attributes:
        host: the host that presented it.
        issuer: the issuer that was met, as its certificate names it; None when it could not be read.
    """

    host: str | None = None
    issuer: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str | None = None,
        sent: bool = False,
        host: str | None = None,
        issuer: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id, sent=sent)
        self.host = host
        self.issuer = issuer


class APITimeoutError(APIConnectionError, TimeoutError):
    """No response in time.

    Attributes:
        timeout_kind: which timeout expired: ``"connect"`` (no connection), ``"read"`` (silence, or a response that
            dripped in for longer than the read timeout), ``"event"`` (a stream that sent bytes but no event),
            ``"deadline"`` (the whole call).
    """

    timeout_kind: str = "read"

    def __init__(
        self, message: str = "", *, request_id: str | None = None, sent: bool = True, timeout_kind: str = "read"
    ) -> None:
        super().__init__(message, request_id=request_id, sent=sent)
        self.timeout_kind = timeout_kind

    @property
    def deadline(self) -> str:
        """The older name of ``timeout_kind``."""
        return self.timeout_kind


class StreamInterruptedError(GigaClientError):
    """The stream broke or ended before the answer was complete. ``.text`` and ``.completion`` hold what had arrived."""


class InvalidResponseError(GigaClientError, RuntimeError):
    """An answer came that is not what the API promises: not JSON, not UTF-8, a page of HTML, a missing field.

    Attributes:
        status_code: the HTTP status it came with.
        body: the beginning of what came, as text.
        headers: the answer's headers, without cookies.
    """

    status_code: int | None = None
    body: str = ""
    headers: Mapping[str, str] = {}

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str | None = None,
        status_code: int | None = None,
        body: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.status_code = status_code
        self.body = body
        self.headers = Headers(headers)


class LengthFinishReasonError(GigaClientError):
    """A structured answer was cut by the token limit, so it cannot be parsed. ``.completion`` holds what came."""

    def __init__(self, message: str = "", *, request_id: str | None = None, completion: Any = None) -> None:
        super().__init__(message, request_id=request_id)
        self.completion = completion
        if completion is not None:
            self.text = completion.text


class TooManyStepsError(GigaClientError):
    """The model wants functions called for more turns than were allowed.

    ``.run`` holds what was done: its history has each call with its result, so that a new run can go on from there.
    ``.completion`` is the answer with the call that was one too many.
    """

    def __init__(self, message: str = "", *, request_id: str | None = None, completion: Any = None) -> None:
        super().__init__(message, request_id=request_id)
        self.completion = completion
        if completion is not None:
            self.text = completion.text


class APIStatusError(GigaClientError):
    """The server answered with an error status.

    Attributes:
        status_code: the HTTP status, or the one that the server put inside a stream.
        message: what the server said, and where it helps one sentence on what to do.
        code: the error code of the body (the OAuth host sends one), or None.
        body: the decoded JSON of the answer, or its beginning as text.
        content: the answer's body as bytes, or its beginning.
        headers: the answer's headers, without cookies, under any spelling of their names.
        retry_after: seconds the server asked to wait, from ``Retry-After`` as a number or as a date; None when absent
            or unreadable.
        url: the address that answered, without the query; None for an error inside an answer.
    """

    status_code: int
    code: int | str | None
    body: Any
    headers: Mapping[str, str]
    retry_after: float | None
    url: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        code: int | str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        content: bytes | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.status_code = status_code
        self.code = code
        self.body = body
        self.headers = Headers(headers)
        self.retry_after = retry_after
        self.url = url
        self._content = content

    @property
    def content(self) -> bytes:
        if self._content is not None:
            return self._content
        # Of an error inside an answer, or one without its secrets: written anew.
        body = self.body
        if body is None:
            return b""
        if isinstance(body, str):
            return body.encode("utf-8", "replace")
        import json

        return json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.status_code}: {super().__str__()}"

    _classes: ClassVar[dict[int, type[APIStatusError]]] = {}

    @classmethod
    def class_for(cls, status_code: int) -> type[APIStatusError]:
        """The class that people catch for ``status_code``; :class:`APIStatusError` itself for a rare one."""
        if 500 <= status_code <= 599:
            return ServerError
        return cls._classes.get(status_code, APIStatusError)


class BadRequestError(APIStatusError):
    """400: the request is malformed, or its body is not of the shape the API wants."""


class AuthenticationError(APIStatusError):
    """401, or any refusal of the token endpoint: the key, token, user or certificate was not accepted."""


class PaymentRequiredError(APIStatusError):
    """402: the token package of this model is used up."""


class ForbiddenError(APIStatusError):
    """403: not allowed for this plan or this project."""


class NotFoundError(APIStatusError):
    """404: no such model, file, batch or path."""


class RequestEntityTooLargeError(APIStatusError):
    """413: too many tokens, or too large a body."""


class UnprocessableEntityError(APIStatusError):
    """422: well-formed, but a value is not acceptable; the message names it."""


class RateLimitError(APIStatusError):
    """429: too many requests or parallel streams for this key; see ``.retry_after``."""


class ServerError(APIStatusError):
    """5xx: the server or a gateway in front of it failed."""


APIStatusError._classes.update(
    {
        400: BadRequestError,
        401: AuthenticationError,
        402: PaymentRequiredError,
        403: ForbiddenError,
        404: NotFoundError,
        413: RequestEntityTooLargeError,
        422: UnprocessableEntityError,
        429: RateLimitError,
    }
)
