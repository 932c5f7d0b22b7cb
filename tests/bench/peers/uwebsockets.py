"""uWebSockets through socketify: its native topics, one publish per frame of the streamer.

python uwebsockets.py PORT
"""

import sys
from typing import Any

from socketify import App

MIB = 1024 * 1024

# What a listener may be behind before uWebSockets drops what comes next. The closed loops stay
# far below it, so that nothing is lost there; listeners that never read are cut off by it.
MAX_BACKPRESSURE = 16 * MIB


def subscribe(ws: Any) -> None:
    ws.subscribe("x")


def main() -> None:
    app = App()
    limits = {
        "max_backpressure": MAX_BACKPRESSURE,
        "max_payload_length": MIB,
        "idle_timeout": 0,
    }

    def publish(ws: Any, message: str | bytes, opcode: int) -> None:
        app.publish("x", message, opcode)

    app.ws("/ws/streamer/x/", {**limits, "message": publish})
    app.ws("/ws/listener/x/", {**limits, "open": subscribe})
    app.listen(int(sys.argv[1]))
    app.run()


if __name__ == "__main__":
    main()
