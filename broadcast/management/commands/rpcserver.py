"""`manage.py rpcserver`: MessagePack-RPC alone, beside servers that share Redis."""

import asyncio
import signal
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError

from broadcast.checks import reason_for_loopback, reason_for_one_process
from broadcast.conf import conf
from broadcast.management.server_command import ServerCommand
from broadcast.rpc.server import serve


class Command(ServerCommand):
    help = (
        "Serve MessagePack-RPC and nothing else, beside servers that share Redis. Where another "
        "process listens, it waits for the port. SIGTERM: what was begun is answered, then it "
        "exits; a second one exits at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", help="address to listen at (BROADCAST_RPC_HOST)")
        parser.add_argument("--port", type=int, help="port to listen at (BROADCAST_RPC_PORT)")

    def handle(self, *args: Any, **options: Any) -> None:
        host = options["host"] or conf.RPC_HOST
        port = conf.RPC_PORT if options["port"] is None else options["port"]
        if reason := reason_for_one_process("servers beside each other"):
            raise CommandError(reason)
        if reason := reason_for_loopback(host):
            raise CommandError(reason)
        self.check_backend()
        try:
            asyncio.run(self.serve(host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CommandError(f"cannot listen at {host}:{port}: {reason}") from None

    async def serve(self, host: str, port: int) -> None:
        serving = asyncio.ensure_future(serve(host, port, lambda: self.announce(host, port)))
        loop = asyncio.get_running_loop()

        def end() -> None:
            # The first time it answers what was begun, for a while; the second time it goes.
            serving.cancel()
            loop.call_later(conf.DRAIN_SECONDS, serving.cancel)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        with suppress(asyncio.CancelledError):
            await serving

    def announce(self, host: str, port: int) -> None:
        self.stdout.write(f"MessagePack-RPC is at {host}:{port}. Stop with Control-C.")
        # Into a pipe it would come with the end of the process.
        self.stdout.flush()
