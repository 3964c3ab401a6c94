"""Features of a frozen backbone: kept once, within the memory that they may take."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.learning.apt_features import FrozenFeatures, frozen_features
from training.learning.apt_recipes import tiny
from training.learning.dry_run import GIB
from training.learning.processes import World
from vla_ros.policy.vlm import VlmOutput

CPU = torch.device("cpu")


def output(values, length):
    """Return what a backbone of one layer of width 1 makes of samples: their value everywhere."""
    value = torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, length)
    ones = torch.ones(value.shape, dtype=torch.bool)
    places = torch.zeros(*value.shape, 2)
    view = torch.zeros(value.shape, dtype=torch.int64)
    x = value[..., None]
    return VlmOutput(x, (10 * x,), ones, ones, view, places, x[:, 0, :0], x[:, 0, :0])


def test_shorter_prompts_are_padded_in_front_and_masked_whichever_came_first():
    features = FrozenFeatures(3, CPU)
    features.fill(np.array([0]), output([1.0], 2))
    features.fill(np.array([2, 1]), output([3.0, 2.0], 3))
    found = features(np.array([1, 0]))
    assert found.embeddings[..., 0].tolist() == [[2, 2, 2], [0, 1, 1]]
    assert found.layers[0][..., 0].tolist() == [[20, 20, 20], [0, 10, 10]]
    assert found.mask.tolist() == [[True] * 3, [False, True, True]]
    assert found.view.tolist() == [[0, 0, 0], [-1, 0, 0]]
    features.fill(np.array([0]), output([4.0], 1))
    assert features(np.array([0])).embeddings[0, :, 0].tolist() == [0, 0, 4]


@pytest.fixture
def stand_in():
    """Return policy and data of 5 samples whose features are two tokens long."""
    seen = []

    def look(numbers, text):
        seen.extend(numbers.tolist())
        return output(numbers.tolist(), 2)

    policy = SimpleNamespace(
        vlm_learns=False, training=True, look=look, eval=lambda: None, train=lambda mode: None
    )

    class Trained:
        def __len__(self):
            return 5

        def batch(self, indices):
            return torch.from_numpy(indices)

    data = SimpleNamespace(
        trained=Trained(),
        contract=SimpleNamespace(cameras=("front",)),
        images=lambda samples: samples,
        text=lambda samples: None,
    )
    return policy, data, seen


def recipe(num_bytes):
    return replace(tiny(1), cache_gib=num_bytes / GIB)


def test_features_take_no_more_than_the_process_share_of_the_memory(stand_in):
    policy, data, seen = stand_in
    # A token: two floats, two truths, one int64 and two floats for its place.
    needed = 5 * 2 * (2 * 4 + 2 + 8 + 2 * 4)
    features = frozen_features(policy, data, recipe(needed), World())
    assert features is not None
    assert features.num_bytes == needed
    assert seen == [0, 1, 2, 3, 4]
    assert frozen_features(policy, data, recipe(needed - 1), World()) is None
    assert frozen_features(policy, data, recipe(2 * needed), World(local_size=2)) is not None
    assert frozen_features(policy, data, recipe(2 * needed - 1), World(local_size=2)) is None


def test_a_dry_run_looks_at_the_samples_of_its_step_alone(stand_in):
    policy, data, seen = stand_in
    features = frozen_features(policy, data, recipe(1000), World(), np.array([3, 1]))
    assert features is not None
    assert seen == [3, 1]
    assert features(np.array([1, 3])).embeddings[:, 0, 0].tolist() == [1, 3]
