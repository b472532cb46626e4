// pyodide.mjs PROJECT DIRECTORY PYTEST-ARGUMENTS...: run pytest on CPython in WebAssembly. scripts/test-next calls it.
import { loadPyodide } from "pyodide";

const [project, directory, ...args] = process.argv.slice(2);
const python = await loadPyodide({ env: { PYTHONDONTWRITEBYTECODE: "1" } });
for (const [from, to] of [[project, "/project"], [directory, "/environment"]]) {
  python.FS.mkdir(to);
  python.mountNodeFS(to, from);
}
python.globals.set("arguments", python.toPy(args));
try {
  process.exitCode = python.runPython(`
import os, platform, sys

sys.path[:0] = ["/environment/site", "/project/tests"]
os.chdir("/project")
print("Testing the installed package on", platform.python_implementation(), platform.python_version(), "in Pyodide.")

import pytest

# Parts of the names of tests that need what is not here.
MISSING = {
    "a large stack": ("[[[[[[[[", "deep", "holds_itself", "contains_itself"),
    "threads": ("thread", "latch_waits_without_a_bound"),
    "processes": ("forked_children", "imported_for_a_dataclass", "importing_gigaclient", "would_take_long_to_count",
                  "without_docstrings_a_warning"),
    "a clock of a thread": ("cost_time_in_proportion",),
}

class Runnable:
    def pytest_collection_modifyitems(self, config, items):
        without = [item for item in items if any(part in item.nodeid for parts in MISSING.values() for part in parts)]
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]

status = int(pytest.main(["-c", "/environment/pytest.ini", "--rootdir=/project", *arguments], plugins=[Runnable()]))

import gigaclient

for make in (gigaclient.GigaChat, gigaclient.FakeGpt):
    try:
        make(access_token="token").chat("Hello!")
    except gigaclient.ConfigError as error:
        assert "Python in WebAssembly cannot run a client" in str(error), error
    else:
        raise AssertionError("a client was made without sockets")
print("import gigaclient works; a client says that it needs sockets.")
status
`);
} catch (error) {
  console.error(String(error.message).slice(-2000));
  process.exitCode = 1;
}
