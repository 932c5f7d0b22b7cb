"""`manage.py publish STREAM [TEXT | -]`: publish from the command line."""

import asyncio
import logging
import sys
from argparse import ArgumentParser
from codecs import BOM_UTF8
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGINT
from threading import Thread
from typing import Any, BinaryIO, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from broadcast.backends import is_here, remote
from broadcast.conf import conf
from broadcast.exceptions import BadRequest, BroadcastError
from broadcast.hub.publishing import apublish_drafts, publish_draft
from broadcast.ingest.programs import feeding
from broadcast.management.words import explain
from broadcast.media import Segmenter
from broadcast.models import Stream
from broadcast.publications import Draft, Kind, Position, decode_json

#: Calls that go to the server together, and those under way while more are being made.
TOGETHER = 256
PIPELINE = 1024

T = TypeVar("T")


class Command(BaseCommand):
    help = (
        "Publish TEXT on STREAM. With `-`, a pipe or --file: each line is one publication, or "
        "with --binary each chunk of bytes; on a media stream, without --json, they are WebM or "
        "fragmented MP4, and are cut into segments. Needs the running server, or a shared backend."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="the stream's slug")
        parser.add_argument("text", nargs="?", help="one publication; `-`: read standard input")
        parser.add_argument("--file", type=Path, help="read this file instead")
        parser.add_argument("--json", action="store_true", help="each publication is JSON")
        parser.add_argument("--binary", action="store_true", help="publish bytes, in chunks")
        parser.add_argument(
            "--chunk", type=int, default=65536, help="bytes of a --binary chunk (65536)"
        )
        parser.add_argument("--key", default="", help="idempotency key: a repeat is harmless")

    def handle(self, *args: Any, **options: Any) -> None:
        self.check_options(options)
        # This command says itself what the backend would log of a fault.
        backend_logger = logging.getLogger("broadcast.backends")
        backend_logger.setLevel(logging.CRITICAL)
        try:
            if options["text"] not in (None, "-"):
                draft = self.draft(options["text"].encode("utf-8", "surrogateescape"), options)
                position: Position | None = publish_draft(options["stream"], draft, options["key"])
            else:
                position = self.publish_all(options)
        except (BroadcastError, ImproperlyConfigured, OSError, DatabaseError) as error:
            raise CommandError(explain(error)) from None
        except KeyboardInterrupt:
            # As a shell says that it was a signal, and which.
            raise CommandError("interrupted", returncode=128 + SIGINT) from None
        finally:
            backend_logger.setLevel(logging.NOTSET)
        if position and options["verbosity"] > 0:
            self.stdout.write(f"{position.epoch}:{position.offset}")

    def check_options(self, options: dict[str, Any]) -> None:
        if options["text"] is not None and options["file"]:
            raise CommandError("give either a text or --file")
        if options["json"] and options["binary"]:
            raise CommandError("give either --json or --binary")
        if options["text"] is None and not options["file"] and sys.stdin.isatty():
            raise CommandError("give a text, `-` or --file")
        if options["key"] and options["text"] in (None, "-"):
            raise CommandError("--key goes with a single publication")
        if not 0 < options["chunk"] <= conf.MAX_FRAME:
            raise CommandError(f"--chunk is between 1 and {conf.MAX_FRAME} bytes")

    def draft(self, payload: bytes, options: dict[str, Any]) -> Draft:
        if options["binary"]:
            return Draft(Kind.BINARY, payload)
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            raise BadRequest("not UTF-8; --binary publishes bytes") from None
        return Draft.of(decode_json(text) if options["json"] else text)

    def publish_all(self, options: dict[str, Any]) -> Position | None:
        """Publish a file or standard input; answers the last position."""
        source: BinaryIO = options["file"].open("rb") if options["file"] else sys.stdin.buffer
        size = options["file"].stat().st_size if options["file"] else None
        with source, self.progress(size) as progress:
            feeds = not options["json"] and is_media(options["stream"])
            if feeds:
                batches = segments(source, options["chunk"], progress)
            else:
                batches = self.batches(source, options, progress)
            publish = self.publish_here if is_here() else self.publish_remotely
            return publish(options["stream"], batches, feeds)

    def progress(self, size: int | None) -> Any:
        # Only on a terminal, and only when it takes longer than a second.
        return tqdm(total=size, unit="B", unit_scale=True, delay=1, disable=None)

    def batches(
        self, source: BinaryIO, options: dict[str, Any], progress: Any
    ) -> Iterator[list[Draft]]:
        """Read the bytes that a pipe has by now, and wait for no more."""
        chunks = chunks_of(source, options["chunk"])
        number = 0
        batches = ([chunk] for chunk in chunks) if options["binary"] else lines(text_of(chunks))
        for payloads in batches:
            batch = []
            for payload in payloads:
                number += 1
                progress.update(len(payload))
                try:
                    batch.append(self.draft(payload, options))
                except BadRequest as error:
                    yield batch
                    raise BadRequest(f"line {number}: {error}") from None
            yield batch

    def publish_here(
        self, stream: str, batches: Iterable[list[Draft]], feeds: bool
    ) -> Position | None:
        """Into the shared backend. `feeds`: as the stream's streamer, as long as this lasts."""
        position = None
        publish: Callable[[list[Draft]], Coroutine[Any, Any, Position]]
        publish = partial(apublish_drafts, stream)
        with event_loop() as run:
            stack = AsyncExitStack()
            try:
                if feeds:
                    publish = run(stack.enter_async_context(feeding(stream))).append
                for batch in filter(None, batches):
                    position = run(publish(batch))
            finally:
                run(stack.aclose())
        return position

    def publish_remotely(
        self, stream: str, batches: Iterable[list[Draft]], feeds: bool
    ) -> Position | None:
        """Through one connection, with many calls under way at a time.

        `feeds`: as the stream's streamer, which it is as long as the connection lasts.
        """
        answer = None
        with remote.connected() as client:
            if feeds:
                client.call("feed", stream)
            try:
                for batch in batches:
                    calls = [remote.publish_params(stream, draft) for draft in batch]
                    for start in range(0, len(calls), TOGETHER):
                        client.send("publish", *calls[start : start + TOGETHER])
                        # The program must learn soon that another streamer took over.
                        while client.under_way > (0 if feeds else PIPELINE):
                            answer = client.receive()
            except BaseException:
                # Lines that were sent are published, even if the next one fails.
                with suppress(BroadcastError):
                    client.receive_all()
                raise
            answer = client.receive_all() or answer
        return remote.as_position(answer) if answer else None


