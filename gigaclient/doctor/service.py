"""Check the service: the token, the models, the balance, a short chat, and its clock.

The calls use a client with the same settings, so a call that works here works in the program.
"""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gigaclient._core.error_mapping import server_time
from gigaclient.doctor.report import Diagnosis
from gigaclient.doctor.settings_report import InspectedSettings, NullTokenCache
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigError,
    ForbiddenError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    TLSError,
)
from gigaclient.gigachat import GigaChat
from gigaclient.gigachat.scopes import SCOPES, client_in_scope, is_wrong_scope

__all__ = ["ServiceCheck", "explain_failure"]

_CLOCK_WARN_SECONDS = 60.0
_MAX_NAMES = 6
_MAX_PACKAGES = 4
_QUESTION = "Say hello in one word."
_MAX_ANSWER_TOKENS = 16


class ServiceCheck:
    """The checks that call the service, with clients of the examined settings. Close it after use.

    They raise the errors of their calls, which :func:`explain_failure` turns into a diagnosis.

    Args:
        inspected: the settings.
        seconds: the time limit of each call.
    """

    def __init__(self, inspected: InspectedSettings, seconds: float) -> None:
        self._inspected = inspected
        self._seconds = seconds
        self._clients: list[GigaChat] = []
        self._client: GigaChat | None = None
        self._clocks: list[tuple[float, float]] = []
        """The offset of the server's clock and its margin of error; seconds."""

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()

    def _make_client(self, **overrides: Any) -> GigaChat:
        """Make a client of the examined settings that does not retry and keeps the time limit.

        Raises:
            ConfigError: the settings are not valid.
        """
        arguments = {
            **self._inspected.arguments,
            "deadline": self._seconds,
            "max_retries": 0,
            "timeout": (self._seconds, self._seconds),
            "token_cache": NullTokenCache(),
        }
        settings = self._inspected.settings
        if settings.credentials is not None:
            # Check the key even if a token is set as well, which a client would use first.
            arguments.update(credentials=settings.credentials, access_token=None, user=None, password=None)
        arguments.update(overrides)
        with warnings.catch_warnings():
            if settings.trust.mode == "insecure":
                warnings.simplefilter("ignore")  # the report itself warns about it
            client = GigaChat(**arguments)
        self._clients.append(client)
        return client

    @property
    def client(self) -> GigaChat:
        """The client of the examined settings.

        Raises:
            ConfigError: the settings are not valid.
        """
        if self._client is None:
            self._client = self._make_client()
        return self._client

    # -- the checks --------------------------------------------------------------------------------------------------

    def fetch_token(self) -> Diagnosis:
        """Fetch a token with the key, or with user and password."""
        settings = self._inspected.settings
        if settings.credentials is None and settings.user is None:
            reason = "an access token is set" if settings.access_token is not None else "the client certificate is used"
            return Diagnosis.not_checked(f"nothing to fetch: {reason}")
        try:
            token = self._call(self.client.get_token)
        except AuthenticationError as error:
            message, advice = _split_advice(error.message.removeprefix("no access token: "))
            code = f", code {error.code}" if error.code is not None else ""
            detail = f"{error.status_code}{code}: {message}"
            if is_wrong_scope(error):
                advice = self._right_scope() or advice
            return Diagnosis.failure(detail, advice or _next_step_for(error))
        if not token.expires_at:
            return Diagnosis(detail="received, without an expiry time")
        expires_at = datetime.datetime.fromtimestamp(token.expires_at / 1000, datetime.timezone.utc)
        return Diagnosis(detail=f"received, valid until {expires_at.strftime('%H:%M')} UTC by the service's clock")

    def _right_scope(self) -> str:
        """Try the other scopes; return the advice to use the one that the service accepts, or ""."""
        others = [scope for scope in SCOPES if scope != self._inspected.settings.scope]
        try:
            _, scope = client_in_scope(lambda scope: self._make_client(scope=scope), others)
        except GigaClientError:
            return ""
        return f'this key belongs to {scope}: pass scope="{scope}" (GIGACHAT_SCOPE={scope})'

    def list_models(self) -> Diagnosis:
        """List the models that this key may use, and check that the selected one is among them."""
        try:
            models = self._call(self.client.get_models)
        except NotFoundError as error:
            # The endpoint always exists, so the client's advice about an unknown model does not apply.
            return explain_failure(error, _next_step_for(error))
        names = [model.id for model in models.data]
        chats = [model.id for model in models.data if model.type in (None, "chat")] or names
        if not names:
            return Diagnosis.failure(
                "the list is empty", "this key may use no model: check the project's plan and packages in Studio"
            )
        detail = f"{len(names)}: {', '.join(chats[:_MAX_NAMES])}"
        detail += f" and {len(names) - len(chats[:_MAX_NAMES])} more" if len(names) > len(chats[:_MAX_NAMES]) else ""
        selected = self._inspected.settings.model
        if selected.partition(":")[0] not in [name.partition(":")[0] for name in names]:
            return Diagnosis.warning(
                detail, f"{selected}, the default model of calls, is not in the list: pass model= (GIGACHAT_MODEL)"
            )
        return Diagnosis(detail=detail)

    def read_balance(self) -> Diagnosis:
        """Read the tokens left in the packages."""
        try:
            balance = self._call(self.client.get_balance).balance
        except ForbiddenError:
            return Diagnosis.not_checked("a pay-as-you-go plan has no packages")
        except NotFoundError:
            return Diagnosis.not_checked("this server has no balance")
        left = [
            f"{package.usage} {package.value:,.0f}".replace(",", " ")
            for package in balance
            if package.value is not None
        ]
        summary = ", ".join(left[:_MAX_PACKAGES]) + (
            f" and {len(left) - _MAX_PACKAGES} more" if len(left) > _MAX_PACKAGES else ""
        )
        empty = [package.usage for package in balance if package.value is not None and package.value <= 0]
        if empty:
            return Diagnosis.warning(
                f"tokens left: {summary}",
                f"no tokens left for {', '.join(empty)}: such calls fail with 402 until you buy a package",
            )
        return Diagnosis(detail=f"tokens left: {summary}" if summary else "no package")

    def chat(self) -> Diagnosis:
        """Stream a short chat; it costs a few tokens."""
        began = time.monotonic()
        first: float | None = None
        with self.client.stream(_QUESTION, max_tokens=_MAX_ANSWER_TOKENS) as stream:
            for chunk in stream:
                if chunk.text and first is None:
                    first = time.monotonic() - began
            completion = stream.completion
        if first is None:
            return Diagnosis.warning(
                f"{completion.model}: an answer without text ({completion.finish_reason})",
                "try another question; if that fails too, send the request id to the service's support",
            )
        spent = f", {completion.usage.total_tokens} tokens" if completion.usage is not None else ""
        return Diagnosis(
            detail=f"{completion.model}: {completion.text.strip()[:60]!r}, first text after {first:.1f} s{spent}"
        )

    def try_connect(self) -> Diagnosis:
        """Call the API without a key; a 401 shows that it works."""
        try:
            self._call(lambda: self._make_client(credentials=None, access_token="none", user=None).get_models())
        except AuthenticationError as error:
            return Diagnosis(detail=f"the API responds, and requires a token ({error.status_code})")
        except NotFoundError as error:
            return explain_failure(error, _next_step_for(error))
        return Diagnosis.warning("the API accepts calls without a key", "check base_url")

    # -- time --------------------------------------------------------------------------------------------------------

    def _call(self, call: Callable[[], Any]) -> Any:
        """Return the result of ``call``, and record the ``Date`` header of its response, also of an error."""
        before = time.time()
        try:
            response = call()
        except (APIStatusError, InvalidResponseError) as error:
            self._note_clock(error.headers, before)
            raise
        self._note_clock(getattr(response, "headers", None) or {}, before)
        return response

    def _note_clock(self, headers: Mapping[str, str], before: float) -> None:
        after = time.time()
        date = server_time(headers)
        if date is None:
            return
        # Dates are cut to whole seconds: on average the time is half a second later.
        self._clocks.append((date + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2))

    def compare_clocks(self) -> Diagnosis:
        """Compare this machine's clock with the ``Date`` headers of the responses."""
        if not self._clocks:
            return Diagnosis.not_checked("no response of the service had a date")
        offset, margin = min(self._clocks, key=lambda clock: clock[1])
        if abs(offset) <= max(margin, 1.0):
            return Diagnosis(detail="this machine and the service agree")
        direction = "behind" if offset > 0 else "ahead of"
        detail = f"this machine's clock is {_format_duration(abs(offset))} {direction} the service's"
        if abs(offset) <= _CLOCK_WARN_SECONDS:
            return Diagnosis(detail=detail)
        return Diagnosis.warning(
            detail,
            "set this machine's clock (NTP): certificates and tokens have times of validity; "
            "gigaclient itself allows for the difference",
        )


