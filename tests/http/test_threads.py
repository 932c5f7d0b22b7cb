"""The threads of requests: few, each request's own until its answer begins, held by nobody."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from pytest_django.fixtures import Settings

from broadcast.exceptions import Unavailable
from broadcast.http import threads
from broadcast.http.threads import Threads, own_turn
from broadcast.loops import spawn
from tests.rig.doors import eventually


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Threads:
    """As a server has them that has just started, and may have two."""
    settings.BROADCAST_THREADS = 2
    monkeypatch.setattr(threads, "IDLE", 0.05)
    monkeypatch.setattr(threads, "_threads", Threads())
    return threads._threads


def on_a_server(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run it in a loop of its own, with no synchronous code around it that has a thread."""

    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


work = sync_to_async(get_ident)


@on_a_server
async def test_a_request_has_one_thread_until_its_answer_begins() -> None:
    async with own_turn(), ThreadSensitiveContext():
        assert len({await work() for _ in range(20)}) == 1


@on_a_server
async def test_there_are_no_more_than_may_be() -> None:
    running, most, seen = 0, 0, set()
    lock = threading.Lock()

    def busy() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            seen.add(get_ident())
        time.sleep(0.001)
        with lock:
            running -= 1

    async def request() -> None:
        async with own_turn():
            for _ in range(3):
                await sync_to_async(busy)()

    await asyncio.gather(*(request() for _ in range(30)))
    assert (most, len(seen)) == (2, 2)


@on_a_server
async def test_who_comes_first_is_served_first() -> None:
    order = []

    async def request(number: int) -> None:
        async with own_turn():
            await sync_to_async(order.append)(number)

    await asyncio.gather(*(request(number) for number in range(20)))
    # Two threads may overtake each other by one.
    assert all(abs(place - number) <= 1 for place, number in enumerate(order)), order


@on_a_server
async def test_nobody_holds_a_thread_whose_answer_has_begun() -> None:
    async with own_turn() as first:
        await work()
        first.give_back()
        async with own_turn() as second:
            await work()
            second.give_back()
            async with own_turn():
                assert await asyncio.wait_for(work(), 30)
            # And each may still do something, such as closing its answer.
            assert await asyncio.wait_for(work(), 30)


@on_a_server
async def test_who_waits_for_something_else_gives_its_thread_to_others() -> None:
    async with own_turn():
        await work()
        others = asyncio.Event()

        async def poll() -> int:
            """Another one that is at rest, until others were served."""
            async with own_turn():
                await work()
                await others.wait()
                return await work()

        async def request() -> None:
            async with own_turn():
                await work()

        polling = asyncio.ensure_future(poll())
        await asyncio.wait_for(asyncio.gather(*(request() for _ in range(5))), 30)
        others.set()
        assert await asyncio.wait_for(polling, 30)


async def hold_both() -> tuple[threading.Event, list[asyncio.Future[None]]]:
    """Requests that have both threads until the event is set."""
    over = threading.Event()

    async def hold() -> None:
        async with own_turn():
            await sync_to_async(over.wait)()

    holding = [asyncio.ensure_future(hold()) for _ in range(2)]
    await asyncio.sleep(0)
    return over, holding


@on_a_server
async def test_who_waits_too_long_is_told_that_the_server_is_busy() -> None:
    over, holding = await hold_both()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "PATIENCE", 0.1)
        async with own_turn():
            with pytest.raises(Unavailable, match="^the server is too busy$"):
                await work()
    over.set()
    await asyncio.gather(*holding)
    async with own_turn():
        await work()


@on_a_server
async def test_an_answer_of_unknown_length_has_a_thread_of_its_own() -> None:
    async with own_turn() as turn:
        before = await work()
        turn.move_out()
        own = {await work() for _ in range(3)}
        assert len(own) == 1 and before not in own
        # So both are there for others.
        async with own_turn():
            await work()
            async with own_turn():
                await asyncio.wait_for(work(), 30)
    assert turn.own is None


@on_a_server
async def test_what_outlives_its_request_goes_on() -> None:
    over = asyncio.Event()

    async def later() -> int:
        await over.wait()
        return await work()

    async with own_turn():
        await work()
        task = asyncio.ensure_future(later())
    over.set()
    await asyncio.wait_for(task, 30)
    for _ in range(2):
        # It took no thread with it.
        async with own_turn():
            await asyncio.wait_for(work(), 30)


@on_a_server
async def test_a_thread_goes_on_when_its_work_is_done_though_the_client_is_gone() -> None:
    began, over, served = threading.Event(), threading.Event(), []

    def slow() -> None:
        began.set()
        over.wait()
        served.append("slow")

    async def request() -> None:
        async with own_turn():
            await sync_to_async(slow)()

    gone = asyncio.ensure_future(request())
    await asyncio.to_thread(began.wait)
    gone.cancel()
    async with own_turn():
        await work()
        async with own_turn():
            waiting = asyncio.ensure_future(sync_to_async(served.append)("next"))
            over.set()
            await asyncio.wait_for(waiting, 30)
    assert served == ["slow", "next"]
    await asyncio.wait({gone})


@on_a_server
async def test_connections_are_looked_after_before_the_next_request() -> None:
    tidied: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "close_old_connections", lambda: tidied.append(get_ident()))
        idents = []
        for _ in range(2):
            async with own_turn():
                idents.append(await work())

        async def are_tidy() -> bool:
            # A thread of an earlier test may tidy as late as now.
            return not Counter(idents) - Counter(tidied)

        await eventually(are_tidy)


@on_a_server
async def test_what_all_wait_for_needs_no_thread_of_the_request_that_began_it() -> None:
    over, holding = await hold_both()
    async with own_turn():
        try:
            assert await asyncio.wait_for(spawn(work()), 30)
        finally:
            over.set()
    await asyncio.gather(*holding)
