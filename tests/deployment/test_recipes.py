"""The servers, workers and schedulers of docs/en/deployment.md, each started by the page's own command with its files.

The Russian page has the same code: see tests/test_docs.py. tests/clusters/test_celery.py has the recipe for Celery.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import trustme
from support.django_tools import CHECKOUT, clean_environment
from support.pages import blocks, files
from support.reliability_tools import free_port, wait_until
from support.web import Visit, end, names, text_of

from gigaclient.testing import Fault, GigaChatEmulator

PAGE = "en/deployment"
BIN = Path(sys.prefix, "bin")
COUNT = f"/chat?prompt={quote('Count from 1 to 5')}"
START_SECONDS = 40.0


@pytest.fixture(autouse=True)
def _cleared(emulator: GigaChatEmulator) -> Iterator[None]:
    yield
    emulator.clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for name, code in files(PAGE).items():
        (tmp_path / name).write_text(code, "utf-8")
    return tmp_path


def words_of(program: str, port: int) -> list[str]:
    """Return the page's command that begins with ``program``, in this environment and with another port."""
    [line] = [line for block in blocks(PAGE, "shell") for line in block.splitlines() if line.startswith(program)]
    words = shlex.split(line.replace("8000", str(port)))
    return [str(BIN / words[0]), *words[1:]]


def as_no_root() -> list[str]:
    """Return the beginning of a command that is not to run as root: Apache serves nothing then."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


def gthread(project: Path, port: int) -> list[str]:
    return words_of("gunicorn --bind 127.0.0.1:8000 --worker-class gthread", port)


def gevent(project: Path, port: int) -> list[str]:
    return words_of("gunicorn --bind 127.0.0.1:8000 --worker-class gevent", port)


def uwsgi(project: Path, port: int) -> list[str]:
    [settings] = blocks(PAGE, "ini")
    (project / "uwsgi.ini").write_text(settings.replace("8000", str(port)))
    return [str(BIN / "uwsgi"), "--home", sys.prefix, "uwsgi.ini"]


def waitress(project: Path, port: int) -> list[str]:
    return words_of("waitress-serve", port)


def mod_wsgi(project: Path, port: int) -> list[str]:
    return [*as_no_root(), *words_of("mod_wsgi-express", port), "--server-root", str(project / "apache")]


def apache(project: Path, port: int) -> list[str]:
    """Start Apache with the page's two lines for a configuration without mod_wsgi-express."""
    [lines] = blocks(PAGE, "apache")
    (project / "web.wsgi").write_text("from web import app as application\n")
    module = subprocess.run(
        [BIN / "mod_wsgi-express", "module-config"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    folder = subprocess.run(["apxs", "-q", "LIBEXECDIR"], capture_output=True, text=True, check=True).stdout.strip()
    settings = project / "apache.conf"
    settings.write_text(
        f"ServerRoot {project}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {project}/apache.pid\n"
        f"ErrorLog /dev/stderr\nLoadModule mpm_event_module {folder}/mod_mpm_event.so\n"
        f"LoadModule authz_core_module {folder}/mod_authz_core.so\n{module}\nWSGISocketPrefix {project}/sock\n"
        + lines.replace("/srv/venv", sys.prefix).replace("/srv/web", str(project))
        + f"<Directory {project}>\n  Require all granted\n</Directory>\n"
    )
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin") or "httpd"
    return [*as_no_root(), program, "-D", "FOREGROUND", "-f", str(settings)]


def uvicorn(project: Path, port: int) -> list[str]:
    return words_of("uvicorn", port)


@contextlib.contextmanager
def started(words: list[str], folder: Path, environment: Mapping[str, str], port: int) -> Iterator[None]:
    """Run a server until the block ends; its log has no traceback then."""
    log = folder / f"{Path(words[0]).name}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            words, cwd=folder, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until(lambda: accepts(port) or server.poll() is not None, seconds=START_SECONDS, what="the server")
            assert server.poll() is None, log.read_text()[-3000:]
            yield
        finally:
            # SIGTERM reloads uWSGI. A Ctrl-C in a group would reach the workers of gunicorn twice.
            end(server, lambda: log.read_text()[-3000:], group=server.args[0].endswith("uwsgi"))
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int) -> str:
    """Return the text of a whole answer, which ends as it should."""
    with Visit(port, COUNT) as visit:
        found = list(visit.events())
    assert names(found)[-1] == "done", found
    return text_of(found)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "recipe", [gthread, gevent, uwsgi, waitress, mod_wsgi, apache, uvicorn], ids=lambda recipe: recipe.__name__
)
def test_a_server_streams_and_a_closed_tab_ends_the_call(
    recipe: object, project: Path, emulator: GigaChatEmulator
) -> None:
    assert callable(recipe)
    port = free_port()
    with started(recipe(project, port), project, clean_environment(**emulator.environment), port):
        assert ask(port) == "1, 2, 3, 4, 5"
        emulator.inject(Fault(stall_after_events=2))
        with Visit(port, COUNT) as visit:
            assert visit.event() == ("message", '{"text":"1,"}'), "the events arrive before the answer is complete"
            assert emulator.open_streams == 1
        wait_until(lambda: emulator.open_streams == 0, seconds=20, what="the end of the call of a closed tab")
        assert ask(port) == "1, 2, 3, 4, 5"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis server."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with started(command, tmp_path, os.environ, port):
        yield f"redis://127.0.0.1:{port}"


