from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.learning.dataset import Dataset, Episode, open_dataset
from training.learning.windows import Windows, frame_pairs, pairs_within
from vla_ros.core.actions import ee_delta
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError
from vla_ros.core.rotations import matrix_from_rotvec, transform

WIDE = np.full(6, 10.0)


def episode(first, end, task=""):
    return Episode(first, end, "a", "play", task, None, recording="a")


def make_dataset(num_frames=8, episodes=None, seed=0, step=0.05):
    """Return a dataset in memory: picture and first action of frame i are i; poses are random."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(num_frames)
    pictures = (
        np.zeros((num_frames, 4, 4, 3), np.uint8) + numbers.astype(np.uint8)[:, None, None, None]
    )
    actions = np.zeros((num_frames, 7), np.float32)
    actions[:, 0], actions[:, 6] = numbers, numbers % 2
    poses = rng.uniform(-step, step, (num_frames, 6)).cumsum(0).astype(np.float32)
    vectors = {
        "action": actions,
        "observation.state": np.repeat(numbers[:, None], 7, 1).astype(np.float32),
        "observation.ee_pose": poses,
    }
    episodes = episodes or [episode(0, num_frames)]
    contract = tap_contract(image_size=4)
    return Dataset(Path("data"), contract, {"front": pictures}, vectors, episodes, "0")


def true_motion(dataset, i, j):
    T = [
        transform(matrix_from_rotvec(p[3:]), p[:3]) for p in dataset.ee_poses[[i, j]].astype(float)
    ]
    return ee_delta(T[0], T[1], dataset.actions[j - 1, 6])


def test_a_window_holds_pictures_before_and_actions_after_its_frame():
    episodes = [episode(0, 5, "push"), episode(5, 8, "pull")]
    dataset = make_dataset(8, episodes)
    windows = Windows(dataset, episodes, chunk=3, history=2)
    assert windows.frames.tolist() == list(range(8))
    samples = windows.batch(np.array([0, 3, 6]))
    # Frame 0 has nothing before it, frame 6 only frame 5 of its own episode.
    assert samples.frames.tolist() == [[0, 0, 0], [1, 2, 3], [5, 5, 6]]
    assert (samples.pictures["front"][..., 0, 0, 0] == samples.frames).all()
    assert samples.pictures["front"].shape == (3, 3, 4, 4, 3)
    # Frame 3 has actions 3 and 4 left in its episode, frame 6 has 6 and 7.
    assert samples.actions[..., 0].tolist() == [[0, 1, 2], [3, 4, 4], [6, 7, 7]]
    assert samples.mask.tolist() == [[True] * 3, [True, True, False], [True, True, False]]
    assert samples.states[:, 0].tolist() == [0, 3, 6]
    assert samples.tasks.tolist() == ["push", "push", "pull"]


def test_windows_of_a_stride_start_anew_in_each_episode():
    episodes = [episode(0, 5), episode(5, 8)]
    windows = Windows(make_dataset(8, episodes), episodes, stride=2)
    assert windows.frames.tolist() == [0, 2, 4, 5, 7]
    assert windows.actions[:, 0].tolist() == [0, 2, 4, 5, 7]


def test_windows_of_some_episodes_hold_no_frame_of_others():
    dataset = make_dataset(8, [episode(0, 4), episode(4, 8)])
    samples = Windows(dataset, dataset.episodes[1:], chunk=9, history=9).batch(np.arange(4))
    assert samples.frames.min() == 4
    assert samples.actions[..., 0].min() == 4


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"history": -1}, {"stride": 0}])
def test_refuses_impossible_windows(wrong):
    dataset = make_dataset()
    with pytest.raises(DatasetError, match="windows need a chunk and a stride"):
        Windows(dataset, dataset.episodes, **wrong)


def test_pairs_stay_inside_episodes_with_the_motion_between_them():
    dataset = make_dataset(10, [episode(0, 6), episode(6, 10)])
    pairs = frame_pairs(dataset, dataset.episodes)
    assert pairs.first.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    assert (pairs.second == pairs.first + 1).all()
    for i, j, action in zip(pairs.first, pairs.second, pairs.actions, strict=True):
        np.testing.assert_allclose(action, true_motion(dataset, i, j), atol=1e-6)


def test_the_motion_of_pairs_further_apart_is_summed_up():
    dataset = make_dataset(6)
    steps, apart = frame_pairs(dataset, dataset.episodes), frame_pairs(dataset, dataset.episodes, 3)
    assert apart.first.tolist() == [0, 1, 2]
    for i in range(3):
        between = steps.actions[i : i + 3]
        np.testing.assert_allclose(apart.actions[i, :3], between[:, :3].sum(0), atol=1e-6)
        turns = [matrix_from_rotvec(a[3:6]) for a in between]
        whole = matrix_from_rotvec(apart.actions[i, 3:6])
        np.testing.assert_allclose(whole, turns[2] @ turns[1] @ turns[0], atol=1e-6)
        assert apart.actions[i, 6] == between[2, 6]


def test_the_gripper_of_a_pair_is_that_commanded_at_its_second_frame():
    dataset = make_dataset(6)
    assert frame_pairs(dataset, dataset.episodes, 2).actions[:, 6].tolist() == [1, 0, 1, 0]


def test_the_gripper_of_a_pair_is_binary_beside_another_label():
    dataset = make_dataset(4)
    reached = dataset.actions.copy()
    dataset.vectors["action"][:, 6] = 0.7
    dataset.vectors["action.reached"] = reached
    assert frame_pairs(dataset, dataset.episodes).actions[:, 6].tolist() == [0, 1, 0]


def test_a_converted_dataset_has_the_motion_of_its_own_actions(dataset_path):
    dataset = open_dataset(dataset_path, 32)
    pairs = frame_pairs(dataset, dataset.episodes)
    np.testing.assert_allclose(pairs.actions, dataset.actions[pairs.first], atol=1e-6)


@pytest.mark.parametrize(("episodes", "offset"), [([], 1), ([episode(0, 3)], 3), (None, 0)])
def test_refuses_pairs_that_no_episode_has(episodes, offset):
    dataset = make_dataset()
    with pytest.raises(DatasetError, match=f"no two frames {offset} apart"):
        frame_pairs(dataset, dataset.episodes if episodes is None else episodes, offset)


def test_pairs_within_go_both_ways_with_the_displacement_between_the_poses():
    dataset = make_dataset(8)
    pairs = pairs_within(dataset, dataset.episodes, 2, -WIDE, WIDE)
    found = {(i, j): a for i, j, a in zip(pairs.first, pairs.second, pairs.actions, strict=True)}
    # From each of 8 frames to those at most 2 away, but not to frame 0, whose gripper command is
    # unknown: 2 * (7 + 6) = 26 ordered pairs, less (1, 0) and (2, 0).
    assert len(found) == len(pairs) == 24
    assert not [pair for pair in found if pair[1] == 0 or pair[0] == pair[1]]
    for (i, j), action in found.items():
        np.testing.assert_allclose(action, true_motion(dataset, i, j), atol=1e-6)


def test_pairs_that_move_further_than_single_steps_are_left_out():
    dataset = make_dataset(8)
    bound = np.abs(frame_pairs(dataset, dataset.episodes).actions[:, :6]).max(0)
    pairs = pairs_within(dataset, dataset.episodes, 4, -bound, bound)
    assert 0 < len(pairs) < 7 * 8
    assert (np.abs(pairs.actions[:, :6]) <= bound).all()


@given(st.lists(st.floats(-4, 4), min_size=12, max_size=12))
def test_motion_equals_that_of_the_core_for_any_two_poses(numbers):
    dataset = make_dataset(2)
    dataset.vectors["observation.ee_pose"] = np.reshape(numbers, (2, 6)).astype(np.float32)
    found = frame_pairs(dataset, dataset.episodes).actions[0]
    expected = true_motion(dataset, 0, 1)
    np.testing.assert_allclose(found[:3], expected[:3], atol=1e-5)
    # Near half a turn an axis and its opposite are the same rotation.
    np.testing.assert_allclose(
        matrix_from_rotvec(found[3:6]), matrix_from_rotvec(expected[3:6]), atol=1e-5
    )
    assert np.linalg.norm(found[3:6]) <= np.pi + 1e-5


def test_a_batch_of_pairs_has_two_pictures_and_one_action():
    dataset = make_dataset(8)
    samples = frame_pairs(dataset, dataset.episodes).batch(np.array([4, 0]))
    assert samples.pictures["front"][:, :, 0, 0, 0].tolist() == [[4, 5], [0, 1]]
    assert samples.actions.shape == (2, 1, 7)
    assert samples.mask.all()
    assert samples.states[:, 0].tolist() == [4, 0]
    assert samples.tasks.tolist() == ["", ""]
