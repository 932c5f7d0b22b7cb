"""Pages that call views and handlers through their sockets, on real servers."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import Any
from uuid import uuid4

import pytest

from tests.rig.doors import ServerDoor
from tests.rig.page_views import SLEEP
from tests.rig.pages import PageSocket, Person
from tests.rig.processes import ServerProcess

#: Small enough to be reached soon.
LIMITS = {
    "BROADCAST_PAGE_CALLS": "3",
    "BROADCAST_PAGE_CALL_SECONDS": "1.0",
    "BROADCAST_PAGE_ANSWER_BYTES": "20000",
    "BROADCAST_MAX_FRAME": "5000",
}


@pytest.fixture(scope="module", params=["broadcast", "uvicorn"])
def process(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    urls = {"DJANGO_SETTINGS_MODULE": "tests.settings", "ROOT_URLCONF": "tests.rig.page_views"}
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        process = ServerProcess(request.param, directory, **urls, **LIMITS)
        yield stack.enter_context(process)


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield ServerDoor(process)
    process.assert_clean_log()


@pytest.fixture
def person(process: ServerProcess) -> Person:
    """Their faults are the views': the server logs them as Django does."""
    return Person(ServerDoor(process))


async def opened(person: Person, **options: Any) -> PageSocket:
    return await (await person.page()).open(**options)


# -- call-route ------------------------------------------------------------------------------------


async def test_a_view_is_called_as_the_browser_would(person: Person, door: ServerDoor) -> None:
    await person.get("/log-in/somebody/")
    page = await person.page()
    origin = {"Origin": door.process.url, "User-Agent": "a browser", "Accept-Language": "de"}
    socket = await page.open(headers={**person.cookie, **origin})
    input = {"b": ["2", "3"], "c": "ä &", "d": 4, "e": True, "f": None, "g": {"h": 1}}
    answer = await socket.route("POST", "/echo/?a=1&ä=%C3%A4#fragment", input)
    assert answer["status"] == 200
    assert answer["headers"]["X-Answer"] == "yes"
    said = answer["body"]
    assert said["path"] == "/echo/?a=1&%C3%A4=%C3%A4"
    assert said["get"] == {"a": ["1"], "ä": ["ä"]}
    assert said["post"] == {
        "b": ["2", "3"],
        "c": ["ä &"],
        "d": ["4"],
        "e": ["true"],
        "g": ['{"h": 1}'],
    }
    assert (said["user"], said["method"], said["address"]) == ("somebody", "POST", "127.0.0.1")
    assert said["connection_id"] == page.id
    headers = said["headers"]
    assert (headers["User-Agent"], headers["Accept-Language"]) == ("a browser", "de")
    assert not [one for one in headers if one.lower().startswith(("sec-", "upgrade", "connect"))]


@pytest.mark.parametrize("method", ["GET", "get", "HEAD", "OPTIONS"])
async def test_the_input_of_a_get_is_its_query(person: Person, method: str) -> None:
    socket = await opened(person)
    answer = await socket.route(method, "/echo/?a=1", {"a": 2, "b": "x y"})
    assert answer["status"] == 200
    if method.upper() != "HEAD":
        assert answer["body"]["get"] == {"a": ["1", "2"], "b": ["x y"]}
        assert answer["body"]["post"] == {}


async def test_methods_beside_post_bring_their_input_as_a_form(person: Person) -> None:
    socket = await opened(person)
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await socket.route(method, "/echo/", {"a": 1})
        assert answer["body"]["method"] == method
        assert answer["body"]["headers"]["Content-Length"] == "3"


async def test_an_unknown_route_and_a_failing_one_are_what_they_are_by_http(
    person: Person,
) -> None:
    socket = await opened(person)
    for uri, status in (("/nowhere/", 404), ("/fail/", 500)):
        by_http = await person.get(uri)
        answer = await socket.route("GET", uri)
        assert (answer["status"], answer["body"]) == (status, [by_http.text])
        assert by_http.status == status
    assert person.door.process.new_log().count("a fault of the view") >= 2


async def test_the_user_and_the_session_are_those_of_now(person: Person) -> None:
    page = await person.page()
    socket = await page.open()
    assert (await socket.route("GET", "/echo/"))["body"]["user"] == ""
    await person.get("/log-in/somebody/")
    socket = await page.open()
    assert (await socket.route("GET", "/echo/"))["body"]["user"] == "somebody"


async def test_a_page_reaches_only_what_its_user_may(person: Person) -> None:
    socket = await opened(person)
    by_http = await person.get("/api/streams/private-1/")
    answer = await socket.route("GET", "/api/streams/private-1/")
    assert answer["status"] == by_http.status == 403
    assert (await socket.route("GET", "/admin/"))["status"] == 302
    assert (await socket.route("GET", "/metrics"))["status"] == (
        await person.get("/metrics")
    ).status


