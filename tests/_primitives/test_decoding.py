"""Tests that decoders are created one at a time: two threads that create one for the same types crash the process."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest
from support.reliability_tools import run_python

import gigaclient
from gigaclient._primitives.decoding import convert, decoder

PACKAGE = Path(gigaclient.__file__).parent

# A separate interpreter, because a failure is a crash. An annotation is evaluated when the first decoder is created,
# and other threads run meanwhile; here the evaluation lasts until they have done all they can.
TWO_THREADS = """
import threading, msgspec
from gigaclient._primitives.decoding import convert, decoder, new_decoder
from gigaclient._primitives.fork_safety import steps

reached, go_on, done = threading.Event(), threading.Event(), threading.Event()

def slowly():
    reached.set()
    assert go_on.wait(20)
    return int

class Inner(msgspec.Struct):
    number: "slowly()"

class Outer(msgspec.Struct):
    inner: Inner

def ask():
    print({ask})
    done.set()

first = threading.Thread(target=decoder, args=(Outer,))
second = threading.Thread(target=ask)
first.start()
assert reached.wait(20)
second.start()
print(done.wait(0.5), len(steps._running) > 0)
go_on.set()
for thread in first, second: thread.join(20)
print(done.is_set(), len(steps._running))
"""


@pytest.mark.parametrize(
    "ask",
    [
        """decoder(Outer).decode(b'{"inner": {"number": 1}}')""",
        """new_decoder(Outer, strict=False).decode(b'{"inner": {"number": 1}}')""",
        """convert({"inner": {"number": 1}}, Outer)""",
    ],
)
def test_no_thread_sees_the_incomplete_cache_of_another(ask: str) -> None:
    out = run_python(TWO_THREADS.replace("{ask}", ask))
    assert out.splitlines() == ["False True", "Outer(inner=Inner(number=1))", "True 0"]


def test_the_decoder_of_a_type_is_made_once() -> None:
    class Tide(msgspec.Struct):
        height: float

    assert decoder(Tide) is decoder(Tide)
    assert convert({"height": 1.5}, Tide) == Tide(1.5)
    with pytest.raises(msgspec.ValidationError):
        convert({"height": "1.5"}, Tide)
    assert convert({"height": "1.5"}, Tide, strict=False) == Tide(1.5)


def test_no_other_module_makes_decoders() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name == "_primitives/decoding.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                typed = len(node.args) > 1 or any(keyword.arg == "type" for keyword in node.keywords)
                made = called == "msgspec.convert" or called.endswith("json.Decoder")
                if made or (called == "msgspec.json.decode" and typed):
                    found.append(f"{name}:{node.lineno}: {called}")
    assert found == [], "take decoder() or convert() of gigaclient._primitives.decoding"
