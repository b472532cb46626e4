"""The targets of ``make fuzz`` pass on seeds of real servers, and can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "fuzz"


@pytest.fixture(scope="module")
def targets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_targets", FOLDER / "targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_target_holds_for_every_seed(targets: ModuleType) -> None:
    seeds = list(targets.seeds())
    assert {seed[0] for seed in seeds} == set(range(len(targets.TARGETS)))
    for seed in seeds:
        targets.one_input(seed)


def test_a_target_notices_a_decoder_that_depends_on_the_cut(
    targets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty(targets.sse.Decoder):  # type: ignore[name-defined, misc]
        def feed(self, block: bytes) -> object:
            return super().feed(block + b"\n\n")

    monkeypatch.setattr(targets.sse, "Decoder", Hasty)
    with pytest.raises(AssertionError):
        targets.events(b"data: a word\n\n", 3)


def test_a_target_notices_a_document_that_is_not_json(targets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    document = SimpleNamespace(data=b"{", repaired=())
    monkeypatch.setattr(targets, "find_documents", lambda text: [document])
    with pytest.raises(msgspec.DecodeError):
        targets.untidy_json(b"{}", 0)


def test_a_target_notices_a_mistake_that_is_answered_in_the_same_words(
    targets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigaclient.gigachat.tool_mistakes.Mistakes.answer", lambda *call: ("no", '{"error":"no"}'))
    with pytest.raises(AssertionError):
        targets.tool_loop(b"[1]", 1)


def test_a_target_notices_an_error_that_is_not_ours(targets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def raw(self: object, event: object) -> object:
        raise KeyError("choices")

    monkeypatch.setattr(targets.ChunkParser, "parse_event", raw)
    with pytest.raises(KeyError):
        targets.gigachat_stream(b"data: {}\n\n", 0)
