import numpy as np
import pytest
import torch

from training.learning import steps
from training.learning.recipes import RECIPES, RunConfig, recipe, tiny
from vla_ros.core.errors import VlaError
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapPolicy

pytestmark = pytest.mark.usefixtures("no_compiler")


def test_the_rate_rises_then_falls_to_nothing():
    config = RunConfig(steps=100, warmup_fraction=0.1, peak_lr=1.0)
    rates = [steps.learning_rate(s, config) for s in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)  # half way down: (55 - 10) / 90
    assert rates[99] < 0.001


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
