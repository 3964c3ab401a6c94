"""Whose doing it is that the arm is held."""

import types

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")

from vla_ros.core.monitor import GO, Verdict
from vla_ros.nodes.arm_status import held_from_outside


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({}, ("", "")),
        *(
            ({"verdict": Verdict("hold", cause, "why")}, (cause, "why"))
            for cause in ("camera", "stale", "frozen", "clock")
        ),
        # What came of the motion itself.
        ({"verdict": Verdict("stop", "stall", "why")}, ("", "")),
        ({"blocked_reason": "elbow was blocked"}, ("", "")),
        ({"leash_reason": "no hand"}, ("leash", "no hand")),
        ({"stop_reason": "a", "is_stopped": True, "blocked_reason": "a"}, ("stop", "a")),
        ({"is_stopped": True, "blocked_reason": "its driver"}, ("wait", "its driver")),
    ],
)
def test_what_came_of_no_motion_holds_the_arm_from_outside(loop, expected):
    still = {"verdict": GO, "stop_reason": "", "blocked_reason": "", "leash_reason": ""}
    told = types.SimpleNamespace(**(still | {"is_stopped": False} | loop))
    assert held_from_outside(told) == expected
