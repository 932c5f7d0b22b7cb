"""What tests of the relay share: a channel layer that fails when it is told to, and no database."""

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from tests.rig.relays import LINGER, WATCH, FaultyLayer


@pytest.fixture
def unhurried(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times as they are by default, and no row: a database has no place in a clock loop."""
    settings.BROADCAST_LINGER_SECONDS, settings.BROADCAST_WATCH_SECONDS = LINGER, WATCH

    async def no_row(slug: str) -> None:
        return None

    monkeypatch.setattr("broadcast.hub.appending.find_stream", no_row)


@pytest.fixture
def layer() -> FaultyLayer:
    made = FaultyLayer()
    channel_layers.set("broadcast", made)
    return made
