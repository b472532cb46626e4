"""Tests of the documentation page on testing: its files and snippets are written to disk and run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import LANGUAGES, files, run, snippets

from gigaclient import BadRequestError, FakeGpt, GigaChat
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

FILES = {
    "test_function.py": 4,
    "test_flask_view.py": 5,
    "test_django_view.py": 4,
    "test_timeouts.py": 2,
    "test_with_unittest.py": 1,
}
PYTEST = ("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly")


@pytest.fixture(scope="module", params=LANGUAGES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of the page in one language to a folder."""
    code_by_name = files(f"{request.param}/testing")
    assert list(code_by_name) == list(FILES)
    folder = tmp_path_factory.mktemp(request.param)
    for name, code in code_by_name.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


def test_the_files_of_the_page_pass(folder: Path) -> None:
    # The page says that they run in parallel with pytest-xdist.
    parallel = ("-n", "2", "--dist", "loadfile") if folder.name.startswith("en") else ()
    done = run(folder, *PYTEST, *parallel, *FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sum(FILES.values())} passed" in done.stdout


def test_unittest_needs_no_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_with_unittest.py").write_text(files("en/testing")["test_with_unittest.py"], encoding="utf-8")
    done = run(tmp_path, "-W", "error", "-m", "unittest", "test_with_unittest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 1 test" in done.stderr


def test_the_tests_of_the_page_fail_when_the_code_under_test_is_wrong(tmp_path: Path) -> None:
    code = files("en/testing")["test_function.py"].replace("temperature=0.1)", "temperature=0.9)")
    (tmp_path / "test_function.py").write_text(code, encoding="utf-8")
    done = run(tmp_path, *PYTEST, "test_function.py")
    assert done.returncode == 1
    assert "1 failed, 3 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_other_snippets_of_the_page_run_in_order(tmp_path: Path, language: str) -> None:
    complete_files = files(f"{language}/testing").values()
    script = "\n\n".join(code for code in snippets(f"{language}/testing") if code not in complete_files)
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    done = run(tmp_path, "-W", "error", "page.py")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.strip().splitlines()
    assert len(printed) == 13, printed
    assert "Murmansk" in printed[2] or "Мурманск" in printed[2]
    assert printed[7] in ("Yes. 1, 2, 3 Yes.", "Да. 1, 2, 3 Да.")
    assert "1, 2, 3" in printed[8]
    assert printed[9].startswith(("after two", "после двух"))
    assert printed[10].endswith(": 1") and printed[11].endswith(("new connection", "новому соединению"))


# -- features of the page ----------------------------------------------------------------------------------------------


def test_prompts_and_chats_have_the_requests_of_both_apis(gigachat_emulator: GigaChatEmulator) -> None:
    history = [
        {"role": "system", "content": "Briefly."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    with GigaChat(**gigachat_emulator.client_options, retry_backoff_factor=0) as giga:
        giga.chat(history, temperature=0.5)
        giga.chat.create("three")
        giga.stream("four").result()
        giga.get_models()
        gigachat_emulator.inject(Fault(status=503))
        giga.chat("five")
        with pytest.raises(BadRequestError):
            giga.request("POST", "/chat/completions", data=b"no JSON")
    assert gigachat_emulator.prompts == ["two", "three", "four", "five", "five"]
    assert [body.get("stream", False) for body in gigachat_emulator.chats] == [False, False, True, False, False]
    assert gigachat_emulator.chats[0]["temperature"] == 0.5


def test_prompts_has_the_requests_of_fakegpt(fakegpt_emulator: FakeGptEmulator) -> None:
    with FakeGpt(**fakegpt_emulator.client_options) as fake:
        fake.chat("one")
        list(fake.generate("two"))
    assert [prompt.split()[-1] for prompt in fakegpt_emulator.prompts] == ["one", "two"]


def test_the_environment_points_only_at_the_emulator(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("GIGACHAT_MODEL", "GigaChat-99")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    emulator = request.getfixturevalue("gigachat_env")
    with GigaChat() as giga:
        assert giga.chat("Hello!").text
        assert giga.model == "GigaChat-2"
    assert emulator.prompts == ["Hello!"]
    other = request.getfixturevalue("fakegpt_env")
    with FakeGpt() as fake:
        assert fake.chat("Hello!").text
    assert len(other.prompts) == 1


@pytest.mark.parametrize("fixture", ["gigachat_emulator", "fakegpt_emulator"])
def test_waiting_for_streams_to_end_has_a_limit_and_ends_with_the_last(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    emulator = request.getfixturevalue(fixture)
    client = GigaChat if fixture == "gigachat_emulator" else FakeGpt
    emulator.wait_until_idle(0)
    emulator.inject(Fault(stall_after_events=4))  # the first events of FakeGpt have no text
    with client(**emulator.client_options) as provider:
        stream = provider.stream("Count from 1 to 5")
        assert next(stream).text
        with pytest.raises(TimeoutError, match="1 streams are still open"):
            emulator.wait_until_idle(0.05)
        stream.close()
        emulator.wait_until_idle()
    assert emulator.open_streams == 0
