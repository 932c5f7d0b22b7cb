"""Programs that feed a stream: who has the place, and who loses it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from django.utils import timezone

from broadcast.access import connections
from broadcast.backends import get_backend, new_streamer
from broadcast.exceptions import NoSuchStream, Removed, StreamClosed
from broadcast.ingest import recorder
from broadcast.ingest.programs import feeding
from broadcast.models import Stream
from broadcast.publications import Draft
from tests.rig.doors import InProcessDoor, eventually


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


async def test_a_program_that_is_removed_while_it_waits_for_its_turn_begins_nothing(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("recorded")
    former = new_streamer(0)
    await get_backend().enter(slug, former)

    async def feed() -> None:
        async with feeding(slug):
            pass

    task = asyncio.create_task(feed())

    async def is_waiting() -> bool:
        return await streamer_of(slug) != former and bool(await connections.who_is_at(slug))

    await eventually(is_waiting)
    await remove(slug)
    await get_backend().leave(slug, former)
    with pytest.raises(Removed):
        await task
    assert not await streamer_of(slug)
    assert not recorder._running


async def streamer_of(slug: str) -> str:
    """The id of whoever feeds it; "": nobody."""
    return (await get_backend().presence([slug]))[slug].streamer
