"""All exceptions of gigaclient.

::

    GigaClientError
    ├── ConfigError (ValueError)              these settings or arguments cannot work; nothing was sent
    │   └── ModelNotSpecifiedError            the model of a call is an empty string
    ├── APIConnectionError                    no response: refused, reset, DNS, proxy
    │   ├── TLSError                          the TLS handshake failed, or a certificate was refused
    │   └── APITimeoutError (TimeoutError)    no response in time; .timeout_kind says which timeout expired
    ├── StreamInterruptedError                the stream broke or ended early; .text and .completion hold its part
    ├── InvalidResponseError (RuntimeError)   the response does not match the API's documentation
    │   └── ContentFilterError                the service's filter blocked the answer; .completion
    ├── LengthFinishReasonError               structured output cut by the token limit; .completion
    ├── TooManyStepsError                     the model went on calling functions; .run holds the turns so far
    └── APIStatusError                        .status_code .message .code .body .headers .request_id .retry_after .url
        ├── BadRequestError 400      ├── AuthenticationError 401    ├── PaymentRequiredError 402
        ├── ForbiddenError 403       ├── NotFoundError 404          ├── RequestEntityTooLargeError 413
        ├── UnprocessableEntityError 422   ├── RateLimitError 429   └── ServerError 5xx

Each of them can be pickled, and none holds a key, a token, a password, an ``Authorization`` header or a prepared
request. An error inside a stream has the part that had arrived before it as ``.text`` and ``.completion``.

The one warning class, :class:`GigaClientDeprecationWarning`, is no part of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gigaclient._primitives.headers import Headers
from gigaclient._primitives.packing import packed, unpacked
from gigaclient._primitives.serialization import decode_or_none
from gigaclient._primitives.surrogates import ESCAPED_CONTROL_CHARACTERS

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigError",
    "ContentFilterError",
    "ForbiddenError",
    "GigaClientDeprecationWarning",
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
    error.__dict__.update(unpacked(state))
    return error


class GigaClientError(Exception):
    """The base of all errors: ``except GigaClientError`` catches every error of this package.

    Attributes:
        request_id: the ``X-Request-Id`` of the call, to quote to the service's support; None before anything was sent.
        attempts: one line for each attempt that was made before this error was raised, oldest first.
        text: the text that a stream had delivered before the error; empty outside a stream.
        completion: the same part as an object of the call's type, such as :class:`~gigaclient.types.ChatCompletion`;
            None outside a stream.
        run: the complete turns of the :class:`~gigaclient.types.Run` that the error ended; None outside a run.
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
        return f"{self.message}{tail}{tries}".translate(ESCAPED_CONTROL_CHARACTERS)

    # The default of BaseException calls the class with `args` alone. That loses keyword arguments, and fails for
    # classes that require them.
    def __reduce__(self) -> tuple[Callable[..., GigaClientError], tuple[Any, ...]]:
        return _restore, (type(self), self.args, packed(self.__dict__))


class GigaClientDeprecationWarning(DeprecationWarning):
    """A name or an argument of gigaclient that a later version removes; the message names its replacement.

    What is deprecated keeps working for at least one minor version. Python shows this warning in the main module and
    under pytest. To turn it into an error: ``warnings.simplefilter("error", GigaClientDeprecationWarning)``.
    """


class ConfigError(GigaClientError, ValueError):
    """These settings or arguments cannot work. Nothing was sent; the message says what to change."""


class ModelNotSpecifiedError(ConfigError):
    """The model of a call is an empty string. A call without a model uses the client's."""

    def __init__(
        self, message: str = "model is empty: name one, or leave it out", *, request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)


class APIConnectionError(GigaClientError):
    """No response: the name did not resolve, the connection was refused, reset or cut, or a proxy failed.

    Attributes:
        sent: False if the request certainly never reached the server, so that repeating it is safe.
        retryable: False if it would fail again in the same way: a proxy did not accept the user and the password.
    """

    sent: bool = True
    retryable: bool = True

    def __init__(self, message: str = "", *, request_id: str | None = None, sent: bool = True) -> None:
        super().__init__(message, request_id=request_id)
        self.sent = sent


class TLSError(APIConnectionError):
    """The TLS handshake failed: one side refused the other's certificate, or the server does not speak TLS.

    Attributes:
        host: the server, or the proxy, of the failed handshake.
        issuer: the issuer of the refused server certificate; None if it is unknown.
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
    """The stream broke or ended before the answer was complete; ``.text`` and ``.completion`` hold its first part."""


class InvalidResponseError(GigaClientError, RuntimeError):
    """The response does not match the API's documentation: not JSON, an HTML page, a missing field.

    Attributes:
        status_code: the HTTP status of the response.
        body: the beginning of the response body, as text.
        headers: the response headers, without cookies.
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


