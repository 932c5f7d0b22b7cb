"""What tests of the built distribution share."""

import pytest

from tests.rig.wheel import Distribution, Environment


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return Distribution(tmp_path_factory.mktemp("distribution"))


@pytest.fixture(scope="session")
def environment(
    distribution: Distribution, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"), distribution.wheel)
