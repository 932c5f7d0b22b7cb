"""What the browser test needs."""

import os
import shutil

import pytest

# Playwright's sync API runs an event loop beside the tests.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@pytest.fixture(scope="module")
def browser():
    """Of one module: while Playwright runs, no other tests can be coroutines."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # As root, which containers have, Chromium does without its sandbox.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser, broadcast_server):
    """Opens a window of its own at a path of the shop, as `user` or as nobody."""
    contexts = []

    def new_page(path, user=None):
        context = browser.new_context(base_url=broadcast_server.url)
        contexts.append(context)
        if user:
            context.add_cookies([session_of(user) | {"url": broadcast_server.url}])
        page = context.new_page()
        page.goto(path)
        return page

    yield new_page
    for context in contexts:
        context.close()


def session_of(user):
    from django.test import Client

    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"]
    return {"name": cookie.key, "value": cookie.value}