async def test_a_form_of_this_site_needs_no_csrf_token_and_one_of_another_site_does(
    person: Person, door: ServerDoor
) -> None:
    ours = await opened(person, headers={**person.cookie, "Origin": door.process.url})
    assert (await ours.route("POST", "/echo/"))["status"] == 200
    # A host that is allowed, and not this site: a browser would show its pages nothing.
    another = await opened(person, headers={**person.cookie, "Origin": "http://localhost:1"})
    for method, uri in (("POST", "/echo/"), ("GET", "/echo/"), ("POST", "/exempt/")):
        assert (await another.route(method, uri))["status"] == 403
    assert (await another.call("say-hello"))["status"] == 403


@pytest.mark.parametrize(
    "call",
    [
        {"method": "TRACE"},
        {"method": "GET /x HTTP/1.1\r\nX-User: admin"},
        {"method": 5},
        {"uri": None},
        {"uri": 5},
        {"uri": ""},
        {"uri": "echo/"},
        {"uri": "http://example.com/"},
        {"uri": "/echo/ HTTP/1.1\r\nX-Header: smuggled"},
        {"uri": "/echo/\u0000"},
        {"uri": "/\\evil"},
        {"uri": "/\ud800"},
        {"input": []},
        {"input": "a=b"},
        {"input": {"a": "\ud800"}},
    ],
)
async def test_a_call_that_makes_no_sense_is_refused_and_the_socket_stays(
    door: ServerDoor, person: Person, call: dict[str, Any]
) -> None:
    socket = await opened(person)
    answer = await socket.call("call-route", **{"method": "GET", "uri": "/echo/", **call})
    assert answer["status"] == 400
    assert set(answer) == {"status", "body"}
    assert (await socket.route("GET", "/echo/"))["status"] == 200


async def test_an_input_that_is_nested_too_deeply_is_refused(
    door: ServerDoor, person: Person
) -> None:
    socket = await opened(person)
    for depth in range(900, 1000, 4):
        nested = "[" * depth + "1" + "]" * depth
        said = f'{{"id":{depth},"action":"call-route","uri":"/echo/","input":{{"a":{nested}}}}}'
        await socket.socket.send(said)
        frame = await socket.socket.receive()
        assert isinstance(frame, str)
        assert json.loads(frame)["status"] in (200, 400)
    assert (await socket.call("ping"))["body"] == "pong"


async def test_no_header_can_be_said_by_a_page(person: Person) -> None:
    socket = await opened(person)
    headers = {"X-Smuggled": "1", "Cookie": "sessionid=another", "Host": "evil.example"}
    message = {"method": "GET", "uri": "/echo/", "headers": headers, "cookies": headers}
    answer = await socket.call("call-route", **message)
    said = json.loads(answer["body"][0])["headers"]
    assert "X-Smuggled" not in said
    assert said["Host"] != "evil.example"


async def test_cookies_of_an_answer_are_kept_from_scripts(person: Person) -> None:
    socket = await opened(person)
    answer = await socket.route("GET", "/set-cookie/")
    assert answer["status"] == 200
    assert not [name for name in answer["headers"] if "cookie" in name.lower()]


async def test_an_answer_is_not_packed(person: Person) -> None:
    page = await person.page()
    socket = await page.open(headers={**person.cookie, "Accept-Encoding": "gzip, br"})
    assert "Accept-Encoding" not in (await socket.route("GET", "/echo/"))["body"]["headers"]


async def test_a_streamed_answer_is_gathered(person: Person) -> None:
    socket = await opened(person)
    assert (await socket.route("GET", "/streamed/"))["body"] == ["aäz"]


async def test_an_answer_over_the_limit_is_refused(person: Person) -> None:
    socket = await opened(person)
    assert (await socket.route("GET", "/large/?size=20000"))["body"] == ["x" * 20000]
    answer = await socket.route("GET", "/large/?size=20001")
    assert answer == {"status": 413, "body": "the answer has more than 20000 bytes"}


async def test_a_message_over_the_limit_closes_the_socket(person: Person) -> None:
    socket = await opened(person)
    await socket.say("ping", more="x" * 5000)
    assert await socket.socket.closed() == 1009


@pytest.mark.parametrize("uri", ["/never/", "/sleep/"])
async def test_a_call_that_takes_too_long_is_given_up(person: Person, uri: str) -> None:
    socket = await opened(person)
    started = perf_counter()
    answer = await socket.route("GET", uri)
    assert answer == {"status": 504, "body": "the call took too long"}
    # Before the view is through, which nothing ends in its thread.
    assert perf_counter() - started < SLEEP
    assert (await socket.route("GET", "/echo/"))["status"] == 200


