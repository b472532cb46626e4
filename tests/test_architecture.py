"""The layers of the package, the modules with locks, and what an import may do.

Imports are read with ``ast``, so those inside functions and under ``TYPE_CHECKING`` count as well.
"""

from __future__ import annotations

import ast
import configparser
import fnmatch
import functools
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "gigaclient"

PAGE = CHECKOUT / "docs" / "architecture.md"
CERTS = "certs"  # data, in a separate folder at the top of the checkout
CLIENT_LAYER = 10  # `import gigaclient` loads nothing above it
MAX_ROOT_MODULES = 14
HTTP_LIBRARIES = {"requests", "urllib3"}
OPTIONAL_PACKAGES = {
    "h11", "trustme", "rstr", "werkzeug", "cryptography", "yaml", "pytest", "_pytest", "hypothesis", "responses",
    "filelock", "pydantic", "attr", "attrs", "annotated_types", "IPython", "ipykernel", "django", "flask", "httpx",
    "aiohttp", "numpy", "tqdm", "click", "rich", "markdown_it", "keyring", "prompt_toolkit", "asgiref", "sphinx",
    "dask", "distributed", "cloudpickle", "celery", "redis", "ray", "pyspark", "pandas", "polars", "ipywidgets",
    "opentelemetry", "llm", "langchain", "langchain_core", "langchain_gigachat", "gigachat", "litellm", "pydantic_ai",
    "llama_index", "socks",
}  # fmt: skip
# The extras whose packages a module may import.
EXTRAS = {
    "testing": {"testing"},
    "cli": {"cli"},
    "contrib.flask": {"flask"},
    "contrib.django": {"django"},
    "contrib.jupyter": {"jupyter"},
    "types.markdown_code": {"jupyter"},
    "contrib.opentelemetry": {"otel"},
    "contrib.langchain": {"langchain"},
    "contrib.llm": {"llm"},
    "bulk.progress": {"progress"},
    "auth.shared_source": {"cache"},
    "auth.token_store": {"cache"},
    "transport.socks_tunnel": {"socks"},
}
INSTALLED_WITH = {
    "flask": {"werkzeug"},
    "django": {"asgiref"},
    "testing": {"pytest"},
    "langchain": {"gigachat", "pydantic"},
    "llm": {"pydantic"},
}
# Packages whose import name differs from their own.
IMPORTED_AS = {
    "docstring-parser": "docstring_parser",
    "pyyaml": "yaml",
    "ipython": "IPython",
    "langchain-core": "langchain_core",
    "langchain-gigachat": "langchain_gigachat",
    "markdown-it-py": "markdown_it",
    "opentelemetry-api": "opentelemetry",
    "opentelemetry-instrumentation": "opentelemetry",
    "prompt-toolkit": "prompt_toolkit",
    "pysocks": "socks",
}
LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}


# -- reading the package ---------------------------------------------------------------------------


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return every module by its dotted name below gigaclient; a package's name stands for its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    assert len(found) > 15, "the package was not found"
    return found


def path_of(module: str) -> str:
    """Return ``transport/socket.py``, as the documents write it, for ``transport.socket``."""
    parts = module.split(".") if module else []
    is_package = PACKAGE.joinpath(*parts, "__init__.py").is_file()
    return "/".join([*parts, "__init__.py"]) if is_package else "/".join(parts) + ".py"


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Yield all imports of ``module``, as absolute dotted names, with the line."""
    package = module if PACKAGE.joinpath(*module.split("."), "__init__.py").is_file() else module.rpartition(".")[0]
    home = ["gigaclient", *package.split(".")] if package else ["gigaclient"]
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            origin = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                yield f"{origin}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def internal_imports() -> Iterator[tuple[str, str]]:
    """Yield pairs of our modules: the importer and the imported one."""
    for importer in modules():
        for name, _ in imports(importer):
            parts = name.split(".")
            if parts[0] != "gigaclient":
                continue
            inner = parts[1:]
            while ".".join(inner) not in modules() and inner != [CERTS]:
                inner.pop()  # a name in a module; at last the package itself
            yield importer, ".".join(inner)


def tables(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading of docs/architecture.md, as cells."""
    assert PAGE.is_file(), "docs/architecture.md is missing"
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section, f'docs/architecture.md has no heading "## {heading}"'
    rows = re.findall(r"^\|(.+)\|$", section.group(1), re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows]


