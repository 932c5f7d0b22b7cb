"""Clients of MessagePack-RPC that other people made, in four languages, call a real server.

`rpc_clients/` has a program for each, which does the same: a call, one that is answered with an
error, a notification, 70 kB of text and of bytes, and `push_data`. `rpc_clients/install` gets what
they need. The examples of the documentation are run, too.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rig.documents import blocks, page
from tests.rig.doors import ServerDoor, door_of
from tests.rig.processes import ROOT, ServerProcess

INSTALLED = ROOT / ".tests-clients"
PROGRAMS = ROOT / "tests" / "rpc_clients"


class Program(NamedTuple):
    #: What runs it: a program of the system, or one that was installed.
    interpreter: str
    #: What nil is called there.
    nil: str
    #: What it says of itself with `push_data`.
    name: str
    #: What it shows of the error. An error of nvim is an array, and pynvim shows its second item.
    error: str = "method `nonsense' is not accepted"


CLIENTS = {
    "msgpack_rpc_python.py": Program(
        str(INSTALLED / "msgpack-rpc-python" / "bin" / "python"), "None", "msgpack-rpc-python"
    ),
    "aio_msgpack_rpc_client.py": Program(
        str(INSTALLED / "python" / "bin" / "python"), "None", "aio-msgpack-rpc"
    ),
    "pynvim_session.py": Program(
        str(INSTALLED / "python" / "bin" / "python"), "None", "pynvim", error="e"
    ),
    "msgpack_rpc_lite.js": Program("node", "null", "msgpack-rpc-lite"),
    "data_messagepack.pl": Program("perl", "None", "Data::MessagePack"),
    "msgpack.rb": Program("ruby", "nil", "msgpack"),
}


def environment() -> dict[str, str]:
    """In which the installed packages are found."""
    return {**os.environ, "NODE_PATH": str(INSTALLED / "node" / "node_modules")}


@pytest.fixture(scope="session")
def installed() -> None:
    """The clients are there."""
    done = subprocess.run([PROGRAMS / "install"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def door(servers: Callable[[str], ServerProcess]) -> Iterator[ServerDoor]:
    yield from door_of(servers("broadcast"))


@pytest.mark.parametrize("program", CLIENTS)
async def test_it_calls_notifies_is_told_errors_and_pushes(
    installed: None, door: ServerDoor, program: str
) -> None:
    client = CLIENTS[program]
    slug = await door.stream()
    listener, everyone = await door.listener(slug), await door.listener("everyone")
    done = await asyncio.to_thread(
        subprocess.run,
        [client.interpreter, PROGRAMS / program, str(door.process.rpc_port), slug],
        env=environment(),
        capture_output=True,
        timeout=30,
        text=True,
        check=False,
    )
    said = ["pong", "1", client.error, "3", "4", client.nil]
    assert done.stdout.splitlines() == said, done.stderr
    assert await listener.told_many(4) == [
        (1, "call"),
        (2, "notification"),
        (3, "ä" * 35_000),
        (4, b"\xff\x00" * 35_000),
    ]
    assert (await everyone.told())[1] == {"from": client.name}


def test_every_program_is_run() -> None:
    named = {path.name for path in PROGRAMS.iterdir()} - {"install", "package.json"}
    assert named == set(CLIENTS)


#: What runs the examples of a language, in their order.
EXAMPLES = {
    "python": [str(INSTALLED / "python" / "bin" / "python"), sys.executable],
    "js": ["node"],
    "ruby": ["ruby"],
    "perl": ["perl"],
    "bash": ["bash"],
}


@pytest.mark.parametrize(
    ("language", "number"),
    [(language, number) for language, run in EXAMPLES.items() for number in range(len(run))],
)
async def test_an_example_of_the_documentation_pushes(
    installed: None, door: ServerDoor, tmp_path: Path, language: str, number: int
) -> None:
    code = blocks(page("how-to/push-from-programs"), language)[number]
    [said] = re.findall(r"Hello from [\w ]+", code)
    assert "18800" in code
    example = tmp_path / "example"
    example.write_text(code.replace("18800", str(door.process.rpc_port)))
    everyone = await door.listener("everyone")
    done = await asyncio.to_thread(
        subprocess.run,
        [EXAMPLES[language][number], example],
        env=environment(),
        capture_output=True,
        timeout=30,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (await everyone.told())[1] == said


def test_every_example_of_the_documentation_is_run() -> None:
    text = page("how-to/push-from-programs")
    assert {language: len(blocks(text, language)) for language in EXAMPLES} == {
        language: len(run) for language, run in EXAMPLES.items()
    }
    assert text.count("```") == 2 * sum(map(len, EXAMPLES.values()))
