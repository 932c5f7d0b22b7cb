"""What is kept in the database. What is published, and who is there now, is in the backend."""

from typing import TYPE_CHECKING

from .room_hours import RoomHour as RoomHour
from .rooms import Room as Room
from .streams import Stream as Stream
from .streams import listener_path as listener_path

if TYPE_CHECKING:
    from .streams import AnyUser as AnyUser

__all__ = ["Room", "RoomHour", "Stream", "listener_path"]
