"""What the service says: the token, the models, what is left of the packages, a tiny chat; and what time it has there.

All of it goes through a client made of the same settings, so what works here works in the program.
"""

from __future__ import annotations

import datetime
import email.utils
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gigaclient.doctor.report import Diagnosis
from gigaclient.doctor.settings_report import NoTokenCache, Plan
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

__all__ = ["ServiceCheck"]

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")

_WRONG_SCOPE_CODE = 7
_CLOCK_WARN_SECONDS = 60.0
_MOST_NAMES = 6
_MOST_PACKAGES = 4
_QUESTION = "Say hello in one word."
_ANSWER_TOKENS = 16


class ServiceCheck:
    """Asks the service through clients of the plan's settings. To be closed.

    Args:
        plan: the settings.
        seconds: the limit of each call.
    """

    def __init__(self, plan: Plan, seconds: float) -> None:
        self._plan = plan
        self._seconds = seconds
        self._clients: list[GigaChat] = []
        self._client: GigaChat | None = None
        self._clocks: list[tuple[float, float]] = []
        """The server's time less ours, and by how much that may be wrong; seconds."""

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _made(self, **changed: Any) -> GigaChat:
        """A client of the plan's settings, which asks once and within the limit.

        Raises:
            ConfigError: it cannot be made.
        """
        arguments = {
            **self._plan.arguments,
            "deadline": self._seconds,
            "max_retries": 0,
            "timeout": (self._seconds, self._seconds),
            "token_cache": NoTokenCache(),
        }
        settings = self._plan.settings
        if settings.credentials is not None:
            # The key is what is looked at, also where a token is given beside it, which would be used first.
            arguments.update(credentials=settings.credentials, access_token=None, user=None, password=None)
        arguments.update(changed)
        with warnings.catch_warnings():
            if settings.trust.kind == "insecure":
                warnings.simplefilter("ignore")  # the report says so itself
            client = GigaChat(**arguments)
        self._clients.append(client)
        return client

    @property
    def client(self) -> GigaChat:
        """The client of the plan's settings.

        Raises:
            ConfigError: it cannot be made.
        """
        if self._client is None:
            self._client = self._made()
        return self._client

    # -- the checks --------------------------------------------------------------------------------------------------

    def fetch_token(self) -> Diagnosis:
        """Have the key, or user and password, make a token."""
        settings = self._plan.settings
        if settings.credentials is None and settings.user is None:
            what = "the access token is used as it is" if settings.access_token is not None else "the certificate is it"
            return Diagnosis(outcome="not_checked", detail=f"nothing to fetch: {what}")
        try:
            token = self._timed(self.client.get_token)
        except AuthenticationError as error:
            said, advice = _parts(error.message.removeprefix("no access token: "))
            detail = f"{error.status_code}{_code(error)}: {said}"
            if error.code == _WRONG_SCOPE_CODE:
                advice = self._right_scope() or advice
            return Diagnosis(outcome="failure", detail=detail, next_step=advice or _step_for(error))
        except GigaClientError as error:
            return _failed(error)
        if not token.expires_at:
            return Diagnosis(detail="given; when it expires was not said")
        until = datetime.datetime.fromtimestamp(token.expires_at / 1000, datetime.timezone.utc)
        return Diagnosis(detail=f"given, good until {until.strftime('%H:%M')} UTC by the service's clock")

    def _right_scope(self) -> str:
        """Which scope the key belongs to, found by asking; "" when none of those known is it."""
        for scope in SCOPES:
            if scope == self._plan.settings.scope:
                continue
            try:
                self._timed(self._made(scope=scope).get_token)
            except GigaClientError:
                continue
            return f'this key belongs to {scope}: pass scope="{scope}" (GIGACHAT_SCOPE={scope})'
        return ""

    def list_models(self) -> Diagnosis:
        """The models that this key may use, and whether the chosen one is among them."""
        try:
            models = self._timed(self.client.get_models)
        except NotFoundError as error:
            # The list is always there: what the client says of a model that is not is beside the point.
            return _failed(error, _step_for(error))
        except GigaClientError as error:
            return _failed(error)
        names = [model.id for model in models.data]
        chats = [model.id for model in models.data if model.type in (None, "chat")] or names
        if not names:
            return Diagnosis(
                outcome="failure",
                detail="the list is empty",
                next_step="this key may use no model: look at the project's plan and packages in Studio",
            )
        detail = f"{len(names)}: {', '.join(chats[:_MOST_NAMES])}"
        detail += f" and {len(names) - len(chats[:_MOST_NAMES])} more" if len(names) > len(chats[:_MOST_NAMES]) else ""
        chosen = self._plan.settings.model
        if chosen.partition(":")[0] not in [name.partition(":")[0] for name in names]:
            return Diagnosis(
                outcome="warning",
                detail=detail,
                next_step=f"{chosen}, the model of calls that name none, is not among them: pass model= "
                "(GIGACHAT_MODEL)",
            )
        return Diagnosis(detail=detail)

    def read_balance(self) -> Diagnosis:
        """What is left of the packages of tokens."""
        try:
            balance = self._timed(self.client.get_balance).balance
        except ForbiddenError:
            return Diagnosis(outcome="not_checked", detail="this plan pays as it goes: there is no package")
        except NotFoundError:
            return Diagnosis(outcome="not_checked", detail="this server has no balance")
        except GigaClientError as error:
            return _failed(error)
        left = [f"{one.usage} {one.value:,.0f}".replace(",", " ") for one in balance if one.value is not None]
        told = ", ".join(left[:_MOST_PACKAGES]) + (
            f" and {len(left) - _MOST_PACKAGES} more" if len(left) > _MOST_PACKAGES else ""
        )
        empty = [one.usage for one in balance if one.value is not None and one.value <= 0]
        if empty:
            return Diagnosis(
                outcome="warning",
                detail=f"tokens left: {told}",
                next_step=f"nothing is left for {', '.join(empty)}: such calls end with 402 until a package is bought",
            )
        return Diagnosis(detail=f"tokens left: {told}" if told else "no package")

    def chat(self) -> Diagnosis:
        """A tiny chat, streamed: it costs a few tokens."""
        began = time.monotonic()
        first: float | None = None
        pieces = 0
        try:
            with self.client.stream(_QUESTION, max_tokens=_ANSWER_TOKENS) as stream:
                for chunk in stream:
                    if chunk.text:
                        pieces += 1
                        first = time.monotonic() - began if first is None else first
                answer = stream.completion
        except GigaClientError as error:
            return _failed(error)
        if first is None:
            return Diagnosis(
                outcome="warning",
                detail=f"{answer.model}: an answer without text ({answer.finish_reason})",
                next_step="ask something else; if it stays so, quote the request id to the service's support",
            )
        spent = f", {answer.usage.total_tokens} tokens" if answer.usage is not None else ""
        return Diagnosis(detail=f"{answer.model}: {answer.text.strip()[:60]!r}, first text after {first:.1f} s{spent}")

    def try_connect(self) -> Diagnosis:
        """Whether the API answers at all, without a key: it is expected to refuse."""
        try:
            self._timed(lambda: self._made(credentials=None, access_token="none", user=None).get_models())
        except AuthenticationError as error:
            return Diagnosis(detail=f"the API answers, and asks for a token ({error.status_code})")
        except NotFoundError as error:
            return _failed(error, _step_for(error))
        except GigaClientError as error:
            return _failed(error)
        return Diagnosis(outcome="warning", detail="the API answers without a key", next_step="check base_url")

    # -- time --------------------------------------------------------------------------------------------------------

    def _timed(self, call: Callable[[], Any]) -> Any:
        """What ``call`` gives; and a look at the ``Date`` of its answer, good or bad."""
        before = time.time()
        try:
            answer = call()
        except (APIStatusError, InvalidResponseError) as error:
            self._note_clock(error.headers, before)
            raise
        self._note_clock(getattr(answer, "headers", None) or {}, before)
        return answer

    def _note_clock(self, headers: Mapping[str, str], before: float) -> None:
        after = time.time()
        try:
            date = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError, IndexError):
            return
        # Dates have whole seconds: on the average the moment is half of one later.
        self._clocks.append((date + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2))

    def compare_clocks(self) -> Diagnosis:
        """This machine's clock against the server's, as its answers had it."""
        if not self._clocks:
            return Diagnosis(outcome="not_checked", detail="no answer of the service had a date")
        offset, margin = min(self._clocks, key=lambda clock: clock[1])
        if abs(offset) <= max(margin, 1.0):
            return Diagnosis(detail="this machine and the service agree")
        direction = "behind" if offset > 0 else "ahead of"
        detail = f"this machine's clock is {_span(abs(offset))} {direction} the service's"
        if abs(offset) <= _CLOCK_WARN_SECONDS:
            return Diagnosis(detail=detail)
        return Diagnosis(
            outcome="warning",
            detail=detail,
            next_step="set this machine's clock (NTP): certificates and tokens are good from one moment to another; "
            "gigaclient itself reckons with the service's time",
        )


