"""The examples of `docs/testing.md`, with both runners, on SQLite in memory and in a file."""

from pathlib import Path

import pytest

from tests.rig.processes import free_port
from tests.rig.shop import Shop

#: These need a browser: see `tests/browser/test_live_server.py`.
BROWSER = {"conftest.py", "test_browser.py"}


@pytest.fixture(params=["", "test.sqlite3"], ids=["memory", "file"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    shop = Shop(
        tmp_path,
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        BROADCAST_RPC_PORT=str(free_port()),
        TEST_DATABASE=request.param,
    )
    shop.write_examples(*shop.examples.keys() - BROWSER)
    return shop


def test_the_examples_work_with_djangos_runner(shop: Shop) -> None:
    paths = shop.examples.keys() - BROWSER - {"test_orders.py"}
    shop.django(*(path.removesuffix(".py").replace("/", ".") for path in paths))


def test_the_examples_work_with_pytest(shop: Shop) -> None:
    shop.pytest(*shop.examples.keys() - BROWSER)