@pytest.mark.timeout(120)
def test_rq_runs_a_job_and_its_time_limit_ends_a_call(project: Path, emulator: GigaChatEmulator, redis: str) -> None:
    from redis import Redis
    from rq.job import Job

    environment = clean_environment(**emulator.environment)

    def enqueue(seconds: int) -> str:
        script = (project / "enqueue.py").read_text().replace("job_timeout=90", f"job_timeout={seconds}")
        (project / "enqueue_now.py").write_text(script)
        command = [sys.executable, "enqueue_now.py", redis]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    [line] = [line for block in blocks(PAGE, "shell") for line in block.splitlines() if line.startswith("rq worker")]
    words = shlex.split(line.replace("redis://127.0.0.1:6379", redis))
    log = project / "rq.log"
    with Redis.from_url(redis) as connection, log.open("wb") as output:
        worker = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]], cwd=project, env=environment, stdout=output, stderr=output
        )
        try:
            answered = Job.fetch(enqueue(90), connection)
            wait_until(lambda: answered.get_status().name == "FINISHED", seconds=40, what="the job")
            assert answered.return_value() == "1, 2, 3"
            emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
            stopped = Job.fetch(enqueue(2), connection)
            wait_until(lambda: stopped.get_status().name == "FAILED", seconds=40, what="the end of the job")
            result = stopped.latest_result()
            assert result is not None
            assert "JobTimeoutException" in str(result.exc_string).splitlines()[-1]
        finally:
            end(worker, lambda: log.read_text()[-3000:])


@pytest.mark.timeout(90)
def test_a_job_of_apscheduler_runs(project: Path, emulator: GigaChatEmulator) -> None:
    log = project / "schedule.log"
    with log.open("wb") as output:
        scheduler = subprocess.Popen(
            [sys.executable, "schedule.py"],
            cwd=project,
            env=clean_environment(**emulator.environment),
            stdout=output,
            stderr=output,
        )
        try:
            wait_until(lambda: log.read_text() == "1, 2, 3\n", seconds=30, what="the answer")
        finally:
            scheduler.kill()
            scheduler.wait(10)


# -- nginx in front of the example for Django --------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The folder of ``ca.pem`` and ``server.pem``."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path


@pytest.mark.timeout(90)
@pytest.mark.parametrize("is_page", [True, False], ids=["the page's settings", "nginx's defaults"])
def test_a_browser_behind_nginx_passes_the_csrf_check_of_django(
    is_page: bool, certificate: Path, tmp_path: Path, emulator: GigaChatEmulator
) -> None:
    port, inner = free_port(), free_port()
    [location] = blocks(PAGE, "nginx")
    if not is_page:
        location = "location / { proxy_pass http://127.0.0.1:8000; }"
    settings = tmp_path / "nginx.conf"
    paths = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings.write_text(
        f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}"
        f"server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {certificate}/server.pem;\n"
        f"ssl_certificate_key {certificate}/server.pem;\n{location.replace('8000', str(inner))}}}\n}}\n"
    )
    site = shutil.copytree(CHECKOUT / "examples", tmp_path / "examples") / "django_chat"
    [setting] = [line for line in (CHECKOUT / f"docs/{PAGE}.md").read_text().split("`") if line.startswith("SECURE_")]
    with (site / "chat" / "settings.py").open("a") as file:
        file.write(f"\n{setting}\n")
    environment = clean_environment(**emulator.environment)
    words = [str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{inner}", "--worker-class", "gthread", "chat.wsgi"]
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    with started(words, site, environment, inner), started([nginx, "-c", str(settings)], tmp_path, environment, port):
        origin = f"https://localhost:{port}"
        with requests.Session() as browser:
            browser.trust_env = False
            browser.verify = str(certificate / "ca.pem")
            assert browser.get(f"{origin}/", timeout=30).status_code == 200
            headers = {"Origin": origin, "Referer": f"{origin}/", "X-CSRFToken": browser.cookies["csrftoken"]}
            asked = {"messages": [{"role": "user", "content": "Count from 1 to 5"}]}
            emulator.inject(Fault(stall_after_events=2))
            answer = browser.post(f"{origin}/chat", json=asked, headers=headers, stream=True, timeout=30)
            if not is_page:
                assert answer.status_code == 403
                return
            assert answer.status_code == 200
            assert next(answer.iter_lines()) == b'data: {"text":"1,"}', "nginx does not hold the events back"
            answer.close()
        wait_until(lambda: emulator.open_streams == 0, seconds=20, what="the end of the call of a closed tab")
