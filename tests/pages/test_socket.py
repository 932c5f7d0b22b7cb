"""Pages that are subscribed and pushed to, through real servers: memory, Redis, another server."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from tests.rig.doors import Closed, ServerDoor, eventually
from tests.rig.launcher import Launched
from tests.rig.pages import URLS, Page, Person, arguments, push
from tests.rig.processes import ServerProcess, free_port, wait_until_it_answers


@pytest.fixture(scope="module", params=["broadcast", "redis", "uvicorn"])
def process(
    request: Any, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[ServerProcess]:
    directory: Path = tmp_path_factory.mktemp(request.param)
    kind = "uvicorn" if request.param == "uvicorn" else "broadcast"
    settings = URLS | ({"REDIS_URL": redis_url} if request.param == "redis" else {})
    with ExitStack() as stack:
        yield stack.enter_context(ServerProcess(kind, directory, **settings))


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield ServerDoor(process)
    process.assert_clean_log()


@pytest.fixture
def person(door: ServerDoor) -> Person:
    return Person(door)


@pytest.fixture
def other(door: ServerDoor) -> Person:
    return Person(door)


@pytest.fixture
def name() -> str:
    """Of a channel that no other test uses."""
    return f"test-{uuid4().hex}"


@pytest.mark.parametrize("message", [{"foo": "bar"}, "text", 5, None, [1, {"a": "ä🎥"}], True, ""])
async def test_what_a_view_pushes_reaches_the_pages_that_are_subscribed(
    person: Person, other: Person, name: str, message: Any
) -> None:
    here = await (await person.page(name)).open()
    there = await (await other.page("other", name)).open()
    elsewhere = await (await other.page("other")).open()
    await push(other, message, name)
    for socket in (here, there):
        assert await socket.receive() == {"payload": message, "channel": name}
    await elsewhere.receive_nothing()


async def test_the_documented_snippet_opens_the_socket_at_the_root(
    person: Person, name: str
) -> None:
    socket = await (await person.page(name)).open(path="/")
    await push(person, 1, name)
    assert await socket.receive() == {"payload": 1, "channel": name}


async def test_a_push_to_several_channels_comes_once_for_each_that_is_heard(
    person: Person, name: str
) -> None:
    socket = await (await person.page(name, f"{name}.b", name)).open()
    await push(person, 1, [name, f"{name}.a"], f"{name}.b", name)
    told = [await socket.receive() for _ in range(2)]
    assert sorted(one["channel"] for one in told) == [name, f"{name}.b"]
    await socket.receive_nothing()


async def test_a_star_matches_within_one_segment_and_nothing_else_is_a_pattern(
    person: Person, name: str
) -> None:
    channels = [f"{name}.{end}" for end in ("sport", "s.port", "", "w+", "word", "sportsman")]
    socket = await (await person.page(*channels)).open()

    async def heard(*patterns: str) -> list[str]:
        await push(person, 1, *(f"{name}.{end}" for end in patterns))
        await push(person, "end", f"{name}.s.port")
        told = []
        while (said := await socket.receive())["payload"] != "end":
            told.append(said["channel"].removeprefix(f"{name}."))
        return sorted(told)

    assert await heard("*") == ["", "sport", "sportsman", "w+", "word"]
    assert await heard("sp*t") == ["sport"]
    assert await heard("s*", "*port") == ["sport", "sportsman"]
    assert await heard("w+") == ["w+"]
    assert await heard("*.*") == ["s.port"]


async def test_binary_publications_come_in_base64(person: Person, name: str) -> None:
    socket = await (await person.page(name)).open()
    await person.get("/push-bytes/", channel=name)
    assert await socket.receive() == {"payload": {"base64": "AP8="}, "channel": name}


async def test_what_was_pushed_before_the_socket_opened_is_not_lost(
    person: Person, name: str
) -> None:
    await push(person, "before the page", name)
    page = await person.page(name, path="/async-page/")
    await push(person, 1, name)
    await person.get("/do/push_to/", arguments=[page.digest, "for you", "own"])
    await push(person, 2, name)
    socket = await page.open()
    told = [await socket.receive() for _ in range(3)]
    assert {"payload": "for you", "channel": "own"} in told
    assert [one["payload"] for one in told if one["channel"] == name] == [1, 2]


async def test_positions_are_told_to_who_asks_for_them(person: Person, name: str) -> None:
    page = await person.page(name)
    await push(person, 1, name)
    socket = await page.open(positions=1)
    begins = [await socket.receive() for _ in range(4)]
    by_channel = {one["channel"]: one for one in begins if "payload" not in one}
    assert set(by_channel) == {name, "", "everyone"}
    epoch = by_channel[name]["epoch"]
    assert by_channel[name] == {"channel": name, "epoch": epoch, "offset": 0}
    (told,) = (one for one in begins if "payload" in one)
    assert told == {"payload": 1, "channel": name, "offset": 1, "epoch": epoch}
    await person.get("/do/push_to/", arguments=[page.digest, b"".decode(), name])
    said = await socket.receive()
    own = by_channel[""]["epoch"]
    assert said == {"payload": "", "channel": name, "offset": 1, "epoch": own, "page": True}


async def test_one_page_is_reached_by_its_digest(person: Person, other: Person, name: str) -> None:
    pages = [await person.page(name), await person.page(name), await other.page(name)]
    sockets = [await page.open() for page in pages]
    await other.get("/do/push_to/", arguments=[pages[0].digest, {"a": 1}, "news", "sport"])
    for channel in ("news", "sport"):
        assert await sockets[0].receive() == {"payload": {"a": 1}, "channel": channel}
    for socket in sockets[1:]:
        await socket.receive_nothing()


@pytest.mark.parametrize("digest", ["", "0" * 64, "nonsense", "\u0000", 5, None])
async def test_what_is_pushed_to_an_unknown_page_is_nothing(person: Person, digest: Any) -> None:
    answer = await person.get("/do/push_to/", arguments=[digest, 1, "news"])
    assert (answer.status, answer.text) == (200, "done")


async def test_a_page_without_subscriptions_is_reached_while_its_socket_is_open(
    person: Person,
) -> None:
    page = await person.page()
    socket = await page.open()
    await person.get("/do/push_to/", arguments=[page.digest, 1, "news"])
    assert await socket.receive() == {"payload": 1, "channel": "news"}


# -- reconnects ------------------------------------------------------------------------------------


async def test_a_reconnect_gets_the_subscriptions_back_and_what_was_pushed_meanwhile(
    person: Person, name: str
) -> None:
    page = await person.page(name)
    socket = await page.open()
    await push(person, 1, name)
    assert (await socket.receive())["payload"] == 1
    await socket.socket.close()
    await until_closed(page)
    await push(person, 2, name)
    again = await page.open()
    assert (await again.receive())["payload"] == 2
    await again.receive_nothing()


async def until_closed(page: Page) -> None:
    """The server has noticed that the page's socket went."""

    async def is_closed() -> bool:
        answer = await page.person.get("/is-closed/", digest=page.digest)
        return answer.text == "yes"

    await eventually(is_closed)


