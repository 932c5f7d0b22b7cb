"""What all tests of other people's projects share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    """Makes a project: see `Host`."""
    return lambda **options: Host(tmp_path, **options)
