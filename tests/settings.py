"""The project's settings, with `BROADCAST_…` limits taken from the environment.

For server processes that must reach a limit soon: `DJANGO_SETTINGS_MODULE=tests.settings`.
"""

import os

from broadcast.conf import Conf
from project.settings import *  # noqa: F403

for _name in ("SLOW_SECONDS", "WATCH_SECONDS", "DRAIN_SECONDS"):
    if f"BROADCAST_{_name}" in os.environ:
        assert _name in vars(Conf), _name
        globals()[f"BROADCAST_{_name}"] = float(os.environ[f"BROADCAST_{_name}"])
