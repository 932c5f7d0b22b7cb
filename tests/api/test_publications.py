"""Publishing and reading history over HTTP: what is taken, what is answered, what is refused."""

import base64
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from broadcast import apublish, publish
from broadcast.api import publications, streams
from broadcast.backends import get_backend
from broadcast.exceptions import Unavailable
from broadcast.hub.publishing import publish_draft
from broadcast.models import Stream
from broadcast.publications import Draft, Kind, Mark

pytestmark = pytest.mark.django_db

MIB = 1024 * 1024
BINARY = "application/octet-stream"


@pytest.fixture
def stream(db: None) -> Stream:
    return Stream.objects.create(slug="s", publishing="anyone")


def post(client: Client, body: Any, content_type: str = "text/plain", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = "/api/streams/s/publications/"
    body = body.encode() if isinstance(body, str) else body
    # Of an empty body the client would not say the type.
    response = client.generic(
        "POST", path, body, content_type, CONTENT_TYPE=content_type, headers=named
    )
    assert response["Content-Type"] == "application/json"
    return response


def refused(response: Any, status: int, reason: str) -> None:
    assert response.status_code == status, response.content
    assert reason in response.json()["error"]


def history(client: Client, query: str = "", status: int = 200) -> Any:
    response = client.get(f"/api/streams/s/publications/{query}")
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    return response.json()


def newest() -> tuple[Kind, bytes]:
    _, found = async_to_sync(get_backend().read)("s", 0, 1000, MIB * 100)
    return Kind(found[-1].kind), found[-1].payload


# -- publishing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "payload"),
    [
        ("application/json", b' {"a": [1, "\xc3\xa4"]} ', Kind.JSON, '{"a":[1,"ä"]}'),
        ("application/json", b'"a string is JSON, too"', Kind.JSON, '"a string is JSON, too"'),
        ("application/json; charset=utf-16", '"ä"'.encode("utf-16"), Kind.JSON, '"ä"'),
        ("APPLICATION/JSON", b"null", Kind.JSON, "null"),
        ("text/plain", "ä\r\n".encode(), Kind.TEXT, "ä\r\n"),
        ("text/plain", b"", Kind.TEXT, ""),
        ("text/html; charset=latin1", b"\xe4", Kind.TEXT, "ä"),
        ('text/plain; charset="UTF-8"', "ä".encode(), Kind.TEXT, "ä"),
        ("text/plain; charset=windows-1252", b"\x80", Kind.TEXT, "€"),
        (BINARY, b"\x00\xff", Kind.BINARY, b"\x00\xff"),
        ("application/vnd.api+json", b"{}", Kind.BINARY, b"{}"),
        ("application/x-www-form-urlencoded", b"a=1", Kind.BINARY, b"a=1"),
        ("multipart/form-data; boundary=x", b"--y", Kind.BINARY, b"--y"),
        ("nonsense", b"x", Kind.BINARY, b"x"),
        ("", b"x", Kind.BINARY, b"x"),
    ],
)
def test_the_content_type_says_what_is_published(
    client: Client, stream: Stream, content_type: str, body: bytes, kind: Kind, payload: Any
) -> None:
    response = post(client, body, content_type)
    assert response.status_code == 201, response.content
    assert newest() == (kind, payload.encode() if isinstance(payload, str) else payload)
    position = async_to_sync(get_backend().positions)(["s"])["s"]
    assert response.json() == {"epoch": position[0], "offset": 1}


@pytest.mark.parametrize(
    ("content_type", "body", "status", "reason"),
    [
        ("application/json", b"", 400, "not JSON"),
        ("application/json", b"{", 400, "not JSON"),
        ("application/json", b"NaN", 400, "not JSON"),
        ("application/json", b"1e999", 400, "not JSON"),
        ("application/json", b'"\\ud800"', 400, "Unicode"),
        ("application/json", b'"\xff"', 400, "utf-8"),
        ("application/json", b"[" * 100_000, 400, "not JSON"),
        ("text/plain", b"\xff", 400, "utf-8"),
        ("text/plain; charset=ascii", b"\xff", 400, "ascii"),
        ("text/plain; charset=utf-16", b"x", 400, "utf-16"),
        ("text/plain; charset=none", b"x", 415, "charset"),
        ("text/plain; charset=hex", b"00", 415, "charset"),
        ("text/plain; charset=punycode", b"x", 415, "charset"),
    ],
)
def test_what_cannot_be_published(
    client: Client, stream: Stream, content_type: str, body: bytes, status: int, reason: str
) -> None:
    refused(post(client, body, content_type), status, reason)
    assert history(client)["offset"] == 0


def test_compressed_bodies_are_not_taken(client: Client, stream: Stream) -> None:
    refused(post(client, "x", content_encoding="gzip"), 415, "Content-Encoding")
    assert post(client, "x", content_encoding="identity").status_code == 201


