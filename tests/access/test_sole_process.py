"""Server processes that have no shared backend find out that they are several."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from broadcast.access import sole_process
from broadcast.access.sole_process import CALM, Company
from broadcast.backends import get_backend
from broadcast.models import Installation
from tests.rig.processes import PATIENCE, ServerProcess
from tests.rig.scrapes import get
from tests.rig.sole_process import LOOK_OUT


class Process:
    """One of several that serve the installation in the test's database."""

    def __init__(self, name: str) -> None:
        self.company = Company(name)

    def look(self) -> bool:
        """Look once; answers whether it knows of another."""
        self.company.find(Installation.objects.take(self.company.name))
        return self.company.is_there


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.levelname
        for record in caplog.records
        if record.name == "broadcast.access.sole_process"
    ]


def test_who_is_alone_writes_its_name_once(
    db: None, django_assert_num_queries: Any, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process("a")
    with django_assert_num_queries(2):
        assert not process.look()
    with django_assert_num_queries(1):
        assert not process.look()
    assert logged(caplog) == []


def test_two_find_each_other_say_so_once_and_when_one_is_gone(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Process("a"), Process("b")
    assert not a.look() and not b.look()
    assert a.look() and b.look()
    for _ in range(5):
        assert a.look() and b.look()
    assert logged(caplog) == ["ERROR", "ERROR"]
    assert [a.look() for _ in range(CALM + 2)] == [True] * CALM + [False, False]
    assert logged(caplog) == ["ERROR", "ERROR", "INFO"]


def test_one_that_looks_more_often_than_another_does_not_take_it_for_gone(db: None) -> None:
    often, seldom = Process("a"), Process("b")
    often.look(), seldom.look(), often.look()
    for _ in range(5):
        assert seldom.look()
        assert all(often.look() for _ in range(CALM))


def test_the_name_of_a_process_that_was_killed_alarms_nobody(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    Process("killed").look()
    process = Process("new")
    assert not any(process.look() for _ in range(3))
    assert logged(caplog) == []


def test_an_emptied_table_is_no_other_process_and_the_prefix_is_made_again(db: None) -> None:
    process = Process("a")
    process.look()
    Installation.objects.all().delete()
    assert not any(process.look() for _ in range(3))
    assert Installation.objects.get().server == "a"


async def test_a_process_with_a_shared_backend_or_none_need_not_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(get_backend(), "shared", True)
    LOOK_OUT()
    monkeypatch.setattr("broadcast.backends._serving", False)
    monkeypatch.setattr("broadcast.backends._backend", None)
    LOOK_OUT()
    assert sole_process._company is None and sole_process._get_watch.find() is None


def test_healthz_tells_it_and_stays_ready(client: Client, db: None) -> None:
    sole_process._company = Company("a")
    assert client.get("/healthz").json()["backend"] == "ok"
    sole_process._company.is_there = True
    answer = client.get("/healthz")
    assert answer.status_code == 200 and answer.json()["ready"]
    assert answer.json()["backend"] == "split"


# -- real ones ------------------------------------------------------------------------------


QUICK = {"DJANGO_SETTINGS_MODULE": "tests.settings", "BROADCAST_WATCH_SECONDS": "0.2"}


class Workers(ServerProcess):
    """Another ASGI server with two worker processes."""

    def _launch(self) -> subprocess.Popen[bytes]:
        return self._execute(
            *("-m", "uvicorn", "project.asgi:application", "--port", str(self.port)),
            *("--log-level", "warning", "--lifespan", "off", "--workers", "2"),
        )


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds, which nothing tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[ServerProcess]:
    with Workers(
        "uvicorn",
        tmp_path,
        setup="",
        **QUICK,
    ) as process:
        yield process
        process.stop()


def test_two_workers_of_another_server_say_that_they_share_nothing(
    workers: ServerProcess,
) -> None:
    def healthz() -> Any:
        return json.loads(get(workers, "/healthz").body)["backend"]

    def both_say_so() -> bool:
        # A worker that gets no time for three looks of the other is taken for gone, for a while.
        said = workers.log.read_text().count("Another process serves this installation")
        return [healthz() for _ in range(10)] == ["split"] * 10 and said >= 2

    until(both_say_so)


def test_our_own_server_says_so_before_anybody_came_and_when_it_is_alone_again(
    tmp_path: Path,
) -> None:
    with ServerProcess("broadcast", tmp_path, setup="", **QUICK) as server:
        path = tmp_path / "db.sqlite3"

        def rows(query: str) -> list[Any]:
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                return database.execute(query).fetchall()

        until(lambda: rows("SELECT server FROM broadcast_installation") != [("",)])
        rows("UPDATE broadcast_installation SET server = 'another'")
        until(lambda: "Another process serves this installation" in server.log.read_text())
        until(lambda: "No other process serves this" in server.log.read_text())
        assert json.loads(get(server, "/healthz").body)["backend"] == "ok"
        assert server.log.read_text().count("Another process serves") == 1
        server.assert_clean_log()
