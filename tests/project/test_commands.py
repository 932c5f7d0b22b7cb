"""The management commands, run as a person runs them: beside a real server process."""

import json
import re
import subprocess
import sys
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings
from websockets import Subprotocol
from websockets.sync.server import ServerConnection, serve

from broadcast.consumers import SUBPROTOCOL
from broadcast.exceptions import BadToken
from broadcast.management.addresses import in_words
from broadcast.management.commands import listen as listen_command
from broadcast.management.commands.publish import lines, text_of
from broadcast.management.commands.serve import Command as ServeCommand
from broadcast.management.commands.start import Command as StartCommand
from broadcast.models import Stream
from broadcast.tokens import Grant
from tests.rig.processes import ROOT, ServerProcess, free_port

Servers = Callable[[str], ServerProcess]


@pytest.fixture
def ours(servers: Servers) -> ServerProcess:
    return servers("broadcast")


def history(server: ServerProcess, stream: str, count: int) -> list[str]:
    """The last `count` publications, as `listen` prints them."""
    done = listen(server, stream, "--history", str(count), "--count", str(count))
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


def listen(
    server: ServerProcess, stream: str, *options: str, **more: Any
) -> subprocess.CompletedProcess[str]:
    return server.manage("listen", stream, "--url", server.ws, *options, **more)


