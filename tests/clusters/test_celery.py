"""The recipe for Celery of docs/en/clusters.md, with a real broker and a real worker.

The page's files become part of a Django project, whose other files are made here. The broker is a Redis started by this
test, and the worker has two forked processes. The Russian page has the same code: see tests/test_docs.py.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.django_tools import clean_environment
from support.pages import files, run
from support.reliability_tools import free_port, wait_until
from support.web import end

from gigaclient.testing import Fault, GigaChatEmulator

pytest.importorskip("celery", reason="Celery is not installed")
pytest.importorskip("redis", reason="the Python client of Redis is not installed")
REDIS = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")

PROJECT = {
    "shop/__init__.py": "from shop.celery import app as celery_app\n",
    "shop/celery.py": """
import os
from celery import Celery

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "shop/urls.py": """
from django.urls import path
from reviews import views

urlpatterns = [path("write", views.write)]
""",
    "reviews/__init__.py": "",
}
SETTINGS = """
import os
SECRET_KEY = "of tests"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["gigaclient.contrib.django", "reviews"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3", "OPTIONS": {"timeout": 20}}}
CELERY_BROKER_URL = os.environ["BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
"""
PREPARE = """
import shop, django
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
"""
# Prints the moods once all reviews have one.
VISIT = """
import json, sys, time
import shop, django
django.setup()
from django.test import Client
from reviews.models import Review
from reviews.tasks import classify, classify_all
what, *texts = json.loads(sys.argv[1])
if what == "one by one":
    assert Client().post("/write").status_code == 400, "a review without a text"
    for text in texts:
        answer = Client().post("/write", {"text": text})
        assert answer.status_code == 201, answer.content
elif what == "again":
    classify.delay(Review.objects.get(text=texts[0]).pk)
else:
    Review.objects.bulk_create(Review(text=text) for text in texts)
    classify_all.delay()
ends_at = time.monotonic() + 40
while Review.objects.filter(mood="").exists():
    assert time.monotonic() < ends_at, list(Review.objects.values())
    time.sleep(0.05)
print(json.dumps(dict(Review.objects.filter(text__in=texts).values_list("text", "mood"))))
"""


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Start a Redis server; yield its URL."""
    assert REDIS is not None
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("w") as log:
        server = subprocess.Popen([REDIS, *options], stdout=log, stderr=log)
        try:
            wait_until(lambda: accepts_connections(port) or server.poll() is not None, seconds=20, what="the broker")
            assert server.poll() is None, (folder / "redis.log").read_text()
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            end(server, (folder / "redis.log").read_text)


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def worker(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Start a worker with two processes; yield the path of its log."""
    log = folder / "worker.log"
    options = ["--queues", "giga", "--concurrency", "2", "--pool", "prefork", "--loglevel", "INFO"]
    spare = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", *options, *spare],
            cwd=folder, env=environment, stdout=written, stderr=written,
        )  # fmt: skip
        try:
            wait_until(
                lambda: " ready." in log.read_text() or process.poll() is not None, seconds=40, what="the worker"
            )
            assert process.poll() is None, log.read_text()[-3000:]
            yield log
        finally:
            end(process, log.read_text)


@dataclass
class Site:
    """A Django project with its broker and its worker."""

    emulator: GigaChatEmulator
    folder: Path
    environment: dict[str, str]
    log: Path

    def visit(self, mode: str, *texts: str) -> dict[str, str]:
        """Classify reviews in one of the modes of ``VISIT``; return the mood of each text."""
        ended = run(self.folder, "-c", VISIT, json.dumps([mode, *texts]), variables=self.environment)
        assert ended.returncode == 0, ended.stderr[-3000:] + self.log.read_text()[-3000:]
        moods: dict[str, str] = json.loads(ended.stdout)
        return moods


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shown = {name: code for name, code in files("en/clusters").items() if "/" in name}
    assert set(shown) == {"shop/settings.py", "reviews/models.py", "reviews/tasks.py", "reviews/views.py"}
    shown["shop/settings.py"] += SETTINGS
    for name, code in {**PROJECT, **shown}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code, "utf-8")
    with GigaChatEmulator() as emulator, redis(folder) as broker:
        environment = clean_environment(**emulator.environment, BROKER=broker, HOME=str(folder))
        ended = run(folder, "-c", PREPARE, variables=environment)
        assert ended.returncode == 0, ended.stderr[-3000:]
        with worker(folder, environment) as log:
            yield Site(emulator, folder, environment, log)


def prompts_of(site: Site, before: int, text: str) -> int:
    return sum(text in prompt for prompt in site.emulator.prompts[before:])


def test_a_task_for_each_review_sends_it_once_and_waits_for_the_servers_delay(site: Site) -> None:
    before = len(site.emulator.prompts)
    site.emulator.inject(Fault(status=429, retry_after=2))
    site.emulator.inject(Fault(status=503))
    texts = [f"Review number {number} of one by one" for number in range(6)]
    moods = site.visit("one by one", *texts)
    assert set(moods) == set(texts)
    assert all(moods.values())
    site.visit("again", texts[0])
    wait_until(lambda: site.log.read_text().count("succeeded in") == 7, seconds=20, what="the end of seven tasks")
    sent = Counter(site.emulator.prompts[before:])
    assert len(sent) == 6
    assert sum(sent.values()) == 8, "two were retried, and the task that was delivered twice sent nothing"
    waits = re.findall(r"Retry in ([\d.]+)s: RateLimitError", site.log.read_text())
    assert [float(wait) for wait in waits] == [2.0], "Celery waits for Retry-After"
    assert 1 <= site.emulator.oauth_calls <= 2, "a token for each process"


def test_one_task_for_all_reviews_sends_them_in_one_run(site: Site) -> None:
    before = len(site.emulator.prompts)
    site.emulator.inject(Fault(status=429), times=1)
    texts = [f"Review number {number} of all" for number in range(20)]
    moods = site.visit("all", *texts)
    assert set(moods) == set(texts)
    assert all(moods.values())
    assert prompts_of(site, before, "of all") == 21


def test_neither_the_log_nor_the_tasks_hold_a_key(site: Site) -> None:
    log = site.log.read_text()
    assert "reviews.tasks.classify" in log
    assert site.emulator.credentials not in log


def test_the_settings_of_the_page_are_sound(site: Site) -> None:
    check = (
        "import shop, django; django.setup(); from django.core.management import call_command; call_command('check')"
    )
    ended = run(site.folder, "-c", check, variables=site.environment)
    assert "no issues" in ended.stdout + ended.stderr, ended.stderr[-3000:]