class ContentFilterError(InvalidResponseError):
    """The service's filter blocked the answer. ``.completion`` and ``.text`` hold what it sent instead."""

    def __init__(self, message: str = "", *, request_id: str | None = None, completion: Any = None) -> None:
        super().__init__(message, request_id=request_id, status_code=200)
        self.completion = completion
        if completion is not None:
            self.text = completion.text


class LengthFinishReasonError(GigaClientError):
    """A structured answer was cut by the token limit, so it cannot be parsed; ``.completion`` holds its first part."""

    def __init__(self, message: Any = "", *, request_id: str | None = None, completion: Any = None) -> None:
        if not isinstance(message, str):  # the argument of the official SDK
            message, completion = "", message
        super().__init__(message or "the answer was cut by the token limit", request_id=request_id)
        self.completion = completion
        if completion is not None:
            self.text = completion.text


class TooManyStepsError(GigaClientError):
    """The model called functions in more turns than were allowed.

    ``.run`` holds the turns so far: its history has each call with its result, so that a new run can continue from
    there. ``.completion`` is the answer with the call that exceeded the limit.
    """

    def __init__(self, message: str = "", *, request_id: str | None = None, completion: Any = None) -> None:
        super().__init__(message, request_id=request_id)
        self.completion = completion
        if completion is not None:
            self.text = completion.text


def _three(status_code: int, content: bytes | None = None, headers: Any = None) -> tuple[int, bytes | None, Any]:
    return status_code, content, headers


def _decoded(content: bytes) -> Any:
    decoded = decode_or_none(content)
    return content.decode("utf-8", "replace") if decoded is None else decoded


def _seconds(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None


class APIStatusError(GigaClientError):
    """The server answered with an error status.

    Attributes:
        status_code: the HTTP status, or the status that the server sent inside a stream.
        message: the message of the server, for known errors with one sentence on what to do.
        code: the error code of the body (the OAuth host sends one), or None.
        body: the decoded JSON of the response, or its beginning as text.
        content: the response body as bytes, or its beginning.
        headers: the response headers, without cookies, with names in any case.
        retry_after: seconds to wait, from ``Retry-After`` as a number or as a date; None if it is absent or invalid.
        url: the URL of the request, without the query; None for an error inside a response.

    Tests and mocks may create one as with the official SDK: ``RateLimitError(url, 429, content, headers)``.
    """

    status_code: int
    code: int | str | None
    body: Any
    headers: Mapping[str, str]
    retry_after: float | None
    url: str | None = None

    def __init__(
        self,
        message: Any = "",
        *official: Any,
        status_code: int = 0,
        code: int | str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        content: bytes | None = None,
        url: str | None = None,
    ) -> None:
        by_hand = bool(official) or not message  # with the arguments of the official SDK
        if official:
            url, message = str(message), ""
            status_code, content, headers = _three(*official)
        if not message and content is not None:
            body = _decoded(content) if body is None else body
            message = body.get("message") if isinstance(body, dict) else ""
        if (not message and (content is not None or url is not None)) or not isinstance(message, str):
            message = f"HTTP status {status_code}"
        super().__init__(message, request_id=request_id)
        self.status_code, self.code = status_code, code
        self.body = body
        self.headers = Headers(headers)
        self.retry_after = _seconds(self.headers) if by_hand and retry_after is None else retry_after
        self.url = url
        self._content = content

    @property
    def content(self) -> bytes:
        """The response body as bytes, or its beginning."""
        if self._content is not None:
            return self._content
        # An error inside a response, or a copy without secrets, has no bytes: encode its body.
        body = self.body
        if body is None or isinstance(body, str):
            return (body or "").encode("utf-8", "replace")
        import json

        return json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.status_code}: {super().__str__()}"

    _classes: ClassVar[dict[int, type[APIStatusError]]] = {}

    @classmethod
    def class_for(cls, status_code: int) -> type[APIStatusError]:
        """Return the class for ``status_code``; :class:`APIStatusError` itself if there is no special one."""
        if 500 <= status_code <= 599:
            return ServerError
        return cls._classes.get(status_code, APIStatusError)


class BadRequestError(APIStatusError):
    """400: the request is malformed, or its body does not match the API's schema."""


class AuthenticationError(APIStatusError):
    """401, or an error of the token endpoint: the key, token, user or certificate was not accepted."""


class PaymentRequiredError(APIStatusError):
    """402: the token package of this model is used up."""


class ForbiddenError(APIStatusError):
    """403: not allowed for this plan or this project."""


class NotFoundError(APIStatusError):
    """404: no such model, file, batch or path."""


class RequestEntityTooLargeError(APIStatusError):
    """413: the request has too many tokens, or its body is too large."""


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
