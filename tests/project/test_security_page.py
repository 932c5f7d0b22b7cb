"""docs/security.md names settings and tests that there are."""

import re

from broadcast.conf import SETTINGS
from tests.rig.launcher import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_setting_that_it_names_is_one() -> None:
    named = set(re.findall(r"BROADCAST_[A-Z_]+", PAGE))
    assert named and named <= set(SETTINGS)


def test_every_module_of_tests_that_it_names_is_there() -> None:
    named = set(re.findall(r"[\w/]*test_\w+\.py", PAGE))
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / "tests" / name).exists()]
