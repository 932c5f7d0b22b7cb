"""Every `BROADCAST_…` setting: its type, its default, what it means.

Read lazily from Django's settings, so nothing is read at import, and kept until Django says that
the setting changed, as `override_settings` does: five settings are asked for with each publication,
and Django's lookup took a quarter of the time of a streamer that publishes without a pause.
`conf.HISTORY_COUNT` is `settings.BROADCAST_HISTORY_COUNT`, or the default below.
"""

import math
import re
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.core.signals import setting_changed

T = TypeVar("T")

#: How the values of settings are called, by the type of the default.
KINDS: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list of strings",
}


class Setting(Generic[T]):
    """One setting; as an attribute of a class it reads `BROADCAST_<attribute name>`.

    Its value is of the default's type; where that is None, None or a `kind`. A number is 0 or more,
    or if it is `positive` more than that, and at most `most`.
    """

    def __init__(
        self,
        default: T,
        *,
        kind: type | None = None,
        positive: bool = False,
        most: float = math.inf,
    ) -> None:
        self.default = default
        self.kind = kind
        self.positive = positive
        self.most = most

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = f"BROADCAST_{name}"

    def __get__(self, instance: object, owner: type) -> T:
        value: T = getattr(settings, self.name, self.default)
        if instance is not None:
            # Python looks there first, before it comes here.
            vars(instance)[self.attribute] = value
        return value

    def fault(self) -> str:
        """What is wrong with its value, which is told only where it is a number; "": nothing."""
        value: Any = getattr(settings, self.name, self.default)
        if self.kind and value is None:
            return ""
        kind = self.kind or type(self.default)
        if not is_a(kind, value):
            return f"is {KINDS[kind]}, not of type {type(value).__name__}"
        if isinstance(value, int | float):
            least = "more than 0" if self.positive else "0 or more"
            if not (value > 0 or value == 0 and not self.positive):
                return f"is {least}, not {value}"
            if value > self.most:
                return f"is at most {self.most}, not {value}"
        return ""


def is_a(kind: type, value: Any) -> bool:
    """Whether `value` may stand where a default of type `kind` does."""
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


class Prefix(Setting[str]):
    """A prefix of names: "" (the database has one), or letters that every kind of name allows."""

    def fault(self) -> str:
        value: Any = getattr(settings, self.name, self.default)
        if value == "" or isinstance(value, str) and re.fullmatch("[A-Za-z0-9_-]{1,20}", value):
            return ""
        return "is 1 to 20 of the characters A-Z, a-z, 0-9, _ and -"


class IceServers(Setting[list[dict[str, Any]]]):
    """A list of objects as `RTCConfiguration.iceServers` takes: `urls` is a string or several."""

    def fault(self) -> str:
        value: Any = getattr(settings, self.name, self.default)
        if not isinstance(value, list | tuple) or not all(map(is_ice_server, value)):
            return 'is a list of objects such as {"urls": "stun:stun.example.org"}'
        return ""


def is_ice_server(value: Any) -> bool:
    urls: Any = value.get("urls") if isinstance(value, dict) else None
    urls = [urls] if isinstance(urls, str) else urls
    schemes = ("stun:", "stuns:", "turn:", "turns:")
    return bool(urls) and is_a(list, urls) and all(url.startswith(schemes) for url in urls)


