"""The README: its two commands, its ten lines, and the lines that add Broadcast to a project."""

from pathlib import Path
from urllib.parse import urlsplit

from django.template import Context, Template

from tests.rig.documents import README, blocks, section
from tests.rig.hosts import Host, fresh_project
from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_project_is_set_up_and_tested_by_the_two_commands_it_names() -> None:
    setup, tests = blocks(section(README, "Start"), "sh")
    assert setup == (
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && "
        ".venv/bin/python manage.py start\n"
    )
    assert tests == "tests/run\n"


def test_what_its_lines_publish_they_hear(tmp_path: Path) -> None:
    (lines,) = blocks(section(README, "Publish and hear"), "python")
    with ServerProcess("broadcast", tmp_path) as server:
        lines = lines.replace("127.0.0.1:8000", urlsplit(server.url).netloc)
        done = server.manage("shell", "-v0", "-c", lines)
    assert done.stdout == '{"headline":"Ferry leaves at nine"}\n', done.stderr


def test_its_template_has_the_element() -> None:
    (template,) = blocks(section(README, "Publish and hear"), "html")
    assert 'src="/ws/listener/demo/"' in Template(template).render(Context())


#: Where a project finds templates and scripts of Broadcast that is not installed.
FROM_HERE = f"""
TEMPLATES[0]["DIRS"] = [{str(ROOT / "templates")!r}]
STATICFILES_DIRS = [{str(ROOT / "static")!r}]
ALLOWED_HOSTS = ["testserver"]
LOGGING_CONFIG = None
"""


class Bare(Host):
    """A project that was just begun, with the lines of the README and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path, text in fresh_project().items():
            self.write(path, text)
        for block in blocks(section(README, "In your own project"), "python"):
            first, _, text = block.replace("mysite", "shop").partition("\n")
            path = first.removeprefix("# ")
            (self.write if path.endswith("asgi.py") else self.append)(path, text)
        self.append("shop/settings.py", FROM_HERE)


def test_its_lines_add_broadcast_to_a_project(tmp_path: Path) -> None:
    told = Bare(tmp_path).run("""
        from shop.asgi import application

        page = Client().get("/live/")
        tell(status=page.status_code, sockets=application.serves_broadcast)
    """)
    assert told == {"status": 200, "sockets": True}
