"""Subscriptions and sessions that end by themselves, while nobody looks: at once."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import apublish
from broadcast.backends import get_backend
from broadcast.hub import bus, housekeeping
from broadcast.models import Subscription
from broadcast.pages import watch as page_watch
from broadcast.pages.subscriptions import PageSocket, digest_of, topic_of
from tests.rig.doors import InProcessDoor, ServerDoor, eventually
from tests.rig.pages import URLS, Page, Person, push
from tests.rig.processes import Installation, ServerProcess
from tests.rig.subscribed import ID, KEY, Opened, opened, until_heard

#: Seconds between two looks: none that a test sees.
NEVER = 3600

# -- on servers ------------------------------------------------------------------------------------

#: Seconds until something expires that is noticed before.
SOON = 1.0


@pytest.fixture(scope="module", params=["memory", "redis"])
def processes(
    request: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServerProcess]]:
    """Where requests go to, and where sockets do: one server, or two on Redis."""
    settings = {**URLS, "BROADCAST_WATCH_SECONDS": str(NEVER)}
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "redis":
            yield stack.enter_context(Installation(directory, **settings)).servers
        else:
            process = stack.enter_context(ServerProcess("broadcast", directory, **settings))
            yield [process, process]


@pytest.fixture
def person(processes: list[ServerProcess]) -> Person:
    return Person(ServerDoor(processes[0]))


@pytest.fixture
def there(processes: list[ServerProcess]) -> Iterator[ServerDoor]:
    yield ServerDoor(processes[1])
    for process in processes:
        process.assert_clean_log()


async def expire(page: Page, channel: str, seconds: float) -> float:
    """Have the subscription expire; answers when that is, in seconds since 1970."""
    answer = await page.person.get("/expire/", digest=page.digest, channel=channel, seconds=seconds)
    return float(answer.text)


async def until(moment: float) -> None:
    await asyncio.sleep(max(moment - time.time(), 0))


async def test_what_is_pushed_after_the_expiry_is_not_heard(
    person: Person, there: ServerDoor
) -> None:
    name = uuid4().hex
    page = await person.page(name, f"{name}.stays")
    socket = await page.open(there)
    await push(person, "before", name)
    assert (await socket.receive())["payload"] == "before"
    await until(await expire(page, name, SOON))
    await push(person, "after", name)
    await push(person, "still", f"{name}.stays")
    assert await socket.receive() == {"payload": "still", "channel": f"{name}.stays"}
    await person.get("/do/push_to/", arguments=[page.digest, "for you", "own"])
    assert (await socket.receive())["payload"] == "for you"


async def test_what_is_prolonged_in_time_goes_on(person: Person, there: ServerDoor) -> None:
    name = uuid4().hex
    page = await person.page(name, f"{name}.short")
    socket = await page.open(there)
    first = await expire(page, name, SOON)
    await expire(page, name, 100)
    await expire(page, f"{name}.short", 100)
    last = await expire(page, f"{name}.short", 0.2)
    await until(max(first, last))
    await push(person, 1, f"{name}.short")
    await push(person, 2, name)
    assert await socket.receive() == {"payload": 2, "channel": name}


async def test_a_session_that_ends_closes_its_pages(person: Person, there: ServerDoor) -> None:
    other = Person(person.door)
    page = await person.page("news")
    cookie = person.cookie
    await person.get("/expire-session/", seconds=3 * SOON)
    socket = await page.open(there, headers=cookie)
    stays = await (await other.page("news")).open(there)
    assert await socket.socket.closed() == 4200
    again = await page.open(there, headers=cookie)
    await push(other, 1, "news")
    assert (await stays.receive())["payload"] == 1
    await again.receive_nothing()


# -- in this process -------------------------------------------------------------------------------


@pytest.fixture
def unwatched(in_process: InProcessDoor, settings: Settings) -> InProcessDoor:
    settings.BROADCAST_WATCH_SECONDS = NEVER
    return in_process


def later(seconds: float) -> Any:
    return timezone.now() + timedelta(seconds=seconds)


@pytest.fixture
def put_forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Somebody sets the clock; looks follow that, and here is none."""
    now = timezone.now

    def put_forward(seconds: float) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=seconds))
        for ends in (page_watch.get_pages()._channel_ends, page_watch.get_pages()._session_ends):
            ends.set_timer()

    return put_forward