@functools.cache
def layers() -> dict[str, float]:
    """Return the layer of each package and root module, as docs/architecture.md has them."""
    plan: dict[str, float] = {}
    for number, names, *_ in tables("Layers"):
        for path in re.findall(r"`([^`]+)`", names):
            name = path.removesuffix(".py").rstrip("/")
            assert name not in plan, f"docs/architecture.md: {path} is in two layers"
            plan[name] = int(number)
    assert len(plan) > 15, 'no row such as "| 0 | `errors.py` | vocabulary |" under "## Layers"'
    # The package itself imports from all of the client, and the tools above the client import from it.
    plan[""] = CLIENT_LAYER + 0.5
    plan[CERTS] = 0
    return plan


def layer(module: str) -> float:
    package = module.partition(".")[0]
    assert package in layers(), f"{path_of(module)} is in no layer: add it to docs/architecture.md"
    return layers()[package]


# -- layers ----------------------------------------------------------------------------------------


def test_every_module_is_in_a_layer() -> None:
    assert {module.partition(".")[0] for module in modules()} - set(layers()) == set()


def test_every_package_in_the_table_of_layers_exists() -> None:
    assert set(layers()) - {module.partition(".")[0] for module in modules()} == {CERTS}


def test_every_path_on_the_page_exists() -> None:
    paths = re.findall(r"`((?:[\w.]+/)+(?:\w+\.py)?)`", PAGE.read_text("utf-8"))
    assert len(paths) > 40
    assert [path for path in paths if not any((root / path).exists() for root in (PACKAGE, CHECKOUT))] == []


def test_the_root_holds_few_modules_and_no_private_one() -> None:
    root = {path.stem for path in PACKAGE.glob("*.py")}
    assert len(root) <= MAX_ROOT_MODULES
    # _types is a name of the official SDK.
    assert [name for name in root if name.startswith("_") and not name.startswith("__")] == ["_types"]


def test_imports_go_to_lower_layers() -> None:
    upward = [
        f"{path_of(importer)} imports {path_of(imported)}"
        for importer, imported in internal_imports()
        if layer(imported) > layer(importer)
    ]
    assert upward == []


def test_no_package_is_part_of_a_circle() -> None:
    below: dict[str, set[str]] = {}
    for importer, imported in internal_imports():
        package, other = importer.partition(".")[0], imported.partition(".")[0]
        if package != other and "" not in (package, other) and other != CERTS:
            below.setdefault(package, set()).add(other)
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError


def test_no_module_is_part_of_a_circle() -> None:
    below: dict[str, set[str]] = {module: set() for module in modules()}
    for importer, imported in internal_imports():
        # A package's own modules may be imported by its __init__ and import each other; they never need the __init__.
        if importer != imported and imported != CERTS:
            below[importer].add(imported)
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " -> ".join(path_of(module) for module in error.args[1]))


def test_the_providers_do_not_know_each_other() -> None:
    crossing = [
        (path_of(importer), path_of(imported))
        for importer, imported in internal_imports()
        if {importer.partition(".")[0], imported.partition(".")[0]} == {"gigachat", "fakegpt"}
    ]
    assert crossing == []


def test_only_the_transport_imports_requests_and_urllib3() -> None:
    elsewhere = [
        f"{path_of(module)}:{line} imports {name}"
        for module in modules()
        if module.partition(".")[0] != "transport"
        for name, line in imports(module)
        if name.partition(".")[0] in HTTP_LIBRARIES
    ]
    assert elsewhere == []
    assert any(
        name.startswith("requests") for module in modules() if "transport" in module for name, _ in imports(module)
    )


def extras_of(module: str) -> set[str]:
    """Return the extras that ``module`` needs."""
    return set().union(*(extras for package, extras in EXTRAS.items() if f"{module}.".startswith(f"{package}.")))


def test_optional_packages_are_imported_only_by_the_modules_that_they_are_for() -> None:
    elsewhere = [
        f"{path_of(module)}:{line} imports {name}"
        for module in modules()
        if not extras_of(module)
        for name, line in imports(module)
        if name.partition(".")[0] in OPTIONAL_PACKAGES
    ]
    assert elsewhere == []