async def test_a_page_that_says_what_it_heard_last_gets_what_comes_after(
    person: Person, name: str
) -> None:
    page = await person.page(name)
    socket = await page.open(positions=1)
    epoch = next(one["epoch"] for one in socket.told if one["channel"] == name)
    socket.told.clear()
    for number in range(1, 5):
        await push(person, number, name)
    # The first one goes without a word, so the server does not know what arrived.
    again = await page.open(positions=1, since=json.dumps({name: [epoch, 2]}))
    told = [one for one in [await again.receive() for _ in range(5)] if one["channel"] == name]
    assert [one.get("payload") for one in told] == [None, 3, 4]
    assert [one["offset"] for one in told] == [2, 3, 4]


async def test_a_position_that_is_gone_begins_where_the_channel_is(
    person: Person, name: str
) -> None:
    page = await person.page(name)
    await push(person, 1, name)
    socket = await page.open(positions=1, since=json.dumps({name: ["another", 0]}))
    (begin,) = (one for one in socket.told if one["channel"] == name)
    assert begin["offset"] == 1
    assert "payload" not in begin


async def test_of_two_sockets_of_a_page_the_new_one_goes_on_when_the_old_one_goes(
    person: Person, name: str
) -> None:
    page = await person.page(name)
    old, new = await page.open(), await page.open()
    await push(person, "both", name)
    for socket in (old, new):
        assert (await socket.receive())["payload"] == "both"
    await old.socket.close()
    await push(person, "new", name)
    assert (await new.receive())["payload"] == "new"


# -- what takes effect at once ---------------------------------------------------------------------


async def test_unsubscribing_takes_effect_at_once(person: Person, name: str) -> None:
    page = await person.page(name, "other")
    socket = await page.open()
    await socket.route("GET", "/do/unsubscribe/?" + arguments(name))
    await push(person, 1, name)
    await push(person, 2, "other")
    assert await socket.receive() == {"payload": 2, "channel": "other"}
    await socket.receive_nothing()


async def test_a_page_subscribed_through_its_socket_hears_what_is_pushed_after(
    person: Person, name: str
) -> None:
    socket = await (await person.page()).open()
    answer = await socket.call("listen", channel=name)
    assert await socket.receive() == {"payload": "you listen", "channel": name}
    assert answer["status"] == 201
    await socket.route("GET", "/do/subscribe/?" + arguments(f"{name}.2"))
    await push(person, 2, f"{name}.2")
    assert await socket.receive() == {"payload": 2, "channel": f"{name}.2"}


