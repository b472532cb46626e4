"""Tests of the extra ``testing``: the fixtures, and the error message when the extra is missing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gigaclient.testing
from gigaclient._primitives.extras import install_command

WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Refuse())
"""


def run(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = str(Path(gigaclient.testing.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    # The tests load the plugin explicitly; without this, an installed one would be registered too.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_the_package_and_the_plugin_import_nothing_heavy() -> None:
    done = run(
        "import sys, gigaclient.testing, gigaclient.testing.plugin\n"
        "print(sorted({'trustme', 'h11', 'cryptography', 'gigaclient.testing.fault_server'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_every_exported_name_exists() -> None:
    for name in gigaclient.testing.__all__:
        assert getattr(gigaclient.testing, name) is not None
    assert set(gigaclient.testing.__all__) <= set(dir(gigaclient.testing))
    with pytest.raises(AttributeError, match="nothing"):
        _ = gigaclient.testing.nothing


@pytest.mark.parametrize("package", ["trustme", "h11"])
def test_a_missing_package_is_reported_with_the_install_command(package: str) -> None:
    done = run(
        WITHOUT.format(package=package)
        + "import gigaclient.testing\n"
        + "try: from gigaclient.testing import GigaChatEmulator\n"
        + "except ImportError as error: print(error)"
    )
    assert f"needs {package}, which is not installed: {install_command('testing')}" in done.stdout, done.stderr


USER_TEST = """
import ssl, http.client

def ask(port, ca_file):
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
    connection.request("GET", "/v1/models", headers={"User-Agent": "x"})
    status = connection.getresponse().status
    connection.close()
    return status

def test_one(gigachat_emulator):
    assert ask(gigachat_emulator.api_server.port, gigachat_emulator.ca_file) == 401

def test_two(fakegpt_emulator):
    assert ask(fakegpt_emulator.server.port, fakegpt_emulator.ca_file) == 404
"""
PYTEST = "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'gigaclient.testing.plugin', *sys.argv[1:]]))"


def test_the_fixtures_work_in_a_users_test(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(USER_TEST, encoding="utf-8")
    done = run(PYTEST, "test_mine.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_fixtures_fail_with_the_install_command(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(USER_TEST, encoding="utf-8")
    done = run(WITHOUT.format(package="trustme") + PYTEST, "test_mine.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count(install_command("testing")) >= 2
    assert "Traceback" not in done.stdout


def test_the_emulators_import_nothing_of_the_client() -> None:
    print_modules = (
        "ours = [name for name in sys.modules if name.startswith('gigaclient.')]\n"
        "print(sorted(name for name in ours if not name.startswith('gigaclient.testing')))"
    )
    alone = run(f"import sys, gigaclient\n{print_modules}")
    done = run(f"import sys, gigaclient.testing.command\nfrom gigaclient.testing import *\n{print_modules}")
    assert done.returncode == 0, done.stderr
    assert set(ast.literal_eval(done.stdout)) - set(ast.literal_eval(alone.stdout)) == {"gigaclient._primitives.extras"}
