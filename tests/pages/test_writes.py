"""What topics flush for pages: gathered, and one write for each page."""

import asyncio
import tracemalloc

from broadcast.conf import conf
from broadcast.hub.page_writes import MOST_SECONDS, Writes, get_writes
from tests.rig.clock import clock, in_clock_loop


class Page:
    """What was written to it, write by write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write_now(self, data: bytes) -> bool:
        self.written.append(data)
        return True


async def written(page: Page) -> None:
    async with asyncio.timeout(30):
        while not page.written:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_what_comes_in_one_turn_is_one_write_in_order() -> None:
    page, other = Page(), Page()
    writes = get_writes()
    writes.add([page, other], b"a1")
    writes.add([page], b"b1")
    writes.add([page, other], b"a2")
    assert page.written == []
    await written(page)
    assert page.written == [b"a1b1a2"]
    assert other.written == [b"a1a2"]


async def test_pages_that_got_the_same_get_the_same_bytes() -> None:
    pages = [Page(), Page()]
    writes = get_writes()
    for frames in (b"one", b"two"):
        writes.add(pages, frames)
    writes.flush()
    assert pages[0].written[0] is pages[1].written[0]


async def test_while_more_comes_in_each_turn_it_is_gathered() -> None:
    page = Page()
    writes = get_writes()
    writes.took = 60
    for number in range(10):
        writes.add([page], b"%d" % number)
        await asyncio.sleep(0)
        assert page.written == []
    await written(page)
    assert page.written == [b"0123456789"]


async def test_it_is_gathered_no_longer_than_the_last_writing_took() -> None:
    page = Page()
    writes = get_writes()
    writes.took = 60
    writes.add([page], b"one")
    assert 59 < writes.latest - writes.loop.time() <= 60
    writes.latest = writes.loop.time()
    while not page.written:
        writes.add([page], b",more")
        await asyncio.sleep(0)
    assert page.written == [b"one,more"]
    assert writes.took < 60


async def test_the_first_after_a_pause_waits_for_nothing() -> None:
    page = Page()
    writes = get_writes()
    assert writes.took == 0
    writes.add([page], b"first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert page.written == [b"first"]


async def test_what_is_taken_is_not_written_again() -> None:
    page, other = Page(), Page()
    writes = get_writes()
    writes.add([page, other], b"one")
    writes.add([page, other], b"two")
    assert writes.take(page) == b"onetwo"
    assert writes.take(page) == b""
    writes.flush()
    assert (page.written, other.written) == ([], [b"onetwo"])


async def test_much_is_written_at_once() -> None:
    page = Page()
    writes = get_writes()
    writes.took = 60
    writes.add([page], bytes(conf.SLICE_BYTES - 1))
    writes.bound()
    assert page.written == []
    writes.add([page], b"1")
    writes.bound()
    assert [len(one) for one in page.written] == [conf.SLICE_BYTES]


async def test_what_is_joined_for_pages_that_hear_different_things_is_not_kept() -> None:
    page = Page()
    pages = [page, *(Passing() for _ in range(3 * conf.RING_BYTES // conf.SLICE_BYTES))]
    writes = get_writes()
    writes.add(pages, bytes(conf.SLICE_BYTES))
    for number, one in enumerate(pages):
        writes.add([one], b"its own %3d" % number)
    tracemalloc.start()
    writes.flush()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(page.written[0]) == conf.SLICE_BYTES + len(b"its own 000")
    assert peak < 1.5 * conf.RING_BYTES


class Passing(Page):
    """Keeps nothing, as a socket that takes everything."""

    def write_now(self, data: bytes) -> bool:
        return True


@in_clock_loop
async def test_a_writing_in_which_the_process_was_frozen_holds_nobody_up_as_long() -> None:
    class Frozen(Page):
        def write_now(self, data: bytes) -> bool:
            clock().now += 600
            return True

    writes = get_writes()
    writes.add([Frozen()], b"one")
    writes.flush()
    assert writes.took == MOST_SECONDS


async def test_a_flush_of_nothing_changes_nothing() -> None:
    writes = Writes()
    writes.took = 5
    writes.flush()
    assert writes.took == 5
