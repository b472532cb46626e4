"""Settings and call options: which source wins, and the error for a value that cannot work."""

from __future__ import annotations

import decimal
import fractions
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_tools import shown_by

from gigaclient import ConfigError, GigaChat, context
from gigaclient._core import settings
from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.settings import Reader
from gigaclient._primitives.deadline import Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.testing import GigaChatEmulator

IDS = {
    "request_id": ("X-Request-ID", context.request_id_cvar),
    "session_id": ("X-Session-ID", context.session_id_cvar),
    "client_id": ("X-Client-ID", context.client_id_cvar),
    "service_id": ("X-Service-ID", context.service_id_cvar),
    "operation_id": ("X-Operation-ID", context.operation_id_cvar),
    "trace_id": ("X-Trace-ID", context.trace_id_cvar),
    "agent_id": ("X-Agent-ID", context.agent_id_cvar),
}


@contextmanager
def context_value(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def of_call(session_id: str | None = None, /, **arguments: Any) -> RequestOptions:
    default = arguments.pop("default", Timeouts())
    return call_options(arguments, default, session_id)


def refused(parse: Callable[[Any], Any], value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(value)
    return caught.value.message


# -- argument, environment, default -----


def reader(arguments: Mapping[str, Any], environment: Mapping[str, str], *groups: frozenset[str]) -> Reader:
    return Reader(arguments, "APP_", groups=groups, environment=environment)


def test_an_argument_wins_over_the_environment_and_that_over_the_default() -> None:
    assert reader({"name": "a"}, {"APP_NAME": "b"})("name", settings.text, "c") == "a"
    assert reader({"name": None}, {"APP_NAME": "b"})("name", settings.text, "c") == "b"
    assert reader({}, {})("name", settings.text, "c") == "c"


@pytest.mark.parametrize("empty", ["", " ", "\r\n"])
def test_an_empty_variable_counts_as_absent(empty: str) -> None:
    assert reader({}, {"APP_NAME": empty})("name", settings.text, "c") == "c"


def test_a_false_argument_wins_over_the_environment() -> None:
    assert reader({"check": False}, {"APP_CHECK": "true"})("check", settings.flag, True) is False
    assert reader({"retries": 0}, {"APP_RETRIES": "5"})("retries", settings.whole(0), 2) == 0


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, ("key of the environment", "token of the environment", "other of the environment")),
        ({"key": "mine"}, ("mine", None, "other of the environment")),
        ({"token": "mine"}, (None, "mine", "other of the environment")),
        ({"other": "mine"}, ("key of the environment", "token of the environment", "mine")),
    ],
)
def test_an_argument_hides_the_environment_variables_of_its_group(
    arguments: dict[str, str], found: tuple[str | None, ...]
) -> None:
    environment = {f"APP_{name.upper()}": f"{name} of the environment" for name in ("key", "token", "other")}
    read = reader(arguments, environment, frozenset({"key", "token"}))
    assert tuple(read(name, settings.text, None) for name in ("key", "token", "other")) == found


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        ({"wait": "x"}, {}, "wait: "),
        ({}, {"APP_WAIT": "x"}, "APP_WAIT: "),
        ({"wait": "x"}, {"APP_WAIT": "5"}, "wait: "),
    ],
)
def test_the_error_names_the_argument_or_the_variable(
    arguments: dict[str, str], environment: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        reader(arguments, environment)("wait", settings.seconds, 1.0)
    assert str(caught.value).startswith(named)


def test_a_refused_value_of_the_environment_is_in_no_frame_of_the_error() -> None:
    def refuse(value: Any) -> str:
        raise ConfigError("no")

    with pytest.raises(ConfigError) as caught:
        reader({}, {"APP_KEY": "the-secret-key"})("key", refuse, None)
    assert "the-secret-key" not in "".join(line for line in shown_by(caught.value).splitlines() if "__call__" in line)
    assert caught.value.__context__ is None


# -- values -----


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (0.1, 0.1),
        ("2.5", 2.5),
        (" 3 ", 3.0),
        (math.inf, math.inf),
        ("inf", math.inf),
        (10**400, math.inf),
        (10**7, math.inf),
    ],
)
def test_seconds(value: Any, number: float) -> None:
    assert settings.seconds(value) == number


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        "0",
        "-0.1",
        "",
        "soon",
        "5s",
        math.nan,
        "nan",
        -math.inf,
        -(10**400),
        True,
        False,
        [],
        {},
        b"5",
        1j,
        object(),
        decimal.Decimal(5),
        fractions.Fraction(1, 2),
    ],
)
def test_what_is_no_number_of_seconds(value: Any) -> None:
    assert refused(settings.seconds, value).startswith("must be")


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        (5, (5, 5)),
        ((1, 2), (1, 2)),
        ([1, "2"], (1, 2)),
        ("3", (3, 3)),
        ("1,2.5", (1, 2.5)),
        (" 1 , 2 ", (1, 2)),
        ((1, math.inf), (1, math.inf)),
    ],
)
def test_a_timeout_is_a_number_or_a_pair(value: Any, pair: tuple[float, float]) -> None:
    assert settings.timeout(value) == pair


