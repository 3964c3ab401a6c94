import numpy as np
import pytest
import torch

from training import steps
from training.recipes import RECIPES, RunConfig, recipe, tiny
from vla_ros.core.errors import VlaError
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapPolicy


def test_the_rate_rises_then_falls_to_nothing():
    config = RunConfig(steps=100, warmup_fraction=0.1, peak_lr=1.0)
    rates = [steps.learning_rate(s, config) for s in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)  # half way down: (55 - 10) / 90
    assert rates[99] < 0.001


def test_every_epoch_takes_every_sample_once():
    config = RunConfig(batch_size=4)
    first = np.concatenate([steps.batch_indices(10, s, config, seed=0) for s in range(5)])
    assert sorted(first[:10]) == sorted(first[10:]) == list(range(10))
    assert first[:10].tolist() != first[10:].tolist()
    again = np.concatenate([steps.batch_indices(10, s, config, seed=0) for s in range(5)])
    assert (first == again).all()


def test_a_batch_larger_than_the_data_wraps_around():
    chosen = steps.batch_indices(3, 0, RunConfig(batch_size=7), seed=0)
    assert sorted(np.bincount(chosen).tolist()) == [2, 2, 3]


def test_both_pictures_of_a_sample_shift_alike_and_edges_repeat():
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, :, None], (8, 8, 3))
    images = np.stack([np.stack([ramp, ramp + 100])] * 6)
    shifted = steps.shift_images(images, 3, np.random.default_rng(0))
    assert (shifted[:, 1] == shifted[:, 0] + 100).all()
    offsets = shifted[:, 0, 0, 4, 0].astype(int) - 4
    assert set(np.abs(offsets)) <= {0, 1, 2, 3}
    assert len(set(offsets)) > 1
    for sample, offset in zip(shifted[:, 0, 0, :, 0].astype(int), offsets, strict=True):
        assert sample.tolist() == np.clip(np.arange(8) + offset, 0, 7).tolist()


def test_no_shift_returns_the_pictures_themselves():
    images = np.zeros((1, 1, 4, 4, 3), np.uint8)
    assert steps.shift_images(images, 0, np.random.default_rng(0)) is images


def test_frozen_parameters_do_not_move_and_the_others_do():
    torch.manual_seed(0)
    config = tiny(1)
    policy = TapPolicy(config.model)
    policy.set_stage(1)
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    optimizer = steps.make_optimizer(policy, config)
    batch = (torch.rand(4, 2, 3, 32, 32), None, torch.rand(4, 7))
    steps.train_step(policy, optimizer, batch, 0.01, config)
    for name, parameter in policy.named_parameters():
        assert (not torch.equal(parameter, before[name])) == parameter.requires_grad, name


def test_the_loss_of_one_batch_falls():
    torch.manual_seed(0)
    config = tiny(2)
    policy = TapPolicy(config.model)
    policy.set_stage(2)
    optimizer = steps.make_optimizer(policy, config)
    batch = (torch.rand(4, 1, 3, 32, 32), ["push"] * 4, torch.rand(4, 7))
    losses = [steps.train_step(policy, optimizer, batch, 0.01, config) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


def test_held_out_errors_are_in_metres_and_radians():
    # Bounds of +-0.1 m and +-1 rad: a normalised error of 0.5 is 0.05 m and 0.5 rad.
    normalizer = Normalizer([-0.1] * 3 + [-1] * 3, [0.1] * 3 + [1] * 3)
    target = np.zeros((2, 7), np.float32)
    metrics = steps.held_out_metrics(target + 0.5, target, np.zeros(7), normalizer)
    assert metrics["val_loss"] == pytest.approx(0.25)
    assert metrics["val_constant_loss"] == 0
    error = metrics["val_mean_absolute_error"]
    assert (error["dx"], error["drz"], error["gripper"]) == pytest.approx((0.05, 0.5, 0.5))


def test_evaluations_are_even_and_end_with_the_run():
    config = RunConfig(steps=10, num_evals=3)
    assert [s for s in range(1, 11) if steps.is_eval_step(s, config)] == [4, 8, 10]


def test_refuses_an_unknown_recipe():
    with pytest.raises(VlaError, match=f"'huge' is unknown; known: {', '.join(RECIPES)}"):
        recipe("huge", 1)
