"""Processes of `manage.py`, without the second that Python takes to load the libraries.

All are forked off one process, which has loaded the libraries and nothing of a project: each loads
its project anew, with the settings of its own environment. Tests start hundreds of them. What is
registered with `atexit` does not run in them.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

ROOT = Path(__file__).resolve().parents[2]

#: None of them needs settings, looks at the environment, or opens anything.
LIBRARIES = [
    "autobahn.twisted.websocket",
    "channels.auth",
    "channels_redis.core",
    "django.contrib.admin.options",
    "django.contrib.staticfiles.handlers",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "tests.rig.launcher",
    "tqdm",
    "twisted.internet.asyncioreactor",
    "twisted.web.http",
]

#: An ended process is asked for its status once, whichever threads want to know it.
_lock = Lock()


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


class Launched:
    """A running `manage.py` in `folder`, or `module`; what tests need of a `subprocess.Popen`.

    It has nothing to read; what it writes is appended to files.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        folder: Path = ROOT,
        module: str = "",
    ) -> None:
        for path in (stdout, stderr):
            path.touch()
        details = (list(arguments), dict(environment), stdout, stderr, folder, module)
        self.process = _context().Process(target=_run, args=details, daemon=True)
        with _lock:
            self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """Its exit status, or minus the number of the signal that ended it; None: it runs."""
        with _lock:
            return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended. subprocess.TimeoutExpired: it has not."""
        connection.wait([self.process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("manage.py", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def completed(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    seconds: float = 60,
    folder: Path = ROOT,
    module: str = "",
) -> "subprocess.CompletedProcess[str]":
    """The same, when it has ended. subprocess.TimeoutExpired: it had to be killed."""
    with TemporaryDirectory() as directory:
        stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
        process = Launched(arguments, environment, stdout, stderr, folder, module)
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
        said = stdout.read_text(), stderr.read_text()
    return subprocess.CompletedProcess(list(arguments), status, *said)


def _run(
    arguments: list[str],
    environment: dict[str, str],
    stdout: Path,
    stderr: Path,
    folder: Path,
    module: str,
) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = ["manage.py", *arguments]
    # Of the command line a server makes those of its workers.
    sys.orig_argv = [sys.executable, *sys.argv]
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path("manage.py", run_name="__main__")
