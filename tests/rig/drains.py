"""Servers that are told to end, and started again."""

import asyncio
import signal

from websockets.exceptions import InvalidMessage

from tests.rig.doors import ServerDoor
from tests.rig.processes import ServerProcess


def running(process: ServerProcess) -> ServerProcess:
    if process.process is None or process.process.poll() is not None:
        process.start()
    return process


def tell(door: ServerDoor, number: signal.Signals) -> None:
    assert door.process.process
    door.process.process.send_signal(number)


async def exit_status(door: ServerDoor) -> int:
    assert door.process.process
    return await asyncio.to_thread(door.process.process.wait, 30)


async def refuses(door: ServerDoor) -> bool:
    try:
        await door.connect("/ws/listener/demo/")
    except (ConnectionError, InvalidMessage):
        # Refused, or cut off while it waited to be taken.
        return True
    return False
