"""A project of somebody else, for tests of what Broadcast gives to others' tests."""

import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.rig.documents import blocks, page
from tests.rig.launcher import ROOT
from tests.rig.wheel import WITHOUT_OUR_PLUGINS

#: Options of pytest in that project, where Broadcast is not installed with its plugin.
PYTEST = (
    *("-m", "pytest", "-q", "-p", "broadcast.testing.plugin", "-p", "no:cacheprovider"),
    *WITHOUT_OUR_PLUGINS,
)


class Shop:
    """A copy of `tests/testing/shop` with the application of `docs/testing.md`."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory / "shop"
        shutil.copytree(ROOT / "tests/testing/shop", self.directory)
        self.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = shop.settings\n")
        self.examples = examples()
        self.write("orders/models.py", self.examples.pop("orders/models.py"))
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error::ResourceWarning",
            "TEMPLATES": str(ROOT / "templates"),
            "STATIC": str(ROOT / "static"),
            **environment,
        }

    def write(self, path: str, text: str) -> None:
        (self.directory / path).write_text(text)

    def write_examples(self, *paths: str) -> None:
        for path in paths:
            self.write(path, self.examples[path])

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments; what it writes goes to `stdout`."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def django(self, *arguments: str) -> str:
        """Run Django's runner, which must succeed; answers what it wrote."""
        return succeeded(self.run("manage.py", "test", *arguments))

    def pytest(self, *arguments: str) -> str:
        """Run pytest, which must succeed; answers what it wrote."""
        return succeeded(self.run(*PYTEST, *arguments))


class Spy:
    """A port, as a context manager, that counts those who connect to it, and answers nobody."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> "Spy":
        return self

    def __exit__(self, *error: object) -> None:
        self.listening.close()

    def count(self) -> int:
        """How many have connected since it was asked last: the system has kept them waiting."""
        self.listening.settimeout(0)
        found = 0
        with suppress(BlockingIOError):
            while True:
                self.listening.accept()[0].close()
                found += 1
        return found


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout
    return done.stdout


def examples() -> dict[str, str]:
    """The examples of `docs/testing.md` by the path that each names in its first line."""
    found = {}
    for block in blocks(page("testing"), "python"):
        named = re.match(r"# (\S+\.py)\n", block)
        assert named, block
        found[named.group(1)] = block
    return found
