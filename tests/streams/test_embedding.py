"""Streams in other pages: the template tag, the page for frames, what the watch page offers."""

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.core.management import call_command
from django.template import Context, Engine, RequestContext, Template
from django.test import Client, RequestFactory
from django.urls import set_script_prefix
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast.http.static_files import StaticFilesHandler
from broadcast.management.commands.runserver import Command as Runserver
from broadcast.models import Stream
from broadcast.routing import websocket_application
from project.asgi import application
from tests.rig.processes import ROOT

EVIL = "</textarea></title><script>alert(1)</script>\"'&{{ x }}"


class Elements(HTMLParser):
    """The elements of a page, as a browser would read them: `(name, attributes, text)`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def render(source: str, **variables: Any) -> str:
    return Template("{% load broadcast %}" + source).render(Context(variables))


def element(source: str, **variables: Any) -> dict[str, str | None]:
    """The attributes of the one listener that a template makes."""
    (found,) = Elements(render(source, **variables)).named("broadcast-listener")
    return found


@pytest.fixture
def under_a_prefix(settings: Settings) -> Iterator[None]:
    """The site lives below `/live`."""
    set_script_prefix("/live/")
    settings.FORCE_SCRIPT_NAME = "/live"
    # Set anew, since Django adds the prefix once.
    settings.STATIC_URL = "static/"
    yield
    set_script_prefix("/")


# -- the tag --------------------------------------------------------------------------------


def test_a_stream_becomes_an_element_and_the_script_of_it() -> None:
    elements = Elements(render("{% listener stream %}", stream=Stream(slug="news", title="News")))
    assert [found for found in elements.found if found[0] != "link"] == [
        ("script", {"type": "module", "src": "/static/broadcast/element.js"}),
        ("broadcast-listener", {"src": "/ws/listener/news/", "label": "Publications of News"}),
        ("noscript", {}),
    ]
    assert elements.texts[-1] == "Hearing News needs JavaScript."


SCRIPTS = ROOT / "static/broadcast"


def imports_of(path: Path) -> set[Path]:
    """The modules that a module imports or exports further."""
    found = re.findall(
        r'^(?:(?:import|export|\}) .*from|import) "(\.[^"]+)";$', path.read_text(), re.M
    )
    return {(path.parent / name).resolve() for name in found}


def needed_by(path: Path) -> set[Path]:
    """The modules that a module needs, and those that these need."""
    needed: set[Path] = set()
    new = {path}
    while new := {one for path in new for one in imports_of(path)} - needed:
        needed |= new
    return needed


def test_a_page_names_all_modules_that_the_script_needs() -> None:
    links = Elements(render("{% listener 'news' %}")).named("link")
    assert {link["rel"] for link in links} == {"modulepreload"}
    needed = {path.relative_to(SCRIPTS) for path in needed_by(SCRIPTS / "element.js")}
    assert len(needed) > 15
    assert {link["href"] for link in links} == {f"/static/broadcast/{path}" for path in needed}


def test_a_media_stream_has_the_place_of_a_picture_from_the_start() -> None:
    assert "media" in element("{% listener stream %}", stream=Stream(slug="cam", kind="media"))
    assert "media" not in element("{% listener stream %}", stream=Stream(slug="news"))


def test_a_slug_will_do_and_nothing_is_asked_of_the_database() -> None:
    # Without the fixture `db`, a query fails.
    assert element("{% listener 'news' %}")["src"] == "/ws/listener/news/"


def test_a_stream_that_is_not_there_is_left_to_the_element_to_tell() -> None:
    assert element("{% listener nothing %}")["src"] == "/ws/listener//"


def test_options_become_attributes() -> None:
    source = (
        "{% listener 'news' history=20 token=token limit=50 label='Ferries' paused=True "
        "hidden=False title=None data_place='harbour' %}"
    )
    assert element(source, token="a.b-c_d~e") == {
        "src": "/ws/listener/news/",
        "label": "Ferries",
        "history": "20",
        "token": "a.b-c_d~e",
        "limit": "50",
        "paused": None,
        "data-place": "harbour",
    }


def test_hostile_names_and_values_stay_what_they_are() -> None:
    stream = Stream(slug='../x"><script>?a=b#c', title=EVIL)
    text = render("{% listener stream token=evil %}", stream=stream, evil=EVIL)
    assert "<script>alert" not in text
    (attributes,) = Elements(text).named("broadcast-listener")
    assert attributes["src"] == "/ws/listener/..%2Fx%22%3E%3Cscript%3E%3Fa%3Db%23c/"
    assert (attributes["label"], attributes["token"]) == (f"Publications of {EVIL}", EVIL)


def engine(**templates: str) -> Engine:
    loader = ("django.template.loaders.locmem.Loader", templates)
    return Engine(loaders=[loader], libraries={"broadcast": "broadcast.templatetags.broadcast"})


def test_the_script_stands_once_in_a_page_however_it_is_put_together() -> None:
    base = "{% load broadcast %}{% block a %}{% endblock %}{% listener 'last' %}"
    page = (
        "{% extends 'base' %}{% load broadcast %}{% block a %}"
        "{% include 'part' %}{% include 'part' only %}{% listener 'third' %}{% endblock %}"
    )
    part = "{% load broadcast %}{% listener 'first' %}"
    template = engine(base=base, page=page, part=part).get_template("page")
    for _ in range(2):
        text = template.render(Context({}))
        assert (text.count("<script"), text.count("<broadcast-listener")) == (1, 4)
        assert text.index("<script") < text.index("<broadcast-listener")


def test_how_an_item_looks_is_a_template_of_the_project(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "item.html").write_text('<li lang="{{ lang }}"><b data-field="headline"></b></li>')
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    request = RequestFactory().get("/")
    template = Template("{% load broadcast %}{% listener 'news' item='item.html' %}")
    text = template.render(RequestContext(request, {"lang": "<de>"}))
    item = '<template><li lang="&lt;de&gt;"><b data-field="headline"></b></li></template>'
    assert item in text
    assert "item=" not in text


def test_addresses_are_those_of_a_site_below_a_prefix(under_a_prefix: None) -> None:
    text = render("{% listener 'news' %}")
    assert 'src="/live/static/broadcast/element.js"' in text
    assert 'src="/live/ws/listener/news/"' in text


def test_files_with_hashed_names_work(settings: Settings, tmp_path: Path) -> None:
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    found = re.search(r'src="/static/(broadcast/element\.\w{12}\.js)"', render("{% listener '' %}"))
    assert found and (tmp_path / found[1]).is_file()
    # What the module imports is named without a hash.
    needed = needed_by((tmp_path / found[1]).resolve())
    assert len(needed) > 15
    assert all(path.is_file() for path in needed)


# -- the page for frames --------------------------------------------------------------------


@pytest.fixture
def streams(db: None) -> User:
    """Streams of every sort, and the owner of the private one."""
    owner = User.objects.create_user("owner")
    Stream.objects.create(slug="news", title="News")
    Stream.objects.create(slug="unlisted", title="Unlisted", visibility="unlisted")
    Stream.objects.create(slug="private", title="Private", visibility="private", owner=owner)
    Stream.objects.create(slug="closed", title="Closed", closed_at=timezone.now())
    return owner


def embed(client: Client, slug: str, query: str = "", status: int = 200) -> str:
    response = client.get(f"/streams/{slug}/embed/{query}")
    assert response.status_code == status, response
    return response.content.decode()


@pytest.mark.parametrize("slug", ["news", "unlisted"])
def test_the_frame_is_the_listener_of_its_stream(client: Client, streams: User, slug: str) -> None:
    (attributes,) = Elements(embed(client, slug)).named("broadcast-listener")
    assert (attributes["src"], attributes["history"]) == (f"/ws/listener/{slug}/", "20")
    assert "token" not in attributes


def test_the_frame_hands_on_what_its_address_says(client: Client, streams: User) -> None:
    elements = Elements(embed(client, "news", "?token=a.b-c&history=5&theme=dark"))
    (attributes,) = elements.named("broadcast-listener")
    assert (attributes["token"], attributes["history"]) == ("a.b-c", "5")
    assert elements.named("html")[0]["data-theme"] == "dark"


def test_hostile_words_in_the_address_or_the_title_stay_words(client: Client, db: None) -> None:
    Stream.objects.create(slug="s", title=EVIL)
    response = client.get("/streams/s/embed/", {"token": EVIL, "history": EVIL, "theme": EVIL})
    text = response.content.decode()
    assert "<script>alert" not in text
    (attributes,) = Elements(text).named("broadcast-listener")
    assert (attributes["token"], attributes["history"]) == (EVIL, EVIL)
    assert "data-theme" not in Elements(text).named("html")[0]


@pytest.mark.parametrize(
    ("slug", "status", "words"),
    [
        ("private", 403, "You may not listen here"),
        ("none", 404, "There is no such stream"),
        ("%C3%A4", 404, "There is no such stream"),
        ("%00", 404, "There is no such stream"),
        ("closed", 410, "The stream was closed"),
    ],
)
def test_what_cannot_be_heard_is_told_in_the_frame(
    client: Client, streams: User, slug: str, status: int, words: str
) -> None:
    text = embed(client, slug, status=status)
    assert words in text
    assert "broadcast-listener" not in text and "site-header" not in text


def test_a_private_stream_is_heard_with_a_token_of_it(client: Client, streams: User) -> None:
    private, news = Stream.objects.get(slug="private"), Stream.objects.get(slug="news")
    token = private.make_token("listen")
    (attributes,) = Elements(embed(client, "private", f"?token={token}")).named(
        "broadcast-listener"
    )
    assert attributes["token"] == token
    for wrong, status, words in (
        (news.make_token("listen"), 403, "The token is for another stream"),
        (private.make_token("publish"), 403, "The token is to publish, not to listen"),
        (private.make_token("listen", now=0), 401, "The token ran out"),
        (EVIL, 401, "The token is none"),
    ):
        response = client.get("/streams/private/embed/", {"token": wrong})
        assert response.status_code == status
        assert words in response.content.decode() and wrong not in response.content.decode()


def test_a_private_stream_is_for_its_owner_in_a_frame_too(client: Client, streams: User) -> None:
    client.force_login(streams)
    assert 'src="/ws/listener/private/"' in embed(client, "private")


@pytest.mark.parametrize("slug", ["news", "private", "none", "ä", "closed"])
def test_the_frame_may_be_framed_and_tells_nobody_its_address(
    client: Client, streams: User, slug: str
) -> None:
    response = client.get(f"/streams/{slug}/embed/?token=secret")
    assert "X-Frame-Options" not in response
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ") and "unsafe" not in policy
    assert policy.endswith("; frame-ancestors *")
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]


def test_the_sites_that_may_frame_it_are_a_setting(
    client: Client, streams: User, settings: Settings
) -> None:
    settings.BROADCAST_EMBED_ANCESTORS = "'self' https://harbour.example"
    policy = client.get("/streams/news/embed/")["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors 'self' https://harbour.example")


@pytest.mark.parametrize(
    "path",
    ["/", "/streams/news/", "/streams/news/studio/", "/nowhere/", "/admin/login/", "/api/streams/"],
)
def test_nothing_else_may_be_framed(client: Client, streams: User, path: str) -> None:
    response = client.get(path)
    assert response["X-Frame-Options"] == "DENY"
    assert response["Content-Security-Policy"].endswith("; frame-ancestors 'none'")


def test_nothing_in_the_frame_does_anything_but_hear(client: Client, streams: User) -> None:
    client.force_login(User.objects.create_superuser("staff"))
    for slug, status in (("private", 200), ("closed", 410), ("none", 404)):
        elements = Elements(embed(client, slug, status=status))
        assert not {"form", "input", "button"} & {name for name, _ in elements.found}
        for link in elements.named("a"):
            assert link["target"] == "_blank" and link["rel"] == "noopener noreferrer"
            assert "admin" not in str(link["href"]) and "token" not in str(link["href"])


# -- what the watch page offers to copy -----------------------------------------------------


def snippets(client: Client, slug: str) -> list[str]:
    """What somebody who copies them has."""
    text = client.get(f"/streams/{slug}/").content.decode()
    return [unescape(found) for found in re.findall(r"<textarea[^>]*>(.*?)</textarea>", text, re.S)]


def test_the_watch_page_offers_a_frame_and_an_element(client: Client, streams: User) -> None:
    frame, module = snippets(client, "news")
    (attributes,) = Elements(frame).named("iframe")
    assert attributes["src"] == "http://testserver/streams/news/embed/"
    assert attributes["title"] == "News"
    elements = Elements(module)
    assert elements.named("script")[0]["src"] == "http://testserver/static/broadcast/element.js"
    (attributes,) = elements.named("broadcast-listener")
    assert attributes["src"] == "http://testserver/ws/listener/news/"


def test_what_is_copied_does_no_harm_where_it_is_put(client: Client, db: None) -> None:
    Stream.objects.create(slug="s", title=EVIL)
    frame, _ = snippets(client, "s")
    assert [name for name, _ in Elements(frame).found] == ["iframe"]
    assert Elements(frame).named("iframe")[0]["title"] == EVIL


def test_of_a_private_stream_it_says_that_a_token_is_needed(client: Client, streams: User) -> None:
    assert b"?token=" not in client.get("/streams/news/").content
    client.force_login(streams)
    assert b"?token=" in client.get("/streams/private/").content


# -- static files and sockets ---------------------------------------------------------------


async def headers_of(path: str) -> tuple[int, dict[bytes, bytes]]:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request", "body": b""})
    start = await communicator.receive_output(30)
    await communicator.receive_output(30)
    await communicator.wait(30)
    return start["status"], dict(start["headers"])


async def test_pages_of_any_site_may_load_the_modules_and_nothing_else() -> None:
    status, headers = await headers_of("/static/broadcast/element.js")
    assert (status, headers[b"Access-Control-Allow-Origin"]) == (200, b"*")
    for path, expected in (("/static/admin/css/base.css", 200), ("/static/broadcast/none.js", 404)):
        status, headers = await headers_of(path)
        assert status == expected
        assert b"Access-Control-Allow-Origin" not in headers


def test_runserver_serves_them_the_same_way(settings: Settings) -> None:
    settings.DEBUG = True
    assert isinstance(Runserver().get_application({}), StaticFilesHandler)
    assert Runserver().get_application({"use_static_handler": False}) is application


async def test_a_socket_below_the_prefix_of_the_site_is_found(
    db: None, under_a_prefix: None
) -> None:
    await Stream.objects.acreate(slug="news")
    for path in ("/live/ws/listener/news/", "/ws/listener/news/"):
        communicator = WebsocketCommunicator(
            websocket_application, path, subprotocols=["broadcast.v1"]
        )
        assert await communicator.connect(10) == (True, "broadcast.v1")
        assert (await communicator.receive_json_from(10))["event"] == "joined"
        await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await communicator.wait(30)