@contextmanager
def listening(server: ServerProcess, stream: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`listen` while it runs; its output is read from its pipes."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "listen", stream, "--url", server.ws, *options],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


class TestPublish:
    def test_an_argument_is_one_publication_and_its_position_is_printed(
        self, ours: ServerProcess
    ) -> None:
        stream = ours.unused_stream()
        done = ours.manage("publish", stream, "Grüße\nan alle")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"[0-9a-f]+:1\n", done.stdout)
        assert history(ours, stream, 1) == ["Grüße", "an alle"]

    def test_each_line_of_a_pipe_is_a_publication_an_empty_one_too(
        self, ours: ServerProcess
    ) -> None:
        stream = ours.unused_stream()
        done = ours.manage("publish", stream, input="one\n\nthree\r\nno newline")
        assert done.stdout.endswith(":4\n"), done.stderr
        assert history(ours, stream, 4) == ["one", "", "three", "no newline"]

    def test_a_dash_reads_standard_input_as_json(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        done = ours.manage("publish", stream, "-", "--json", input='{"a": [1, 2]}\n7\n')
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in history(ours, stream, 2)] == [{"a": [1, 2]}, 7]

    def test_a_byte_order_mark_is_not_published(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        done = ours.manage("publish", stream, "-", "--json", input='\ufeff{"a": 1}\n2\n')
        assert done.returncode == 0, done.stderr
        assert history(ours, stream, 2) == ['{"a": 1}', "2"]

    def test_a_byte_order_mark_is_one_at_the_start_alone_however_it_is_cut(self) -> None:
        text = BOM_UTF8 + b"one\n" + BOM_UTF8 + b"two"
        for size in range(1, len(text) + 1):
            chunks = (text[at : at + size] for at in range(0, len(text), size))
            assert sum(lines(text_of(chunks)), []) == [b"one", BOM_UTF8 + b"two"]
        for short in (b"", b"\n", BOM_UTF8[:2], BOM_UTF8):
            whole = b"".join(text_of(iter([short] if short else [])))
            assert whole == short.removeprefix(BOM_UTF8)

    def test_a_long_file_goes_in_order_and_whole(self, ours: ServerProcess, tmp_path: Path) -> None:
        stream = ours.unused_stream()
        lines = [f"line {number}" for number in range(5000)]
        (tmp_path / "lines").write_text("\n".join(lines))
        done = ours.manage("publish", stream, "--file", str(tmp_path / "lines"))
        assert done.stdout.endswith(":5000\n"), done.stderr
        assert history(ours, stream, 1000) == lines[-1000:]

    def test_a_binary_file_goes_in_chunks(self, ours: ServerProcess, tmp_path: Path) -> None:
        stream = ours.unused_stream()
        content = bytes(range(256)) * 1000
        (tmp_path / "bytes").write_bytes(content)
        options = ("--binary", "--chunk", "100000", "--file", str(tmp_path / "bytes"))
        done = ours.manage("publish", stream, *options)
        assert done.stdout.endswith(":3\n"), done.stderr
        heard = listen(ours, stream, "--history", "3", "--count", "3", "--binary", text=False)
        assert heard.stdout == content

    def test_a_key_makes_a_repeat_harmless(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        first = ours.manage("publish", stream, "once", "--key", "k1")
        again = ours.manage("publish", stream, "once", "--key", "k1")
        assert first.stdout == again.stdout != ""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["closed-1", "x"], "closed"),
            (["free-1", "x" * 1048577], "1048576"),
            (["free-1", "x", "--file", "y"], "either"),
            (["free-1", "--file", "no-such-file"], "No such file"),
            (["free-1", "{", "--json"], "not JSON"),
            (["free-1", "x", "--json", "--binary"], "either"),
            (["free-1", "-", "--key", "k"], "single"),
            (["", "x"], "name"),
            (["free-1", "-", "--binary", "--chunk", "0"], "--chunk"),
        ],
    )
    def test_what_makes_no_sense_fails_with_one_clear_line(
        self, ours: ServerProcess, options: list[str], said: str
    ) -> None:
        if len(options[1]) > 100_000:
            # More than one argument of a command line may be.
            done = ours.manage("publish", options[0], input=options[1])
        else:
            done = ours.manage("publish", *options, input="")
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_the_lines_before_a_wrong_one_are_published(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        done = ours.manage("publish", stream, "--json", input="1\n2\noops\n4\n")
        assert done.returncode == 1
        assert "line 3" in done.stderr
        assert history(ours, stream, 2) == ["1", "2"]

    def test_without_a_server_it_says_what_to_do(self, ours: ServerProcess) -> None:
        environment = {**ours.environment, "BROADCAST_RPC_PORT": str(free_port())}
        done = subprocess.run(
            [sys.executable, "manage.py", "publish", "demo", "x"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "manage.py start" in done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestListen:
    def test_it_prints_what_is_published_while_it_listens(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        ours.manage("publish", stream, "before")
        with listening(ours, stream, "--history", "1") as process:
            assert process.stdout
            assert process.stdout.readline() == "before\n"
            ours.manage("publish", stream, "after")
            assert process.stdout.readline() == "after\n"

    def test_bytes_are_told_as_their_number(self, ours: ServerProcess) -> None:
        stream = ours.unused_stream()
        ours.manage("publish", stream, "-", "--binary", input="12345")
        assert history(ours, stream, 1) == ["(5 bytes)"]

    def test_it_comes_back_after_a_restart_and_says_that_history_was_lost(
        self, tmp_path: Path
    ) -> None:
        with ServerProcess("broadcast", tmp_path) as server:
            server.manage("publish", "demo", "first life")
            with listening(server, "demo", "--history", "1", "--count", "2") as process:
                assert process.stdout and process.stderr
                assert process.stdout.readline() == "first life\n"
                server.stop()
                server.start()
                # It says so when it is back, and hears what comes from then on.
                assert "history was lost" in process.stderr.readline()
                server.manage("publish", "demo", "second life")
                out, _ = process.communicate(timeout=30)
                assert out == "second life\n"
                assert process.returncode == 0

    @pytest.mark.parametrize(
        ("stream", "said"), [("nothing", "4504"), ("private-1", "4503"), ("closed-1", "4510")]
    )
    def test_where_it_may_not_listen_it_fails_with_one_clear_line(
        self, ours: ServerProcess, stream: str, said: str
    ) -> None:
        done = listen(ours, stream)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_where_there_are_too_many_it_waits_longer_each_time_and_comes_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([4429, 4429, 4429, 1000])

        def answer(socket: ServerConnection) -> None:
            code = next(answers)
            if code == 4429:
                socket.send('{"event":"error","message":"too many of them"}')
            else:
                socket.send('{"event":"joined","epoch":"e","offset":0,"recovered":false}')
                socket.send('{"event":"publication","offset":1,"data":"at last"}')
            socket.close(code, "too many of them")

        waits: list[float] = []
        monkeypatch.setattr(listen_command, "time", SimpleNamespace(sleep=waits.append))
        monkeypatch.setattr(listen_command, "random", SimpleNamespace(uniform=max))
        out, err = StringIO(), StringIO()
        with serve(answer, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
            call_command("listen", "demo", url=url, count=1, stdout=out, stderr=err)
            server.shutdown()
            thread.join()
        assert out.getvalue() == "at last\n"
        assert waits == [8, 16, 30]
        assert err.getvalue() == 3 * "Trying again later: too many of them\n"

    @pytest.mark.parametrize(
        ("is_terminal", "expected"),
        [(True, "a\\x1b[2J\n\tb\\r\n"), (False, "a\x1b[2J\n\tb\r\n")],
    )
    def test_what_strangers_publish_gives_no_commands_to_a_terminal(
        self, is_terminal: bool, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = StringIO(newline="")
        monkeypatch.setattr(out, "isatty", lambda: is_terminal)
        command = listen_command.Command(stdout=out)
        command.options, command.printed = {"binary": False}, 0
        command.show("a\x1b[2J\n\tb\r")
        assert out.getvalue() == expected

    def test_without_a_server_it_says_so(self, ours: ServerProcess) -> None:
        done = ours.manage("listen", "demo", "--url", f"ws://127.0.0.1:{free_port()}")
        assert done.returncode == 1
        assert "no server answers" in done.stderr


class TestStart:
    @pytest.fixture
    def started(self, tmp_path: Path) -> Iterator[ServerProcess]:
        """A server that `start` sets up on an empty database."""
        process = ServerProcess("broadcast", tmp_path)
        process.arguments = ["start"]
        process.start()
        yield process
        process.stop()

    def test_it_sets_everything_up_once_and_a_second_start_changes_nothing(
        self, started: ServerProcess
    ) -> None:
        first = started.new_log()
        password = re.search(r"the password (\S+)", first)
        assert password
        assert "'demo'" in first and "'everyone'" in first
        rows = "from broadcast.models import Stream; from django.contrib.auth.models import User;"
        rows += "print(list(Stream.objects.values()), list(User.objects.values()))"
        before = started.manage("shell", "-v0", "-c", rows).stdout
        assert "demo" in before and "everyone" in before
        check = "from django.contrib.auth import authenticate; print(authenticate("
        check += f"username='admin', password={password.group(1)!r}))"
        assert started.manage("shell", "-v0", "-c", check).stdout == "admin\n"
        started.stop()
        started.start()
        assert started.manage("shell", "-v0", "-c", rows).stdout == before
        assert "password" not in started.new_log()

    def test_a_port_that_is_taken_is_said_in_one_line(self, started: ServerProcess) -> None:
        done = started.manage("serve", "--port", str(started.port))
        assert done.returncode == 1
        assert f"cannot listen at 127.0.0.1:{started.port}" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_has_its_brackets_once(
    host: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_RPC_HOST = host
    out = StringIO()
    announce = ServeCommand.announce
    monkeypatch.setattr(
        ServeCommand, "serve", lambda self, sockets: announce(self, in_words(sockets), True)
    )
    monkeypatch.setattr(ServeCommand, "end_lost_recordings", lambda self: None)
    port = free_port()
    call_command(ServeCommand(), host=host, port=port, stdout=out)
    assert f"http://[::1]:{port}/ (MessagePack-RPC at [::1]:18800)." in out.getvalue()


@pytest.mark.django_db
def test_start_leaves_an_admin_alone_who_is_there() -> None:
    get_user_model().objects.create_superuser("root", password="x")  # type: ignore[attr-defined]
    StartCommand().make_admin()
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db
def test_the_demo_streams_are_open_as_they_should_be() -> None:
    Stream.objects.setup()
    demo, everyone = Stream.objects.get(slug="demo"), Stream.objects.get(slug="everyone")
    assert (demo.visibility, demo.publishing) == ("public", "anyone")
    assert everyone.publishing == "owner"
    assert Stream.objects.setup() == []


@pytest.mark.django_db
def test_prune_drops_expired_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    session = SessionStore()
    session.set_expiry(-1)
    session.create()
    call_command("prune")
    assert not SessionStore().exists(session.session_key)
    assert capsys.readouterr().out


class TestBench:
    def test_it_measures_and_leaves_nothing_behind(self, ours: ServerProcess) -> None:
        done = ours.manage(
            "bench", "--url", ours.url, "--listeners", "20", "--seconds", "0.5", "--rate", "50"
        )
        assert done.returncode == 0, done.stderr
        for figure in ("joins/s", "deliveries/s", "publications/s", "latency"):
            assert re.search(rf"{figure}.*\d", done.stdout)
        left = "from broadcast.models import Stream; print(Stream.objects.filter("
        left += "slug__startswith='bench').count())"
        assert ours.manage("shell", "-v0", "-c", left).stdout == "0\n"

    def test_without_a_server_it_says_so(self, ours: ServerProcess) -> None:
        done = ours.manage("bench", "--url", f"http://127.0.0.1:{free_port()}")
        assert done.returncode == 1
        assert "no server answers" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["start", "serve", "publish", "listen", "prune", "bench", "rpcserver", "runserver"],
)
def test_every_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command(command, "--help")
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 200


class TestStreamtoken:
    @pytest.mark.parametrize("action", ["listen", "publish"])
    def test_a_token_that_is_printed_grants_what_it_says(self, db: None, action: str) -> None:
        stream = Stream.objects.create(slug="news")
        printed = StringIO()
        call_command("streamtoken", "news", action, "--max-age", "60", stdout=printed)
        stream.check_token(printed.getvalue().strip(), Grant(action), time.time() + 50)
        with pytest.raises(BadToken, match="ran out"):
            stream.check_token(printed.getvalue().strip(), Grant(action), time.time() + 61)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["nowhere", "listen"], "no stream 'nowhere'"),
            (["news", "listen", "--max-age", "0"], "at least"),
            (["news", "listen", "--max-age", "inf"], "--max-age"),
            (["news", "dance"], "invalid choice"),
        ],
    )
    def test_what_makes_no_sense_is_an_error(
        self, db: None, arguments: list[str], error: str
    ) -> None:
        Stream.objects.create(slug="news")
        with pytest.raises(CommandError, match=error):
            call_command("streamtoken", *arguments)