def test_a_publication_has_a_limit(client: Client, stream: Stream, settings: Any) -> None:
    settings.BROADCAST_MAX_FRAME = 10
    assert post(client, b"x" * 10, BINARY).status_code == 201
    refused(post(client, b"x" * 11, BINARY), 413, "10 bytes")
    # It is written longer than it came.
    refused(post(client, b"[1e9,1e9]", "application/json"), 413, "10")
    settings.BROADCAST_MAX_FRAME = MIB
    stream.kind = "media"
    stream.save()
    # Over Django's limit of forms.
    assert post(client, b"x" * 4 * MIB, BINARY).status_code == 201
    refused(post(client, b"x" * (4 * MIB + 1), BINARY), 413, "4194304 bytes")


def test_a_repeat_with_its_key_is_harmless(client: Client, stream: Stream) -> None:
    first = post(client, "once", idempotency_key="a")
    again = post(client, "once", idempotency_key="a")
    other = post(client, "twice", idempotency_key="b")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert (other.json()["offset"], history(client)["offset"]) == (2, 2)
    publish("s", "once", idempotency_key="a")
    assert history(client)["offset"] == 2


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 201, "\x7f"])
def test_an_idempotency_key_is_short_and_visible(client: Client, stream: Stream, key: str) -> None:
    refused(post(client, "x", idempotency_key=key), 400, "Idempotency-Key")
    assert post(client, "x", idempotency_key="!" * 200).status_code == 201


def test_other_methods(client: Client, stream: Stream) -> None:
    for method in ("put", "patch", "delete", "options"):
        response = getattr(client, method)("/api/streams/s/publications/")
        refused(response, 405, method.upper())
        assert response["Allow"] == "GET, HEAD, POST"
    assert client.head("/api/streams/s/publications/").content == b""


def test_what_is_away_is_told(
    client: Client, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(publications, "apublish_draft", away)
    response = post(client, "x")
    refused(response, 503, "away")
    assert response["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/api/streams/", "/api/streams/s/", "/api/schema/"])