def _span(seconds: float) -> str:
    for length, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def _parts(message: str) -> tuple[str, str]:
    """What the server said, and the advice that the client added."""
    said, _, advice = message.partition(" - ")
    return said, advice


def _code(error: APIStatusError) -> str:
    return f", code {error.code}" if error.code is not None else ""


def _failed(error: GigaClientError, step: str = "") -> Diagnosis:
    said, advice = _parts(error.message)
    if isinstance(error, APIStatusError):
        said = f"{error.status_code}: {said}"
    if isinstance(error, TLSError):
        said = said.partition("; believed here")[0]
    if error.request_id and isinstance(error, (APIStatusError, InvalidResponseError)):
        said += f" (request {error.request_id})"
    return Diagnosis(outcome="failure", detail=said, next_step=step or advice or _step_for(error))


_STEPS: tuple[tuple[type[GigaClientError], str], ...] = (
    (PaymentRequiredError, "buy a package in Studio, or choose another model"),
    (RateLimitError, "another program uses this key now: wait, and give its clients max_connections=1"),
    (ServerError, "the service itself has trouble: try again later, and quote the request id to its support"),
    (AuthenticationError, "copy the authorization key again from the project's page in Studio"),
    (ForbiddenError, "this plan or project may not do that: look at it in Studio"),
    (NotFoundError, "check base_url: https://api.giga.chat/v1 is the default"),
    (APIStatusError, "check base_url and auth_url; quote the request id to the service's support"),
    (InvalidResponseError, "something else answers at that address: check base_url, auth_url and the proxy"),
    (TLSError, "see the check of TLS for this host"),
    (APITimeoutError, "the host takes the connection and does not answer: try again, and from another network"),
    (APIConnectionError, "the connection was lost on the way: try again, and from another network"),
    (ConfigError, "mend that setting"),
)


def _step_for(error: GigaClientError) -> str:
    return next((step for kind, step in _STEPS if isinstance(error, kind)), "")
