"""Repair of messages that the channel layer lost, doubled or reordered, from history.

Publications reach a topic in the order of their offsets, each once. Doubles are dropped by their
offset; a gap is fetched from history; a quiet topic is compared with history now and then, so a
lost last publication is found, too. What history does not hold any more is told as skipped. A
history that is not the one that was heard, since its end was lost and it went on from there,
becomes a new epoch.
"""

import asyncio
from collections.abc import Iterable, Mapping

from .. import metrics
from ..backends import get_backend
from ..conf import conf
from ..exceptions import Unavailable
from ..logs import get_logger
from ..loops import spawn
from ..publications import Publication
from .topics import Topic

logger = get_logger(__name__)


class Repair:
    """Brings the topics of a relay up to date. `topics`: those of the relay, by name."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self.topics = topics
        #: Topics whose gap is being fetched, and what arrived for them meanwhile, by epoch.
        self._backlog: dict[str, list[tuple[str, Publication]]] = {}
        #: Offsets of topics that were behind history at the last look.
        self._behind: dict[str, int] = {}

    def deliver(self, topic: Topic, epoch: str, publications: list[Publication]) -> None:
        """Give the topic what is new to it, in order; fetch what is missing before it."""
        offset = topic.ring.offset
        backlog = self._backlog.get(topic.name)
        if backlog is not None:
            backlog.extend((epoch, publication) for publication in publications)
        elif epoch == topic.epoch and publications[0].offset == offset + 1:
            topic.append(publications)
        elif epoch != topic.epoch or publications[-1].offset > offset:
            self._begin(topic, [(epoch, publication) for publication in publications])

    async def look_for_lost(self, names: Iterable[str]) -> None:
        """Compare these topics with history, and repair those that have missed something."""
        topics = [self.topics[name] for name in names if name in self.topics]
        known = {topic.name: (topic.epoch, topic.offset) for topic in topics}
        for name, (epoch, offset) in (await get_backend().positions(known)).items():
            topic = self.topics.get(name)
            behind = self._behind.pop(name, None)
            if topic is None or name in self._backlog:
                continue
            lost_its_end = known[name][0] == epoch and offset < known[name][1]
            if epoch == topic.epoch and offset > topic.offset != behind:
                # On its way, most likely: lost only if it has not come by the next look.
                self._behind[name] = topic.offset
            elif epoch != topic.epoch or offset > topic.offset or lost_its_end:
                self._begin(topic, [])

    def _begin(self, topic: Topic, backlog: list[tuple[str, Publication]]) -> None:
        self._backlog[topic.name] = backlog
        spawn(self._repair(topic))

    async def _repair(self, topic: Topic) -> None:
        """Bring the topic to the newest position of history, then to the end of its backlog."""
        try:
            await self._fetch(topic)
        except Exception as error:
            if not isinstance(error, Unavailable):
                logger.exception("History of %r cannot be read; trying again", topic.name)
            self._behind[topic.name] = topic.offset
        finally:
            backlog = self._backlog.pop(topic.name)
        for epoch, publication in sorted(backlog, key=lambda one: one[1].offset):
            if epoch == topic.epoch and publication.offset == topic.offset + 1:
                topic.append([publication])

    async def _fetch(self, topic: Topic) -> None:
        while True:
            # With what was heard last, where that is known: is it the same history still?
            last = topic.ring.publications[-1] if topic.ring.publications else None
            epoch, found = await get_backend().read(
                topic.name, topic.offset - bool(last), conf.RING_COUNT, conf.RING_BYTES
            )
            if epoch != topic.epoch:
                await self._restart(topic)
                return
            overlaps = last is not None and found[:1] and found[0].offset == last.offset
            if overlaps and found[0] != last:
                await self._begin_epoch(topic)
                return
            found = found[1:] if overlaps else found
            if not found:
                await self._end_fetch(topic)
                return
            if found[0].offset > topic.offset + 1:
                lose(topic, found[0].offset - 1)
            metrics.gaps_repaired.inc()
            metrics.repaired_publications.inc(len(found))
            topic.append(found)
            # An engine in memory never waits.
            await asyncio.sleep(0)

    async def _end_fetch(self, topic: Topic) -> None:
        """History has nothing more: is that where the topic stands?"""
        state = await get_backend().state(topic.name)
        if state.epoch == topic.epoch and state.offset < topic.offset:
            await self._begin_epoch(topic)
        elif state.epoch == topic.epoch and state.offset > topic.offset:
            lose(topic, state.offset)

    async def _begin_epoch(self, topic: Topic) -> None:
        logger.warning("History of %r lost its end: a new epoch begins", topic.name)
        await get_backend().restart(topic.name, topic.epoch)
        await self._restart(topic)

    async def _restart(self, topic: Topic) -> None:
        state = await get_backend().state(topic.name)
        topic.restart(state.epoch, state.offset)


def lose(topic: Topic, offset: int) -> None:
    """History does not hold what was published up to `offset`, and the topic has not heard it."""
    metrics.lost_publications.inc(offset - topic.offset)
    topic.jump(offset)
