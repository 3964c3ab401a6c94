import pytest

from vla_ros.core import errors

NAMES = ["Contract", "Kinematics", "Safety", "StaleData", "Bag", "Dataset", "Checkpoint"]
NAMES += ["Scene", "Camera", "Episode"]


@pytest.mark.parametrize("name", NAMES)
def test_one_except_clause_catches_every_error_of_the_package(name):
    assert issubclass(getattr(errors, f"{name}Error"), errors.VlaError)
