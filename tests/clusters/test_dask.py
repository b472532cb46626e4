"""``giga.map`` on a Dask cluster: two worker processes, one of which is killed during the run; and the page's script.

The cluster runs in a separate process. The emulator runs here and counts the prompts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.pages import files, run
from support.reliability_tools import run_python

from gigaclient.testing import Fault, GigaChatEmulator

# Not imported here: it would change how this process pickles objects.
pytestmark = pytest.mark.skipif(find_spec("distributed") is None, reason="Dask is not installed")

PROMPTS = 45
THREADS = 4

SCRIPT = """
import json, os, signal
from dataclasses import dataclass
import msgspec
from distributed import Client, LocalCluster
from gigaclient import ConfigError, GigaChat

@dataclass
class Feeling:
    mood: str

class Record(msgspec.Struct):
    mood: str

def get_weather(city: str) -> str:
    "The weather in a city."
    return f"sunny in {city}, says {os.getpid()}"

def as_dicts(results):
    return [{"text": r.text, "error": r.error and repr(r.error), "seconds": r.seconds} for r in results]

if __name__ == "__main__":
    giga = GigaChat(**parameters["options"], timeout=40)
    report = {}
    with LocalCluster(n_workers=2, threads_per_worker=parameters["threads"], dashboard_address=None) as cluster:
        with Client(cluster) as client:
            executor = client.get_executor(pure=True)
            workers = client.run(os.getpid)
            pids = list(workers.values())
            question = ["What is the weather in Paris?"] * 6
            ran = list(giga.map(question, functions=[get_weather], executor=executor))
            report["functions"] = [result.run.steps[0].result["result"] for result in ran]
            [read] = giga.map(["I am glad"], response_format=Feeling, executor=executor)
            report["value"] = repr(read.value), type(read.value) is Feeling
            try:
                giga.map(["I am glad"], response_format=Record, executor=executor)
            except ConfigError as error:
                report["struct"] = str(error)

            prompts = [f"Say {number} and nothing else" for number in range(parameters["prompts"])]
            results = giga.map(prompts, executor=executor, max_workers=2 * parameters["threads"])
            killed = []
            for result in results:
                killed.append(result)
                if result.index == 20:
                    address, pid = next(iter(workers.items()))
                    while not client.call_stack().get(address):
                        pass  # until the worker runs a task
                    os.kill(pid, signal.SIGKILL)
            report["killed"] = as_dicts(killed)
            report["progress"] = results.progress
    report["pids"] = pids
    print(json.dumps(report))
"""


@dataclass
class ScriptRun:
    """The report of the script, and the prompts that the emulator received."""

    report: dict[str, Any]
    prompts: Counter[str] = field(default_factory=Counter)
    oauth_calls: int = 0


@pytest.fixture(scope="module")
def script_run() -> Iterator[ScriptRun]:
    """Run the script to its end."""
    with GigaChatEmulator(answer_pause_s=0.3) as emulator:
        # The first prompt is refused: it must be sent again, and not be taken for an answered one.
        emulator.inject(Fault(status=429, retry_after=0))
        parameters = {"options": emulator.client_options, "prompts": PROMPTS, "threads": THREADS}
        report = json.loads(run_python(SCRIPT, parameters, timeout=55))
        yield ScriptRun(report, Counter(emulator.prompts), emulator.oauth_calls)


def test_after_a_killed_worker_no_prompt_is_lost_or_sent_more_than_twice(script_run: ScriptRun) -> None:
    found = script_run.report["killed"]
    assert [result["text"] for result in found] == [str(number) for number in range(PROMPTS)]
    assert [result["error"] for result in found if result["error"]] == []
    sent = {prompt: count for prompt, count in script_run.prompts.items() if prompt.startswith("Say ")}
    assert len(sent) == PROMPTS
    assert max(sent.values()) <= 2, "another worker sends only the prompts that the killed one was working on"
    assert sum(sent.values()) <= PROMPTS + 2 * THREADS, "running prompts, and answers that were not delivered yet"


def test_functions_and_types_of_a_script_travel(script_run: ScriptRun) -> None:
    pids = {int(result.rpartition(" ")[2]) for result in script_run.report["functions"]}
    assert pids <= set(script_run.report["pids"])
    assert len(script_run.report["functions"]) == 6
    assert script_run.report["value"] == ["Feeling(mood='mood')", True]
    assert "msgspec.Struct Record of a script or notebook cannot be pickled" in script_run.report["struct"]


def test_equal_prompts_and_refused_ones_are_separate_tasks(script_run: ScriptRun) -> None:
    # Each needed two requests, which the emulator counts under the same prompt, and one more was refused.
    assert script_run.prompts["What is the weather in Paris?"] == 6 * 2 + 1


def test_there_is_one_token_for_each_process(script_run: ScriptRun) -> None:
    assert 1 <= script_run.oauth_calls <= 3, "two workers, and the one that replaced the killed one"


def test_the_time_to_reach_a_worker_does_not_count(script_run: ScriptRun) -> None:
    assert all(0.3 <= result["seconds"] < 20 for result in script_run.report["killed"])
    read, answered, failed, *_ = script_run.report["progress"]
    assert (read, answered, failed) == (PROMPTS, PROMPTS, 0)


def test_the_script_of_the_page_runs(gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "on_dask.py").write_text(files("en/clusters")["on_dask.py"], "utf-8")
    ended = run(tmp_path, "on_dask.py", variables=gigachat_emulator.environment)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(ended.stdout.splitlines()) == len(set(gigachat_emulator.prompts)) > 10
