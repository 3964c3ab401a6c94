from dataclasses import dataclass, fields

import numpy as np
import pytest

from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import SafetyParameters
from vla_ros.core.monitor import MonitorLimits
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.core.thresholds import is_within, require_ranges, threshold


@dataclass(frozen=True)
class Example:
    speed: float = threshold(1.0, 0.5, 2.0, "m/s", "how fast")
    corner: tuple[float, ...] = threshold((0.1, 0.2), (0.0, 0.1), 0.3, "m", "where")


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (1.0, 1.0, 1.0, True),
        (1.0, 1.1, 2.0, False),
        (np.nan, -np.inf, np.inf, False),
        ((0.0, 0.1), (0.0, 0.1), 0.3, True),
        ((0.1, 0.0), (0.0, 0.1), 0.3, False),
        ((0.1, np.nan), (0.0, 0.1), 0.3, False),
        ((0.1, 0.31), (0.0, 0.1), 0.3, False),
    ],
)
def test_every_number_must_be_in_its_own_range(value, low, high, expected):
    assert is_within(value, low, high) is expected


def test_what_is_in_range_passes_at_its_very_ends():
    require_ranges(Example())
    require_ranges(Example(0.5, (0.0, 0.3)))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(2.1), r"speed \(how fast\) must be from 0.5 to 2.0 m/s, got 2.1"),
        (Example(corner=(0.1, 0.0)), r"corner \(where\) must be from \(0.0, 0.1\) to 0.3 m"),
        (Example(corner=(0.1,)), r"corner \(where\) must be 2 numbers, got \(0.1,\)"),
        (Example(corner=0.1), r"corner \(where\) must be 2 numbers, got 0.1"),
    ],
)
def test_what_is_not_is_refused_with_its_meaning_unit_and_range(example, message):
    with pytest.raises(SafetyError, match=message):
        require_ranges(example)


@pytest.mark.parametrize("one", [SafetyParameters, MonitorLimits, ExplorationParameters])
def test_every_threshold_of_the_package_is_documented_and_its_default_legal(one):
    for field in fields(one):
        facts = field.metadata
        assert facts["description"], field.name
        assert facts["unit"], field.name
        assert is_within(field.default, facts["low"], facts["high"]), field.name
