"""The Redis that several server processes share, and what it counts."""

import contextlib
from pathlib import Path

from redis import Redis

from .processes import free_port, running

#: It keeps nothing on disk; the rest is as it comes.
OPTIONS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")


class RedisServer(contextlib.ExitStack):
    """As a context manager it runs, kept to `cores`."""

    def __init__(self, directory: Path, cores: frozenset[int]) -> None:
        super().__init__()
        self.directory = directory
        self.cores = cores
        self.port = free_port()

    def __enter__(self) -> "RedisServer":
        process = self.enter_context(
            running(
                ["redis-server", "--port", str(self.port), *OPTIONS],
                cores=self.cores,
                directory=self.directory,
                environment={},
                log=self.directory / "log-redis",
            )
        )
        process.wait_until_accepting(self.port)
        self.client = self.enter_context(Redis(port=self.port))
        return self

    def feign_processes(self, number: int) -> None:
        """Have so many connections hear what the servers hear, as further processes would.

        They never read: what they are sent fits into their sockets' buffers.
        """
        channels = self.client.pubsub_channels("asgi__group__*")
        for _ in range(number):
            self.enter_context(self.client.pubsub()).subscribe(*channels)

    def counters(self) -> dict[str, float]:
        """Since its start: seconds of CPU, commands, bytes, seconds in the scripts and in PUBLISH.

        Commands that a script runs are counted like those that clients send.
        """
        cpu, stats = self.client.info("cpu"), self.client.info("stats")
        commands = self.client.info("commandstats")
        return {
            "redis": cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            "commands": stats["total_commands_processed"],
            "bytes in": stats["total_net_input_bytes"],
            "bytes out": stats["total_net_output_bytes"],
            "scripts": commands.get("cmdstat_evalsha", {}).get("usec", 0) / 1e6,
            "publishing": commands.get("cmdstat_publish", {}).get("usec", 0) / 1e6,
        }