@pytest.mark.parametrize("value", [(), (1,), (1, 2, 3), (1, 0), (None, 5), (5, None), "1,2,3", "1,", ",", {"read": 5}])
def test_what_is_no_timeout(value: Any) -> None:
    assert refused(settings.timeout, value).startswith("must be")


@pytest.mark.parametrize(("value", "number"), [(0, 0), (3, 3), (3.0, 3), ("4", 4), ("4.0", 4)])
def test_whole_numbers(value: Any, number: int) -> None:
    assert settings.whole(0)(value) == number
    assert isinstance(settings.whole(0)(value), int)


@pytest.mark.parametrize("value", [-1, 2.5, "2.5", "many", math.nan, -math.inf, True, None, []])
def test_what_is_no_whole_number(value: Any) -> None:
    assert refused(settings.whole(0), value).startswith("must be")


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ([429, 503], (429, 503)),
        ("429,503", (429, 503)),
        ("[429, 503]", (429, 503)),
        ((), ()),
        ({500}, (500,)),
        ("", ()),
    ],
)
def test_status_codes(value: Any, codes: tuple[int, ...]) -> None:
    assert settings.status_codes(value) == codes


@pytest.mark.parametrize("value", [429, "all", [200], [399], [600], [404.5], None, [None], "429;503"])
def test_what_are_no_status_codes(value: Any) -> None:
    refused(settings.status_codes, value)


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (False, False),
        ("1", True),
        ("TRUE", True),
        ("yes", True),
        ("on", True),
        ("0", False),
        (" no ", False),
        ("off", False),
    ],
)
def test_flags(value: Any, truth: bool) -> None:
    assert settings.flag(value) is truth


@pytest.mark.parametrize("value", [1, 0, "", "2", "maybe", None, []])
def test_what_is_no_flag(value: Any) -> None:
    refused(settings.flag, value)


@pytest.mark.parametrize(
    ("value", "words"),
    [("a,b", ["a", "b"]), (["a"], ["a"]), (("a", "b"), ["a", "b"]), ('["a", "b"]', ["a", "b"]), ("", [])],
)
def test_words(value: Any, words: list[str]) -> None:
    assert settings.words(value) == words


@pytest.mark.parametrize("value", [5, [1], {"a": 1}, None, b"a"])
def test_what_are_no_words(value: Any) -> None:
    refused(settings.words, value)


# -- addresses -----


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://api.giga.chat/v1", "https://api.giga.chat/v1"),
        ("https://api.giga.chat/v1/", "https://api.giga.chat/v1"),
        (" https://api.giga.chat/v1//\n", "https://api.giga.chat/v1"),
        ("HTTPS://API.giga.chat/V1", "https://api.giga.chat/V1"),
        ("https://api.giga.chat:8443/api/v1", "https://api.giga.chat:8443/api/v1"),
        ("https://api.giga.chat", "https://api.giga.chat"),
        ("https://[::1]:9443/v1", "https://[::1]:9443/v1"),
        ("https://xn--80aswg.xn--p1ai/v1", "https://xn--80aswg.xn--p1ai/v1"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://stand.localhost", "http://stand.localhost"),
    ],
)
def test_addresses(value: str, url: str) -> None:
    assert settings.base_url(value) == url


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is empty"),
        ("api.giga.chat/v1", "must be an address"),
        ("ftp://api.giga.chat", "must be an address"),
        ("https://", "must be an address"),
        ("https:///v1", "must be an address"),
        ("https://[::1", "must be an address"),
        ("https://[[]", "must be an address"),
        ("https://ho*st/v1", "must be an address"),
        ("https://host:port/v1", "must be an address"),
        ("https://host:99999/v1", "must be an address"),
        ("https://host:0/v1", "port 0"),
        ("https://host/v1?a=b", "query"),
        ("https://host/v1?", "query"),
        ("https://host/v1#top", "query"),
        ("https://ho st/v1", "ASCII"),
        ("https://host/v1\r\nX-Injected: 1", "ASCII"),
        ("https://host/v1\x00", "ASCII"),
        ("https://хост.рф/v1", "xn--"),
        ("http://api.giga.chat/v1", "secrets in the clear"),
        ("http://10.0.0.1/v1", "secrets in the clear"),
        ("http://127.0.0.1.evil.example/v1", "secrets in the clear"),
        ("http://localhost.evil.example/v1", "secrets in the clear"),
        ("https://user:pa55word@host/v1", "user= and password="),
        ("https://user:pa55word@host:port", "user= and password="),
        ("user:pa55word@host", "user= and password="),
        ("https://pa55word@[::1", "user= and password="),
        (5, "must be a string"),
        (None, "must be a string"),
    ],
)
def test_what_is_no_address(value: Any, reason: str) -> None:
    message = refused(settings.base_url, value)
    assert reason in message
    assert "pa55word" not in message


