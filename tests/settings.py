"""The project's settings, and every setting that is a number taken from the environment, too.

For servers that must reach a limit soon, or have a channel layer, paths or pages of the tests' own:
`DJANGO_SETTINGS_MODULE=tests.settings`.
"""

import os
import re

from broadcast.backends.redis_urls import layer_host, split
from broadcast.conf import Conf, Setting
from project.settings import *  # noqa: F403
from project.settings import BROADCAST_REDIS_URL, env_list

for _setting in vars(Conf).values():
    _text = os.environ.get(_setting.name, "") if isinstance(_setting, Setting) else ""
    if re.fullmatch(r"\d+(\.\d+)?", _text):
        globals()[_setting.name] = float(_text) if "." in _text else int(_text)

for _name in ("FORCE_SCRIPT_NAME", "ROOT_URLCONF"):
    if _name in os.environ:
        globals()[_name] = os.environ[_name]

if "ALLOWED_ORIGINS" in os.environ:
    BROADCAST_ALLOWED_ORIGINS = env_list("ALLOWED_ORIGINS", "")

if "CHANNEL_LAYER" in os.environ:
    CHANNEL_LAYERS = {
        "broadcast": {
            "BACKEND": os.environ["CHANNEL_LAYER"],
            "CONFIG": {"hosts": list(map(layer_host, split(BROADCAST_REDIS_URL)))},
        }
    }

if "BACKEND" in os.environ:
    BROADCAST_BACKEND = os.environ["BACKEND"]
