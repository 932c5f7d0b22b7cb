"""A project that was just begun, with the lines of `docs/install.md`, and servers of it."""

import re
import signal
import subprocess
import time
from pathlib import Path

from tests.rig.launcher import ROOT
from tests.rig.processes import PATIENCE, free_port, wait_until_it_answers
from tests.rig.wheel import Environment

GUIDE = (ROOT / "docs/install.md").read_text()
#: A block of code of the guide that says in its first line which file it is.
FILE = re.compile(r"^```\w+\n(?:# |<!-- )(\S+)(?: -->)?\n(.*?)^```", re.M | re.S)
#: Files that the guide adds lines to; others it writes.
ADDED_TO = {"mysite/settings.py", "mysite/urls.py"}

#: What belongs to a test: a port of its own, templates, records that name their loggers.
SETTINGS = """
TEMPLATES[0]["DIRS"] = [BASE_DIR / "mysite/templates"]
BROADCAST_RPC_PORT = {rpc_port}
BROADCAST_REDIS_URL = __import__("os").environ.get("BROADCAST_REDIS_URL", "")
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {{"line": {{"format": "%(levelname)s %(name)s: %(message)s"}}}},
    "handlers": {{"console": {{"class": "logging.StreamHandler", "formatter": "line"}}}},
    "root": {{"handlers": ["console"], "level": "WARNING"}},
}}
"""
#: The base of the project, as it may have one.
BASE = """<!doctype html>
<title>{% block title %}My site{% endblock %}</title>
{% block head %}{% endblock %}
<body class="my-site">{% block content %}{% endblock %}
"""


class Project:
    """`django-admin startproject mysite`, in `directory`, with all that the guide adds."""

    def __init__(self, environment: Environment, directory: Path) -> None:
        self.environment, self.directory = environment, directory
        self.rpc_port = free_port()
        environment.succeed("-m", "django", "startproject", "mysite", ".", cwd=directory)
        for path, text in FILE.findall(GUIDE):
            self.write(path, text, adds=path in ADDED_TO)
        self.write("mysite/templates/base.html", BASE)
        settings = SETTINGS.format(rpc_port=self.rpc_port)
        self.write("mysite/settings.py", settings, adds=True)

    def write(self, path: str, text: str, adds: bool = False) -> None:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if adds else "w") as stream:
            stream.write(text)

    def manage(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return self.environment.run("manage.py", *arguments, cwd=self.directory, **variables)

    def set_up(self) -> None:
        """Migrate, and make a stream that anybody may publish on."""
        self.environment.succeed("manage.py", "migrate", "-v0", cwd=self.directory)
        stream = "Stream.objects.create(slug='news', publishing='anyone')"
        script = f"from broadcast.models import Stream; {stream}"
        self.environment.succeed("manage.py", "shell", "-c", script, cwd=self.directory)


#: An error that one of them told of, or a line of theirs in a traceback.
FAULT = re.compile(
    r"^(?:ERROR|CRITICAL) (?:broadcast|channels|django).*|^.*(?:packages/broadcast|/mysite)/.*",
    re.M,
)

#: How each server is told its port.
PORTS = {
    "runserver": ("--noreload", "127.0.0.1:{port}"),
    "serve": ("--port", "{port}"),
    "daphne": ("--port", "{port}"),
    "uvicorn": ("--port", "{port}"),
    "hypercorn": ("--bind", "127.0.0.1:{port}"),
    "gunicorn": ("--bind", "127.0.0.1:{port}"),
}


def commands() -> dict[str, list[str]]:
    """The command lines of the guide that start a server, by the name of that."""
    found = re.findall(r"`((?:python manage\.py serve|\w+ mysite\.asgi:application)[^`]*)`", GUIDE)
    found += re.findall(r"^python manage\.py runserver$", GUIDE, re.M)
    lines = {}
    for line in found:
        words = line.split()
        # The programs are modules, too, of the environment's Python.
        words = words[1:] if words[0] == "python" else ["-m", *words]
        lines[words[1]] = words
    return lines


class Site:
    """A server of the project, by the name of the server; as a context manager it runs."""

    def __init__(self, project: Project, kind: str, **variables: str) -> None:
        self.project, self.kind, self.variables = project, kind, variables
        self.port = free_port()
        self.log = project.directory / f"{kind}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def faults(self) -> list[str]:
        """What Broadcast, Django or the project logged as faults. Servers have their own ways."""
        return FAULT.findall(self.log.read_text())

    def stop(self) -> float:
        """Ask it to end; answers the seconds that it took. subprocess.TimeoutExpired: more."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return time.monotonic() - begun

    def __enter__(self) -> "Site":
        environment = self.project.environment
        port = [option.format(port=self.port) for option in PORTS[self.kind]]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [environment.python, *commands()[self.kind], *port],
                cwd=self.project.directory,
                env=environment.variables(**self.variables),
                stdout=log,
                stderr=log,
            )
        try:
            wait_until_it_answers(self.port, self.process)
        except AssertionError:
            self.__exit__()
            raise AssertionError(self.log.read_text()) from None
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
