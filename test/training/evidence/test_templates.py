"""Filled in, a serialised message has the bytes that serialising it anew gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from training.evidence.templates import JointStates, stamped

STORE = get_typestore(Stores.ROS2_JAZZY)
STATE = "sensor_msgs/msg/JointState"
NUMBERS = st.floats(allow_nan=False)


def serialised(stamp_ns, names, position, velocity, effort):
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    message = types[STATE](
        types["std_msgs/msg/Header"](stamp, ""),
        names,
        *(np.array(values, np.float64) for values in (position, velocity, effort)),
    )
    return bytes(STORE.serialize_cdr(message, STATE))


@given(
    st.lists(st.text(st.characters(codec="ascii", min_codepoint=33), max_size=9), min_size=1),
    st.integers(0, 2**31 * 10**9 - 1),
    st.data(),
)
def test_of_any_joints_and_numbers(names, stamp_ns, data):
    count, zeros = len(names), [0.0] * len(names)
    position, effort = (
        data.draw(st.lists(NUMBERS, min_size=count, max_size=count)) for _ in range(2)
    )
    template = serialised(0, names, zeros, zeros, zeros)
    filled = JointStates(template, count).of(stamp_ns, np.array(position), None, np.array(effort))
    assert filled == serialised(stamp_ns, names, position, zeros, effort)
    assert stamped(template, stamp_ns) == serialised(stamp_ns, names, zeros, zeros, zeros)


def test_too_many_numbers_are_refused():
    template = serialised(0, ["a"], [0.0], [0.0], [0.0])
    with pytest.raises(ValueError, match="2 numbers for 1 joints"):
        JointStates(template, 1).of(0, np.zeros(2))
