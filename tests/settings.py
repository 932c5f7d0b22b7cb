"""The project's settings, with what tests of server processes change taken from the environment.

For servers that must reach a limit soon, or have a channel layer of the tests' own:
`DJANGO_SETTINGS_MODULE=tests.settings`.
"""

import os

from broadcast.conf import Conf
from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS

for _name in ("SLOW_SECONDS", "WATCH_SECONDS", "DRAIN_SECONDS"):
    if f"BROADCAST_{_name}" in os.environ:
        assert _name in vars(Conf), _name
        globals()[f"BROADCAST_{_name}"] = float(os.environ[f"BROADCAST_{_name}"])

if "CHANNEL_LAYER" in os.environ:
    CHANNEL_LAYERS["default"]["BACKEND"] = os.environ["CHANNEL_LAYER"]