def test_plain_http_to_a_private_network_needs_private_http() -> None:
    assert settings.base_url("http://10.0.0.1/v1", private_http=True) == "http://10.0.0.1/v1"
    assert "in the clear" in refused(lambda value: settings.base_url(value, private_http=True), "http://8.8.8.8")


@given(st.text(max_size=60) | st.text("htps:/@[].?#x1%\\ \t", max_size=30).map(lambda text: "https://" + text))
def test_any_address_is_kept_whole_or_refused(value: str) -> None:
    try:
        url = settings.base_url(value)
    except ConfigError:
        return
    assert settings.base_url(url) == url
    assert url.isascii()
    assert url.isprintable()


# -- options of one call -----


@pytest.mark.parametrize("name", list(IDS))
def test_per_call_wins_over_the_context_and_that_over_the_client(name: str) -> None:
    header, variable = IDS[name]
    client = "of the client" if name == "session_id" else None
    assert of_call(client).headers == ({header: client} if client else {})
    with context_value(variable, "of the context"):
        assert of_call(client).headers == {header: "of the context"}
        assert of_call(client, **{name: "of the call"}).headers == {header: "of the call"}
        assert of_call(client, headers={header.lower(): "of its headers"}).headers == {header.lower(): "of its headers"}
        with context_value(context.custom_headers_cvar, {header.upper(): "of custom headers"}):
            assert of_call(client).headers == {header.upper(): "of custom headers"}
            assert of_call(client, **{name: "of the call"}).headers == {header: "of the call"}
        assert of_call(client, **{name: None}).headers == {header: "of the context"}


def test_headers_of_any_name_can_be_added_per_context_and_per_call() -> None:
    with context_value(context.custom_headers_cvar, {"X-A": "1", "X-B": "1", "X-None": None}):
        headers = of_call(headers={"x-b": "2", "X-C": "3", "X-None-Either": None}).headers
    assert headers == {"X-A": "1", "x-b": "2", "X-C": "3"}


@pytest.mark.parametrize(
    ("of_context", "custom", "argument", "headers", "sent"),
    [
        ("Bearer context", None, None, None, "Bearer context"),
        ("Bearer context", {"authorization": "Bearer custom"}, None, None, "Bearer custom"),
        ("Bearer context", {"Authorization": "Bearer custom"}, "Bearer call", None, "Bearer call"),
        ("Bearer context", None, "Bearer call", {"AUTHORIZATION": "Bearer headers"}, "Bearer headers"),
        (None, None, "Basic abc", None, "Basic abc"),
        (None, None, None, None, None),
    ],
)
def test_an_own_authorization_replaces_the_clients(
    of_context: str | None, custom: Any, argument: str | None, headers: Any, sent: str | None
) -> None:
    with context_value(context.authorization_cvar, of_context), context_value(context.custom_headers_cvar, custom):
        found = of_call(authorization=argument, headers=headers)
    assert (found.authorization and found.authorization.reveal()) == sent
    assert found.headers == {}
    assert found.authorization is None or isinstance(found.authorization, Secret)


