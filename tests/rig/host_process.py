"""A process of somebody else's project: sets it up, runs a script in it, prints what that tells.

`python -m tests.rig.host_process MARK SCRIPT`, in the folder of the project.
The script has `Client`, `Stream` and `Room`, and `tell(name=value)`: all that it told is the line
of JSON after `MARK`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command
from django.db import connections


def main(mark: str, script: str) -> None:
    django.setup()
    call_command("check", fail_level="WARNING")
    for alias in connections:
        call_command("migrate", database=alias, verbosity=0, interactive=False)
    told: dict[str, Any] = {}
    names = {"tell": told.update, "__name__": "script", **given()}
    exec(compile(Path(script).read_text(), "script", "exec"), names)
    print(mark, json.dumps(told))


def given() -> dict[str, Any]:
    # The project has to be set up before they can be imported.
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.test.utils import setup_test_environment

    from broadcast.hub.serving import serve_here
    from broadcast.models import Room, Stream

    setup_test_environment()
    # As the processes of the project do that serve it.
    serve_here()
    return {"Client": Client, "Stream": Stream, "Room": Room, "User": get_user_model()}


if __name__ == "__main__":
    main(*sys.argv[1:])
