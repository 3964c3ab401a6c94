import math

import numpy as np
import pytest
import torch

from vla_ros.core.errors import ContractError
from vla_ros.policy.apt.diffusion import ddim, sampling_steps, signal_power
from vla_ros.policy.apt.rtc import Known, in_painted, known_prefix, prefix_weights

HORIZON = 12


def test_weights_by_hand():
    # 2 fixed of 4 known: c = 2/3 and 1/3, weighted c (e^c - 1) / (e - 1).
    falling = [c * (math.exp(c) - 1) / (math.e - 1) for c in (2 / 3, 1 / 3)]
    assert prefix_weights(2, 4, 6).tolist() == pytest.approx([1, 1, *falling, 0, 0])
    assert prefix_weights(0, 0, 3).tolist() == [0, 0, 0]
    assert prefix_weights(3, 3, 3).tolist() == [1, 1, 1]


def smooth_gaussian():
    """Return the exact network for chunks whose neighbours agree, and the root of covariance."""
    places = torch.arange(HORIZON, dtype=torch.float64)
    apart = (places[:, None] - places) / 3.0
    eye = torch.eye(HORIZON, dtype=torch.float64)
    covariance = 0.04 * torch.exp(-0.5 * apart**2) + 1e-8 * eye
    powers = [signal_power(100)[step] for step in sampling_steps(100, 20)]

    def predict(x, update):
        p = powers[update]
        gain = math.sqrt(p) * covariance @ torch.linalg.inv(p * covariance + (1 - p) * eye)
        return (x - math.sqrt(p) * gain @ x) / math.sqrt(1 - p)

    values, vectors = torch.linalg.eigh(covariance)
    return predict, vectors * values.clamp(min=0).sqrt() @ vectors.T


def test_what_is_fixed_stays_and_the_rest_goes_on_from_it():
    predict, root = smooth_gaussian()
    numbers = torch.Generator().manual_seed(0)
    old, start = (
        torch.randn(50, HORIZON, 1, generator=numbers, dtype=torch.float64) for _ in range(2)
    )
    old = root @ old
    known = Known(old, prefix_weights(4, 9, HORIZON))
    free = ddim(start, predict, 100, 20)
    held = ddim(start, in_painted(predict, known, 100, 20), 100, 20)
    np.testing.assert_allclose(held[:, :4], old[:, :4], atol=1e-9)
    at_seam = slice(4, 5)
    jump_free = (free - old)[:, at_seam].abs().mean()
    jump_held = (held - old)[:, at_seam].abs().mean()
    assert jump_held < 0.1 * jump_free
    # The end is the network's own.
    assert (held - free)[:, -1].abs().mean() < (held - old)[:, -1].abs().mean()


def test_nothing_known_changes_nothing():
    predict, _ = smooth_gaussian()
    start = torch.ones(1, HORIZON, 1, dtype=torch.float64)
    unknown = Known(torch.full((1, HORIZON, 1), math.inf), torch.zeros(HORIZON))
    kept = ddim(start, in_painted(predict, unknown, 100, 20), 100, 20)
    np.testing.assert_allclose(kept, ddim(start, predict, 100, 20), atol=1e-6)


def test_a_prefix_is_padded_to_the_horizon():
    known = known_prefix(np.full((3, 10), 0.5), fixed=2, horizon=5)
    assert known.chunks.shape == (1, 1, 5, 10)
    assert known.chunks[0, 0, :, 0].tolist() == [0.5, 0.5, 0.5, 0, 0]
    assert known.weights[:2].tolist() == [1, 1]
    assert known.weights[3:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("chunk", "fixed"),
    [
        (np.zeros((6, 10)), 2),
        (np.zeros((3, 9)), 2),
        (np.zeros((3, 10)), 4),
        (np.zeros((3, 10)), -1),
        (np.full((3, 10), np.nan), 2),
    ],
)
def test_a_prefix_that_is_none_is_refused(chunk, fixed):
    with pytest.raises(ContractError, match="known prefix"):
        known_prefix(chunk, fixed, horizon=5)


def test_the_expert_keeps_to_what_is_known(make_policy, images, observation, noise):
    policy = make_policy(1, train_steps=10, sample_steps=5)
    known = known_prefix(np.full((1, 10), 0.25), fixed=1, horizon=3)
    free = policy.sample(images, None, observation, noise)
    held = policy.sample(images, None, observation, noise, known)
    np.testing.assert_allclose(held[:, :, 0], 0.25, atol=1e-4)
    assert not torch.allclose(free[:, :, 0], held[:, :, 0])
