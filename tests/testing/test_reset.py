"""`reset`: what a test published is gone for the next one, whatever event loop they share."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from broadcast import apublish, publish
from broadcast.hub.relay import get_relay
from broadcast.models import Stream
from broadcast.pages.subscriptions import topic_of
from broadcast.routing import websocket_application
from broadcast.testing import reset


def test_every_stream_begins_a_new_epoch(db: None) -> None:
    before = [publish("a", 1), publish("b", 2)]
    reset()
    after = [publish("a", 1), publish("b", 2)]
    assert [one.offset for one in after] == [1, 1]
    assert not {one.epoch for one in before} & {one.epoch for one in after}


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that several tests run in."""
    loop = asyncio.new_event_loop()
    yield loop
    reset()
    # What was cancelled ends.
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def hear(payload: Any) -> dict[str, Any]:
    """The `joined` of a new listener, which then hears the payload."""
    path = "/ws/listener/shared/"
    socket = WebsocketCommunicator(websocket_application, path, subprotocols=["broadcast.v1"])
    await socket.connect()
    joined: dict[str, Any] = json.loads(await socket.receive_from(10))
    await apublish("shared", payload)
    assert json.loads(await socket.receive_from(10))["data"] == payload
    await socket.disconnect()
    return joined


def test_a_loop_that_goes_on_begins_anew(
    transactional_db: None, loop: asyncio.AbstractEventLoop
) -> None:
    Stream.objects.create(slug="shared")
    first = loop.run_until_complete(hear("one"))
    assert loop.run_until_complete(hear("two"))["epoch"] == first["epoch"]
    reset()
    # Nothing goes on from before: the topic, which lingers, would have the former epoch.
    assert not [task for task in asyncio.all_tasks(loop) if not task.cancelling()]
    joined = loop.run_until_complete(hear("three"))
    assert (joined["epoch"], joined["offset"]) != (first["epoch"], 2)
    assert joined["offset"] == 0


async def test_a_loop_that_runs_keeps_its_listeners(db: None) -> None:
    async with get_relay().topic(topic_of("0")) as topic:
        reset()
        assert get_relay().topics[topic.name] is topic
