"""The project's settings, with what tests of server processes change taken from the environment.

For servers that must reach a limit soon, or have a channel layer, paths or pages of the tests' own:
`DJANGO_SETTINGS_MODULE=tests.settings`.
"""

import os

from broadcast.conf import Conf
from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, env_list

for _name in ("SLOW_SECONDS", "WATCH_SECONDS", "DRAIN_SECONDS"):
    if f"BROADCAST_{_name}" in os.environ:
        assert _name in vars(Conf), _name
        globals()[f"BROADCAST_{_name}"] = float(os.environ[f"BROADCAST_{_name}"])

for _name in ("FORCE_SCRIPT_NAME", "ROOT_URLCONF"):
    if _name in os.environ:
        globals()[_name] = os.environ[_name]

if "ALLOWED_ORIGINS" in os.environ:
    BROADCAST_ALLOWED_ORIGINS = env_list("ALLOWED_ORIGINS", "")

if "CHANNEL_LAYER" in os.environ:
    CHANNEL_LAYERS["default"]["BACKEND"] = os.environ["CHANNEL_LAYER"]
