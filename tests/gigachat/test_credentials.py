"""Pasted keys and tokens: which ones are cleaned and sent, and which ones are rejected with an explanation."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_tools import shown_by

from gigaclient import GigaChat
from gigaclient._primitives.secret import Secret
from gigaclient.errors import AuthenticationError, ConfigError
from gigaclient.gigachat.credentials import access_token, authorization_key, usable_key
from gigaclient.testing import GigaChatEmulator

ID = "0f0e0d0c-0b0a-4909-8807-060504030201"
SECRET = "11aa22bb-33cc-44dd-95ee-66ff77aa88bb"
KEY = base64.b64encode(f"{ID}:{SECRET}".encode()).decode()
TOKEN = "eyJjdHkiOiJqd3QiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0." + "AbCd_-09" * 50 + ".x.y.z"

SENT = {
    "as Studio shows it": (KEY, KEY),
    "Basic before it": (f"Basic {KEY}", KEY),
    "basic before it": (f"basic   {KEY}", KEY),
    "Bearer before it": (f"Bearer {KEY}", KEY),
    "both before it": (f"Basic Bearer {KEY}", KEY),
    "Basic twice": (f"Basic Basic {KEY}", KEY),
    "the whole header": (f"Authorization: Basic {KEY}", KEY),
    "a colon after the scheme": (f"Basic: {KEY}", KEY),
    "spaces around it": (f"  {KEY}\t ", KEY),
    "a line break after it": (f"{KEY}\r\n", KEY),
    "a line break before it": (f"\n{KEY}", KEY),
    "wrapped by a mail program": (f"{KEY[:40]}\r\n{KEY[40:80]}\r\n  {KEY[80:]}", KEY),
    "double quotes": (f'"{KEY}"', KEY),
    "single quotes": (f"'{KEY}'", KEY),
    "quotes of another language": (f"«{KEY}»", KEY),
    "quotes around the header": (f'"Basic {KEY}"', KEY),
    "quotes inside the header": (f'Basic "{KEY}"', KEY),
    "padding lost": (KEY.rstrip("="), KEY),
    "padding half lost": (KEY[:-1], KEY),
    "a key of other parts": (base64.b64encode(b"id:secret").decode(), base64.b64encode(b"id:secret").decode()),
    "more than two parts": (base64.b64encode(b"a:b:c").decode(), base64.b64encode(b"a:b:c").decode()),
    "not UTF-8 inside": (base64.b64encode(b"\xfb\xff:\xfe?").decode(), base64.b64encode(b"\xfb\xff:\xfe?").decode()),
    "the alphabet of URLs": (base64.urlsafe_b64encode(b"\xfb\xff:\xfe?").decode(), "+/86/j8="),
    "short": (base64.b64encode(b":").decode(), base64.b64encode(b":").decode()),
}

REFUSED = {
    "nothing": ("", "is empty"),
    "spaces": (" \r\n", "is empty"),
    "quotes": ('""', "is empty"),
    "the client id": (ID, "client id or a client secret"),
    "the client secret in capitals": (SECRET.upper(), "client id or a client secret"),
    "the client secret in quotes": (f'"{SECRET}"', "client id or a client secret"),
    "Basic and the client secret": (f"Basic {SECRET}", "client id or a client secret"),
    "the pair in plain text": (f"{ID}:{SECRET}", "plain text"),
    "the pair with a space": (f"{ID}: {SECRET}", "plain text"),
    "an access token": (TOKEN, "access_token="),
    "Bearer and an access token": (f"Bearer {TOKEN}", "access_token="),
    "a word": ("password", "not of client_id:client_secret"),
    "Cyrillic": ("ключ", "is not base64"),
    "punctuation": ("abc!def", "is not base64"),
    "a pair that is not of UUIDs": ("id:secret", "is not base64"),
    "cut": (KEY[:-7], "is not base64"),
    "encoded twice": (base64.b64encode(KEY.encode()).decode(), "twice"),
    "one part encoded": (base64.b64encode(ID.encode()).decode(), "not of client_id:client_secret"),
    "padding alone": ("====", "is not base64"),
    "padding inside": (f"{KEY[:20]}=={KEY[20:]}", "is not base64"),
}


@pytest.mark.parametrize("case", list(SENT))
def test_a_key_is_sent_although_it_came_with(case: str) -> None:
    pasted, sent = SENT[case]
    for key in (authorization_key(pasted), authorization_key(Secret(pasted))):
        assert isinstance(key, Secret)
        assert key.reveal() == sent


@pytest.mark.parametrize("case", list(REFUSED))
def test_an_impossible_key_is_explained_without_showing_it(case: str) -> None:
    pasted, reason = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        authorization_key(Secret(pasted))
    assert reason in str(caught.value)
    message = shown_by(caught.value)
    for part in (pasted.strip(" \r\n\"'"), ID, SECRET, KEY[:30], TOKEN[:60]):
        assert len(part) < 6 or part not in message


@pytest.mark.parametrize(
    ("pasted", "sent"),
    [
        (TOKEN, TOKEN),
        (f"Bearer {TOKEN}", TOKEN),
        (f"bearer {TOKEN}\n", TOKEN),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"'{TOKEN}'", TOKEN),
        (f"{TOKEN[:70]}\r\n{TOKEN[70:]}", TOKEN),
        ("x", "x"),
    ],
)
def test_a_token_is_sent_without_what_was_pasted_along_with_it(pasted: str, sent: str) -> None:
    assert access_token(pasted).reveal() == sent


@pytest.mark.parametrize("pasted", ["", " \n", "Bearer \n", "токен", "a\x00b", "a\x7fb"])
def test_a_token_that_no_header_can_carry_is_refused(pasted: str) -> None:
    if pasted == "Bearer \n":
        assert access_token(pasted).reveal() == "Bearer"  # may be a token: the server decides
        return
    with pytest.raises(ConfigError):
        access_token(pasted)


@pytest.mark.parametrize("value", [5, None, b"bytes", ["list"], True])
def test_only_a_string_is_a_key_or_a_token(value: object) -> None:
    for check in (authorization_key, access_token):
        with pytest.raises(ConfigError, match=f"must be a string, not {type(value).__name__}"):
            check(value)  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_any_pasted_text_becomes_a_header_value_or_a_config_error(pasted: str) -> None:
    for check in (authorization_key, access_token):
        message, kept = "", "x"
        try:
            kept = check(pasted).reveal()
        except ConfigError as error:
            message = str(error)
        assert len(message) < 300
        assert kept
        assert kept.isascii()
        assert kept.isprintable()
        assert " " not in kept


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=60))
def test_every_pair_of_parts_is_kept_unchanged(first: bytes, second: bytes) -> None:
    key = base64.b64encode(first + b":" + second).decode()
    assert authorization_key(key).reveal() == key
    assert authorization_key(f" Basic {key}\r\n").reveal() == key


# -- keys of a client ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [name for name, (pasted, _) in REFUSED.items() if pasted.strip(" \r\n\"'") != ""])
def test_a_client_sends_an_unusual_key_and_warns(case: str) -> None:
    pasted, reason = REFUSED[case]
    if not pasted.isascii():
        with pytest.raises(ConfigError, match=reason):
            usable_key(pasted)
        return
    with pytest.warns(UserWarning, match=re.escape(reason)) as caught:
        key = usable_key(pasted)
    assert isinstance(key, Secret)
    assert key.reveal() in pasted.replace(" ", "")
    assert caught[0].filename == __file__
    for part in (pasted, ID, SECRET, KEY[:30], TOKEN[:60]):
        assert len(part) < 6 or part not in str(caught[0].message)


@pytest.mark.parametrize("pasted", ["", " \r\n", '""', 5])
def test_a_key_that_cannot_be_a_header_is_refused(pasted: Any) -> None:
    with pytest.raises(ConfigError, match=r"is empty|must be a string"):
        usable_key(pasted)


def test_a_usual_key_gives_no_warning() -> None:
    assert usable_key(f"Basic {KEY}").reveal() == KEY


def test_the_server_decides_about_a_placeholder(gigachat_emulator: GigaChatEmulator) -> None:
    options = {**gigachat_emulator.client_options, "credentials": "test-key"}
    with pytest.warns(UserWarning, match="credentials is base64, but not of") as caught:
        giga = GigaChat(**options)
    assert caught[0].filename == __file__
    with giga, pytest.raises(AuthenticationError, match="no access token"):
        giga.chat("Hello")
    assert gigachat_emulator.oauth_requests[0].headers["authorization"] == "Basic test-key"
