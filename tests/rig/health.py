"""What `/healthz` answers."""

import json
from typing import Any

from tests.rig.scrapes import Answer

READY = {
    "live": True,
    "ready": True,
    "draining": False,
    "database": "ok",
    "channel_layer": "ok",
    "backend": "ok",
}


def of(answer: Answer) -> tuple[int, dict[str, Any]]:
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)
