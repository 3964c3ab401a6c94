"""Fields read where they lie are those that rosbags reads of the whole message."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rosbags.typesys import Stores, get_typestore

from training.recordings import messages
from training.recordings.cdr import Cdr, stamp_ns
from vla_ros.core.errors import ContractError

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=9)


def header(stamp, frame):
    time = TYPES["builtin_interfaces/msg/Time"](sec=stamp[0], nanosec=stamp[1])
    return TYPES["std_msgs/msg/Header"](stamp=time, frame_id=frame)


HEADERS = st.builds(
    header, st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1)), TEXT
)
DOUBLES = arrays(np.float64, st.integers(0, 5), elements=st.floats(allow_nan=False))


def raw(message, is_little):
    return bytes(STORE.serialize_cdr(message, message.__msgtype__, little_endian=is_little))


def ns(head):
    return head.stamp.sec * 10**9 + head.stamp.nanosec


@settings(deadline=None)
@given(st.lists(st.tuples(HEADERS, st.lists(TEXT, max_size=4), DOUBLES, DOUBLES), max_size=4),
       st.booleans())  # fmt: skip
def test_joint_states_of_one_topic_are_read_whatever_changes_between_them(states, is_little):
    reader = messages.JointStates()
    for head, names, position, velocity in states:
        message = TYPES[messages.JOINT_STATE](head, names, position, velocity, np.zeros(0))
        found = reader.read(raw(message, is_little))
        assert found[:2] == (ns(head), tuple(names))
        assert found[2].tolist() == position.tolist()


@settings(deadline=None)
@given(HEADERS, TEXT, st.binary(max_size=20), st.booleans())
def test_the_bytes_of_a_compressed_picture_come_back(head, kind, data, is_little):
    array = np.frombuffer(data, np.uint8)
    message = TYPES[messages.COMPRESSED_IMAGE](head, kind, array)
    found = raw(message, is_little)
    assert stamp_ns(found[:12]) == ns(head)
    assert messages.header(found) == (ns(head), head.frame_id)
    assert messages.picture(found, messages.COMPRESSED_IMAGE) == data


def image(encoding, data, height=2, width=2, step=6):
    made = TYPES[messages.IMAGE](
        header((1, 2), "camera"), height, width, encoding, 0, step, np.array(data, np.uint8)
    )
    return raw(made, True)


@pytest.mark.parametrize(
    ("encoding", "step", "expected"),
    [
        ("rgb8", 6, [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]),
        ("bgr8", 6, [[[2, 1, 0], [5, 4, 3]], [[8, 7, 6], [11, 10, 9]]]),
        ("mono8", 3, [[[0] * 3, [1] * 3], [[3] * 3, [4] * 3]]),
    ],
)
def test_raw_pictures_become_red_green_and_blue(encoding, step, expected):
    found = messages.picture(image(encoding, range(12), step=step), messages.IMAGE)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == expected


@pytest.mark.parametrize("changes", [{"height": 3}, {"step": 5}, {"width": 0}])
def test_a_raw_picture_that_is_too_short_cannot_be_decoded(changes):
    found = messages.picture(image("rgb8", range(12), **changes), messages.IMAGE)
    with pytest.raises(ContractError, match="image of the bag cannot be decoded"):
        messages.decoded(found, "the bag")


def test_a_joint_state_that_ends_early_leaves_no_trace():
    reader = messages.JointStates()
    none = np.zeros(0)
    whole, other = (
        raw(TYPES[messages.JOINT_STATE](header((1, 0), ""), [name], np.ones(1), none, none), True)
        for name in ("a", "b")
    )
    assert reader.read(whole)[1] == ("a",)
    with pytest.raises(ValueError, match="the message is"):
        reader.read(other[: other.index(b"b") + 2])
    assert reader.read(whole)[1] == ("a",)


def test_a_picture_that_ends_early_is_empty():
    jpeg = TYPES[messages.COMPRESSED_IMAGE](header((0, 0), ""), "jpeg", np.ones(9, np.uint8))
    assert messages.picture(raw(jpeg, True)[:-5], messages.COMPRESSED_IMAGE) == b""
    assert messages.picture(image("rgb8", range(12))[:-5], messages.IMAGE) == b""


def test_refuses_an_unknown_encoding_and_depth():
    with pytest.raises(ValueError, match="its encoding is '16UC1', known are rgb8, bgr8, mono8"):
        messages.picture(image("16UC1", range(12)), messages.IMAGE)
    depth = TYPES[messages.COMPRESSED_IMAGE](
        header((0, 0), ""), "16UC1; compressedDepth png", np.zeros(3, np.uint8)
    )
    with pytest.raises(ValueError, match="depth is no colour picture"):
        messages.picture(raw(depth, True), messages.COMPRESSED_IMAGE)


def test_a_pose_has_metres_and_a_quarter_turn_about_z():
    point = TYPES["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)
    half = np.sqrt(0.5)
    turn = TYPES["geometry_msgs/msg/Quaternion"](0.0, 0.0, half, half)
    pose = TYPES["geometry_msgs/msg/Pose"](point, turn)
    message = TYPES[messages.POSE](header((1, 0), "base"), pose)
    head, T = messages.pose(raw(message, True))
    assert head == (10**9, "base")
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(T, expected, atol=1e-12)


@pytest.mark.parametrize("data", [b"", b"\0\1\0", b"\0\1\0\0\1\0\0", b"\xff\1\0\0" + bytes(20)])
def test_refuses_what_is_too_short_or_no_cdr(data):
    for read in (stamp_ns, messages.header, messages.JointStates().read, messages.camera_info):
        with pytest.raises(ValueError, match="the message is"):
            read(data)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_another_error(data):
    readers = (
        messages.header,
        messages.text,
        messages.JointStates().read,
        messages.camera_info,
        messages.pose,
        messages.transforms,
        lambda raw: messages.picture(raw, messages.IMAGE),
        lambda raw: messages.picture(raw, messages.COMPRESSED_IMAGE),
    )
    for read in readers:
        try:
            read(b"\0\1\0\0" + data)
        except ValueError:
            continue


def test_a_length_beyond_the_message_is_refused_at_once():
    with pytest.raises(ValueError, match="shorter than its type"):
        Cdr(b"\0\1\0\0\xff\xff\xff\xff").byte_sequence()
