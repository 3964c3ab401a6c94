import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.core.errors import ContractError, StaleDataError
from vla_ros.core.observation import Chunk, ObservationStreams
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.core.transforms import Transform

MS = 1_000_000
K = (100.0, 0.0, 31.5, 0.0, 100.0, 23.5, 0.0, 0.0, 1.0)


def streams(**options):
    given = {"image_max_age_s": 0.5, "state_max_age_s": 0.05, "period_s": 0.2}
    given["base_frame"] = "wx250s/base_link"
    return ObservationStreams(("front",), **(given | options))


def link(parent, child, x_m):
    T = np.eye(4)
    T[0, 3] = x_m
    return Transform(0, parent, child, T)


def seen(num_past=0):
    """Return streams that know all there is to know at 1 s."""
    made = streams(with_geometry=True, num_past=num_past)
    made.take_picture("front", 950 * MS, b"jpeg", "/front_optical_frame")
    for ms in range(500, 1001, 10):
        made.take_state(ms * MS, arm.READY_RAD + 1e-6 * ms, 1.0)
    made.take_transform(link("wx250s/base_link", "stand", 0.5))
    made.take_transform(link("stand", "front_optical_frame", 0.25))
    made.take_calibration("front", (64, 48), "plumb_bob", K)
    return made


def test_poses_are_commanded_from_where_the_arm_was_commanded_not_from_where_it_hung():
    hung = transform(matrix_from_rotvec(np.array([0, 0.1, 0])), np.array([0.3, 0, 0.10]))
    commanded = transform(np.eye(3), np.array([0.3, 0, 0.12]))
    turn = matrix_from_rotvec(np.array([0, 0, 0.5]))
    poses = np.stack([hung, transform(turn @ hung[:3, :3], np.array([0.35, 0, 0.15]))])
    found = Chunk(np.zeros((2, 10)), 0.2, np.zeros(2), poses).as_commands(hung, commanded)
    np.testing.assert_allclose(found.T_base_tool[0], commanded, atol=1e-12)
    expected = transform(turn, np.array([0.35, 0, 0.17]))
    np.testing.assert_allclose(found.T_base_tool[1], expected, atol=1e-12)
    np.testing.assert_array_equal(poses[0], hung)


def test_an_observation_is_the_newest_of_each_stream_up_to_the_tick():
    made = streams()
    for ms in (100, 300, 500):
        made.take_picture("front", ms * MS, b"%d" % ms, "front_optical_frame")
    observation = made.at(499 * MS, "push")
    assert observation.views["front"].picture == b"300"
    assert observation.task == "push"
    assert observation.state is None
    assert observation.views["front"].T_base_camera is None


def test_geometry_is_that_of_tree_camera_info_and_joint_states():
    observation = seen(num_past=2).at(1000 * MS, "push")
    view = observation.views["front"]
    np.testing.assert_allclose(view.T_base_camera[:3, 3], [0.75, 0, 0])
    np.testing.assert_array_equal(view.K, np.reshape(K, (3, 3)))
    assert view.size == (64, 48)
    np.testing.assert_allclose(observation.state, [*(arm.READY_RAD + 1e-3), 1.0])
    np.testing.assert_allclose(observation.past_states[:, 0] - arm.READY_RAD[0], [6e-4, 8e-4])


def test_a_picture_or_a_joint_state_that_is_too_old_is_refused_by_name():
    made = seen()
    with pytest.raises(StaleDataError, match="newest sample of the joint states is 51 ms old"):
        made.at(1051 * MS, "push")
    made.take_state(1500 * MS, arm.READY_RAD, 1.0)
    with pytest.raises(StaleDataError, match="/front/image_raw/compressed is 550 ms old"):
        made.at(1500 * MS, "push")


def test_past_states_must_reach_back_far_enough():
    with pytest.raises(StaleDataError, match="no sample of the joint states at or before 400"):
        seen(num_past=3).at(1000 * MS, "push")


def test_what_never_came_is_named_in_turn():
    made = streams(with_geometry=True)
    assert "no image on /front/image_raw/compressed; start camera_node" in made.missing()
    made.take_picture("front", 0, b"", "front_optical_frame")
    assert "where camera front is on the robot is not known" in made.missing()
    with pytest.raises(ContractError, match="where camera front is on the robot is not known"):
        made.at(0, "push")
    made.take_transform(link("wx250s/base_link", "front_optical_frame", 0.5))
    assert "no joint state yet" in made.missing()
    made.take_state(0, arm.READY_RAD, 1.0)
    assert made.missing() == ""


def test_a_camera_that_is_said_to_be_elsewhere_is_nowhere():
    made = seen()
    made.take_transform(link("wx250s/base_link", "stand", 0.6))
    assert "frame stand, which says where camera front is, was moved" in made.missing()


@pytest.mark.parametrize(("model", "k"), [("plumb_bob", (0.0,) * 9), ("equidistant", K)])
def test_a_calibration_that_is_none_is_not_taken_and_undoes_the_last(model, k):
    made = seen()
    made.take_calibration("front", (64, 48), model, k)
    assert made.at(1000 * MS, "push").views["front"].K is None


def test_after_a_clock_was_set_back_what_came_before_is_forgotten():
    made = seen()
    for ms in (100, 150):
        made.take_picture("front", ms * MS, b"new", "front_optical_frame")
        made.take_state(ms * MS, arm.READY_RAD, 0.5)
    observation = made.at(151 * MS, "push")
    assert observation.views["front"].picture == b"new"
    assert observation.state[6] == 0.5
