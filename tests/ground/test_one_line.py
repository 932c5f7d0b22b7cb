"""Whoever's words are logged, they make one line that can be read; clients cause no traceback."""

import logging
import re
from pathlib import Path

import pytest

from broadcast.logs import MOST, OneLine, get_logger, shown
from project.settings import brief
from tests.rig.doors import ServerDoor
from tests.rig.launcher import ROOT
from tests.rig.processes import RECORD
from tests.rig.raw import Gone

#: How a client writes what forges, colours or turns a line around, in a path; and what is logged.
PATHS = [
    ("a%0d%0ab", r"a\r\nb"),
    ("%0a2026-01-01%2000:00:00,000%20ERROR%20x:%20forged", r"\n2026-01-01 00:00:00,000 ERROR x:"),
    ("%1b%5b31mred", r"\x1b[31mred"),
    ("%00%08%7f", r"\x00\x08\x7f"),
    ("%c2%85%c2%9b", r"\x85\x9b"),
    ("%e2%80%a8%e2%80%ae", r"\u2028\u202e"),
    ("%ff%fe", "��"),
    ("%c3%a9t%c3%a9", "été"),
]

#: Values of headers that no sensible client sends.
VALUES = [b"\xe9", b"\xff\xfe", b"a\xc3\xa9b", b"\x1b[31mred", b"%0d%0aX: y", b"\x85", b"\x00"]
NAMES = [
    *("Accept", "Authorization", "Connection", "Content-Type", "Cookie", "Daphne-Root-Path"),
    *("Host", "Idempotency-Key", "If-Range", "Last-Event-ID", "Origin", "Range", "Referer"),
    *("Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"),
    *("Sec-WebSocket-Version", "Upgrade", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto"),
]
SOCKET = {
    **{"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade"},
    **{"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"},
}
#: What is asked for: method, path, headers.
DOORS = {
    "socket": ("GET", "/ws/listener/nowhere/", SOCKET),
    "page": ("GET", "/nowhere/", {"Host": "127.0.0.1"}),
    "stream": ("GET", "/streams/demo/", {"Host": "127.0.0.1"}),
    "events": ("HEAD", "/api/streams/demo/events/", {"Host": "127.0.0.1"}),
    "publish": ("POST", "/api/streams/demo/publications/", {"Host": "127.0.0.1"}),
}


#: One of our servers is enough.
ours = pytest.mark.parametrize("our_door", ["broadcast"], indirect=True)


def request(method: str, path: str, headers: dict[str, str | bytes]) -> bytes:
    pairs = [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode("latin1"), *pairs, b"", b""])


async def answered(door: ServerDoor, said: bytes) -> int:
    """The status of the answer; 0: the connection was closed without one."""
    async with door.raw() as client:
        await client.send(said)
        try:
            status = int((await client.head()).split()[1])
        except Gone:
            return 0
        if status == 101:
            await client.ended()
        return status


# -- the helper ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, été, 漢字", "plain text, été, 漢字"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b31m\u2028\u202e\ufeff", r"\x9b31m\u2028\u202e\ufeff"),
        ("\ud800", r"\ud800"),
        ("x" * MOST, "x" * MOST),
        ("a" * MOST + "z" * MOST, "a" * 1000 + "…" + "z" * 999),
        ("\n" * MOST * 9, r"\n" * 500 + "…" + ("n" + r"\n" * 499)),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_what_is_long_is_cut(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_record_keeps_its_arguments_where_nothing_is_to_be_escaped() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "%s at %d", ("news", 3), None)
    assert OneLine().filter(record) and record.args == ("news", 3)


def test_an_error_whose_text_came_from_a_client_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    get_logger("broadcast.test").error("Failed: %s, 100%%", ValueError("a\nb 100%"))
    assert caplog.messages == [r"Failed: a\nb 100%, 100%"]


def test_every_logger_of_ours_writes_single_lines() -> None:
    # The command `publish` silences one.
    allowed = {"logs.py", "publish.py"}
    for path in Path(ROOT, "broadcast").rglob("*.py"):
        assert "getLogger(" not in path.read_text() or path.name in allowed, path


# -- the doors of a server -------------------------------------------------------------------------


def lines(door: ServerDoor) -> list[str]:
    """The new lines of the server's log, each a record that can be read."""
    said = door.process.new_log().splitlines()
    for line in said:
        assert RECORD.match(line) and line.isprintable(), said
    return said


@ours
@pytest.mark.parametrize(("path", "expected"), PATHS)
async def test_a_path_makes_one_line_of_the_log(
    our_door: ServerDoor, path: str, expected: str
) -> None:
    our_door.process.new_log()
    for door in (f"/ws/listener/{path}/", f"/ws/streamer/{path}/"):
        assert await answered(our_door, request("GET", door, SOCKET)) == 101
        (line,) = lines(our_door)
        assert expected in line and line.endswith("with 4504: there is no such stream")
    for door in (f"/{path}", f"/api/{path}", f"/streams/{path}/embed/"):
        said = request("GET", door, {"Host": "127.0.0.1"})
        assert await answered(our_door, said) == 404
        assert len(lines(our_door)) == 1


@ours
async def test_a_long_path_hides_nobody(our_door: ServerDoor) -> None:
    our_door.process.new_log()
    path = f"/ws/listener/{'%0a' * 5000}/"
    assert await answered(our_door, request("GET", path, SOCKET)) == 101
    (line,) = lines(our_door)
    assert len(line) < MOST + 100
    assert re.search(r" from 127\.0\.0\.1:\d+ with 4504: there is no such stream$", line)


@ours
@pytest.mark.parametrize("what", DOORS)
async def test_no_header_makes_a_server_fail(our_door: ServerDoor, what: str) -> None:
    method, path, headers = DOORS[what]
    our_door.process.new_log()
    for name in NAMES:
        for value in VALUES:
            status = await answered(our_door, request(method, path, {**headers, name: value}))
            assert status < 500, (name, value)
            assert len(lines(our_door)) <= 1, (name, value)


@ours
async def test_a_token_as_sub_protocol_is_answered_as_it_was_offered(our_door: ServerDoor) -> None:
    offered = "token.%0d%0aSet-Cookie:%20a=b"
    async with our_door.raw() as client:
        headers = {**SOCKET, "Sec-WebSocket-Protocol": offered}
        await client.send(request("GET", "/ws/listener/demo/", headers))
        answer = await client.head()
        assert answer.startswith(b"HTTP/1.1 101 ") and b"Set-Cookie: " not in answer
        assert f"Sec-WebSocket-Protocol: {offered}".encode() in answer


def test_what_django_refuses_is_one_line_without_a_traceback() -> None:
    logger = logging.getLogger("django.security.SuspiciousOperation")
    record = logger.makeRecord(
        *(logger.name, logging.ERROR, "", 1, "a\nb", (), (ValueError, ValueError("x"), None))
    )
    assert brief(record)
    assert logging.Formatter("%(message)s").format(record) == r"a\nb"