class Conf:
    #: The prefix of all names that other installations on the same Redis or machine could have,
    #: too; "": a random one, which is in the database.
    PREFIX = Prefix("")
    #: The Redis that backend and channel layer are on, or several with commas between them, which
    #: the streams are spread over; "": all is in the memory of one process.
    REDIS_URL = Setting("")
    #: The same as a list, which counts where both are set.
    REDIS_URLS = Setting[list[str]]([])
    #: Dotted path of the backend that keeps history, runs and presence; "": in Redis or in memory,
    #: as `REDIS_URL` says.
    BACKEND = Setting("")
    #: The alias of the channel layer: see `hub.layer`.
    CHANNEL_LAYER = Setting("broadcast")

    #: History of a stream, unless its row says otherwise: publications, bytes, seconds.
    HISTORY_COUNT = Setting(1000)
    HISTORY_BYTES = Setting(8 * 1024 * 1024)
    HISTORY_AGE = Setting(3600)
    #: Most publications that `?history=` replays to a newcomer; more is cut to this.
    HISTORY_REPLAY = Setting(1000)
    #: Publications in one answer of the HTTP API that did not say how many, and the bytes of their
    #: payloads in any.
    HISTORY_LIMIT = Setting(100, positive=True)
    HISTORY_ANSWER_BYTES = Setting(4 * 1024 * 1024, positive=True)

    #: The circular buffer of a stream in each process: publications and bytes.
    RING_COUNT = Setting(4096, positive=True)
    RING_BYTES = Setting(4 * 1024 * 1024, positive=True)
    #: What one listener is handed at a time, and so the most it holds besides the ring: bytes.
    SLICE_BYTES = Setting(128 * 1024, positive=True)
    #: A listener whose transport takes nothing for so long is closed with 4408, and a client that
    #: takes nothing of an answer is cut off: seconds.
    SLOW_SECONDS = Setting(30.0, positive=True)

    #: From so many listeners at a time whose clients inflate, a stream is deflated, once for all of
    #: them; 0: no stream is.
    COMPRESS_LISTENERS = Setting(10)

    #: Largest frame: bytes. From the streamer of a media stream, and from anybody else.
    MAX_MEDIA_FRAME = Setting(4 * 1024 * 1024, positive=True)
    MAX_FRAME = Setting(1024 * 1024, positive=True)
    #: Most items of a JSON value, and of a call over MessagePack-RPC: every element of their lists,
    #: key and value of their objects. The process serves nobody while they are made or written.
    MAX_ITEMS = Setting(130_000, positive=True)
    #: Of a media stream: the largest initialisation segment, and the largest block (of MP4: box).
    MEDIA_HEADER_BYTES = Setting(1024 * 1024, positive=True)
    MEDIA_BLOCK_BYTES = Setting(2 * 1024 * 1024, positive=True)
    #: Seconds that a listener of a media stream may be behind, before it is skipped to the newest
    #: entry point.
    MEDIA_LAG_SECONDS = Setting(5.0)
    #: Where recordings are kept: the name of one of STORAGES. What may wait in memory for the disk,
    #: of each, and the most a file may have; None: any size. In bytes.
    RECORDINGS_STORAGE = Setting("recordings")
    RECORDING_QUEUE_BYTES = Setting(8 * 1024 * 1024, positive=True)
    MAX_RECORDING_BYTES = Setting[int | None](16 * 1024**3, kind=int, positive=True)
    #: Most bytes of all recordings of a stream, and of those of all streams; None: any number.
    MAX_STREAM_RECORDINGS_BYTES = Setting[int | None](128 * 1024**3, kind=int, positive=True)
    MAX_RECORDINGS_BYTES = Setting[int | None](512 * 1024**3, kind=int, positive=True)
    #: Seconds of silence after which who hears Server-Sent Events is sent a comment.
    KEEP_AWAKE_SECONDS = Setting(15.0, positive=True)
    #: Publications of a streamer that wait for history, before its socket is read no more.
    STREAMER_QUEUE = Setting(1024, positive=True)

    #: Most seconds for the headers of a request, for its body, and for the silence of a connection
    #: between two requests.
    HEADER_SECONDS = Setting(30.0, positive=True)
    BODY_SECONDS = Setting(300.0, positive=True)
    IDLE_SECONDS = Setting(60.0, positive=True)
    #: Largest body of a request, unless its view says otherwise: bytes; None: any size.
    MAX_BODY = Setting[int | None](10 * 1024 * 1024, kind=int, positive=True)

    #: Connections at a time in this process, in all and from one address; None: any number.
    MAX_CONNECTIONS = Setting[int | None](50_000, kind=int, positive=True)
    MAX_CONNECTIONS_PER_ADDRESS = Setting[int | None](10_000, kind=int, positive=True)
    #: New ones from one address, and what one streamer publishes: per second; None: any number.
    MAX_JOINS_PER_SECOND = Setting[float | None](None, kind=float, positive=True)
    MAX_PUBLICATIONS_PER_SECOND = Setting[float | None](None, kind=float, positive=True)
    MAX_BYTES_PER_SECOND = Setting[float | None](None, kind=float, positive=True)
    #: Streams that a user may own who is no superuser; None: any number.
    MAX_STREAMS_PER_OWNER = Setting[int | None](100, kind=int)

    #: Rooms: members of one, and how many there may be in the installation; None: any number.
    MAX_PEERS = Setting(250, positive=True)
    MAX_ROOMS = Setting[int | None](10_000, kind=int, positive=True)
    #: Bytes of messages that all rooms together remember, shared out among the rooms that there
    #: are.
    ROOMS_BYTES = Setting(256 * 1024 * 1024, positive=True)
    #: What a client of rooms may say: bytes of a message, messages per second; None: any number.
    MAX_SIGNAL = Setting(1024 * 1024, positive=True)
    MAX_SIGNALS_PER_SECOND = Setting[float | None](500.0, kind=float, positive=True)
    #: Seconds after which the members of a process that died leave their rooms.
    PEER_SECONDS = Setting(25.0, positive=True, most=40)

    #: Requests and calls of pages that do synchronous work at a time in this process, each with a
    #: connection to the database.
    THREADS = Setting(10, positive=True)
    #: Whether our server sets its process up for very many sockets: see `server.process`.
    TUNE_PROCESS = Setting(True)

    #: Seconds between a stream's last listener and this process leaving the stream's group.
    LINGER_SECONDS = Setting(1.0)
    #: Seconds between two looks for publications the channel layer lost on quiet streams.
    WATCH_SECONDS = Setting(2.0, positive=True)
    #: Seconds over which a server that was told to stop closes its sockets.
    DRAIN_SECONDS = Setting(5.0)

    #: Seconds for which a token is valid that was made without saying how long.
    TOKEN_AGE = Setting(86400.0)
    #: Other sites whose pages may open sockets here: `https://www.example.org`.
    ALLOWED_ORIGINS = Setting[list[str]]([])
    #: Sites that may have `/streams/<slug>/embed/` in an iframe, as in CSP's `frame-ancestors`.
    EMBED_ANCESTORS = Setting("*")

    #: Addresses and networks of the proxies before us, whose `X-Forwarded-For` is believed;
    #: `unix:`: every client that comes through a Unix socket.
    PROXIES = Setting[list[str]]([])

    #: Where the MessagePack-RPC server listens, and `publish` outside the server finds it.
    RPC_HOST = Setting("127.0.0.1")
    RPC_PORT = Setting(18800, positive=True, most=65535)
    #: What each connection must say first; "": nothing. Beyond this machine it is needed.
    RPC_SECRET = Setting("")
    #: Largest MessagePack object: bytes. Calls of a connection, and connections, at a time.
    RPC_MAX_OBJECT = Setting(4 * 1024 * 1024, positive=True)
    RPC_MAX_CALLS = Setting(256, positive=True)
    RPC_MAX_CONNECTIONS = Setting(200)

    #: Seconds for which a subscribed page's socket is waited for, and for which a page that lost
    #: its socket keeps its subscriptions.
    SUBSCRIPTION_WAIT = Setting(60.0, positive=True)
    SUBSCRIPTION_AGE = Setting(86400.0, positive=True)
    #: Calls of one page that run at a time, seconds that one may take, bytes of an answer.
    PAGE_CALLS = Setting(8, positive=True)
    PAGE_CALL_SECONDS = Setting(30.0, positive=True)
    PAGE_ANSWER_BYTES = Setting(1024 * 1024, positive=True)
    #: Paths that pages may call through their sockets, by how they begin.
    PAGE_PATHS = Setting[list[str]](["/"])

    #: STUN and TURN servers for the pages of rooms, as `RTCConfiguration.iceServers` takes them.
    ICE_SERVERS = IceServers([])
    #: What we share with the TURN servers: those without a credential get one that lasts so long.
    TURN_SECRET = Setting("")
    TURN_AGE = Setting(86400.0, positive=True)

    #: The token that `/metrics` asks for in `Authorization: Bearer`. Empty: none is accepted.
    METRICS_TOKEN = Setting("")


conf = Conf()


def _forget(*, setting: str, **kwargs: object) -> None:
    vars(conf).pop(setting.removeprefix("BROADCAST_"), None)


setting_changed.connect(_forget)

#: The settings by their names in Django's settings.
SETTINGS: dict[str, Setting[Any]] = {
    setting.name: setting for setting in vars(Conf).values() if isinstance(setting, Setting)
}
