"""The instrumentor of all clients, and clients that are copied, pickled or used without OpenTelemetry."""

from __future__ import annotations

import copy
import importlib.metadata
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from support.telemetry import Telemetry, get_tide

from gigaclient import GigaChat
from gigaclient.contrib.opentelemetry import GigaClientInstrumentor, instrument
from gigaclient.testing import GigaChatEmulator

PROMPT = "Count from 1 to 5"
SECONDS = 50
PROGRAM = """\
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from gigaclient import GigaChat

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
with GigaChat() as giga:
    giga.chat("Hello!")
"""


@pytest.fixture
def instrumentor(telemetry: Telemetry) -> Iterator[GigaClientInstrumentor]:
    instrumentor = GigaClientInstrumentor()
    instrumentor.instrument(**telemetry.providers)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def test_clients_made_meanwhile_are_instrumented(
    emulator: GigaChatEmulator, telemetry: Telemetry, instrumentor: GigaClientInstrumentor
) -> None:
    with GigaChat(**emulator.client_options) as giga:
        giga.chat(PROMPT)
        giga.with_options(model="GigaChat-2-Max").chat(PROMPT)
        instrumentor.uninstrument()
        giga.chat(PROMPT)
    assert [span.name for span in telemetry.spans] == ["chat GigaChat-2", "chat GigaChat-2-Max"]
    with GigaChat(**emulator.client_options) as giga:
        giga.chat(PROMPT)
        assert giga._executor.hooks is None
    assert len(telemetry.spans) == 2


@pytest.mark.usefixtures("instrumentor")
def test_a_client_instrumented_by_itself_too_has_one_span_for_each_call(giga: GigaChat, telemetry: Telemetry) -> None:
    giga.run("How high is the tide in Murmansk?", functions=[get_tide])
    names = [span.name for span in telemetry.spans]
    assert names == ["chat GigaChat-2", "execute_tool get_tide", "chat GigaChat-2"]


@pytest.mark.usefixtures("instrumentor")
def test_the_one_call_form_is_instrumented(emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    options = {**emulator.client_options, "api_key": emulator.credentials}
    options.pop("credentials")
    assert "".join(GigaChat.create_generator("GigaChat-2", PROMPT, **options)) == "1, 2, 3, 4, 5"
    assert telemetry.span.name == "chat GigaChat-2"


def test_the_entry_point_is_the_instrumentor_of_this_version() -> None:
    (point,) = importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="gigaclient")
    assert point.load() is GigaClientInstrumentor
    (needed,) = GigaClientInstrumentor().instrumentation_dependencies()
    assert needed == f"gigaclient == {importlib.metadata.version('gigaclient')}"


def test_the_command_of_opentelemetry_finds_it(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, str(script)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **emulator.environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"name": "chat GigaChat-2"' in done.stdout
    assert '"gen_ai.usage.input_tokens"' in done.stdout


def test_a_pickled_or_copied_client_uses_the_global_providers(
    giga: GigaChat, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Telemetry()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", elsewhere.tracer_provider)
    with pickle.loads(pickle.dumps(giga)) as other:
        other.chat(PROMPT)
    assert (len(telemetry.spans), len(elsewhere.spans)) == (0, 1)
    with copy.copy(giga) as other:
        other.chat(PROMPT)
    assert (len(telemetry.spans), len(elsewhere.spans)) == (1, 1)


def test_without_a_provider_nothing_is_recorded_and_everything_works(emulator: GigaChatEmulator) -> None:
    with GigaChat(**emulator.client_options) as giga:
        assert instrument(giga, capture_content=True).chat(PROMPT).text == "1, 2, 3, 4, 5"
        assert giga.stream(PROMPT).result().text == "1, 2, 3, 4, 5"


def test_without_the_package_the_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try:\n    import gigaclient.contrib.opentelemetry\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert 'needs opentelemetry, which is not installed: pip install "opentelemetry-api' in done.stdout
