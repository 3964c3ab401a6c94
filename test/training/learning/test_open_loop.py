"""Errors and motion that goes on, by numbers that can be checked in the head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.datasets.shard import Camera
from training.learning.dataset import Dataset, Episode
from training.learning.open_loop import action_errors, chunk_errors
from training.learning.open_loop_frames import AptFrames, episode_numbers
from vla_ros.core.chunks import rotation_6d
from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import DatasetError
from vla_ros.core.rotations import matrix_from_rotvec
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_vlm import SmallVlm

SMALL = replace(toy_config(depth=2, max_suffix=256), image_size=8, grid=1)
WEIGHTS = np.array([30.0, 10.0, 10.0])


def step(translation=(0, 0, 0), about_z_rad=0.0, gripper=1.0):
    six = rotation_6d(matrix_from_rotvec(np.array([0.0, 0.0, about_z_rad])))
    return np.concatenate([translation, six, [gripper]])


def test_action_errors_are_in_units_and_overall_in_halves_of_the_range():
    normalizer = Normalizer([-0.1] * 3 + [-0.2] * 3, [0.1] * 3 + [0.2] * 3)
    guess = np.array([[0.05, 0, 0, 0, 0, -0.1, 1.0]])
    errors = action_errors(guess, np.zeros((1, 7)), normalizer)
    assert errors[0, :7] == pytest.approx([0.05, 0, 0, 0, 0, 0.1, 1])
    assert errors[0, 7] == pytest.approx((0.5 + 0.5 + 1) / 7)


def test_chunk_errors_at_steps_and_over_what_exists():
    true = np.array([[step(), step((0.1, 0, 0))], [step(), step()]])
    guess = np.array([[step((0, 0.3, 0)), step((0.1, 0, 0), 0.2, -1.0)], [step(), step()]])
    mask = np.array([[True, True], [True, False]])
    errors = chunk_errors(guess, true, mask, [1, 2], WEIGHTS)
    assert errors[0, :5] == pytest.approx([0, 0.3, 0, 0, 0], abs=1e-7)
    assert errors[0, 5:10] == pytest.approx([0, 0, 0, 0.2, 1])
    # 30 x 0.3 / 3 of the first step; of the second the two columns' sines and cosines, and 10 x 2.
    six = (2 * (1 - np.cos(0.2)) + 2 * np.sin(0.2)) / 6
    assert errors[0, 10] == pytest.approx((3 + 10 * six + 20) / 2)
    assert errors[1, :5] == pytest.approx(0, abs=1e-7)
    assert np.isnan(errors[1, 5:10]).all()
    assert errors[1, 10] == pytest.approx(0, abs=1e-7)


def frames_of_line(poses, desired, openings):
    """Return the frames of one episode with these poses (N, 6), as APT is measured on them."""
    count, pictures = len(poses), np.zeros((1, 8, 8, 3), np.uint8)
    states = np.zeros((count, 7), np.float32)
    states[:, 6] = 0.25
    vectors = {
        "observation.state": states,
        "observation.ee_pose": poses.astype(np.float32),
        "action.ee_pose": np.column_stack([desired, openings]).astype(np.float32),
        "action": np.zeros((count, 7), np.float32),
    }
    camera = Camera([[4.0, 0, 3.5], [0, 4.0, 3.5], [0, 0, 1]], np.diag([1.0, -1, -1, 1]).tolist())
    episode = Episode(0, count, "a", "demo", "push", True, {"front": camera}, recording="a")
    unread = {"front": pictures}  # of one frame: more cannot be read
    contract = tap_contract(image_size=8)
    dataset = Dataset(Path("line"), contract, unread, vectors, [episode], "hash")
    config = AptConfig(2, num_layers=2, width=16, num_heads=1, horizon=3)
    policy = AptPolicy(SmallVlm(SMALL), config)
    run = {"stage": 2, "config": {"targets": "desired"}}
    checkpoint = Checkpoint(policy, apt_contract("front", 8, horizon=3), run)
    return AptFrames(checkpoint, dataset, [episode])


def test_repeating_the_last_motion_of_a_steady_arm_is_right_however_far_it_lags():
    # 2 cm and 0.1 rad a frame; commanded is a frame and a half ahead of measured.
    steady = np.arange(8)[:, None] * np.array([0.02, 0, 0.01, 0, 0, 0.1])
    desired = steady + 2.5 * steady[1]
    frames = frames_of_line(steady, desired, np.arange(8) % 2)
    assert frames.last[1:-2, :, :9] == pytest.approx(frames.labels[1:-2, :, :9], abs=1e-5)
    # The gripper is what it was commanded on the way to the frame.
    assert frames.last[1:4, :, 9].tolist() == [[-1] * 3, [1] * 3, [-1] * 3]
    # Before the first frame nothing is known: the tool and the measured gripper stay.
    assert frames.last[0] == pytest.approx(np.array([step(gripper=-0.5)] * 3))
    assert frames.hold[2] == pytest.approx(np.array([step(gripper=1.0)] * 3))


def test_frames_of_episodes_in_another_order_are_refused():
    episodes = [Episode(4, 8, "b", "play", "", None, recording="b"),
                Episode(0, 4, "a", "play", "", None, recording="a")]  # fmt: skip
    with pytest.raises(DatasetError, match="in the order of their frames"):
        episode_numbers(episodes, np.arange(8))
    number, bags = episode_numbers(episodes[::-1], np.array([0, 3, 4]))
    assert (number.tolist(), bags.tolist()) == ([0, 0, 1], ["a", "a", "b"])
