"""A Redis that has a stand-in: a master, a replica, and sentinels that put it in its place."""

import secrets
import subprocess
from contextlib import ExitStack
from pathlib import Path

from redis import Redis

from tests.rig.processes import RedisProcess, free_port, wait_until_it_answers

PASSWORD, SENTINEL_PASSWORD = "open-sesame", "open-barley"
MASTER = "main"


class SentinelProcess:
    """A sentinel on a port of its own, of sentinels with these ids and ports."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.id = secrets.token_hex(20)
        self.directory = directory / f"sentinel-{port}"
        self.directory.mkdir()

    def start(self, lines: list[str]) -> None:
        path = self.directory / "sentinel.conf"
        path.write_text("\n".join(lines))
        with (self.directory / "sentinel.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", str(path), "--sentinel"],
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )
        wait_until_it_answers(self.port, self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class GuardedRedis:
    """As a context manager all of it runs, and the sentinels know each other and the replica."""

    def __init__(self, directory: Path, *options: str) -> None:
        options = ("--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0", *options)
        self.master = RedisProcess(directory, *options, password=PASSWORD)
        follow = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = RedisProcess(directory, *options, *follow, password=PASSWORD)
        self.sentinels = [SentinelProcess(directory, free_port()) for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        self.url = (
            f"redis+sentinel://:{PASSWORD}@{hosts}/{MASTER}/0?sentinel_password={SENTINEL_PASSWORD}"
        )

    def __enter__(self) -> "GuardedRedis":
        with ExitStack() as stack:
            stack.enter_context(self.master)
            stack.enter_context(self.replica)
            for sentinel in self.sentinels:
                sentinel.start(self._lines(sentinel))
                stack.callback(sentinel.kill)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def _lines(self, own: SentinelProcess) -> list[str]:
        others = [one for one in self.sentinels if one is not own]
        return [
            f"port {own.port}",
            f"dir {own.directory}",
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"sentinel myid {own.id}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 2",
            f"sentinel auth-pass {MASTER} {PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER} 300",
            f"sentinel failover-timeout {MASTER} 3000",
            f"sentinel known-replica {MASTER} 127.0.0.1 {self.replica.port}",
            *(f"sentinel known-sentinel {MASTER} 127.0.0.1 {one.port} {one.id}" for one in others),
        ]

    def follows(self) -> bool:
        """Whether the replica has what the master has."""
        return str(self.replica.command("INFO", "replication")["master_link_status"]) == "up"

    def part(self) -> None:
        """From now on nothing comes to the replica any more."""
        self.replica.command("CONFIG", "SET", "masterauth", "another")
        self.master.command("CLIENT", "KILL", "TYPE", "replica")

    def take_over(self) -> None:
        """Have the replica put in the master's place, though nothing is wrong with that."""
        with Redis(port=self.sentinels[0].port, password=SENTINEL_PASSWORD) as client:
            client.execute_command("SENTINEL", "FAILOVER", MASTER)
