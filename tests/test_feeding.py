"""Programs that feed a stream: who has the place, and who loses it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from django.utils import timezone

from broadcast import connections
from broadcast.backends import StreamState, get_backend
from broadcast.exceptions import NoSuchStream, Removed, Replaced, StreamClosed
from broadcast.feeding import Program, feeding
from broadcast.hub import Topic
from broadcast.models import Stream
from broadcast.publications import Draft
from broadcast.relay import get_relay
from tests.doors import InProcessDoor, eventually


async def close(slug: str) -> None:
    await Stream.objects.filter(slug=slug).aupdate(closed_at=timezone.now())


async def delete(slug: str) -> None:
    await Stream.objects.filter(slug=slug).adelete()


async def remove(slug: str) -> None:
    """A person removes whoever is there."""
    (program,) = await connections.who_is_at(slug)
    assert (program["way"], program["deed"], program["user"]) == ("program", "publish", "")
    await connections.remove(slug, program["id"])


@pytest.mark.parametrize(
    ("change", "error"), [(close, StreamClosed), (delete, NoSuchStream), (remove, Removed)]
)
async def test_a_program_that_says_nothing_is_sent_away(
    in_process: InProcessDoor, change: Callable[[str], Awaitable[None]], error: type[Exception]
) -> None:
    # What people may does not concern it.
    slug = await in_process.stream("private")
    async with feeding(slug) as program:
        await program.append([Draft.of("one")])
        assert await streamer_of(slug) == program.id
        await change(slug)

        async def is_gone() -> bool:
            return not await streamer_of(slug)

        await eventually(is_gone)
        with pytest.raises(error):
            await program.append([Draft.of("two")])
        assert not await connections.who_is_at(slug)


async def streamer_of(slug: str) -> str:
    """The id of whoever feeds it; "": nobody."""
    return (await get_backend().presence([slug]))[slug].streamer


@asynccontextmanager
async def two_programs(slug: str) -> AsyncIterator[tuple[Topic, Program, Program]]:
    """At one stream, of which none has the place yet."""
    stream = await Stream.objects.aget(slug=slug)
    async with get_relay().topic(slug) as topic:
        yield topic, Program(stream, topic), Program(stream, topic)


async def test_who_comes_while_another_one_takes_the_place_has_it(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("film")
    async with two_programs(slug) as (topic, first, second):
        backend = get_backend()
        state = backend.state

        async def state_later(name: str) -> StreamState:
            monkeypatch.undo()
            second.place.begin(await second.place.take())
            await eventually_fed_by(topic, second)
            return await state(name)

        monkeypatch.setattr(backend, "state", state_later)
        first.place.begin(await first.place.take())
        assert isinstance(first.error, Replaced)
        assert second.error is None
        assert await streamer_of(slug) == second.id
        await first.leave()
        await second.leave()
        assert not await streamer_of(slug)


async def eventually_fed_by(topic: Topic, program: Program) -> None:
    """Word of it has come."""

    async def is_known() -> bool:
        return topic.streamer == program.id

    await eventually(is_known)


async def test_late_word_of_an_older_one_does_not_end_the_newer(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("film")
    async with two_programs(slug) as (topic, older, newer):
        await older.place.take()

        async def announce_late(stream: str, streamer: str) -> None:
            await eventually_fed_by(topic, older)

        monkeypatch.setattr("broadcast.feeding.announce_streamer", announce_late)
        newer.place.begin(await newer.place.take())
        assert newer.error is None
        assert await streamer_of(slug) == newer.id
        await newer.leave()