def _format_duration(seconds: float) -> str:
    for length, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def _split_advice(message: str) -> tuple[str, str]:
    """Split the server's message from the advice that the client added."""
    message, _, advice = message.partition(" - ")
    return message, advice


def explain_failure(error: GigaClientError, step: str = "") -> Diagnosis:
    """Return the failure of a call; ``step`` replaces the advice of the client."""
    message, advice = _split_advice(error.message)
    if isinstance(error, APIStatusError):
        message = f"{error.status_code}: {message}"
    if isinstance(error, TLSError):
        # Keep the reason and the issuer; another check shows the trusted certificates.
        reason, label, rest = message.partition("; issuer met: ")
        message = reason + label + rest.partition("; ")[0]
    if error.request_id and isinstance(error, (APIStatusError, InvalidResponseError)):
        message += f" (request {error.request_id})"
    return Diagnosis.failure(message, step or advice or _next_step_for(error))


_STEPS: tuple[tuple[type[GigaClientError], str], ...] = (
    (PaymentRequiredError, "buy a package in Studio, or choose another model"),
    (RateLimitError, "another program is using this key: wait, and set max_connections=1 for its clients"),
    (ServerError, "the service itself fails: try again later, and send the request id to its support"),
    (AuthenticationError, "copy the authorization key again from the project's page in Studio"),
    (ForbiddenError, "this plan or project does not allow it: check it in Studio"),
    (NotFoundError, "check base_url: https://api.giga.chat/v1 is the default"),
    (APIStatusError, "check base_url and auth_url; send the request id to the service's support"),
    (InvalidResponseError, "another server responds at that address: check base_url, auth_url and the proxy"),
    (TLSError, "see the check of TLS for this host"),
    (APITimeoutError, "the host accepts the connection and does not respond: try again, and from another network"),
    (APIConnectionError, "the connection was lost: try again, and from another network"),
    (ConfigError, "fix that setting"),
)


def _next_step_for(error: GigaClientError) -> str:
    return next((step for type_, step in _STEPS if isinstance(error, type_)), "")
