import numpy as np
import pytest

from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.core.segments import Segment, cosine

START = transform(np.eye(3), np.array([0.2, 0.0, 0.1]))
END = transform(matrix_from_rotvec(np.array([0.0, 0.0, 1.2])), np.array([0.2, 0.3, 0.5]))


def test_cosine_is_a_quarter_of_the_time_is_15_percent_of_the_way():
    np.testing.assert_allclose(
        [cosine(t) for t in (0.0, 0.25, 0.5, 1.0, 7.0)], [0.0, 0.14644661, 0.5, 1.0, 1.0]
    )


def test_slower_of_moving_and_turning_sets_the_duration():
    # 0.5 m and 1.2 rad.
    assert Segment.at_speed(START, END, 0.25, 0.8, 0.5).duration_s == pytest.approx(2.0)
    assert Segment.at_speed(START, END, 0.25, 0.4, 0.5).duration_s == pytest.approx(3.0)
    assert Segment.at_speed(START, END, 0.25, 0.8, 9.0).duration_s == 9.0


def test_half_time_is_half_the_line_and_half_the_turn():
    pose = Segment.at_speed(START, END, 0.25, 0.8, 0.5).pose_at(1.0)
    np.testing.assert_allclose(pose[:3, 3], [0.2, 0.15, 0.3])
    half = matrix_from_rotvec(np.array([0.0, 0.0, 0.6]))
    np.testing.assert_allclose(pose[:3, :3], half, atol=1e-12)


def test_segment_begins_and_ends_at_its_poses_and_stays():
    segment = Segment.at_speed(START, END, 0.25, 0.8, 0.5)
    np.testing.assert_allclose(segment.pose_at(0.0), START)
    np.testing.assert_allclose(segment.pose_at(2.0), END)
    np.testing.assert_allclose(segment.pose_at(5.0), END)


def test_pause_stays_at_its_pose():
    np.testing.assert_allclose(Segment.pause(END, 0.5).pose_at(0.2), END)
