"""What the database keeps: streams, rooms, recordings, subscriptions, the installation.

A request or socket brings a name; it gets a row, or the error that says why there is none to use.
The rules of who may do what are methods of the rows, and time is an argument. What is published,
and who is there now, is in the backend.
"""

from typing import TYPE_CHECKING

from .installation import Installation as Installation
from .paths import socket_path as socket_path
from .recordings import Recording as Recording
from .room_hours import RoomHour as RoomHour
from .rooms import Room as Room
from .streams import EVERYONE as EVERYONE
from .streams import Stream as Stream
from .subscriptions import Subscription as Subscription

if TYPE_CHECKING:
    from .streams import AnyUser as AnyUser

__all__ = [
    "EVERYONE",
    "Installation",
    "Recording",
    "Room",
    "RoomHour",
    "Stream",
    "Subscription",
    "socket_path",
]