def test_whatever_is_imported_is_declared() -> None:
    config = configparser.ConfigParser(delimiters=("=",))
    config.read(CHECKOUT / "setup.cfg", "utf-8")
    required = re.findall(r"^([\w-]+)", config["options"]["install_requires"], re.MULTILINE)
    runtime = {IMPORTED_AS.get(name, name) for name in required}
    extras = {
        extra: {IMPORTED_AS.get(name, name) for name in re.findall(r"^([\w-]+)", packages, re.MULTILINE)}
        for extra, packages in config["options.extras_require"].items()
    }
    # certifi comes with requests. pytest loads the plugin, so it is installed then.
    type_checkers_only = {"_typeshed", "typing_extensions"}
    free = sys.stdlib_module_names | {"gigaclient", "certifi"} | type_checkers_only | runtime
    undeclared = []
    for module in modules():
        allowed = free.union(*(extras[extra] | INSTALLED_WITH.get(extra, set()) for extra in extras_of(module)))
        for name, line in imports(module):
            if name.partition(".")[0] not in allowed:
                undeclared.append(f"{path_of(module)}:{line} imports {name}")
    assert undeclared == []
    imported = {name.partition(".")[0] for module in modules() for name, _ in imports(module)}
    assert runtime.union(*extras.values()) - imported == set(), "declared, and imported nowhere"


def test_the_emulator_is_imported_by_nothing_that_ships_answers() -> None:
    importers = {
        importer.partition(".")[0] for importer, imported in internal_imports() if imported.startswith("testing")
    }
    assert importers <= {"testing", "cli", "__main__"}


# -- locks -----------------------------------------------------------------------------------------


def lock_table() -> dict[str, str]:
    """Return the table under "## Locks": module (or pattern), and what its lock guards."""
    table = {
        name.removeprefix("gigaclient/"): row[1] for row in tables("Locks") for name in re.findall(r"`(.+?)`", row[0])
    }
    assert table, 'no row such as "| `auth/token_manager.py` | guards ... |" under "## Locks" in docs/architecture.md'
    return table


