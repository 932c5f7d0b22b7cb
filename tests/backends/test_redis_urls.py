"""What a Redis URL means, and that no text has the password of one: whatever is in it."""

import logging
import pprint
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ResponseError

from broadcast.backends.redis import RedisBackend
from broadcast.backends.redis_connections import MASK, scrub
from broadcast.backends.redis_server import RedisServer
from broadcast.backends.redis_urls import RedisURL, address_of, layer_host, split
from broadcast.exceptions import Unavailable
from broadcast.hub import bus
from tests.rig.backends import use_redis
from tests.rig.processes import free_port

#: Words that stand for parts of a password, which none of the texts has otherwise.
FIRST, LAST = "xyzzy", "plugh"
PASSWORDS = [
    f"{FIRST}{special}{LAST}"
    for special in [
        *"#,/?@:% &=[]\\'\"<>+|^`{}~;!$*()\n\t",
        "ä",
        "℀",
        "🎉",
        "#@",
        "/@",
        "12#3",
        "%zz",
    ]
]
PASSWORDS += [f"{special}{FIRST}{LAST}" for special in "#,/?@:[% "]
PASSWORDS += [f"1234{special}{FIRST}{LAST}" for special in "#,/?@:[% "]

#: Where a password may stand.
PLACES = [
    "redis://:{}@127.0.0.1:{}/0",
    "redis://user:{}@localhost:{}",
    "rediss://:{}@127.0.0.1:{}/0",
    "unix://user:{}@/nowhere/{}.sock",
    "redis+sentinel://user:{}@127.0.0.1:{}/mymaster/0",
    "redis+sentinel://127.0.0.1:{1}/mymaster/0?sentinel_password={0}",
    "redis://127.0.0.1:{1}/0?password={0}",
    # What makes no sense.
    "http://:{}@127.0.0.1:{}/0",
    "redis:/:{}@127.0.0.1:{}",
    "redis://:{}@127.0.0.1:{}/zero",
    "redis://:{}@[::1:{}/0",
    "redis://:{}@one:1,two:{}/0",
    ":{}@127.0.0.1:{}",
]


def assert_secret(said: object) -> None:
    text = f"{said!s} {said!r} {pprint.pformat(said)}"
    assert FIRST not in text and LAST not in text, text


@pytest.mark.parametrize("place", PLACES)
async def test_no_text_has_a_password(
    place: str,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus, "_layer_failed", False)
    caplog.set_level(logging.DEBUG, "broadcast")
    port = free_port()
    for password in PASSWORDS:
        for written in (password, quote(password, safe="")):
            (url,) = split(place.format(written, port)) or [RedisURL(place)]
            assert_secret([url].__repr__())
            assert_secret(pprint.pformat({"urls": [url]}))
            try:
                address = address_of(url)
            except ImproperlyConfigured as error:
                assert str(error).startswith("a Redis URL makes no sense: ")
                assert_secret(error)
            else:
                assert_secret(address.name)
                assert_secret(address.__repr__())
    use_redis(settings, RedisURL(place.format(quote(PASSWORDS[0], safe=""), port)))
    backend = RedisBackend()
    with pytest.raises((Unavailable, ImproperlyConfigured)) as error:
        await backend.check()
    assert_secret(error.value)
    await bus.atell_everybody(bus.SessionEnded("x"))
    await backend.aclose()
    assert "The channel layer takes no messages" in caplog.text
    assert_secret(caplog.text)


@pytest.mark.parametrize(
    "place", ["redis://:{}@host/0", "redis+sentinel://a:{}@host/m", "redis://host?password={}"]
)
def test_a_password_that_is_escaped_is_what_it_was(place: str) -> None:
    for password in PASSWORDS:
        address = address_of(place.format(quote(password, safe="")))
        assert address.options["password"] == password
        assert address.secrets == (password,)


def test_a_sentinels_password_that_is_escaped_is_what_it_was() -> None:
    for password in PASSWORDS:
        own = address_of(f"redis+sentinel://host/m?sentinel_password={quote(password, safe='')}")
        assert own.options["sentinels"].options["password"] == password
        assert own.secrets == (password,)


def test_what_a_server_repeats_of_a_password_is_taken_out() -> None:
    for password in PASSWORDS:
        encoded = password.encode("utf-8", "surrogatepass")
        for said in (password, repr(password), repr(encoded), quote(password, safe="")):
            error = ResponseError(f"unknown command 'AUTH', with args beginning with: {said}")
            scrub(error, [None, password])
            assert_secret(error)
            assert MASK in str(error)