@pytest.mark.parametrize("source", ["argument", "context", "headers", "custom"])
@pytest.mark.parametrize("value", ["the-bare-token", "Bearer the-токен", "Bearer the-\r\ntoken", "the-token\n"])
def test_an_authorization_that_cannot_be_sent_is_refused_and_not_shown(source: str, value: str) -> None:
    arguments: Any = {"argument": {"authorization": value}, "headers": {"headers": {"Authorization": value}}}.get(
        source, {}
    )
    of_context = value if source == "context" else None
    custom = {"Authorization": value} if source == "custom" else None
    with (
        context_value(context.authorization_cvar, of_context),
        context_value(context.custom_headers_cvar, custom),
        pytest.raises(ConfigError, match="uthorization") as caught,
    ):
        call_options(arguments, Timeouts())
    assert "the-" not in "\n".join(line for line in shown_by(caught.value).splitlines() if not line.startswith("test_"))


@pytest.mark.parametrize(
    "value", ["сессия", "a\r\nX-Injected: 1", "a\nb", "a\x00b", "a\x7f", "\u2028", 5, b"bytes", ["a"]]
)
@pytest.mark.parametrize("name", ["session_id", "trace_id", "headers"])
def test_a_header_value_that_cannot_be_sent_is_a_config_error_that_names_the_header(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="header") as caught:
        of_call(**{name: {"X-Mine": value} if name == "headers" else value})
    assert ("X-Mine" if name == "headers" else IDS[name][0]) in str(caught.value)
    assert "Injected" not in str(caught.value)


@pytest.mark.parametrize("name", ["X Mine", "", "X-Моё", "X:Y", "X\r\nY", 5, None])
def test_a_header_name_that_cannot_be_sent_is_a_config_error(name: Any) -> None:
    with pytest.raises(ConfigError, match="header name"):
        of_call(headers={name: "value"})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection"])
def test_a_header_that_frames_the_request_is_not_the_callers_to_write(name: str) -> None:
    with pytest.raises(ConfigError, match="transport"):
        of_call(headers={name: "5"})


@pytest.mark.parametrize("headers", ["X-A: 1", ["X-A"], 5])
def test_headers_are_a_mapping(headers: Any) -> None:
    with pytest.raises(ConfigError, match="mapping"):
        of_call(headers=headers)
    with context_value(context.custom_headers_cvar, headers), pytest.raises(ConfigError, match="mapping"):
        of_call()


def test_the_callers_own_mapping_is_not_changed() -> None:
    headers = {"Authorization": "Bearer x", "X-A": "1", "X-None": None}
    of_call(headers=headers)
    assert headers == {"Authorization": "Bearer x", "X-A": "1", "X-None": None}


def test_options_that_are_absent_change_nothing() -> None:
    found = of_call(temperature=0.5)
    assert (found.timeouts, found.max_retries, found.authorization, found.headers) == (None, None, None, {})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"timeout": 7}, (7, 7, 28, 100)),
        ({"timeout": (1, 2)}, (1, 2, 8, 100)),
        ({"deadline": 5}, (3, 4, 16, 5)),
        ({"event_timeout": 9}, (3, 4, 9, 100)),
        ({"timeout": 7, "event_timeout": 9, "deadline": math.inf}, (7, 7, 9, math.inf)),
    ],
)
def test_timeouts_of_a_call_are_laid_over_the_clients(arguments: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = of_call(default=Timeouts(3, 4, deadline=100), **arguments).timeouts
    assert found is not None
    assert (found.connect, found.read, found.event, found.deadline) == expected


def test_an_event_timeout_that_was_chosen_outlasts_a_timeout_of_the_call() -> None:
    found = of_call(default=Timeouts(3, 4, event=300), timeout=1).timeouts
    assert found is not None
    assert found.event == 300


@pytest.mark.parametrize("name", ["timeout", "deadline", "event_timeout", "max_retries"])
@pytest.mark.parametrize("value", ["soon", -1, math.nan, [1, 2, 3]])
def test_a_call_option_that_cannot_work_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: must be"):
        of_call(**{name: value})


def test_every_call_option_is_kept_out_of_the_body(gigachat_emulator: GigaChatEmulator) -> None:
    arguments: dict[str, Any] = {
        **dict.fromkeys(IDS, "an-id"),
        "authorization": f"Bearer {gigachat_emulator.issue_token()}",
        "deadline": 20,
        "event_timeout": 5,
        "headers": {"X-Mine": "1"},
        "max_retries": 0,
        "timeout": 5,
    }
    assert set(arguments) == CALL_OPTIONS
    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = giga.chat("hi", temperature=0.5, **arguments)
    (request,) = gigachat_emulator.requests
    assert set(request.json()) == {"messages", "model", "temperature"}
    for header, _ in IDS.values():
        assert request.headers[header.lower()] == "an-id"
    assert request.headers["x-mine"] == "1"
    assert answer.request_id == "an-id"
