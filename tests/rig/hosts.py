"""Projects of other people that Broadcast is added to, each in a folder and a process of its own.

`django-admin startproject` makes one; the lines that the README asks for are added, and then
whatever makes this project differ from ours.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from textwrap import dedent
from typing import Any

from django.core.management import call_command

from tests.rig.launcher import ROOT, completed

#: Before the last line of what a process prints.
MARK = "--told--"
#: Seconds that a process may take.
SECONDS = 100

#: What of our templates is installed with the package: no page of a whole site.
INSTALLED = ("broadcast", "admin/broadcast")

#: What every project has, to use Broadcast; the database is for a test, not for a power cut.
SETTINGS = f"""
from pathlib import Path

INSTALLED_APPS = ["broadcast", *INSTALLED_APPS]
MIDDLEWARE = [*MIDDLEWARE, "broadcast.middleware.SocketMiddleware"]
ALLOWED_HOSTS = ["testserver"]
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates", BASE_DIR / "installed"]
STATICFILES_DIRS = [Path({str(ROOT)!r}) / "static"]
STORAGES = {{
    "default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
    "recordings": {{
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {{"location": BASE_DIR / "recordings"}},
    }},
}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES["default"]["OPTIONS"] = {{"init_command": "PRAGMA synchronous=OFF"}}
LOGGING_CONFIG = None
"""

URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("live/", include("broadcast.urls.monitor")),
    path("live/", include("broadcast.urls")),
]
"""

ASGI = """
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from broadcast.asgi import get_application

application = get_application()
"""


class Host:
    """A project with the name `shop`, and Broadcast at `/live/`.

    `settings`: lines that end its settings. `urls`: its URLs, if they are not `URLS`. Other files
    by their paths, whose folders become packages where they have modules.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        urls: str = URLS,
        files: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        for path, text in fresh_project().items():
            self.write(path, text)
        self.append("shop/settings.py", SETTINGS + dedent(settings))
        self.write("shop/urls.py", dedent(urls))
        self.write("shop/asgi.py", ASGI)
        for path in INSTALLED:
            link = folder / "installed" / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / "templates" / path)
        for path, text in (files or {}).items():
            self.write(path, dedent(text))

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".py":
            (file.parent / "__init__.py").touch()
        file.write_text(text)

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(text)

    def run(self, script: str) -> Any:
        """Check and migrate the project, and run a script in it: see `host_process`.

        Answers what the script told. AssertionError: any of that failed, or warned of something.
        """
        with NamedTemporaryFile("w", suffix=".py") as file:
            file.write(dedent(script))
            file.flush()
            done = self._start(MARK, file.name, module="tests.rig.host_process")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.rpartition(MARK)[2])

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self._start(*arguments)

    def _start(self, *arguments: str, module: str = "") -> "subprocess.CompletedProcess[str]":
        # Nothing of the environment that our own project knows.
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT))),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            # A file that is changed within a second, and keeps its size, would be the old one.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return completed(arguments, environment, SECONDS, self.folder, module)


@cache
def fresh_project() -> dict[str, str]:
    """The files of a project that was just begun, by their paths."""
    with TemporaryDirectory() as folder:
        call_command("startproject", "shop", folder)
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_text() for path in files}
