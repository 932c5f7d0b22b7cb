"""The tutorial, and somebody who follows it: types its commands, and writes its files.

What a test needs otherwise: servers are at ports of their own, and packages are those of this
environment, but for Broadcast, which is installed from a wheel that was built from the tree.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Browser, Error, Page

from tests.rig.launcher import ROOT
from tests.rig.processes import PATIENCE, free_port, wait_until_it_answers
from tests.rig.wheel import WITHOUT_OUR_PLUGINS

PAGE = ROOT / "docs/tutorial.md"
#: Shown by a page whose socket is open.
OPEN = "body[data-socket-state=open]"
#: What a form says of its call.
ANSWER = "form [data-socket-message]"
#: How often a page is loaded until it has what was written, and after how many it is saved again.
ATTEMPTS, SAVE_AGAIN = 60, 20
#: Seconds that a command may take.
SECONDS = 100

STEP = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.M | re.S)
#: A block with its language, or what has to be done with the server.
DEED = re.compile(r"^```(\w+)\n(.*?)^```|^(Stop) ", re.M | re.S)
#: The first line of a block that is a file, or what is to be added to one.
FILE = re.compile(r"(?:# |<!-- )(\S+?)(, at the end)?(?: -->)?\n(.*)", re.S)
#: A command that goes on until it is stopped, with the option for its port.
SERVERS = {
    "python manage.py runserver": " 127.0.0.1:{port}",
    "python manage.py serve": " --port {port}",
}
#: After a command: where the shell is then, and with which variables.
STATE = "status=$?; { pwd; env -0; } >&3; exit $status"


class Step:
    """A section of the page; `left`: its blocks that were not followed yet."""

    def __init__(self, title: str, text: str) -> None:
        self.title, self.text = title, text
        self.left: list[tuple[str, str, str]] = DEED.findall(text)

    def says(self, words: str) -> str:
        """The words, which stand in it as what is seen."""
        assert f"*{words}*" in self.text, words
        return words


def steps() -> list[Step]:
    return [Step(*found) for found in STEP.findall(PAGE.read_text())]


class Reader:
    """Somebody with a shell, an editor and an empty `directory`; stops the server in the end."""

    def __init__(self, directory: Path, redis_url: str = "") -> None:
        self.port, self.rpc_port = free_port(), free_port()
        self.log = directory / "server.log"
        self.server: subprocess.Popen[bytes] | None = None
        self.folder = directory / "home"
        self.folder.mkdir()
        self.replaced = {"127.0.0.1:8000": self.address, "redis://127.0.0.1:6379/0": redis_url}
        self.variables = {
            "HOME": os.environ["HOME"],
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_FIND_LINKS": str(build_wheel(directory / "wheels")),
            "PIP_NO_INDEX": "1",
            "PYTEST_ADDOPTS": " ".join(WITHOUT_OUR_PLUGINS),
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop_server()

    def follow(self, step: Step, blocks: int | None = None) -> list[str]:
        """Do its next `blocks`, or all that are left; answers what each command printed."""
        printed: list[str] = []
        while step.left and blocks != 0:
            language, text, stops = step.left.pop(0)
            if stops:
                self.stop_server()
            elif blocks is not None:
                blocks -= 1
            if language == "sh":
                printed += map(self.type, self._replace(text).splitlines())
            elif language:
                found = FILE.fullmatch(self._replace(text))
                assert found, f"which file is this? {text}"
                self.write(*found.groups())
        return printed

    def _replace(self, text: str) -> str:
        for given, ours in self.replaced.items():
            text = text.replace(given, ours)
        return text

    def write(self, path: str, is_added: str | None, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("settings.py"):
            text += f"BROADCAST_RPC_PORT = {self.rpc_port}\n"
        if is_added:
            text = f"{file.read_text()}\n\n{text}"
        file.write_text(text)
        if file.suffix == ".py":
            self.saved = file

    def type(self, line: str) -> str:
        """Run a command, which has to succeed, and answer what it printed; or start a server."""
        for command, option in SERVERS.items():
            if line.startswith(command):
                self._serve(line + option.format(port=self.port))
                return ""
        # `packages.pth` brings pip along, too: making its own takes longer than all it does here.
        typed = line.replace("-m venv", "-m venv --without-pip")
        read, write = os.pipe()
        done = subprocess.run(
            ["bash", "-c", f"exec 3>&{write} {write}>&-\n{typed}\n{STATE}"],
            cwd=self.folder,
            env=self.variables,
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        os.close(write)
        with os.fdopen(read) as state:
            folder, _, variables = state.read().partition("\n")
        assert done.returncode == 0, (line, done.stdout, self.logged())
        self.folder = Path(folder)
        self.variables = dict(one.split("=", 1) for one in variables.split("\0") if one)
        if "-m venv" in line:
            self._lend_packages()
        return done.stdout

    def _lend_packages(self) -> None:
        """What `pip install` would bring, it finds."""
        packages = [path for path in sys.path if Path(path).name == "site-packages"]
        (folder,) = self.folder.glob(".venv/lib/python*/site-packages")
        (folder / "packages.pth").write_text("\n".join(packages) + "\n")
        pip = self.folder / ".venv/bin/pip"
        pip.write_text('#!/bin/sh\nexec python -m pip "$@"\n')
        pip.chmod(0o755)

    def _serve(self, line: str) -> None:
        self.stop_server()
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.folder,
                env=self.variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until_it_answers(self.port, self.server)
        except AssertionError:
            raise AssertionError(self.logged()) from None

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.server, "no server was started"
        return self.server

    def stop_server(self) -> None:
        """Ctrl+C, and wait until it is gone."""
        if self.server and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGINT)
            try:
                self.server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self.server.pid, signal.SIGKILL)
                raise

    def logged(self) -> str:
        return self.log.read_text()[-2000:] if self.log.exists() else ""

    # -- in a browser --

    def window(self, browser: Browser) -> Page:
        """A window in which nobody is logged in."""
        return browser.new_context(viewport={"width": 480, "height": 540}).new_page()

    def load_until(self, page: Page, selector: str) -> None:
        """Load the page at `/` until it shows what was just written, and `runserver` took up."""
        for number in range(1, ATTEMPTS + 1):
            # No server answers while it starts again; templates it looks at once a second.
            with suppress(Error):
                page.goto(self.url)
                page.locator(selector).wait_for(timeout=1000)
                wait_until_it_answers(self.rpc_port, self._running)
                return
            if number % SAVE_AGAIN == 0:
                # Django does not see what is saved while it starts.
                self.saved.touch()
            time.sleep(0.2)
        raise AssertionError(f"{selector} did not come: {page.inner_text('body')[:1000]}")

    def log_in(self, page: Page) -> None:
        """As the step says that makes the user."""
        page.goto(f"{self.url}/admin/")
        page.get_by_label("Username").fill("referee")
        page.get_by_label("Password").fill("whistle")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Site administration").first.wait_for()


def build_wheel(directory: Path) -> Path:
    """The directory, with a wheel in it that was built from the tree."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(directory), str(ROOT)],
        timeout=SECONDS,
        check=True,
    )
    return directory
