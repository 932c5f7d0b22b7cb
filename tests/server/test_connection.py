"""Connections of our server from their accept on: `Connection`, `RequestReader`, `Channel`."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from twisted.web.http import Request

from broadcast.access import limits
from broadcast.access.limits import get_limits
from broadcast.server import connection as connections
from broadcast.server.channel import Channel
from broadcast.server.connection import Connection
from broadcast.server.reader import RequestReader
from tests.rig.clock import in_clock_loop, settle
