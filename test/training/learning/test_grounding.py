import math

import numpy as np
import torch

from training.learning.grounding import Shown, grounding_loss, shown_things
from vla_ros.policy.small_vlm import Encoded

NOTHING = Encoded(torch.empty(0), torch.empty(0), None)


class FakeData:
    """Two frames, the second with one thing."""

    def places_uv(self, index):
        return [{"gripper": [0.1, 0.2], "carrot": [0.6, 0.9]}, {"carrot": [0.3, 0.4]}][index]

    def places_m(self, index):
        first = {"gripper": [0.25, 0.0, 0.05], "carrot": [0.35, 0.1, 0.05]}
        return [first, {"gripper": [0.0, 0.0, 0.0], "carrot": [0.25, -0.2, 0.15]}][index]


class FakeVlm:
    """One hot cell for each name in each picture."""

    def __init__(self, heat):
        self._heat = torch.tensor(heat)[:, None]

    def heat(self, encoded, names):
        assert names == ["carrot", "gripper"]
        return self._heat


def test_what_shows_is_listed_once_for_each_picture():
    shown = shown_things(FakeData(), np.array([0, 1]))
    assert shown.names == ["carrot", "gripper"]
    assert shown.about.tolist() == [0, 0, 1]
    assert shown.named.tolist() == [1, 0, 0]
    np.testing.assert_allclose(shown.uv, [[0.1, 0.2], [0.6, 0.9], [0.3, 0.4]])
    # The second picture does not hold the gripper's middle; units are 10 cm from the origin.
    np.testing.assert_allclose(shown.places, [[0, 0, 0], [1, 1, 0], [0, -2, 1]], atol=1e-6)


def test_loss_is_that_of_the_cell_which_holds_the_thing():
    shown = shown_things(FakeData(), np.array([0, 1]))
    # 2 x 2 cells: the gripper in 0, carrots in 3 and 0. Logits of ln 3 in one cell, 0 in three.
    k = math.log(3.0)
    heat = [[[0.0, 0.0, 0.0, k], [0.0, k, 0.0, 0.0]], [[k, 0.0, 0.0, 0.0], [k, 0.0, 0.0, 0.0]]]
    # -ln of 3/6 for both carrots and of 1/6 for the gripper, whose heat is in another cell.
    expected = (2 * math.log(2.0) + math.log(6.0)) / 3
    assert math.isclose(
        grounding_loss(FakeVlm(heat), NOTHING, shown).item(), expected, rel_tol=1e-6
    )


def test_a_thing_at_the_edge_is_in_the_last_cell():
    zero = torch.tensor([0])
    shown = Shown(["carrot", "gripper"], zero, zero, torch.tensor([[1.0, 1.0]]), torch.zeros(1, 3))
    heat = [[[0.0, 0.0, 0.0, 50.0], [0.0] * 4]]
    assert grounding_loss(FakeVlm(heat), NOTHING, shown).item() < 1e-6
