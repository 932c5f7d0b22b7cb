"""Ends that are told when their time has come, by clocks that the tests own."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from broadcast.access import deadlines
from broadcast.access.deadlines import SPARE, Deadlines
from tests.rig.clock import clock, in_clock_loop


class Wall:
    """The clock of rows. It goes as the loop's does, and somebody may set it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(clock().time() + self.ahead, UTC)

    def at(self, seconds: float) -> datetime:
        """So many seconds after 1000, which is when each test begins."""
        return datetime.fromtimestamp(1000 + seconds, UTC)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(deadlines, "timezone", wall)
    return wall


class Told(Deadlines):
    """Keeps when what ended, in seconds of the loop's clock since the test began."""

    def __init__(self) -> None:
        super().__init__(lambda *what: self.told.append((clock().time() - 1000, *what)))
        self.told: list[Any] = []


async def until(seconds: float) -> None:
    """It is so many seconds after the test began, and what was due is done."""
    await asyncio.sleep(1000 + seconds - clock().time() + 1e-3)


@in_clock_loop
async def test_each_end_is_told_when_it_is_reached_and_once(wall: Wall) -> None:
    told = Told()
    told.note("page", {"b": wall.at(5), "a": wall.at(3), "c": wall.at(5)})
    told.note("other", {"a": wall.at(4)})
    told.note("never", {})
    await until(20)
    assert told.told == [(3, "page", {"a"}), (4, "other", {"a"}), (5, "page", {"b", "c"})]


@in_clock_loop
async def test_what_is_noted_last_holds(wall: Wall) -> None:
    told = Told()
    for name in ("prolonged", "shortened", "forgotten", "let go", "as it was"):
        told.note(name, {"a": wall.at(5)})
    told.note("prolonged", {"a": wall.at(7)})
    told.note("shortened", {"a": wall.at(2)})
    told.note("let go", {})
    told.note("as it was", {"a": wall.at(9)})
    told.note("as it was", {"a": wall.at(5)})
    told.forget("forgotten")
    await until(20)
    assert told.told == [
        (2, "shortened", {"a"}),
        (5, "as it was", {"a"}),
        (7, "prolonged", {"a"}),
    ]


@in_clock_loop
async def test_an_end_that_is_over_is_told_at_once(wall: Wall) -> None:
    told = Told()
    told.note("page", {"a": wall.at(-5)})
    await until(0)
    assert told.told == [(0, "page", {"a"})]


@in_clock_loop
async def test_a_clock_that_is_put_back_makes_nothing_end_too_early(wall: Wall) -> None:
    told = Told()
    told.note("page", {"a": wall.at(5)})
    await until(1)
    wall.ahead = -10
    await until(30)
    assert told.told == [(15, "page", {"a"})]


@in_clock_loop
async def test_a_clock_that_is_put_forward_is_followed_when_the_timer_is_set(wall: Wall) -> None:
    told = Told()
    told.note("page", {"a": wall.at(50)})
    await until(1)
    wall.ahead = 40
    told.set_timer()
    await until(30)
    assert told.told == [(10, "page", {"a"})]


@in_clock_loop
async def test_a_fault_of_who_is_told_keeps_nobody_else_from_it(wall: Wall) -> None:
    told = Told()
    faults: list[Any] = []
    clock().set_exception_handler(lambda loop, context: faults.append(context["exception"]))

    def stumble(*what: Any) -> None:
        told.told.append(what)
        raise ValueError("a fault")

    told._ended = stumble
    for name in "abc":
        told.note(name, {"x": wall.at(5)})
    await until(6)
    assert told.told == [(name, {"x"}) for name in "abc"]
    assert len(faults) == 3


@in_clock_loop
async def test_ends_that_hold_no_more_are_not_kept_for_ever(wall: Wall) -> None:
    told = Told()
    for number in range(20 * SPARE):
        told.note("renewed", {"a": wall.at(100_000 + number)})
        told.note(f"page {number}", {"a": wall.at(200_000)})
        told.forget(f"page {number}")
    assert len(told._heap) <= SPARE + 3
    await until(300_000)
    assert told.told == [(100_000 + 20 * SPARE - 1, "renewed", {"a"})]
