"""Firefox, driven over WebDriver BiDi (w3c.github.io/webdriver-bidi), which it speaks itself."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: Seconds within which it starts, answers, and a page shows what is expected of it.
PATIENCE = 30.0

#: A camera and a microphone that show and say something, and are given to any page.
PREFERENCES = """
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
"""


class Firefox:
    """A running Firefox, with a window for each page that is opened."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.numbers = count(1)
        self.call("session.new", capabilities={})

    def call(self, method: str, **params: Any) -> Any:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (said := json.loads(self.socket.recv(PATIENCE))).get("id") != number:
            pass
        assert said["type"] == "success", said
        return said["result"]

    def open(self, url: str) -> "Window":
        context = self.call("browsingContext.create", type="window")["context"]
        self.call("browsingContext.navigate", context=context, url=url, wait="complete")
        return Window(self, context)


class Window:
    def __init__(self, firefox: Firefox, context: str) -> None:
        self.firefox = firefox
        self.context = context

    def evaluate(self, expression: str) -> Any:
        """What an expression is, or what its promise becomes; of what JSON can say."""
        done = self.firefox.call(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((it) => JSON.stringify(it ?? null))",
            target={"context": self.context},
            awaitPromise=True,
            # As if a person had just pressed a key.
            userActivation=True,
        )
        assert done["type"] == "success", done
        return json.loads(done["result"]["value"])

    def wait_for(self, expression: str) -> None:
        """Until it is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"{expression} never was true"
            time.sleep(0.05)

    def press(self, name: str) -> None:
        """Press the button of this name."""
        self.evaluate(f"[...document.querySelectorAll('button')].find({named(name)}).click()")


def named(name: str) -> str:
    return f"(it) => it.textContent.trim() === {json.dumps(name)}"


@contextmanager
def running(directory: Path) -> Iterator[Firefox]:
    """Firefox, with a profile in this directory."""
    executable = shutil.which("firefox-esr")
    assert executable, "firefox-esr is missing: install the package firefox-esr"
    profile = directory / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(PREFERENCES)
    command = [executable, "--headless", "--no-remote", "--profile", str(profile)]
    log = directory / "firefox.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--remote-debugging-port=0"], stdout=file, stderr=file, cwd=directory
        )
    try:
        with connect(f"{address(log)}/session", max_size=None, proxy=None) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address(log: Path) -> str:
    """Where it says that it listens, when it does."""
    deadline = time.monotonic() + PATIENCE
    while not (found := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]
