"""Every backend against a model of itself that is too simple to be wrong."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

import pytest
from django.test import override_settings
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from broadcast.backends import GRACE_SECONDS, RETRY_SECONDS, HistoryLimits, Run
from broadcast.backends.redis import RedisBackend
from broadcast.exceptions import RunGap
from broadcast.publications import Draft, Mark
from tests.rig.backends import BACKENDS
from tests.rig.clock import Clock

drafts = st.lists(
    st.builds(Draft.of, st.binary(max_size=12), st.integers(0, 7).map(Mark)), max_size=5
)
#: Narrow ones, so that every one of the three is reached again and again.
limits = st.builds(
    HistoryLimits, st.integers(0, 8), st.integers(0, 40), st.sampled_from([0, 10, 60])
)


class Sent(NamedTuple):
    offset: int
    draft: Draft
    time: float


class Comparison(RuleBasedStateMachine):
    """One stream of `engine`, and everything that was ever sent on it in this epoch."""

    engine: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.backend = BACKENDS[self.engine](self.clock)
        self.epochs: set[str] = set()
        self.begin()

    def begin(self) -> None:
        self.sent: list[Sent] = []
        self.first = 1
        self.seconds = float("inf")
        self.runs: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        #: When it was added to, or began to be kept; None: it is not kept.
        self.kept_since: float | None = None
        self.epoch = self.wait(self.backend.state("s")).epoch
        assert self.epoch not in self.epochs
        self.epochs.add(self.epoch)

    def teardown(self) -> None:
        if isinstance(self.backend, RedisBackend):
            self.wait(self.backend.aclose())
        self.loop.close()

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    @property
    def offset(self) -> int:
        return len(self.sent)

    def add(self, added: list[Draft], within: HistoryLimits) -> list[Sent]:
        """Send, and trim: the history is all that was sent from `first` on."""
        if added or self.kept_since is None:
            self.kept_since = self.clock.now
        new = [Sent(self.offset + n, one, self.clock.now) for n, one in enumerate(added, 1)]
        self.sent.extend(new)
        self.seconds = within.seconds
        while self.kept and (
            len(self.kept) > within.publications
            or sum(len(one.draft.payload) for one in self.kept) > within.bytes
        ):
            self.first += 1
        self.expire()
        return new

    def expire(self) -> None:
        while self.kept and self.kept[0].time < self.clock.now - self.seconds:
            self.first += 1

    @property
    def kept(self) -> list[Sent]:
        return self.sent[self.first - 1 :]

    @staticmethod
    def fields(publications: list[Any]) -> list[Sent]:
        return [
            Sent(one.offset, Draft(one.kind, one.payload, one.marks), one.time)
            for one in publications
        ]

    # -- what may happen --------------------------------------------------------------------

    @rule(added=drafts, within=limits)
    def append(self, added: list[Draft], within: HistoryLimits) -> None:
        appended = self.wait(self.backend.append("s", added, within))
        assert self.fields(appended.publications) == self.add(added, within)
        assert (appended.epoch, appended.offset) == (self.epoch, self.offset)

    @rule(added=drafts, within=limits, run=st.sampled_from("ab"), step=st.integers(-4, 2))
    def append_in_run(self, added: list[Draft], within: HistoryLimits, run: str, step: int) -> None:
        accepted = self.runs.get(run, 0)
        number = max(accepted + 1 + step, 1)
        appending = self.backend.append("s", added, within, Run(run, number))
        if number > accepted + 1:
            self.kept_since = self.kept_since or self.clock.now
            with pytest.raises(RunGap):
                self.wait(appending)
            return
        appended = self.wait(appending)
        new = added[accepted + 1 - number :]
        self.runs[run] = accepted + len(new)
        assert self.fields(appended.publications) == self.add(new, within)
        assert (appended.offset, appended.accepted) == (self.offset, self.runs[run])

    @rule(draft=drafts.filter(bool), within=limits, key=st.sampled_from("kl"))
    def append_with_key(self, draft: list[Draft], within: HistoryLimits, key: str) -> None:
        appended = self.wait(self.backend.append("s", draft[:1], within, key=key))
        if key in self.keys:
            assert (appended.offset, appended.publications) == (self.keys[key], [])
            return
        assert self.fields(appended.publications) == self.add(draft[:1], within)
        self.keys[key] = appended.offset

    @rule(seconds=st.sampled_from([1, 10, 61, 400, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def prune(self) -> None:
        before = self.first
        self.expire()
        # What a look at the stream has dropped already is not counted again.
        assert self.wait(self.backend.prune()) <= self.first - before
        # Redis goes by its own clock.
        if self.engine == "memory" and self.kept_since is not None:
            seconds = 0 if self.seconds == float("inf") else self.seconds
            known = RETRY_SECONDS if self.runs or self.keys else 0
            if self.clock.now > self.kept_since + max(seconds, known) + GRACE_SECONDS:
                self.begin()

    @rule()
    def clear(self) -> None:
        self.wait(self.backend.clear("s"))
        self.begin()
        self.kept_since = self.clock.now

    @rule(since=st.integers(0, 40), count=st.integers(1, 5), size=st.integers(0, 40))
    def read(self, since: int, count: int, size: int) -> None:
        self.expire()
        epoch, found = self.wait(self.backend.read("s", since, count, size))
        expected = [one for one in self.kept if one.offset > since][:count]
        while len(expected) > 1 and sum(len(one.draft.payload) for one in expected) > size:
            expected.pop()
        assert (epoch, self.fields(found)) == (self.epoch, expected)

    # -- what always holds ------------------------------------------------------------------

    @invariant()
    def it_stands_where_the_model_stands(self) -> None:
        self.expire()
        state = self.wait(self.backend.state("s"))
        assert (state.epoch, state.offset, state.first) == (self.epoch, self.offset, self.first)
        recording = self.sent
        for index, one in enumerate(self.sent):
            if one.draft.marks & Mark.RESET:
                recording = self.sent[index:]
        headers = [one for one in recording if one.draft.marks & Mark.HEADER]
        entries = [one.offset for one in recording if one.draft.marks & Mark.ENTRY]
        assert self.fields([state.header] if state.header else []) == headers[-1:]
        assert state.entry == (entries[-1] if entries else 0)
        behind = [one for one in entries if not headers or one >= headers[-1].offset]
        assert state.has_entries == bool(behind)
        assert state.open_entry == (behind[-1] if behind and behind[-1] >= self.first else 0)
        assert self.wait(self.backend.positions(["s"])) == {"s": (self.epoch, self.offset)}
        accepted = {run: self.wait(self.backend.accepted("s", run)) for run in self.runs}
        assert accepted == self.runs


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_backend_does_what_its_model_does(engine: str, request: Any) -> None:
    machine = type("Machine", (Comparison,), {"engine": engine})
    urls = [request.getfixturevalue("redis_url")] if engine == "redis" else []
    with override_settings(BROADCAST_REDIS_URLS=urls):
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                deadline=None,
                max_examples=60,
                stateful_step_count=30,
                derandomize=True,
                database=None,
            ),
        )