async def test_logging_out_ends_what_the_pages_of_that_session_hear(
    person: Person, other: Person, name: str
) -> None:
    await person.get("/log-in/somebody/")
    page = await person.page(name)
    socket, stays = await page.open(), await (await other.page(name)).open()
    cookie = person.cookie
    await person.get("/log-out/")
    with pytest.raises(Closed) as closed:
        await socket.receive()
    assert closed.value.code == 4200
    again = await page.open(headers=cookie)
    await push(other, 1, name)
    assert (await stays.receive())["payload"] == 1
    await again.receive_nothing()


async def test_who_logs_in_meanwhile_comes_back_and_goes_on(person: Person, name: str) -> None:
    page = await person.page(name)
    socket = await page.open()
    await person.get("/log-in/somebody/")
    with pytest.raises(Closed) as closed:
        await socket.receive()
    assert 4000 <= closed.value.code < 4500
    again = await page.open()
    await push(person, 1, name)
    assert (await again.receive())["payload"] == 1


# -- who hears nothing -----------------------------------------------------------------------------


async def test_an_id_that_is_foreign_guessed_or_missing_hears_nothing(
    person: Person, other: Person, name: str
) -> None:
    page = await person.page(name)
    await other.page()
    strangers = [
        await page.open(headers=other.cookie),
        await page.open(headers={}),
        await page.open(headers={"Cookie": "sessionid=\u00ff' OR 1=1"}),
        await Page(person, page.digest, "").open(),
        await Page(person, "0" * 64, "").open(),
        await Page(person, "", "").open(),
        await Page(person, page.id.upper(), "").open(),
        await Page(person, page.id[:-1], "").open(),
        await Page(person, page.id + " ", "").open(),
    ]
    socket = await page.open()
    await push(person, 1, name)
    await person.get("/do/push_to/", arguments=[page.digest, 2, name])
    assert [(await socket.receive())["payload"] for _ in range(2)] == [1, 2]
    for stranger in strangers:
        await stranger.receive_nothing()
        assert (await stranger.call("say-hello", name="you"))["status"] == 200


@pytest.mark.parametrize(
    "query",
    ["positions=1&positions=1", "since=nonsense", "since=[]", 'since={"a":[1,2]}', "%ff=%fe"],
)
async def test_a_query_that_makes_no_sense_is_refused(door: ServerDoor, query: str) -> None:
    socket = await door.connect(f"/ws/socket/?{query}")
    assert await socket.closed() == 4500


async def test_the_id_of_another_site_is_refused(person: Person, name: str) -> None:
    page = await person.page(name)
    with pytest.raises(Exception, match="403"):
        await page.open(headers={**person.cookie, "Origin": "https://evil.example"})


async def test_neither_ids_nor_keys_are_logged(person: Person, door: ServerDoor) -> None:
    page = await person.page("news")
    socket = await page.open()
    await socket.call("nonsense")
    await socket.route("GET", "/nowhere/")
    await socket.socket.close()
    log = door.process.new_log()
    for secret in (page.id, page.digest, person.cookie["Cookie"].partition("=")[2]):
        assert secret not in log


# -- pages of another process ----------------------------------------------------------------

#: Whoever waits for it connects, too.
RENDER = """
from wsgiref.simple_server import make_server
from django.core.wsgi import get_wsgi_application
with make_server("127.0.0.1", {port}, get_wsgi_application()) as server:
    for _ in ("connected", "answered"):
        server.handle_request()
"""


@contextmanager
def renderer(door: ServerDoor) -> Iterator[ServerDoor]:
    """A WSGI server with one page of the same installation, and no sockets."""
    port = free_port()
    log = door.process.log.with_name(f"wsgi-{port}.log")
    arguments = ["shell", "-v0", "-c", RENDER.format(port=port)]
    process = Launched(arguments, door.process.environment, log, log)
    try:
        wait_until_it_answers(port, process)
        server: Any = SimpleNamespace(url=f"http://127.0.0.1:{port}", ws="")
        yield ServerDoor(server)
    finally:
        process.kill()
        process.wait()


async def test_what_is_pushed_while_a_page_of_another_process_opens_is_not_lost(
    door: ServerDoor, person: Person, name: str
) -> None:
    await push(person, "before", name)
    with renderer(door) as elsewhere:
        visitor = Person(elsewhere)
        if door.process.kind == "uvicorn":
            # There is no port to ask at: the page must not come out as if it heard.
            assert (await visitor.get("/page/", subscribe=[name])).status == 503
            return
        page = await visitor.page(name)
    await push(person, "between", name)
    socket = await page.open(door)
    await push(person, "after", name)
    for payload in ("between", "after"):
        assert await socket.receive() == {"payload": payload, "channel": name}
