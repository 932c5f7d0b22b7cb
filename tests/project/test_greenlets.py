"""Publishing among greenlets, and in processes that were forked off one that published."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess, free_port

Servers = Callable[[str], ServerProcess]

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
POOLS = {
    "gevent": "from gevent.pool import Pool; done = Pool(20).map(work, range(20))",
    "eventlet": "done = list(eventlet.GreenPool(20).imap(work, range(20)))",
}
SETUP = """
import asyncio, os, signal, sys, time
import django
django.setup()
from broadcast import apublish, publish
from broadcast.models import Stream
slug = sys.argv[1]
"""


def python(server: ServerProcess, script: str, *arguments: str, **environment: str) -> str:
    """What a program beside the server prints; it must end within some seconds, without a word."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "project.settings", **server.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["broadcast", "redis"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[ServerProcess]:
    process = servers(request.param)
    yield process
    process.assert_clean_log()


# -- greenlets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", PATCHES)
def test_greenlets_publish_beside_each_other_and_use_the_database(
    server: ServerProcess, library: str
) -> None:
    script = f"""{PATCHES[library]}{SETUP}
def work(number):
    row = Stream.objects.get(slug=slug)
    return publish(row if number % 2 else slug, {{"number": number}}).offset
{POOLS[library]}
print(sorted(done))
"""
    said = python(server, script, server.unused_stream())
    assert said == str(list(range(1, 21)))


@pytest.mark.parametrize("library", PATCHES)
def test_greenlets_are_told_in_one_line_what_they_cannot_do_and_what_they_can(
    servers: Servers, library: str
) -> None:
    script = f"""{PATCHES[library]}{SETUP}
from types import SimpleNamespace
from broadcast.subscriptions import PageSocket
for action in (lambda: publish(slug, "x"), lambda: PageSocket(SimpleNamespace()).push(1, "a")):
    try:
        action()
    except Exception as error:
        print(type(error).__name__, error)
Stream.objects.get(slug=slug).save()
"""
    server = servers("redis")
    nobody = str(free_port())
    said = python(server, script, server.unused_stream(), BROADCAST_RPC_PORT=nobody).splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"Unavailable no server answers at 127.0.0.1:{nobody}")
    assert "manage.py rpcserver" in said[0]
    assert said[1].startswith("RuntimeError greenlets (gevent, eventlet) cannot do this")


APP = """
import django
django.setup()
from celery import Celery
from broadcast import publish

app = Celery("app", broker="{broker}", backend="{broker}")
app.conf.task_default_queue = "{queue}"
app.conf.broker_connection_retry_on_startup = True

@app.task(name="report")
def report(slug, number):
    return publish(slug, number).offset

{parent}
"""


@pytest.mark.parametrize("pool", ["gevent", "eventlet", "prefork"])
def test_celery_publishes_from_its_pools(
    servers: Servers, redis_url: str, tmp_path: Path, pool: str
) -> None:
    """Prefork: the parent has published before it forks."""
    server = servers("redis" if pool == "prefork" else "broadcast")
    slug = server.unused_stream()
    before = f"import asyncio; from broadcast import apublish; asyncio.run(apublish('{slug}', 0))"
    broker = redis_url.removesuffix("0") + "9"
    source = APP.format(broker=broker, queue=pool, parent=before if pool == "prefork" else "")
    (tmp_path / "tasks.py").write_text(source)
    environment = {
        **server.environment,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    command = (
        *(sys.executable, "-W", "ignore", "-m", "celery", "-A", "tasks", "worker", "-P", pool),
        *("-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "error"),
    )
    worker = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        script = (
            "import sys, tasks\n"
            "sent = [tasks.report.delay(sys.argv[1], number) for number in range(6)]\n"
            "print(sorted(one.get(timeout=60) for one in sent))"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, slug],
            env={**environment, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        worker.terminate()
        worker.wait(60)
    # The worker has imported it, and so has the program here, which published once more.
    first = 3 if pool == "prefork" else 1
    assert done.stdout.strip() == str(list(range(first, first + 6))), done.stderr


# -- forks -----------------------------------------------------------------------------------------

FORK = """
def in_child(work):
    child = os.fork()
    if not child:
        signal.alarm(10)
        print(work().offset, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
RUN = 'asyncio.run(apublish(slug, "x"))'
PUBLISH = 'publish(slug, "x")'


def test_a_child_of_a_process_that_published_publishes(server: ServerProcess) -> None:
    # The row of the second stream is not known: it is looked for in the child.
    script = f"""{SETUP}{FORK}
{RUN}
slug = sys.argv[2]
in_child(lambda: {RUN})
in_child(lambda: {PUBLISH})
{PUBLISH}
in_child(lambda: {RUN})
in_child(lambda: {PUBLISH})
"""
    said = python(server, script, server.unused_stream(), server.unused_stream())
    assert said.split() == ["1", "2", "4", "5"]


def test_a_child_that_is_forked_while_a_loop_runs_publishes(server: ServerProcess) -> None:
    script = f"""{SETUP}{FORK}
async def main():
    await apublish(slug, "x")
    in_child(lambda: {PUBLISH})
asyncio.run(main())
"""
    assert python(server, script, server.unused_stream()) == "2"


def test_a_child_of_a_server_is_no_server(servers: Servers) -> None:
    script = f"""{SETUP}{FORK}
from broadcast import backends
from broadcast.hub import serving
async def main():
    serving.serve_here()
    before = backends.get_backend()
    assert (await apublish(slug, "mine")).offset == 1
    in_child(lambda: {PUBLISH})
    assert backends.get_backend() is before
asyncio.run(main())
"""
    server = servers("broadcast")
    slug = server.unused_stream()
    python(server, SETUP + 'publish(slug, "theirs")', slug)
    assert python(server, script, slug) == "2"
