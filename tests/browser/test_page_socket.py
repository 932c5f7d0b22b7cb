"""Pages with a socket: what is pushed to them is seen, they call views, and they come back."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect

from tests.browser.conftest import Line, People
from tests.rig import documents
from tests.rig.documents import blocks
from tests.rig.processes import Installation, ServerProcess

ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "tests.settings",
    "ROOT_URLCONF": "tests.browser.socket_urls",
    "BROADCAST_DRAIN_SECONDS": "0.5",
}

#: Have the page note what comes, from when all its channels have begun: then pings are answered.
LISTEN = """async () => {
  const { socket } = await import("/static/broadcast/page-socket.js");
  Object.assign(window, { socket, heard: [], missed: [] });
  socket.on("*", (payload) => heard.push(payload));
  socket.addEventListener("missed", ({ detail }) => missed.push(detail.channel));
  await socket.ping();
}"""


@pytest.fixture(scope="module")
def shared_site(
    database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server for all tests that leave it as it is."""
    directory = tmp_path_factory.mktemp("sockets")
    shutil.copy(database, directory / "db.sqlite3")
    process = ServerProcess("broadcast", directory, **ENVIRONMENT)
    process.start()
    yield process
    process.kill()
    process.assert_clean_log()


@pytest.fixture
def people(browser: Browser, shared_site: ServerProcess) -> Iterator[People]:
    people = People(browser, shared_site.url)
    yield people
    people.leave()
    assert people.errors == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two servers on Redis."""
    with Installation(tmp_path_factory.mktemp("installation"), **ENVIRONMENT) as installation:
        yield installation


def push(site: ServerProcess, channel: str, *payloads: Any) -> None:
    """Push from a view of the site, past the browser."""
    for payload in payloads:
        data = json.dumps(payload).encode()
        with urlopen(Request(f"{site.url}/push/{channel}/", data)) as answer:
            assert answer.status == 204


def listen(page: Page) -> None:
    expect_state(page, "open")
    page.evaluate(LISTEN)


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-socket-state", state)


def until(page: Page, condition: str) -> None:
    # From here: in the page the policy does not allow it.
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError((condition, page.evaluate("[heard, missed]")))


def heard(page: Page, last: Any) -> list[Any]:
    """What the page heard, as soon as it heard `last`."""
    until(page, f"JSON.stringify(heard.at(-1)) === JSON.stringify({json.dumps(last)})")
    found: list[Any] = page.evaluate("heard")
    return found


# -- as documented --------------------------------------------------------------------------


def test_the_elements_of_the_documentation_show_what_comes_and_its_form_calls(
    people: People, shared_site: ServerProcess
) -> None:
    page = people.open("/documented/")
    listen(page)
    push(shared_site, "scores.home", {"goals": 3})
    push(shared_site, "vote", {"tea": {"votes": 4}})
    push(shared_site, "log", {"who": "Ada"})
    heard(page, {"who": "Ada"})
    expect(page.locator("b[data-channel='scores.home']")).to_have_text("3")
    expect(page.locator("b[data-channel=vote]")).to_have_text("4")
    expect(page.locator("ul[data-channel=log] li b")).to_have_text("Ada")
    page.get_by_role("button", name="Tea").click()
    expect(page.get_by_text("Thank you.")).to_be_visible()


def test_the_module_of_the_documentation_hears_and_calls(
    people: People, shared_site: ServerProcess
) -> None:
    (module,) = blocks(documents.page("how-to/pages"), "js")
    first, *lines = module.splitlines()
    assert first == 'import socket from "../broadcast/page-socket.js";'
    loaded = 'const { default: socket } = await import("/static/broadcast/page-socket.js");'
    page = people.open("/page/")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    listen(page)
    script = "\n".join([loaded, *lines, "return status;"])
    assert page.evaluate(f"async () => {{ {script} }}") == 302
    push(shared_site, "news", "Ferry leaves at nine")
    heard(page, "Ferry leaves at nine")
    assert said == ["Ferry leaves at nine"]


# -- hearing --------------------------------------------------------------------------------


def test_the_documented_lines_open_a_socket_that_hears_a_push(
    people: People, shared_site: ServerProcess
) -> None:
    (snippet,) = blocks(documents.page("reference/page-socket"), "js")
    page = people.open("/bare/")
    page.evaluate(f"{snippet}\nwindow.heard = []; window.missed = [];")
    page.evaluate("() => (socket.onmessage = ({ data }) => heard.push(JSON.parse(data))) && 0")
    push(shared_site, "chan1", {"foo": "bar"})
    assert heard(page, {"payload": {"foo": "bar"}, "channel": "chan1"})


def test_what_is_pushed_between_rendering_and_opening_is_shown(
    people: People, shared_site: ServerProcess
) -> None:
    page = people.browser.new_context().new_page()
    held: list[Any] = []
    page.route("**/page-socket.js", lambda route: held.append(route))
    page.goto(shared_site.url + "/page/", wait_until="commit")
    while not held:
        page.wait_for_timeout(10)
    push(shared_site, "news", {"text": "early"})
    held[0].continue_()
    expect(page.locator("#log li")).to_have_text('early: {"text":"early"}')
    page.context.close()


def test_handlers_and_elements_show_what_comes_as_text(
    people: People, shared_site: ServerProcess
) -> None:
    page = people.open("/page/")
    listen(page)
    expect(page.locator("#whole")).to_have_text("Nothing yet")
    push(shared_site, "news", "<i>markup</i>")
    expect(page.locator("#whole")).to_have_text("<i>markup</i>")
    expect(page.locator("#plain li")).to_have_text("<i>markup</i>")
    expect(page.locator("#field")).to_have_text("No ship yet")
    message = {"text": "<u>in</u>", "ship": {"name": "Ada"}, "percent": 40}
    push(shared_site, "news", message)
    expect(page.locator("#field")).to_have_text("Ada")
    expect(page.locator("#bar")).to_have_js_property("value", 40)
    expect(page.locator("#log li b").last).to_have_text("<u>in</u>")
    page.evaluate(
        """() => {
          const later = Object.assign(document.createElement("p"), { id: "later" });
          Object.assign(later.dataset, { channel: "sport", field: "score.0" });
          document.body.append(later);
        }"""
    )
    push(shared_site, "sport", {"score": [2, 1]})
    expect(page.locator("#later")).to_have_text("2")
    push(shared_site, "news", *({"text": str(number)} for number in range(4)))
    expect(page.locator("#log li b")).to_have_text(["1", "2", "3"])
    expect(page.locator("#plain li")).to_have_count(6)
    assert page.locator("#code").text_content() == "{}"
    assert page.locator("#log :is(i, u), #plain i").count() == 0
    assert heard(page, {"text": "3"})[1:3] == [message, {"score": [2, 1]}]
    assert page.evaluate("missed") == []


# -- calling --------------------------------------------------------------------------------


def test_a_page_calls_views(people: People) -> None:
    page = people.open("/page/")
    listen(page)
    answer = page.evaluate(
        """async () => {
          const input = { text: "ä&=", list: ["1", "2"] };
          const answer = await socket.call("POST", "/echo/?a=b+c", input);
          return [answer.status, answer.headers["Content-Type"], JSON.parse(answer.body)];
        }"""
    )
    form = {"text": ["ä&="], "list": ["1", "2"]}
    said = {"method": "POST", "query": {"a": ["b c"]}, "form": form, "files": {}}
    assert answer == [200, "application/json", said]
    get = page.evaluate(
        "socket.call('GET', '/echo/', { a: 1 }).then(({ body }) => JSON.parse(body))"
    )
    assert get["query"] == {"a": ["1"]}
    assert page.evaluate("socket.call('GET', '/nowhere/').then(({ status }) => status)") == 404
    assert page.evaluate("socket.send('nothing').then(({ status }) => status)") == 404
    assert 0 <= page.evaluate("socket.ping()") < 30_000


def test_a_call_that_takes_too_long_fails_and_disturbs_no_other(people: People) -> None:
    page = people.open("/page/")
    listen(page)
    calls = """async () => {
      const slow = (timeout) => socket.call("GET", "/slow/", {}, { timeout })
        .then(({ body }) => body, ({ reason, sent }) => [reason, sent]);
      const quick = socket.call("GET", "/echo/").then(({ status }) => status);
      return Promise.all([slow(50), slow(20000), quick]);
    }"""
    assert page.evaluate(calls) == [["time", True], "at last", 200]


def test_a_marked_form_goes_through_the_socket_and_the_page_stays(people: People) -> None:
    page = people.open("/page/")
    listen(page)
    page.evaluate(
        """() => {
          window.answers = [];
          addEventListener("socketanswer", ({ detail }) => answers.push(detail));
        }"""
    )
    here = page.url
    said = page.locator("[data-socket-message]")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(said).to_have_text("Done.")
    page.get_by_role("button", name="Get", exact=True).click()
    page.get_by_role("button", name="Send this").click()
    until(page, "answers.length === 3")
    first, second, third = (json.loads(one["body"]) for one in page.evaluate("answers"))
    fields = {"text": ["ahoy"], "action": ["two", ""]}
    assert (first["method"], first["query"]) == ("POST", {"a": ["1"]})
    assert first["form"] == {**fields, "press": ["here"]}
    assert second["method"] == "GET" and fields.items() <= second["query"].items()
    assert third["form"] == {"press": ["this"]}
    page.get_by_role("button", name="Get lost").click()
    expect(said).to_have_text("The server answered 404.")
    page.get_by_role("button", name="Be refused").click()
    expect(said).to_have_text("Not <b>this</b>.")
    page.get_by_role("button", name="Come here").click()
    expect(said).to_have_text("Done.")
    assert page.url == here
    page.evaluate(
        "addEventListener('socketanswer', (event) => event.preventDefault(), { once: true })"
    )
    page.get_by_role("button", name="Go away").click()
    until(page, "answers.length === 7")
    assert page.url == here
    page.get_by_role("button", name="Go away").click()
    page.wait_for_url("**/bare/")


def test_where_it_cannot_go_through_the_socket_a_form_is_sent_as_ever(
    people: People, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    page = people.open("/page/")
    listen(page)
    page.locator("input[type=file]").set_input_files(tmp_path / "file")
    page.get_by_role("button", name="Send file").click()
    expect(page.locator("body")).to_contain_text('"files": {"file": 5}')
    page.go_back()
    listen(page)
    page.get_by_role("button", name="Go there").click()
    expect(page.locator("body")).to_contain_text('"press": ["that"]')
    page.go_back()
    listen(page)
    page.evaluate("socket.close()")
    expect_state(page, "closed")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("body")).to_contain_text('"press": ["here"]')
    scriptless = people.open("/page/", java_script_enabled=False)
    scriptless.get_by_role("button", name="Send", exact=True).click()
    expect(scriptless.locator("body")).to_contain_text('"press": ["here"]')


# -- coming back ----------------------------------------------------------------------------


def test_after_a_lost_line_it_has_heard_everything_once(
    people: People, shared_site: ServerProcess
) -> None:
    line = Line(shared_site.port)
    page = people.open("/page/", line.url)
    listen(page)
    push(shared_site, "news", "one", "two")
    heard(page, "two")
    line.freeze()
    # The server has handed it over, and it gets lost on the way.
    push(shared_site, "news", "three")
    line.cut()
    expect_state(page, "reconnecting")
    call = "socket.call('GET', '/echo/').then(({ status }) => (window.called = status)); 0"
    page.evaluate(call)
    push(shared_site, "news", "four")
    line.mend()
    expect_state(page, "open")
    push(shared_site, "news", "five")
    assert heard(page, "five") == ["one", "two", "three", "four", "five"]
    expect(page.locator("#plain li")).to_have_text(["one", "two", "three", "four", "five"])
    assert page.evaluate("missed") == []
    until(page, "window.called === 200")
    line.close()


def test_a_call_whose_connection_was_lost_is_not_repeated(
    people: People, shared_site: ServerProcess
) -> None:
    line = Line(shared_site.port)
    page = people.open("/page/", line.url)
    listen(page)
    page.evaluate(
        """() => {
          socket.call("GET", "/slow/").catch(({ reason, sent }) => (window.fate = [reason, sent]));
        }"""
    )
    line.cut()
    until(page, "window.fate")
    assert page.evaluate("fate") == ["lost", True]
    line.close()


def test_where_the_history_is_lost_with_the_server_it_is_told_so_once(
    browser: Browser, database: Path, tmp_path: Path
) -> None:
    shutil.copy(database, tmp_path / "db.sqlite3")
    site = ServerProcess("broadcast", tmp_path, **ENVIRONMENT)
    site.start()
    line = Line(site.port)
    people = People(browser, line.url)
    page = people.open("/page/")
    listen(page)
    push(site, "news", "before")
    heard(page, "before")
    line.cut()
    site.kill()
    expect_state(page, "reconnecting")
    site.start()
    # Of the new history nothing is lost.
    push(site, "news", "meanwhile")
    line.mend()
    expect_state(page, "open")
    push(site, "news", "after")
    assert heard(page, "after") == ["before", "meanwhile", "after"]
    expect(page.locator("#plain li")).to_have_text(["before", "meanwhile", "after"])
    assert page.evaluate("missed").count("news") == 1
    people.leave()
    line.close()
    site.kill()
    assert people.errors == []


def test_with_redis_nothing_is_lost_with_the_server(
    browser: Browser, installation: Installation
) -> None:
    here, there = installation.servers
    people = People(browser, here.url)
    page = people.open("/page/")
    listen(page)
    push(there, "news", "one")
    heard(page, "one")
    here.kill()
    expect_state(page, "reconnecting")
    push(there, "news", "two", "three")
    here.start()
    expect_state(page, "open")
    push(there, "news", "four")
    assert heard(page, "four") == ["one", "two", "three", "four"]
    expect(page.locator("#plain li")).to_have_text(["one", "two", "three", "four"])
    assert page.evaluate("missed") == []
    people.leave()
    assert people.errors == []


def test_a_page_that_is_subscribed_no_more_is_told_so(
    people: People, shared_site: ServerProcess
) -> None:
    line = Line(shared_site.port)
    page = people.open("/page/", line.url)
    listen(page)
    vote_page = people.open("/vote/", line.url)
    listen(vote_page)
    vote_page.evaluate("document.title = 'Old'")
    line.cut()
    for one in (page, vote_page):
        one.context.clear_cookies()
    line.mend()
    until(page, "missed.includes('news') && missed.includes('sport')")
    expect(vote_page).to_have_title("Vote – Broadcast")
    expect_state(vote_page, "open")
    line.close()


def test_a_page_that_was_sent_away_for_good_stays_away_and_says_why(
    people: People, shared_site: ServerProcess
) -> None:
    sockets: list[WebSocketRoute] = []

    def meet(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    page = people.open("/healthz")
    page.route_web_socket("**/ws/socket/*", meet)
    page.goto(shared_site.url + "/page/")
    listen(page)
    sockets[0].close(code=4503, reason="you may not be here")
    expect_state(page, "closed")
    assert page.evaluate("socket.state") == {"name": "closed", "reason": "You may not be here."}
    page.evaluate("dispatchEvent(new Event('online'))")
    call = "socket.call('GET', '/echo/').catch(({ reason }) => reason)"
    assert page.evaluate(call) == "closed"
    assert len(sockets) == 1


# -- the example ----------------------------------------------------------------------------


def votes(page: Page, choice: str) -> Locator:
    return page.locator(".choice", has_text=choice).locator("b")


def vote(page: Page, choice: str) -> None:
    page.get_by_role("radio", name=choice).check()
    page.get_by_role("button", name="Vote").click()


def expect_votes(page: Page, tea: int, coffee: int) -> None:
    expect(votes(page, "Tea")).to_have_text(str(tea))
    expect(votes(page, "Coffee")).to_have_text(str(coffee))
    expect(page.get_by_text("Votes so far")).to_have_text(f"Votes so far: {tea + coffee}")


def test_a_vote_at_one_server_is_seen_at_both(browser: Browser, installation: Installation) -> None:
    people = People(browser, "")
    pages = [people.open("/vote/", server.url) for server in installation.servers]
    for page in pages:
        expect(page.get_by_text("votes appear here as they come")).to_be_visible()
    first, second = pages
    before = first.locator(".socket-words").bounding_box()
    vote(first, "Tea")
    for page in pages:
        expect_votes(page, 1, 0)
    expect(first.get_by_text("Thank you.")).to_be_visible()
    second.get_by_role("radio", name="Tea").focus()
    second.keyboard.press("ArrowDown")
    second.keyboard.press("Enter")
    for page in pages:
        expect_votes(page, 1, 1)
    vote(second, "Tea")
    for page in pages:
        expect_votes(page, 2, 0)
    # Nothing has moved, and the page is the one that was opened.
    assert first.locator(".socket-words").bounding_box() == before
    expect(first.locator("progress").first).to_have_js_property("value", 100)
    first.reload()
    expect_votes(first, 2, 0)
    expect(first.get_by_role("radio", name="Tea")).to_be_checked()

    scriptless = people.open("/vote/", installation.servers[0].url, java_script_enabled=False)
    expect(scriptless.locator(".on-nothing")).to_be_visible()
    vote(scriptless, "Coffee")
    for page in (*pages, scriptless):
        expect_votes(page, 2, 1)
    expect(scriptless.get_by_role("radio", name="Coffee")).to_be_checked()
    people.leave()
    assert people.errors == []
