"""Every `BROADCAST_…` setting: its type, its default, what it means.

Read lazily from Django's settings, so `override_settings` works and nothing is read at import.
`conf.HISTORY_COUNT` is `settings.BROADCAST_HISTORY_COUNT`, or the default below.
"""

from typing import Generic, TypeVar

from django.conf import settings

T = TypeVar("T")


class Setting(Generic[T]):
    """One setting; as an attribute of a class it reads `BROADCAST_<attribute name>`."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"BROADCAST_{name}"

    def __get__(self, instance: object, owner: type) -> T:
        value: T = getattr(settings, self.name, self.default)
        return value


class Conf:
    #: Dotted path of the backend that keeps history, runs and presence.
    BACKEND = Setting("broadcast.backends.memory.MemoryBackend")
    #: The Redis servers that `RedisBackend` spreads the streams over.
    REDIS_URLS = Setting[list[str]]([])
    #: The channel layer that the relay listens on.
    CHANNEL_LAYER = Setting("default")

    #: History of a stream, unless its row says otherwise: publications, bytes, seconds.
    HISTORY_COUNT = Setting(1000)
    HISTORY_BYTES = Setting(8 * 1024 * 1024)
    HISTORY_AGE = Setting(3600)
    #: Most publications that `?history=` replays to a newcomer; more is cut to this.
    HISTORY_REPLAY = Setting(1000)

    #: The circular buffer of a stream in each process: publications and bytes.
    RING_COUNT = Setting(4096)
    RING_BYTES = Setting(4 * 1024 * 1024)
    #: What one listener is handed at a time, and so the most it holds besides the ring: bytes.
    SLICE_BYTES = Setting(128 * 1024)
    #: A listener whose transport takes nothing for so long is closed with 4408: seconds.
    SLOW_SECONDS = Setting(30.0)

    #: Largest frame: bytes. From the streamer of a media stream, and from anybody else.
    MAX_MEDIA_FRAME = Setting(4 * 1024 * 1024)
    MAX_FRAME = Setting(1024 * 1024)
    #: Publications of a streamer that wait for history, before its socket is read no more.
    STREAMER_QUEUE = Setting(1024)

    #: Seconds between a stream's last listener and this process leaving the stream's group.
    LINGER_SECONDS = Setting(1.0)
    #: Seconds between two looks for publications the channel layer lost on quiet streams.
    WATCH_SECONDS = Setting(2.0)
    #: Seconds over which a server that was told to stop closes its sockets.
    DRAIN_SECONDS = Setting(5.0)

    #: Seconds for which a token is valid that was made without saying how long.
    TOKEN_AGE = Setting(86400.0)
    #: Other sites whose pages may open sockets here: `https://www.example.org`.
    ALLOWED_ORIGINS = Setting[list[str]]([])

    #: Where the MessagePack-RPC server listens, and `publish` outside the server finds it.
    RPC_HOST = Setting("127.0.0.1")
    RPC_PORT = Setting(18800)
    #: Largest MessagePack object: bytes. Connections at a time.
    RPC_MAX_OBJECT = Setting(4 * 1024 * 1024)
    RPC_MAX_CONNECTIONS = Setting(200)


conf = Conf()