@pytest.mark.parametrize(("calls", "outcome"), [(2, 200), (3, 504)])
async def test_calls_run_beside_each_other_up_to_the_limit(
    person: Person, calls: int, outcome: int
) -> None:
    socket = await opened(person)
    name = uuid4().hex
    waiting = [
        await socket.say("call-route", method="GET", uri=f"/wait-for/{name}/") for _ in range(calls)
    ]
    # As the fourth it begins when they were given up.
    released = await socket.route("GET", f"/release/{name}/")
    assert released["status"] == 200
    assert [(await socket.answer(id))["status"] for id in waiting] == [outcome] * calls


async def test_answers_come_as_calls_end_and_a_ping_at_once(person: Person) -> None:
    socket = await opened(person)
    name = uuid4().hex
    slow = await socket.say("call-route", method="GET", uri=f"/wait-for/{name}/")
    assert (await socket.call("ping"))["body"] == "pong"
    await socket.route("GET", f"/release/{name}/")
    assert (await socket.answer(slow))["body"] == ["released"]


# -- other actions ---------------------------------------------------------------------------------


async def test_handlers_answer_with_what_they_return(person: Person) -> None:
    await person.get("/log-in/somebody/")
    socket = await opened(person)
    said = await socket.call("say-hello", name="you")
    assert said == {"status": 200, "headers": {}, "body": "Hello you, somebody"}
    assert (await socket.call("count"))["body"] >= 1
    said = await socket.call("listen", channel=uuid4().hex)
    assert (said["status"], said["headers"]) == (201, {"a": "b"})


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("nonsense", 400),
        ("[]", 400),
        ("5", 400),
        ("null", 400),
        ('{"action":"ping"}', 400),
        ('{"id":1}', 400),
        ('{"id":1,"action":"nonsense"}', 404),
        ('{"id":1,"action":null}', 404),
        ('{"id":1,"action":["ping"]}', 404),
        ('{"id":1,"action":{}}', 404),
        ("[" * 2000, 400),
        ('{"id":NaN,"action":"ping"}', 400),
        ('{"id":"\\ud800","action":"ping"}', 400),
        ('{"id":1e999,"action":"ping"}', 400),
        ('{"id":{"a":"\\ud800"},"action":"nonsense"}', 400),
        (b"\x00\xff", 400),
    ],
)
async def test_nonsense_is_answered_and_the_socket_stays_open(
    door: ServerDoor, person: Person, text: str | bytes, status: int
) -> None:
    socket = await opened(person)
    await socket.socket.send(text)
    frame = await socket.socket.receive()
    assert isinstance(frame, str)
    answer = json.loads(frame)
    assert set(answer) == {"id", "status", "body"}
    assert answer["status"] == status
    assert answer["id"] == (1 if isinstance(text, str) and re.search('"id":1[,}]', text) else None)
    assert (await socket.call("ping"))["body"] == "pong"


@pytest.mark.parametrize("id", [0, "", None, "ä", 1.5, [1], {"a": None}, False])
async def test_an_answer_has_the_id_of_its_message(person: Person, id: Any) -> None:
    socket = await opened(person)
    await socket.socket.send(json.dumps({"id": id, "action": "ping"}))
    frame = await socket.socket.receive()
    assert isinstance(frame, str)
    assert json.loads(frame) == {"id": id, "status": 200, "headers": {}, "body": "pong"}


@pytest.mark.parametrize("action", ["stumble", "mumble"])
async def test_a_handler_that_fails_is_logged_and_answered(person: Person, action: str) -> None:
    socket = await opened(person)
    person.door.process.new_log()
    assert await socket.call(action) == {"status": 500, "body": "the call failed"}
    assert "A call of a page failed" in person.door.process.new_log()


async def test_whatever_a_page_says_is_answered(door: ServerDoor, person: Person) -> None:
    chance = random.Random(6)
    atoms: list[Any] = [None, True, 0, -1, 1e308, "", "ä\u0000", "ping", "call-route", "/echo/"]
    names = ["id", "action", "method", "uri", "input", "channel", "name"]

    def value(depth: int = 0) -> Any:
        kind = chance.random()
        if depth < 3 and kind < 0.15:
            return [value(depth + 1) for _ in range(chance.randrange(4))]
        if depth < 3 and kind < 0.4:
            return {chance.choice(names): value(depth + 1) for _ in range(chance.randrange(7))}
        return chance.choice(atoms)

    socket = await opened(person)
    said = 300
    for _ in range(said):
        text = json.dumps({name: value() for name in names} if chance.random() < 0.7 else value())
        await socket.socket.send(text[: chance.choice([len(text)] * 9 + [len(text) // 2])])
    for _ in range(said):
        frame = await socket.socket.receive()
        assert isinstance(frame, str)
        assert {"id", "status", "body"} <= json.loads(frame).keys()
    await socket.receive_nothing()
