"""The prefix of an installation: where it comes from, and what becomes of it."""

import asyncio
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import DatabaseError, connection
from pytest_django.fixtures import Settings

from broadcast import installation
from broadcast.exceptions import Unavailable
from broadcast.groups import everybody, group_name
from broadcast.installation import get_prefix, learn
from broadcast.models import Installation
from tests.rig.processes import ServerProcess


@pytest.fixture(autouse=True)
def unset(settings: Settings) -> None:
    """The prefix is that of the database, and not known yet."""
    settings.BROADCAST_PREFIX = ""


def restart() -> None:
    """What a new process knows."""
    installation._prefix = ""


def test_a_migration_writes_a_random_one_that_goes_into_names(db: None) -> None:
    [row] = Installation.objects.all()
    assert len(row.prefix) == 8 and row.prefix.isalnum()
    assert get_prefix() == row.prefix
    assert everybody() == f"broadcast.{row.prefix}.everybody"
    assert group_name("news") == f"broadcast.{row.prefix}.stream.news"


def test_it_stays_when_the_secret_key_is_another_one(db: None, settings: Settings) -> None:
    before = get_prefix()
    restart()
    settings.SECRET_KEY = "another"
    assert get_prefix() == before


def test_it_is_read_once(db: None, django_assert_num_queries: Callable[[int], Any]) -> None:
    with django_assert_num_queries(1):
        assert get_prefix() == get_prefix()


def test_the_setting_goes_before_it_and_asks_no_database(settings: Settings) -> None:
    settings.BROADCAST_PREFIX = "staging"
    assert get_prefix() == "staging"


async def test_the_setting_is_there_for_an_event_loop_too(settings: Settings) -> None:
    settings.BROADCAST_PREFIX = "staging"
    assert get_prefix() == "staging"


def test_a_table_that_was_emptied_gets_another_one_which_stays(db: None) -> None:
    Installation.objects.all().delete()
    prefix = get_prefix()
    restart()
    assert len(prefix) == 8 and get_prefix() == prefix


def test_of_two_processes_that_find_none_both_have_that_of_the_first(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Installation.objects.all().delete()
    found = iter([None, "first"])

    def find(self: Any) -> str | None:
        answer = next(found)
        if answer is None:
            Installation.objects.create(prefix="first")
        return answer

    monkeypatch.setattr(type(Installation.objects.all()), "_find", find)
    assert get_prefix() == "first"
    assert [row.prefix for row in Installation.objects.all()] == ["first"]


def test_a_database_that_the_router_keeps_it_out_of_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("django.db.router.allow_migrate_model", lambda alias, model: False)
    migration = import_module("broadcast.migrations.0006_installation")
    # Without a database of the test's, writing to one would fail.
    migration.name_installation(apps, SimpleNamespace(connection=connection))


async def test_a_coroutine_learns_it_and_the_event_loop_asks_nobody(db: None) -> None:
    await learn()
    assert installation._prefix == get_prefix()
    assert await sync_to_async(Installation.objects.prefix)() == get_prefix()


async def test_an_event_loop_that_asks_first_waits_a_moment_for_a_database_that_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thaws, asked = threading.Event(), []

    def frozen() -> str:
        asked.append(1)
        thaws.wait(10)
        installation._prefix = "thawed"
        return "thawed"

    monkeypatch.setattr(installation, "_read", frozen)
    monkeypatch.setattr(installation, "SECONDS", 0.01)
    for _ in range(3):
        with pytest.raises(Unavailable):
            get_prefix()
    reader = installation._reader
    thaws.set()
    assert reader
    await asyncio.to_thread(reader.join)
    assert get_prefix() == "thawed" and asked == [1]


@pytest.mark.parametrize(
    ("tables", "said"), [([], "run `manage.py migrate`"), (None, "does not answer")]
)
def test_why_there_is_none_is_said(
    db: None, monkeypatch: pytest.MonkeyPatch, tables: list[str] | None, said: str
) -> None:
    def fails(*args: Any) -> Any:
        raise DatabaseError("no such table")

    monkeypatch.setattr(type(Installation.objects.all()), "prefix", fails)
    names = fails if tables is None else lambda *_: tables
    monkeypatch.setattr(connection.introspection, "table_names", names)
    with pytest.raises(Unavailable, match=said):
        get_prefix()


def test_a_server_whose_database_is_not_set_up_says_what_to_do_in_one_line(tmp_path: Path) -> None:
    server = ServerProcess("broadcast", tmp_path, setup="")
    try:
        server.start()
        said = server.new_log()
        assert "run `manage.py migrate`: no such table: broadcast_installation; until" in said
        assert len(said.splitlines()) == 2 and "Broadcast is at" in said
    finally:
        server.kill()