async def end_later(page: Opened, rows: Any) -> Any:
    """Have the rows of an open page end in 100 s, and its process know; answers when that is."""
    end = later(100)
    await rows.aupdate(expires_at=end)
    # As it is told when a row is saved.
    page_watch.get_pages().hear(bus.PageChanged(page.digest, []))
    await until_noted(lambda: ends_of(page).get("a") == end)
    return end


def ends_of(page: Opened) -> Any:
    """When channels of the page end, as far as its process knows."""
    return page_watch.get_pages()._channel_ends._parts.get(page.digest, {})


def session_end_of(page: Opened) -> Any:
    """When the page's session ends; None: its process is just asking."""
    ends = page_watch.get_pages()._session_ends._parts
    return ends.get(page.digest, {}).get("socket_key")


async def until_noted(is_so: Callable[[], bool]) -> None:
    async def found() -> bool:
        return is_so()

    await eventually(found)


async def test_what_is_pushed_to_a_page_alone_it_hears_while_it_is_open(
    unwatched: InProcessDoor, put_forward: Callable[[float], None]
) -> None:
    page = await opened(unwatched, "a")
    await end_later(page, Subscription.objects.all())
    put_forward(101)
    await until_heard(page, {"", "everyone"})
    await until_noted(lambda: not ends_of(page))
    await eventually(Subscription.objects.live(timezone.now()).filter(channel="").aexists)
    await PageSocket(page.request).apush_to(page.digest, 1, "b")
    assert (await page.receive()) == {"payload": 1, "channel": "b"}


async def test_what_was_prolonged_without_a_word_goes_on_with_nothing_lost_or_doubled(
    unwatched: InProcessDoor, put_forward: Callable[[float], None]
) -> None:
    page = await opened(unwatched, "a")
    await apublish("a", 1)
    assert (await page.receive())["payload"] == 1
    rows = Subscription.objects.filter(channel="a")
    await end_later(page, rows)
    prolonged = later(1000)
    await rows.aupdate(expires_at=prolonged)
    put_forward(101)
    await until_noted(lambda: ends_of(page).get("a") == prolonged)
    await until_heard(page, {"", "a", "everyone"})
    for number in (2, 3):
        await apublish("a", number)
        assert (await page.receive())["payload"] == number


async def test_a_session_that_was_prolonged_without_a_word_goes_on(
    unwatched: InProcessDoor, put_forward: Callable[[float], None]
) -> None:
    page = await opened(unwatched, "a", _session_expiry=later(100).isoformat())
    assert session_end_of(page) == (await Session.objects.aget()).expire_date
    prolonged = later(1000)
    await Session.objects.aupdate(expire_date=prolonged)
    put_forward(101)
    await until_noted(lambda: session_end_of(page) == prolonged)
    await page.ping()


async def test_what_one_page_was_pushed_is_forgotten_though_another_program_dropped_its_rows(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {id: await opened(in_process, id=id) for id in (ID, "3" * 64)}
    gone, stays = (digest_of(KEY, id) for id in pages)
    for digest, page in zip((gone, stays), pages.values(), strict=True):
        await PageSocket(page.request).apush_to(digest, 1, "a")
        assert (await page.receive())["payload"] == 1
    await pages[ID].socket.close()
    rows = Subscription.objects.filter(digest=gone)
    await sync_to_async(rows._raw_delete)(rows.db)
    assert set(get_backend().remembered("page:")) == {topic_of(gone), topic_of(stays)}
    await housekeeping.drop_expired()
    assert get_backend().remembered("page:") == [topic_of(stays)]


async def test_a_page_that_went_leaves_no_end_behind(unwatched: InProcessDoor) -> None:
    page = await opened(unwatched, "a")
    await end_later(page, Subscription.objects.all())
    pages = page_watch.get_pages()
    assert pages._channel_ends._parts and pages._session_ends._parts
    await page.socket.close()
    assert not pages._channel_ends._parts and not pages._session_ends._parts
