"""Several server processes on the cores of one machine: `manage.py serve --workers N`.

The parent opens the listening sockets and serves nobody. Its workers inherit them and take their
connections; each is a whole `server.Server` in an interpreter of its own, and they are one through
the shared backend, as servers on several machines are. What is promised:

* The sockets are open until all is to end: whatever happens to workers, a client that comes
  meanwhile is not refused, but waits for the next one that serves.
* A worker that dies is replaced at once; one that dies soon after its start, after a pause that
  grows from 1 to 30 seconds. When no worker has served yet, it is all over instead, with a reason.
* SIGHUP: one worker after another is replaced by one with the code and the settings of now, which
  serves before the old one drains. When it does not come so far, the old ones stay.
* SIGTERM, SIGINT: all drain at once, and the parent ends after the last. A second signal: at once.
* When the parent is gone, killed even, its workers drain.

Parent and worker talk through a pair of connected sockets, the link. The worker says that it
serves, the parent what to do. The kernel closes the link of a killed parent. Drains go the same
way, not as SIGTERM, because service managers send that to every process of a service: a worker
would take the parent's for the second one, and not drain.
"""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from .. import metrics
from ..conf import conf
from ..logs import get_logger
from ..loops import repeat
from .server import Server
from .writing import CLOSE_SECONDS

logger = get_logger(__name__)

#: The words on a link: of the worker, and of the parent.
SERVES = b"+"
DRAIN, STOP = b"-", b"!"

#: A worker that lived for less died soon after its start: seconds.
STABLE_SECONDS = 10.0
#: The longest pause before the next worker of a place where one after another dies: seconds.
MAX_PAUSE = 30
#: Seconds a worker has to end, beyond those of its drain, before it is killed; and at once.
GRACE_SECONDS = CLOSE_SECONDS + 10.0
STOP_SECONDS = 5


# -- the parent -----------------------------------------------------------------------------


class Worker:
    """A worker process, as its parent sees it. `serving` is called when it serves.

    `number`: no other worker has it at the same time. `environment`: what differs in its.
    """

    def __init__(
        self,
        command: Sequence[str],
        listening: Sequence[socket.socket],
        number: int,
        environment: dict[str, str],
        serving: Callable[["Worker"], None],
    ) -> None:
        self.number = number
        self.environment = {**os.environ, **environment}
        self.has_served = False
        #: Set when it serves, and when it ended.
        self.settled = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.started = time.monotonic()
        self._serving = serving
        self._link, self._its_link = socket.socketpair()
        self._link.setblocking(False)
        #: Its whole life; the result says how it ended.
        self.life = asyncio.ensure_future(self._live(command, listening))

    def __str__(self) -> str:
        return f"Worker {self.process.pid}" if self.process else "A worker"

    @property
    def serves(self) -> bool:
        return self.has_served and not self.life.done()

    @property
    def died_soon(self) -> bool:
        return not self.has_served or time.monotonic() - self.started < STABLE_SECONDS

    async def _live(self, command: Sequence[str], listening: Sequence[socket.socket]) -> str:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._link, self._hear)
        try:
            self.process = await self._spawn(command, listening)
            return ending(await self.process.wait())
        except OSError as error:
            return f"could not be started: {error}"
        finally:
            loop.remove_reader(self._link)
            self._link.close()
            self.settled.set()

    async def _spawn(
        self, command: Sequence[str], listening: Sequence[socket.socket]
    ) -> asyncio.subprocess.Process:
        with self._its_link as link:
            descriptors = [one.fileno() for one in (link, *listening)]
            return await asyncio.create_subprocess_exec(
                *command,
                *map(str, descriptors),
                env=self.environment,
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                # A terminal sends its signals to all processes at once: only the parent handles
                # them.
                start_new_session=True,
            )

    def _hear(self) -> None:
        asyncio.get_running_loop().remove_reader(self._link)
        with suppress(ConnectionError):
            if self._link.recv(1):
                self.has_served = True
                self.settled.set()
                self._serving(self)

    def drain(self) -> None:
        self._tell(DRAIN)

    def stop(self) -> None:
        """Have it go at once. One that still starts hears nothing, and has nobody to tell."""
        if self.serves:
            self._tell(STOP)
            asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill)
        else:
            self._kill()

    def _tell(self, word: bytes) -> None:
        # It may have ended.
        with suppress(OSError):
            self._link.send(word)

    async def end(self) -> None:
        """Wait until it ended, and kill it when that takes too long."""
        await asyncio.wait({self.life}, timeout=conf.DRAIN_SECONDS + GRACE_SECONDS)
        self._kill()
        await asyncio.wait({self.life})

    def _kill(self) -> None:
        if self.process and not self.life.done():
            logger.error("%s has not ended, and is killed", self)
            with suppress(ProcessLookupError):
                self.process.kill()


def ending(status: int) -> str:
    """How a process ended, in words; `status` is negative for a signal."""
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with exit status {status}"


