"""Errors and extrapolated motion, by numbers that can be checked in the head."""

import numpy as np
import pytest

from training.learning.open_loop import action_errors, chunk_errors
from training.learning.open_loop_frames import going_on
from vla_ros.core.chunks import rotation_6d
from vla_ros.core.rotations import matrix_from_rotvec
from vla_ros.policy.normalize import Normalizer

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


def test_motion_goes_on_as_in_its_last_step():
    chunk = going_on(np.array([step((0.01, 0, -0.02), 0.1, -1.0)]), 3)
    expected = [step((0.01 * n, 0, -0.02 * n), 0.1 * n, -1.0) for n in (1, 2, 3)]
    assert chunk[0] == pytest.approx(np.array(expected))
