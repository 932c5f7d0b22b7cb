"""`LiveServer`: a real server within the tests of a project. Its tests are in `shop/`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.postgres import PostgresProcess
from tests.rig.processes import free_port
from tests.rig.shop import Shop

LIVE = "test_live_server.py"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(
        tmp_path,
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        BROADCAST_RPC_PORT=str(free_port()),
    )


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    with PostgresProcess() as process:
        yield process


@pytest.mark.parametrize("database", ["", "test.sqlite3"], ids=["memory", "file"])
def test_on_sqlite(shop: Shop, database: str) -> None:
    shop.environment["TEST_DATABASE"] = database
    shop.pytest(LIVE)


def test_on_postgresql(shop: Shop, postgres: PostgresProcess) -> None:
    # The test database can only be dropped when nobody is connected to it.
    shop.environment["DATABASE_URL"] = postgres.url
    assert "warning" not in shop.pytest(LIVE)
    assert postgres.connections() == 0


def test_in_several_processes_of_pytest(shop: Shop) -> None:
    shop.pytest(LIVE, "-n", "2")


FORKED = """
from django.test import SimpleTestCase

from broadcast.testing import LiveServer


class Forked(SimpleTestCase):
    def test_it_says_so(self):
        with self.assertRaisesRegex(RuntimeError, "forked"):
            LiveServer().start()


class AndAnother(Forked):
    pass
"""


def test_a_forked_process_is_told_that_it_cannot_have_one(shop: Shop) -> None:
    shop.write("orders/test_forked.py", FORKED)
    shop.django("orders.test_forked", "--parallel", "2")
