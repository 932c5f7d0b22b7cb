"""A browser test of a project: the example of `docs/testing.md`."""

from pathlib import Path

import pytest

from tests.rig import chromium
from tests.rig.processes import free_port
from tests.rig.shop import Shop

#: What pytest-playwright has.
PAGE = f"""
import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        arguments = {chromium.ARGUMENTS!r}
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    with browser.new_context() as context:
        yield context.new_page()
"""

#: Tests that come when Playwright's loop runs for the rest of the session.
AFTERWARDS = """
from broadcast import publish
from orders.models import Order


def test_sync_code_publishes_beside_playwright(page, published, db):
    assert publish("orders", 1).offset == 1
    assert published == [("orders", 1)]


def test_an_order_appears_again(page, broadcast_server, transactional_db):
    page.goto(broadcast_server.url)
    Order.objects.create(item="tea")
"""


@pytest.mark.parametrize("database", ["", "test.sqlite3"], ids=["memory", "file"])
def test_the_example_with_a_browser_works(tmp_path: Path, database: str) -> None:
    shop = Shop(
        tmp_path,
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        BROADCAST_RPC_PORT=str(free_port()),
        TEST_DATABASE=database,
    )
    page = PAGE.replace("EXECUTABLE", repr(chromium.executable()))
    shop.write("conftest.py", shop.examples["conftest.py"] + page)
    shop.write("test_z.py", AFTERWARDS)
    shop.write_examples("test_browser.py")
    shop.pytest("test_browser.py", "test_z.py")