@pytest.mark.parametrize(
    ("url", "name", "options"),
    [
        ("redis://", "localhost:6379", {"host": "localhost", "port": 6379}),
        ("redis://host/", "host:6379", {"host": "host"}),
        ("redis://host:1/15", "host:1", {"host": "host", "port": 1, "db": 15}),
        ("redis://host?db=3", "host:6379", {"db": 3}),
        ("redis://[::1]:7/0", "[::1]:7", {"host": "::1", "port": 7}),
        ("redis://me@host", "host:6379", {"username": "me"}),
        ("redis://me%40home:a:b@host", "host:6379", {"username": "me@home", "password": "a:b"}),
        ("redis://:@host", "host:6379", {}),
        ("rediss://host", "host:6379", {"connection_class": SSLConnection}),
        ("rediss://host?ssl_ca_certs=/ca.pem", "host:6379", {"ssl_ca_certs": "/ca.pem"}),
        ("unix:///run/r.sock?db=2", "/run/r.sock", {"path": "/run/r.sock", "db": 2}),
        ("unix://me:pw@/r%23.sock", "/r#.sock", {"path": "/r#.sock", "username": "me"}),
        ("redis://host?socket_timeout=0.5", "host:6379", {"socket_timeout": 0.5}),
    ],
)
def test_a_url_names_a_server(url: str, name: str, options: dict[str, Any]) -> None:
    address = address_of(url)
    assert address.name == name
    assert address.options.items() >= options.items()
    classes = (Connection, SSLConnection, UnixDomainSocketConnection)
    assert address.options["connection_class"] in classes
    assert not address.has_stand_in


def test_a_url_names_sentinels_and_what_they_call_the_master() -> None:
    address = address_of(
        "rediss+sentinel://me:pw@one,two:2,[::1]:3/my%2Fmaster/4"
        "?sentinel_username=you&sentinel_password=other&ssl_ca_certs=/ca.pem"
    )
    assert address.name == "master 'my/master' of one:26379, two:2, [::1]:3"
    assert address.has_stand_in
    assert address.secrets == ("pw", "other")
    options, sentinels = address.options, address.options["sentinels"]
    assert (options["username"], options["password"], options["db"]) == ("me", "pw", 4)
    assert issubclass(options["connection_class"], SSLConnection)
    assert (sentinels.hosts, sentinels.master) == (
        [("one", 26379), ("two", 2), ("::1", 3)],
        "my/master",
    )
    assert (sentinels.options["username"], sentinels.options["password"]) == ("you", "other")
    assert sentinels.options["ssl_ca_certs"] == options["ssl_ca_certs"] == "/ca.pem"
    assert sentinels.connection_class is SSLConnection


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "host",
            "host:6379",
            "http://host",
            "redis:host",
            "redis://host:0",
            "redis://host:70000",
        ),
        *(
            "redis://host/zero",
            "redis://host/0/1",
            "redis://host/-1",
            "redis://host#0",
            "redis://a b",
        ),
        *("redis://host:port", "redis://one,two", "redis://host?db=x", "redis://host?nothing=1"),
        *(
            "redis://host?db=1&db=2",
            "redis://host?db",
            "redis://host?ssl_ca_certs=/x",
            "redis://[::1",
        ),
        *(
            "rediss://host?ssl_cert_reqs=maybe",
            "unix://run/r.sock",
            "unix://",
            "redis://p@ss/w@host",
        ),
        *("redis+sentinel://host", "redis+sentinel://host/", "redis+sentinel://host/m/x"),
        *("redis+sentinel://one,,two/m", "redis://host?sentinel_password=x"),
        *(
            "redis+sentinel://host/m?nothing=1",
            "redis://host?connection_class=x",
            "redis://host?host=a",
        ),
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="a Redis URL makes no sense: "):
        address_of(url)
    with pytest.raises(ImproperlyConfigured, match="a Redis URL makes no sense: "):
        RedisServer(url, "g")
    # A layer is made of it all the same, and refuses when it is used.
    assert layer_host(url)


def test_several_urls_have_commas_between_them_and_in_them() -> None:
    text = " redis://one , rediss://a,b:c,d@two:1/0,redis+sentinel://three,four/m,unix:///r.sock,"
    assert split(text) == [
        "redis://one",
        "rediss://a,b:c,d@two:1/0",
        "redis+sentinel://three,four/m",
        "unix:///r.sock",
    ]
    assert split("") == split(" , ") == []
