"""Programs that feed a stream: who has the place, and who loses it."""

from collections.abc import Awaitable, Callable

import pytest
from django.utils import timezone

from broadcast import connections
from broadcast.backends import get_backend
from broadcast.exceptions import NoSuchStream, Removed, Replaced, StreamClosed
from broadcast.feeding import Program, feeding
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


async def test_who_comes_while_another_one_takes_the_place_has_it(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("film")
    stream = await Stream.objects.aget(slug=slug)
    async with get_relay().topic(slug) as topic:
        first, second = Program(stream, topic), Program(stream, topic)
        await first.place.take()
        await second.place.take()

        async def word_has_come() -> bool:
            return topic.streamer == second.id

        await eventually(word_has_come)
        second.place.begin(None)
        first.place.begin(None)
        assert isinstance(first.error, Replaced)
        assert second.error is None
        assert await streamer_of(slug) == second.id
        await first.leave()
        await second.leave()
        assert not await streamer_of(slug)