class Parent:
    """Keeps `number` workers on `listening`; `announce` is called once, when all of them serve.

    `command` starts one: the descriptors it inherits are added, for it to call `work` with. They
    count into the directory `counts`.
    """

    def __init__(
        self,
        command: Sequence[str],
        listening: Sequence[socket.socket],
        number: int,
        counts: str,
        announce: Callable[[], None],
    ) -> None:
        self.command = command
        self.listening = listening
        self.number = number
        self.counts = counts
        self.announce: Callable[[], None] | None = announce
        #: The worker of each place, and all that have not ended: one may be about to leave.
        self.places: list[Worker] = []
        self.workers: set[Worker] = set()
        #: The last pause of each place: seconds.
        self.pauses: dict[int, int] = {}
        self.have_served = False
        self.failure = ""

    async def run(self) -> str:
        """Until a signal ends it, or no worker came to serve: then this answers why."""
        self.ending = asyncio.Event()
        self.replacing = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end)
        loop.add_signal_handler(signal.SIGINT, self.end)
        loop.add_signal_handler(signal.SIGHUP, self.replacing.set)
        self.places = [self._start() for _ in range(self.number)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(place)) for place in range(self.number)]
            tasks.append(group.create_task(repeat("workers", self._replace_when_told)))
            await self.ending.wait()
            for task in tasks:
                task.cancel()
        # As long as one process has it open, clients are taken in by the system, and wait.
        for sock in self.listening:
            sock.close()
        for worker in self.workers:
            worker.drain()
        await asyncio.gather(*(worker.end() for worker in self.workers))
        return self.failure

    def end(self) -> None:
        """Have all workers drain; the second time, have them go at once."""
        if self.ending.is_set():
            for worker in self.workers:
                worker.stop()
        self.ending.set()

    def _start(self) -> Worker:
        taken = {worker.number for worker in self.workers}
        number = next(number for number in itertools.count(1) if number not in taken)
        environment = metrics.environment(self.counts, number)
        worker = Worker(self.command, self.listening, number, environment, self._serving)
        self.workers.add(worker)
        worker.life.add_done_callback(lambda _: self._ended(worker))
        return worker

    def _ended(self, worker: Worker) -> None:
        metrics.forget(self.counts, worker.number)
        self.workers.discard(worker)

    def _serving(self, worker: Worker) -> None:
        self.have_served = True
        logger.info("%s serves", worker)
        self._announce_once()

    def _announce_once(self) -> None:
        all_serve = all(worker.serves for worker in self.places)
        if self.announce and all_serve and not self.ending.is_set():
            self.announce()
            self.announce = None

    async def _keep(self, place: int) -> None:
        """Put another worker in place of one that dies."""
        await repeat("workers", partial(self._keep_one, place), until=self.ending.is_set)

    async def _keep_one(self, place: int) -> None:
        worker = self.places[place]
        await asyncio.wait({worker.life})
        if worker is not self.places[place]:
            return
        end = worker.life.result()
        if not self.have_served:
            self.failure = f"no worker came to serve: one {end}"
            self.ending.set()
            return
        before = self.pauses.get(place, 0)
        pause = min(max(1, 2 * before), MAX_PAUSE) if worker.died_soon else 0
        self.pauses[place] = pause
        logger.error("%s %s; the next one starts in %d s", worker, end, pause)
        await asyncio.sleep(pause)
        # It may have been replaced meanwhile.
        if worker is self.places[place]:
            self.places[place] = self._start()

    async def _replace_when_told(self) -> None:
        await self.replacing.wait()
        # Told once more from here on, all are replaced once more.
        self.replacing.clear()
        if await self._replace_all():
            logger.info("All workers were replaced")

    async def _replace_all(self) -> bool:
        for place in range(self.number):
            new = self._start()
            await new.settled.wait()
            if not new.serves:
                await asyncio.wait({new.life})
                logger.error("%s %s before it served; the others stay", new, new.life.result())
                return False
            old, self.places[place] = self.places[place], new
            self._announce_once()
            old.drain()
            await old.end()
        return True


# -- a worker -------------------------------------------------------------------------------


def work(application: Any, listening: Iterable[int], link: int) -> None:
    """Serve as a worker, with the sockets of these descriptors, until told to end."""
    parent = _inherited(link)
    orphaned = False

    def serving() -> None:
        asyncio.get_event_loop().add_reader(parent, hear)
        # The parent may be gone already, which `hear` is told.
        with suppress(OSError):
            parent.send(SERVES)

    def hear() -> None:
        nonlocal orphaned
        try:
            said = parent.recv(16)
        except ConnectionError:
            said = b""
        if not said:
            orphaned = True
            asyncio.get_event_loop().remove_reader(parent)
        if STOP in said:
            server.stop()
        elif not server.draining:
            server.drain()

    server = Server(
        application=application,
        listening=[_inherited(descriptor) for descriptor in listening],
        ready_callable=serving,
    )
    server.run()
    if orphaned:
        # Nobody else is left to remove it.
        shutil.rmtree(os.environ[metrics.DIRECTORY], ignore_errors=True)


def _inherited(descriptor: int) -> socket.socket:
    inherited = socket.socket(fileno=descriptor)
    # No further: what a worker starts must not keep the port, nor the link.
    inherited.set_inheritable(False)
    return inherited
