"""Who is at a stream, as every backend (`backends.Backend`) tells it."""

from broadcast.backends import Backend, Presence


async def test_nobody_is_at_a_stream_nobody_came_to(backend: Backend) -> None:
    assert await backend.presence(iter(["s"])) == {"s": Presence("", 0, 0)}
    assert not Presence("", 3, 0).live


async def test_a_newcomer_replaces_the_streamer(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.enter("s", "two")
    assert (await backend.presence(["s"]))["s"] == Presence("two", 0, 0)
    assert not await backend.leave("s", "one")
    assert (await backend.presence(["s"]))["s"].live
    assert await backend.leave("s", "two")
    assert not await backend.leave("s", "two")
    assert not (await backend.presence(["s"]))["s"].live


async def test_listeners_are_counted_as_they_were_said_last(backend: Backend) -> None:
    for listeners in (3, 2, 0):
        await backend.count_listeners("s", listeners)
        assert (await backend.presence(["s", "t"])) == {
            "s": Presence("", listeners, 0),
            "t": Presence("", 0, 0),
        }


async def test_presence_outlives_the_history(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.count_listeners("s", 2)
    await backend.clear("s")
    assert (await backend.presence(["s"]))["s"] == Presence("one", 2, 0)
