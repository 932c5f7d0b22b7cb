"""What the documentation promises and a machine can check: its tour, its examples, its tables."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.template import Context, Template
from django.test import RequestFactory

from broadcast.conf import SETTINGS
from broadcast.exceptions import BadToken
from broadcast.models import Stream
from broadcast.pages.subscriptions import PageSocket
from broadcast.rooms import peers as rooms
from broadcast.tokens import Grant
from tests.rig.documents import blocks, page, section
from tests.rig.doors import Door, InProcessDoor
from tests.rig.processes import ROOT, ServerProcess
from tests.rig.rooms import error, meet


def test_the_examples_of_the_http_api_work(servers: Callable[[str], ServerProcess]) -> None:
    server = servers("broadcast")
    outputs = []
    (examples,) = (one for one in blocks(page("reference/http"), "sh") if "/api/" in one)
    for line in examples.replace("http://127.0.0.1:8000", server.url).splitlines():
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, timeout=60, check=False
        )
        # curl exits so when it was to hear no longer.
        assert done.returncode == (28 if "max-time" in line else 0), line
        outputs.append(done.stdout)
    first, second, history, events = outputs
    (shown,) = blocks(page("reference/http"), "json")
    answer = json.loads(shown)
    assert answer.keys() == json.loads(history).keys()
    assert answer["publications"][0].keys() == json.loads(history)["publications"][0].keys()
    assert json.loads(second)["offset"] == json.loads(first)["offset"] + 1
    found = json.loads(history)
    said = [(one["type"], one["data"]) for one in found["publications"]]
    assert said == [("text", "Ferry leaves at nine"), ("json", {"ferry": 9})]
    assert events.splitlines()[6:11] == [
        f"id: {found['epoch']}:{found['offset'] - 1}",
        "data: Ferry leaves at nine",
        "",
        f"id: {found['epoch']}:{found['offset']}",
        'data: {"ferry":9}',
    ]


class Started(ServerProcess):
    """A server that is started as the tour starts it, at another port."""

    def _launch(self) -> subprocess.Popen[bytes]:
        return self._execute("manage.py", "start", "--port", str(self.port))


def test_the_quick_tour_works_line_by_line(tmp_path: Path) -> None:
    tour = page("tour")
    with Started("broadcast", tmp_path, setup="") as server:
        outputs = []
        for line in "".join(blocks(tour, "sh")).splitlines():
            # The tour's server is at the default port, the test's is not.
            command = line.replace(".venv/bin/python", sys.executable)
            command = command.replace("listen demo", f"listen demo --url {server.ws}")
            done = subprocess.run(
                command,
                shell=True,
                cwd=ROOT,
                env=server.environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (line, done.stderr)
            outputs.append(done.stdout)
        listened = next(output for output in outputs if "Ferry" in output)
        assert listened.splitlines()[:3] == ["4", "5", '{"headline": "Ferry leaves at nine"}']
        assert server.manage("publish", "news", "from another process").returncode == 0
        python = blocks(tour, "python")
        assert len(python) == 2
        publishing, streaming = python
        done = server.manage("shell", "-v0", "-c", publishing)
        assert done.returncode == 0, done.stderr
        streaming = streaming.replace("127.0.0.1:8000", urlsplit(server.url).netloc)
        done = server.manage("shell", "-v0", "-c", streaming)
        assert done.returncode == 0, done.stderr
        heard = server.manage(
            *("listen", "demo", "--url", server.ws, "--history", "2", "--count", "2")
        )
        assert heard.stdout == "a line of text\n(10 bytes)\n"
        heard = server.manage(
            *("listen", "news", "--url", server.ws, "--history", "2", "--count", "2")
        )
        assert heard.stdout.splitlines()[0] == '{"headline": "Ferry leaves at nine"}'


async def test_the_event_of_ones_own_is_answered_in_rooms(
    in_process: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "handlers", {})
    (code,) = (one for one in blocks(page("how-to/rooms"), "python") if "room_handler" in one)
    exec(code, {})
    _, (first, second), (own, _) = await meet(in_process)
    await first.tell("hand")
    assert await first.event() == error("a hand is up or not")
    await first.tell("hand", up=True)
    for socket in (first, second):
        assert await socket.event() == {"event": "hand", "up": True, "sender_id": own}


#: What is done with the code of how-to/push.md, in another process than the server.
USE = """
from django.test import RequestFactory

assert goal(RequestFactory().post("/goal/", {"team": "home"})).status_code == 204
form = GroupForm({"name": "sailors"})
assert form.is_valid()
with transaction.atomic():
    form.save()
    User.objects.create_user("ada")
try:
    with transaction.atomic():
        User.objects.create_user("nobody")
        raise ValueError
except ValueError:
    pass
for _ in range(2):
    report.apply(["a report"], task_id="its id")
