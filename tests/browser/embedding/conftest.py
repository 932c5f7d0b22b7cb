"""A site that lives below a prefix, as behind many a proxy, and other sites beside it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.browser.embedding.elsewhere import PREFIX, Elsewhere, Publish
from tests.rig.processes import ServerProcess, prepared_database


@pytest.fixture(scope="package")
def friend() -> Iterator[Elsewhere]:
    """A site that BROADCAST_ALLOWED_ORIGINS names."""
    with Elsewhere() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="package")
def stranger() -> Iterator[Elsewhere]:
    """A site that nobody has heard of."""
    with Elsewhere() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="package")
def site(friend: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests: each has a stream of its own."""
    directory = tmp_path_factory.mktemp("embedding")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess(
        "broadcast",
        directory,
        DJANGO_SETTINGS_MODULE="tests.settings",
        FORCE_SCRIPT_NAME=PREFIX,
        ROOT_URLCONF="tests.browser.embedding.urls",
        ALLOWED_HOSTS="127.0.0.1",
        ALLOWED_ORIGINS=friend.origin,
    )
    process.start()
    yield process
    process.kill()
    process.assert_clean_log()


@pytest.fixture
def slug(site: ServerProcess) -> str:
    return site.unused_stream()


@pytest.fixture
def publish(site: ServerProcess, slug: str) -> Iterator[Publish]:
    """Publish on the stream: a `str` is text, `bytes` are binary, anything else JSON."""
    address = f"{site.ws}{PREFIX}/ws/streamer/{slug}/"
    # Nobody takes in what a streamer is told, however much that is.
    with connect(
        address,
        subprotocols=["broadcast.v1"],  # type: ignore[list-item]
        proxy=None,
        max_queue=None,
    ) as streamer:

        def publish(*payloads: Any) -> None:
            for payload in payloads:
                if isinstance(payload, bytes):
                    streamer.send(payload)
                else:
                    streamer.send(json.dumps({"event": "publication", "data": payload}))

        yield publish


@pytest.fixture
def home(site: ServerProcess) -> str:
    return site.url + PREFIX