def modules_with_locks() -> dict[str, int]:
    """Return the modules that name a lock of ``threading``, under any import name, with the first line."""
    found: dict[str, int] = {}
    for module, tree in modules().items():
        aliases = {"threading"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                aliases |= {alias.asname for alias in node.names if alias.name == "threading" and alias.asname}
        for node in ast.walk(tree):
            from_threading = isinstance(node, ast.ImportFrom) and node.module == "threading"
            if (from_threading and any(alias.name in LOCKS for alias in node.names)) or (
                isinstance(node, ast.Attribute)
                and node.attr in LOCKS
                and isinstance(node.value, ast.Name)
                and node.value.id in aliases
            ):
                found.setdefault(path_of(module), node.lineno)
    return found


def test_locks_are_only_in_the_modules_that_the_table_names() -> None:
    table = lock_table()
    unnamed = [
        f"gigaclient/{path}:{line}"
        for path, line in modules_with_locks().items()
        if not any(fnmatch.fnmatch(path, pattern) for pattern in table)
    ]
    assert unnamed == [], 'add a row to "## Locks" in docs/architecture.md first'


def test_every_module_in_the_table_of_locks_has_one_and_says_what_it_guards() -> None:
    locked = modules_with_locks()
    for pattern, guards in lock_table().items():
        assert fnmatch.filter(locked, pattern), f"docs/architecture.md: there is no lock in {pattern}"
        assert len(guards) > 3, f"docs/architecture.md does not say what the lock in {pattern} guards"


# -- what an import does ---------------------------------------------------------------------------

_WATCHED_IMPORT = """
import json, logging, os, sys, threading

read, started = [], []

class Watched(dict):
    def _note(self, key):
        read.append(str(key))
    def __getitem__(self, key):
        self._note(key); return super().__getitem__(key)
    def get(self, key, default=None):
        self._note(key); return super().get(key, default)
    def __contains__(self, key):
        self._note(key); return super().__contains__(key)
    def _all(self):
        frame = sys._getframe(2)
        if frame.f_globals.get("__name__", "").startswith("gigaclient"):
            read.append("GIGACHAT_*: all of it, by " + frame.f_globals["__name__"])
    def __iter__(self):
        self._all(); return super().__iter__()
    def items(self):
        self._all(); return super().items()
    def keys(self):
        self._all(); return super().keys()
    def copy(self):
        self._all(); return super().copy()

os.environ = Watched(os.environ)
start = threading.Thread.start
threading.Thread.start = lambda thread: (started.append(thread.name), start(thread))[1]

import gigaclient

os.environ.get("SEEN_BY_WATCHED")
json.dump({
    "read": read,
    "started": started,
    "threads": threading.active_count(),
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "inner": sorted(name for name in sys.modules if name.startswith("gigaclient")),
    "root_handlers": len(logging.getLogger().handlers),
    "handlers": [type(handler).__name__ for handler in logging.getLogger("gigaclient").handlers],
    "level": logging.getLogger("gigaclient").level,
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The effects of ``import gigaclient`` in a new interpreter where every optional package is installed."""
    command = [sys.executable, "-c", _WATCHED_IMPORT]
    run = subprocess.run(command, cwd=tmp_path_factory.mktemp("empty"), capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    found: dict[str, Any] = json.loads(run.stdout)
    assert "SEEN_BY_WATCHED" in found["read"]
    return found


def test_importing_starts_no_thread(seen: dict[str, Any]) -> None:
    assert seen["started"] == []
    assert seen["threads"] == 1


def test_importing_reads_none_of_our_environment_variables(seen: dict[str, Any]) -> None:
    assert [name for name in seen["read"] if name.startswith(("GIGACHAT", "FAKEGPT", "GIGACLIENT"))] == []


def test_importing_imports_no_optional_package(seen: dict[str, Any]) -> None:
    assert OPTIONAL_PACKAGES & set(seen["modules"]) == set()


def test_importing_leaves_testing_and_the_commands_alone(seen: dict[str, Any]) -> None:
    inner = [name.partition(".")[2] for name in seen["inner"]]
    assert "errors" in inner
    assert [name for name in inner if name.partition(".")[0] != CERTS and layer(name) > CLIENT_LAYER + 0.5] == []


def test_importing_adds_no_handler_but_a_null_handler(seen: dict[str, Any]) -> None:
    assert seen["root_handlers"] == 0
    assert seen["handlers"] == ["NullHandler"]
    assert seen["level"] == 0


# -- what must not be written anywhere -------------------------------------------------------------


def project_files() -> list[Path]:
    """Return the files that are, or would be, in version control."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT, capture_output=True, check=True, timeout=50,
        ).stdout.decode().split("\0")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # an unpacked sdist
        generated = {".venv", "dist", "build", ".git"}
        listed = [str(path.relative_to(CHECKOUT)) for path in CHECKOUT.rglob("*") if not generated & set(path.parts)]
    files = [CHECKOUT / name for name in listed if name and "__pycache__" not in name]
    return [path for path in files if path.is_file() and ".egg-info" not in str(path)]


def forbidden() -> dict[str, re.Pattern[str]]:
    # Joined from parts, so that this file passes the search too.
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("crates", "io")]
    hosts += [("debian", "org"), ("ubuntu", "com"), ("conda", "anaconda", "org"), ("proxy", "golang", "org")]
    folders = "|".join(("work", "root", "tmp", "opt", "home"))
    return {
        "a folder beside the checkout": re.compile(r"\.\./" + "shared"),
        "a package registry's host": re.compile("|".join(re.escape(".".join(host)) for host in hosts)),
        "a path of one machine": re.compile(r"(?<![\w.*$}/:])/(?:" + folders + r")(?:/|\b)"),
    }


def test_the_project_is_found_where_it_is_searched() -> None:
    names = {str(path.relative_to(CHECKOUT)) for path in project_files()}
    assert {"setup.cfg", "Makefile", ".ci/run", "certs/README.md", "tests/test_architecture.py"} <= names


@pytest.mark.parametrize("name", forbidden())
def test_no_file_contains(name: str) -> None:
    pattern = forbidden()[name]
    found = []
    for path in project_files():
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:100]}")
    assert found == []