@contextmanager
def event_loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """A function that runs a coroutine and waits for it, in an event loop in another thread.

    So presence and recording go on while this thread waits for its input, and an interrupt ends
    that.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = Thread(target=loop.run_forever, name="event loop", daemon=True)
        try:
            thread.start()
            yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def is_media(stream: str) -> bool:
    """Whether what is published there is video or sound; a name without a row is not."""
    return Stream.objects.filter(slug=stream, kind=Stream.Kind.MEDIA).exists()


def chunks_of(source: BinaryIO, size: int) -> Iterator[bytes]:
    """The input, at most `size` bytes at a time; of a pipe the bytes that it has by now."""
    read = getattr(source, "read1", source.read)
    return iter(lambda: read(size), b"")


def segments(source: BinaryIO, size: int, progress: Any) -> Iterator[list[Draft]]:
    """A file or pipe of video or sound, cut as soon as it comes."""
    segmenter = Segmenter()
    for chunk in chunks_of(source, size):
        progress.update(len(chunk))
        yield segmenter.feed(chunk)
    if segmenter.in_header:
        raise BadRequest("there is no video in it, and no sound")
    yield segmenter.finish()


def text_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks of UTF-8 without the byte order mark that some editors begin a file with."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= len(BOM_UTF8) or not BOM_UTF8.startswith(start):
            break
    yield start.removeprefix(BOM_UTF8)
    yield from chunks


def lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The whole lines that each chunk ends, without what ends them; at last the rest."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield [line.rstrip(b"\r") for line in whole]
    if rest:
        yield [rest.rstrip(b"\r")]
