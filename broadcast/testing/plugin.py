"""The plugin for pytest: `published`, `broadcast_server`, and a clean slate for each test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .isolation import reset

if TYPE_CHECKING:
    from .capturing import Captured
    from .live_server import LiveServer


@pytest.fixture
def published() -> "Iterator[list[Captured]]":
    """What this process publishes during the test: see `broadcast.testing.capture`."""
    # Imported here: plugins are imported before coverage is measured, and before settings.
    from .capturing import capture

    with capture() as captured:
        yield captured


@pytest.fixture
def broadcast_server(transactional_db: None) -> "Iterator[LiveServer]":
    """A real server with the test's database: see `broadcast.testing.LiveServer`."""
    from .live_server import LiveServer

    with LiveServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _broadcast_streams() -> Iterator[None]:
    """No test finds what others have published."""
    yield
    reset()
