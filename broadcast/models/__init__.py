"""What is kept in the database. What is published, and who is there now, is in the backend."""

from typing import TYPE_CHECKING

from .installation import Installation as Installation
from .recordings import Recording as Recording
from .room_hours import RoomHour as RoomHour
from .rooms import Room as Room
from .streams import EVERYONE as EVERYONE
from .streams import Stream as Stream
from .streams import listener_path as listener_path
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
    "listener_path",
]
