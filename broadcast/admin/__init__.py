"""The admin: streams, rooms, recordings and subscriptions, one module for each thing it shows.

Forms and actions of staff come in and go through the same doors as everybody else's; what moves on
the pages comes over sockets of `monitor`. Django finds this package by its name; a project with a
site of its own registers these classes there.
"""

from .recordings import RecordingAdmin as RecordingAdmin
from .rooms import RoomAdmin as RoomAdmin
from .rooms import RoomHourAdmin as RoomHourAdmin
from .streams import StreamAdmin as StreamAdmin
from .subscriptions import SubscriptionAdmin as SubscriptionAdmin