def test_a_fault_is_logged_once_and_told_without_its_reason(
    client: Client,
    stream: Stream,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(streams, "_describe_all", fail)
    monkeypatch.setattr("broadcast.api.schema.reverse", fail)
    refused(client.get(path, {"token": "t0p"}), 500, "the server failed")
    faults = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(faults) == 1 and faults[0].exc_info
    assert "t0p" not in caplog.text


@pytest.mark.parametrize("path", ["/api/streams/", "/api/nothing/", "/api/streams/s/events/"])
def test_a_wrong_name_of_the_site_is_told_in_json(client: Client, path: str) -> None:
    response = client.get(path, headers={"host": "evil.example"})
    assert (response.status_code, response["Content-Type"]) == (400, "application/json")
    page = client.get("/", headers={"host": "evil.example"})
    assert (page.status_code, page["Content-Type"]) == (400, "text/html; charset=utf-8")


# -- history -------------------------------------------------------------------------------------


def test_history_says_what_was_published(client: Client, stream: Stream) -> None:
    empty = history(client)
    assert (empty["offset"], empty["complete"], empty["publications"]) == (0, True, [])
    for payload in ('"ä"\n', {"a": [1.5, None]}, b"\x00\xff"):
        publish("s", payload)
    publish("s", b"h", header=True, entry=True)
    publish_draft("s", Draft.of("r", Mark.RESET))
    answer = history(client)
    assert (answer["stream"], answer["offset"], answer["complete"]) == ("s", 5, True)
    times = [one.pop("time") for one in answer["publications"]]
    assert times == sorted(times) and times[0] > 1.7e9
    assert answer["publications"] == [
        {"offset": 1, "type": "text", "data": '"ä"\n'},
        {"offset": 2, "type": "json", "data": {"a": [1.5, None]}},
        {"offset": 3, "type": "binary", "data": base64.b64encode(b"\x00\xff").decode()},
        {"offset": 4, "type": "binary", "marks": ["header", "entry"], "data": "aA=="},
        {"offset": 5, "type": "text", "marks": ["reset"], "data": "r"},
    ]


def offsets(answer: Any) -> list[int]:
    return [one["offset"] for one in answer["publications"]]


def test_history_goes_on_where_one_was(client: Client, stream: Stream) -> None:
    for number in range(25):
        publish("s", number)
    page = history(client, "?limit=10")
    assert (offsets(page), page["complete"]) == ([*range(16, 26)], False)
    epoch = page["epoch"]
    heard: list[int] = []
    while len(heard) < 25:
        page = history(client, f"?epoch={epoch}&since={len(heard)}&limit=10")
        assert page["complete"] and page["offset"] == 25
        heard += offsets(page)
    assert heard == [*range(1, 26)]
    page = history(client, f"?epoch={epoch}&since=25")
    assert (offsets(page), page["complete"]) == ([], True)


@pytest.mark.parametrize(("epoch", "since"), [("", 3), ("0" * 16, 20), ("", 21)])
def test_what_is_not_complete_says_so_and_begins_with_the_last(
    client: Client, stream: Stream, epoch: str, since: int
) -> None:
    stream.history_count = 10
    stream.save()
    for number in range(20):
        publish("s", number)
    epoch = epoch or history(client)["epoch"]
    page = history(client, f"?epoch={epoch}&since={since}&limit=4")
    assert (offsets(page), page["complete"]) == ([17, 18, 19, 20], False)
    whole = history(client)
    assert (offsets(whole), whole["complete"]) == ([*range(11, 21)], False)


def test_an_answer_is_bounded(client: Client, stream: Stream, settings: Any) -> None:
    for _ in range(10):
        publish("s", b"x" * 100)
    settings.BROADCAST_HISTORY_LIMIT = 3
    assert offsets(history(client)) == [8, 9, 10]
    settings.BROADCAST_HISTORY_REPLAY = 5
    assert offsets(history(client, "?limit=1000")) == [*range(6, 11)]
    settings.BROADCAST_HISTORY_ANSWER_BYTES = 250
    page = history(client, "?limit=1000")
    # The rest is to be asked for.
    assert (offsets(page), page["offset"]) == ([6, 7], 10)
    settings.BROADCAST_HISTORY_ANSWER_BYTES = 1
    assert offsets(history(client, "?limit=1000")) == [6]


async def sliced(query: str = "") -> dict[str, Any]:
    """A history whose answer comes in several parts."""
    response: Any = await AsyncClient().get(f"/api/streams/s/publications/{query}")
    parts = [part async for part in response]
    assert len(parts) > 2
    said: dict[str, Any] = json.loads(b"".join(parts))
    return said


async def test_a_large_history_is_answered_in_slices(stream: Stream, settings: Any) -> None:
    for number in range(40):
        await apublish("s", b"x" * 100 if number % 3 else {"n": number})
    client = AsyncClient()
    for query, sizes in (("", 500), ("?limit=13", 500), ("?limit=1000", 1500)):
        settings.BROADCAST_HISTORY_ANSWER_BYTES, settings.BROADCAST_SLICE_BYTES = sizes, 10_000
        whole = (await client.get(f"/api/streams/s/publications/{query}")).json()
        settings.BROADCAST_SLICE_BYTES = 250
        assert await sliced(query) == whole


async def test_a_history_that_is_cut_off_while_it_is_sent_ends_without_a_gap(
    stream: Stream, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_SLICE_BYTES = 250
    for _ in range(20):
        await apublish("s", b"x" * 100)
    backend = get_backend()
    read = backend.read

    async def read_late(stream: str, since: int, *args: Any) -> Any:
        if since > 5:
            settings.BROADCAST_HISTORY_COUNT = 3
            await apublish("s", b"the newest")
        return await read(stream, since, *args)

    monkeypatch.setattr(backend, "read", read_late)
    page = await sliced()
    assert (offsets(page), page["offset"], page["complete"]) == ([*range(1, 7)], 20, True)


def test_a_header_that_is_not_among_them_comes_along(client: Client, stream: Stream) -> None:
    publish("s", b"head", header=True)
    for number in range(3):
        publish("s", number)
    page = history(client, "?limit=2")
    assert offsets(page) == [3, 4]
    assert (page["header"]["offset"], page["header"]["data"]) == (1, "aGVhZA==")
    assert history(client, "?limit=4")["header"] is None


@pytest.mark.parametrize(
    "query",
    [
        *("?since=1", "?epoch=e", "?epoch=e&since=-1", "?epoch=e&since=x", "?limit=0", "?limit=x"),
        *("?limit=", "?limit=1&limit=2", "?epoch=e&since=" + "9" * 21),
    ],
)
def test_queries_that_make_no_sense(client: Client, stream: Stream, query: str) -> None:
    assert history(client, query, 400)["error"]


def test_a_history_that_ends_meanwhile_is_read_again(
    client: Client, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("s", "old")
    backend = get_backend()
    read = backend.read

    async def read_later(*args: Any) -> Any:
        monkeypatch.setattr(backend, "read", read)
        await backend.clear("s")
        return await read(*args)

    epoch = history(client)["epoch"]
    monkeypatch.setattr(backend, "read", read_later)
    page = history(client, f"?epoch={epoch}&since=0")
    assert page["epoch"] != epoch and (page["complete"], page["offset"]) == (False, 0)