"""


def test_what_is_pushed_from_code_is_heard(tmp_path: Path) -> None:
    text = page("how-to/push")
    (line,) = blocks(text, "sh")
    shell = re.findall(r"shell -c '(.*)'", line)
    assert len(shell) == 1
    with ServerProcess("broadcast", tmp_path, setup="") as server:
        row = "from broadcast.models import Stream; Stream.objects.create(slug='news')"
        assert server.manage("shell", "-v0", "-c", row).returncode == 0
        done = server.manage("shell", "-v0", "-c", "\n".join([*blocks(text, "python"), USE]))
        assert done.returncode == 0, done.stderr
        done = server.manage("shell", "-v0", "-c", shell[0])
        assert re.fullmatch(r"Position\(epoch='\w+', offset=5\)\n", done.stdout), done.stderr
        listening = ("listen", "news", "--url", server.ws, "--history", "5", "--count", "5")
        heard = server.manage(*listening)
        assert heard.stdout.splitlines() == [
            '{"goal": "home"}',
            '{"group": "sailors"}',
            '{"joined": "ada"}',
            "a report",
            "Hello",
        ], heard.stderr
        server.stop()
        done = server.manage("shell", "-v0", "-c", shell[0])
        assert done.returncode == 1
        assert "Unavailable: no server answers at 127.0.0.1" in done.stderr
        assert "`manage.py serve` and `runserver` have one" in done.stderr


def test_the_view_of_the_example_is_the_whole_of_its_module() -> None:
    (view,) = blocks(section(page("how-to/pages"), "An example: a vote"), "python")
    assert view == (ROOT / "project/vote/views.py").read_text()
    assert len(view.splitlines()) < 30


async def test_the_views_and_the_handler_of_page_sockets_work(in_process: InProcessDoor) -> None:
    views, handler, _ = blocks(page("how-to/pages"), "python")
    names: dict[str, Any] = {}
    exec(views + handler, names)
    names["render"] = lambda request, name: HttpResponse(name)
    request: Any = RequestFactory().get("/")
    request.session = SessionStore()
    request.socket = PageSocket(request)
    await sync_to_async(names["board"])(request)
    await request.socket.asubscribe("guests")
    await request.session.asave()
    path = f"/?socket_connection_id={request.socket.connection_id}"
    cookie = {"Cookie": f"sessionid={request.session.session_key}"}
    socket = await in_process.connect(path, headers=cookie)
    assert (await sync_to_async(names["goal"])(request)).status_code == 204
    await socket.send(json.dumps({"id": 3, "action": "greet", "name": "Ada"}))
    said = [json.loads(str(await socket.receive())) for _ in range(3)]
    assert {"payload": {"goals": 1}, "channel": "scores.home"} in said
    assert {"payload": "Ada is here", "channel": "guests"} in said
    assert {"id": 3, "status": 200, "headers": {}, "body": "Hello AnonymousUser"} in said


def test_tokens_are_made_and_withdrawn_as_documented(db: None) -> None:
    make, withdraw = blocks(page("how-to/private-streams"), "python")
    stream = Stream.objects.create(slug="news", visibility="private")
    token = eval(make.partition("#")[0], {"stream": stream})
    stream.check_token(token, Grant.LISTEN, time.time() + 3500)
    exec(withdraw, {"stream": stream})
    with pytest.raises(BadToken, match="withdrawn"):
        stream.check_token(token, Grant.LISTEN, time.time())


def test_tokens_of_rooms_are_made_as_documented(db: None) -> None:
    _, make, _ = blocks(page("how-to/rooms"), "python")
    names: dict[str, Any] = {}
    exec(make.replace("room.make_token", "token = room.make_token"), names)
    room, token = names["room"], names["token"]
    room.check_token(token, Grant.ENTER, time.time() + 3500)


def test_the_servers_of_rooms_are_set_as_documented(settings: Any) -> None:
    given, _, _ = blocks(page("how-to/rooms"), "python")
    names: dict[str, Any] = {}
    exec(given, names)
    del names["__builtins__"]
    for name, value in names.items():
        setattr(settings, name, value)
    assert set(names) == {"BROADCAST_ICE_SERVERS", "BROADCAST_TURN_SECRET"}
    assert [SETTINGS[name].fault() for name in names] == ["", ""]


def test_the_tags_of_the_documentation_render(settings: Any) -> None:
    tags, _, _ = blocks(page("how-to/embed"), "html")
    loader = "django.template.loaders.locmem.Loader"
    templates = {"ferries/item.html": "<li data-text></li>"}
    options = {"loaders": [(loader, templates)]}
    backend = "django.template.backends.django.DjangoTemplates"
    settings.TEMPLATES = [{"BACKEND": backend, "OPTIONS": options}]
    stream = Stream(slug="news", title="News")
    shown = Template(tags).render(Context({"stream": stream, "token": "a token"}))
    first, second = re.findall("<broadcast-listener(.*?)>", shown)
    assert 'src="/ws/listener/news/"' in first and 'history="20"' in first
    assert 'token="a token"' in second and 'class="wide"' in second
    assert "<template><li data-text></li></template>" in shown


def test_the_imports_of_the_reference_work() -> None:
    for block in blocks(page("reference/python"), "python"):
        exec(block, {})


def test_the_stream_of_the_how_to_is_the_one_that_ffmpeg_feeds() -> None:
    make, feed = blocks(page("how-to/video"), "sh")
    assert feed.startswith(make)
