"""Frames by chance mean to our parser what they mean to another's: `tests.rig.fuzzing`."""

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.fuzzing import check


async def test_frames_by_chance_are_understood_as_websockets_does() -> None:
    for number in range(2000):
        await check(Random(number))


@settings(max_examples=100, database=None)
@given(st.randoms(use_true_random=False))
def test_frames_that_hypothesis_makes_are_understood_so_too(random: Random) -> None:
    asyncio.run(check(random))
