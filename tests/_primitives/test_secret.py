"""Tests that a secret is a string for code that sends it, and shows only a mask."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback

import pytest

from gigaclient._primitives.secret import MASK, Secret, echoes_of, mask, secret_parts

HIDDEN = "correct horse battery staple"


def views(secret: Secret) -> dict[str, str]:
    class Holder:
        def __init__(self) -> None:
            self.held = secret

    record = logging.LogRecord("x", logging.DEBUG, "", 0, "%s %r", (secret, secret), None)
    return {
        "repr": repr(secret),
        "str": str(secret),
        "f-string": f"{secret} {secret!r} {secret!s} {secret!a} {secret:>40}",
        "%": "%s %r" % (secret, secret),  # noqa: UP031 - it is what is tested
        "format": "{} {!r} {:<50}".format(secret, secret, secret),  # noqa: UP032
        "list": repr([secret]) + str((secret, {secret: secret})),
        "vars": repr(vars(Holder())),
        "log": record.getMessage(),
        "ascii": ascii(secret),
    }


@pytest.mark.parametrize("view", list(views(Secret(HIDDEN))))
def test_it_does_not_show_itself(view: str) -> None:
    shown = views(Secret(HIDDEN))[view]
    assert HIDDEN not in shown
    assert MASK in shown


def test_a_traceback_with_local_variables_shows_the_mask() -> None:
    def fail(secret: Secret) -> None:
        kept = {"header": secret, "list": [secret]}
        raise ValueError(len(kept))

    with pytest.raises(ValueError) as caught:
        fail(Secret(HIDDEN))
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "kept" in text
    assert HIDDEN not in text


def test_it_is_the_string_to_those_who_send_it() -> None:
    secret = Secret(HIDDEN)
    assert secret == HIDDEN
    assert hash(secret) == hash(HIDDEN)
    assert "Bearer " + secret == f"Bearer {HIDDEN}"
    assert secret.encode("latin-1") == HIDDEN.encode()
    assert json.loads(json.dumps(secret)) == HIDDEN


def test_revealing_gives_a_plain_string() -> None:
    assert type(Secret(HIDDEN).reveal()) is str
    assert repr(Secret(HIDDEN).reveal()) == repr(HIDDEN)


def test_a_secret_of_a_secret_has_the_content_and_not_the_mask() -> None:
    assert Secret(Secret(HIDDEN)).reveal() == HIDDEN


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda secret: pickle.loads(pickle.dumps(secret))])
def test_a_copy_is_a_secret_with_the_same_content(travel: object) -> None:
    assert callable(travel)
    copied = travel(Secret(HIDDEN))
    assert isinstance(copied, Secret)
    assert copied.reveal() == HIDDEN


def basic(pair: str) -> Secret:
    return Secret("Basic " + base64.b64encode(pair.encode()).decode())


def test_a_server_may_repeat_the_key_its_pair_and_its_long_parts() -> None:
    header = basic("a-client-id:a-client-secret")
    echoes = echoes_of([header])
    for text in (header.reveal(), header.reveal()[6:], "a-client-id:a-client-secret", "a-client-id", "a-client-secret"):
        assert mask(f"<{text}>", echoes) == f"<{MASK}>"


@pytest.mark.parametrize(("part", "is_masked"), [("seven77", False), ("eight888", True)])
def test_a_short_part_of_a_key_is_a_word_of_other_texts(part: str, is_masked: bool) -> None:
    assert secret_parts(f"id:{part}") == [part] * is_masked
    assert secret_parts(f"{part}:id") == [part] * is_masked
    assert secret_parts(part) == []
    assert (mask(f"a{part}z", echoes_of([basic(f"id:{part}")])) == f"a{MASK}z") is is_masked
