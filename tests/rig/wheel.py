"""The distribution, built and installed as somebody else does it, but without the network."""

import os
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from zipfile import ZipFile

from tests.rig.launcher import ROOT

#: Seconds that a process may take.
SECONDS = 100

#: Stands before the packages of the environment for what is not installed.
MISSING = """
raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
"""

#: Options of pytest for projects that have not what our own tests need. Each start of pytest loads
#: what is installed, of which this is most.
WITHOUT_OUR_PLUGINS = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")


class Distribution:
    """The sdist, and the wheel that is made of it, in `dist`; `direct` is the wheel made at once.

    Both are built from a copy of what the repository tracks.
    """

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.tracked = tracked()
        for path in self.tracked:
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, self.source / path)
        # Those that were made of the sdist, and those made at once.
        self.dist, self.at_once = directory / "dist", directory / "at-once"
        self._build("--outdir", str(self.dist))
        self._build("--outdir", str(self.at_once), "--wheel")

    def _build(self, *options: str) -> None:
        succeed(sys.executable, "-m", "build", "--no-isolation", *options, str(self.source))

    @property
    def wheel(self) -> Path:
        return next(self.dist.glob("*.whl"))

    @property
    def direct(self) -> Path:
        return next(self.at_once.glob("*.whl"))


class Environment:
    """A virtual environment with the wheel, and the packages of this one.

    It knows nothing of the repository, and has no variables but a few.
    """

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.directory = directory
        succeed(sys.executable, "-m", "venv", "--without-pip", str(directory))
        packages = [path for path in sys.path if Path(path).name == "site-packages"]
        (self.site_packages / "packages.pth").write_text("\n".join(packages) + "\n")
        options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
        succeed(
            *(sys.executable, "-m", "pip", "--python", self.python, "install"),
            *(*options, str(wheel)),
        )

    @property
    def python(self) -> str:
        return str(self.directory / "bin/python")

    @cached_property
    def site_packages(self) -> Path:
        return next(self.directory.glob("lib/python*/site-packages"))

    def without(self, *modules: str) -> dict[str, str]:
        """The variables of a process that cannot import these."""
        folder = self.directory / "-".join(("without", *modules))
        folder.mkdir(exist_ok=True)
        for module in modules:
            (folder / f"{module}.py").write_text(MISSING)
        return {"PYTHONPATH": str(folder)}

    def variables(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def run(
        self, *arguments: str, cwd: Path, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run Python with these arguments, to its end; what it writes goes to `stdout`."""
        return run(self.python, *arguments, cwd=cwd, env=self.variables(**variables))

    def succeed(self, *arguments: str, cwd: Path, **variables: str) -> str:
        """The same, and it has to succeed. Answers what it wrote."""
        return succeed(self.python, *arguments, cwd=cwd, env=self.variables(**variables))


def tracked() -> list[str]:
    """The files of the repository, by their paths in it."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, but for its own list of them."""
    with ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("/RECORD")}


def run(
    *command: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def succeed(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = run(*command, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout
