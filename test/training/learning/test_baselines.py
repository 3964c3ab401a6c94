"""Baselines on a few frames whose answers are seen at a glance."""

import numpy as np
import pytest

from training.learning.baselines import nearest, picture_features, repeat_last
from vla_ros.core.errors import DatasetError


def test_features_are_all_pictures_scaled_down():
    pictures = np.zeros((1, 2, 32, 32, 3), np.uint8)
    pictures[0, 1, :2, :2] = 255  # one cell of 16 x 16
    features = picture_features(pictures)
    assert features.shape == (1, 2 * 16 * 16 * 3)
    assert features[0, : 16 * 16 * 3].max() == 0
    assert features[0, 16 * 16 * 3 :][:6].tolist() == [1, 1, 1, 0, 0, 0]


def test_nearest_is_of_the_same_instruction_where_there_is_one():
    known, tasks = np.array([[0.0], [4.0], [9.0]]), np.array(["a", "a", "b"], object)
    tested = np.array([[5.0], [8.0], [8.0]])
    found = nearest(known, tested, tasks, np.array(["a", "a", "unseen"], object))
    assert found.tolist() == [1, 1, 2]


def test_barred_frames_are_not_taken():
    known, tested = np.array([[0.0], [4.0], [9.0]]), np.array([[4.0], [9.0]])
    barred = np.array([[False, True, False], [False, False, True]])
    none = np.array(["", "", ""], object)
    assert nearest(known, tested, none, none[:2], barred).tolist() == [0, 1]
    # A barred row is no reason to keep to its instruction.
    tasks = np.array(["a", "b", "a"], object)
    assert nearest(known, tested, tasks, np.array(["b", "b"], object), barred).tolist() == [0, 1]
    with pytest.raises(DatasetError, match="more than one recording"):
        nearest(known, tested, none, none[:2], np.ones((2, 3), bool))


def test_the_last_action_is_the_one_that_led_here():
    # Ticks 0 to 2 are one episode, 10 to 12 another; the order is not that of time.
    start, end = np.array([1, 0, 10, 11]), np.array([2, 1, 11, 12])
    actions = np.array([[1.0], [2.0], [3.0], [4.0]])
    rest = np.array([[-1.0], [-2.0], [-3.0], [-4.0]])
    assert repeat_last(start, end, actions, rest).ravel().tolist() == [2, -2, -3, 3]
