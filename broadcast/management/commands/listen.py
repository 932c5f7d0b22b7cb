"""`manage.py listen STREAM`: print what comes.

Until it has joined once, an error ends it with one line. From then on it comes back after any
error: a proxy without a server, a connection cut in the handshake. Only a verdict ends it: the
status of a handshake in `VERDICTS`, or a close code of 4500 and above.
"""

import json
import random
import sys
import time
from argparse import ArgumentParser
from typing import Any
from urllib.parse import quote, urlencode

from django.core.management.base import BaseCommand, CommandError
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)
from websockets.sync.client import ClientConnection, connect

from broadcast.consumers import SUBPROTOCOL
from broadcast.exceptions import CloseCode
from broadcast.logs import visible

#: Most seconds between two attempts to come back.
MAX_BACKOFF = 30.0
#: After a refusal for too many connections the command waits as after so many failures.
TOO_MANY_FAILURES = 3
#: Statuses of a handshake that it is no use to repeat, and those that mean too many clients.
VERDICTS = (401, 403, 404, 410)
BUSY = (429, 503)


class Command(BaseCommand):
    help = (
        "Print what is published on STREAM, a line each; bytes as their number, or with --binary "
        "as they are. Comes back by itself when the connection is lost, without a gap."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="the stream's slug")
        parser.add_argument(
            "--url", default="ws://127.0.0.1:8000", help="the server (ws://127.0.0.1:8000)"
        )
        parser.add_argument(
            "--history", type=int, default=0, help="first print the last N publications"
        )
        parser.add_argument("--count", type=int, default=0, help="end after N publications")
        parser.add_argument("--binary", action="store_true", help="write binary ones as they are")

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        self.position: dict[str, Any] = {"history": options["history"]}
        self.printed = self.failures = 0
        try:
            while not self.done():
                self.listen_once()
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            # The program that read our output has gone: there is nothing left to flush to.
            sys.stdout = None

    def done(self) -> bool:
        return bool(self.options["count"]) and self.printed >= self.options["count"]

    def listen_once(self) -> None:
        """One connection, to its end. CommandError: there is no use in coming back."""
        path = f"/ws/listener/{quote(self.options['stream'], safe='')}/"
        url = f"{self.options['url'].rstrip('/')}{path}?{urlencode(self.position)}"
        try:
            with connect(url, subprotocols=[SUBPROTOCOL], max_size=None) as socket:  # type: ignore[list-item]
                self.hear(socket)
        except (InvalidURI, InvalidHandshake) as error:
            self.consider_refusal(url, error)
        except ConnectionClosed as closed:
            self.consider(closed)
        except OSError as error:
            if not self.has_joined():
                raise CommandError(f"no server answers at {self.options['url']}") from error
        if not self.done():
            self.wait()

    def has_joined(self) -> bool:
        return "epoch" in self.position

    def hear(self, socket: ClientConnection) -> None:
        """Print what comes, until the connection ends or there is enough."""
        if socket.subprotocol != SUBPROTOCOL:
            raise InvalidHandshake(f"the server does not speak {SUBPROTOCOL}")
        for frame in socket:
            self.take(frame)
            if self.done():
                return

    def consider_refusal(self, url: str, error: Exception) -> None:
        status = error.response.status_code if isinstance(error, InvalidStatus) else 0
        if not self.has_joined() or status in VERDICTS:
            raise CommandError(f"{url}: {error}") from None
        if status in BUSY:
            self.failures = max(self.failures, TOO_MANY_FAILURES)

    def consider(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd else 1006
        if code >= CloseCode.BAD_REQUEST and closed.rcvd:
            raise CommandError(f"{closed.rcvd.reason} ({code})")
        if code == CloseCode.TOO_MANY and closed.rcvd:
            self.stderr.write(f"Trying again later: {closed.rcvd.reason}")
            self.failures = max(self.failures, TOO_MANY_FAILURES)

    def wait(self) -> None:
        """Full jitter: everybody who was cut off at once comes back at different times."""
        self.failures += 1
        time.sleep(random.uniform(0, min(MAX_BACKOFF, 0.5 * 2**self.failures)))

    def take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self.position["since"] = int.from_bytes(frame[:8], "big")
            self.show(frame[8:])
            return
        said = json.loads(frame)
        if said["event"] == "joined":
            self.failures = 0
            if self.position.get("epoch") and not said["recovered"]:
                self.stderr.write("Publications may be missing here: history was lost.")
            self.position = {"epoch": said["epoch"], "since": said["offset"]}
        elif said["event"] == "publication":
            self.position["since"] = said["offset"]
            self.show(said["data"])
        elif said["event"] == "skipped":
            self.stderr.write(f"Publications {said['from']} to {said['to']} are missing here.")

    def show(self, data: Any) -> None:
        self.printed += 1
        if isinstance(data, bytes) and self.options["binary"]:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if isinstance(data, bytes):
            data = f"({len(data)} bytes)"
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        # A stranger's publication must not give commands to a terminal.
        self.stdout.write(visible(text, keep="\n\t") if self.stdout.isatty() else text)
        self.stdout.flush()
