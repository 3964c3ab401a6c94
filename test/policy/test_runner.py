import dataclasses

import numpy as np
import pytest
import torch

from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.checkpoint import save_checkpoint
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.runner import PolicyRunner

TASK = "put the carrot on the plate"


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)


def test_a_loaded_runner_acts_within_the_contract(checkpoint, picture, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "c", {})
    runner = PolicyRunner.load(tmp_path / "c", tap_contract(image_size=32))
    runner.warm_up()
    action = runner.act(picture, TASK)
    runner.contract.action.validate(action)
    np.testing.assert_array_equal(runner.act(picture, TASK), action)


def test_the_action_is_the_networks_output_in_metres_and_radians(checkpoint, picture):
    output = checkpoint.policy(images_to_tensor(picture[None, None]), [TASK])[0].detach().numpy()
    expected = output * ([0.05] * 3 + [0.5] * 3 + [1.0])  # the fixture's bounds are symmetric
    expected[6] = np.clip(expected[6], 0, 1)
    action = PolicyRunner(checkpoint).act(picture, TASK)
    np.testing.assert_allclose(action, expected, atol=1e-6)


def test_a_camera_image_of_another_size_is_resized(checkpoint):
    large = np.full((48, 64, 3), 77, np.uint8)
    small = np.full((32, 32, 3), 77, np.uint8)
    runner = PolicyRunner(checkpoint)
    np.testing.assert_allclose(runner.act(large, TASK), runner.act(small, TASK), atol=1e-6)


def test_refuses_a_stage_1_checkpoint(checkpoint, tmp_path):
    save_checkpoint(dataclasses.replace(checkpoint, run={"stage": 1}), tmp_path / "c", {})
    with pytest.raises(CheckpointError, match="is of stage 1, which follows no instruction"):
        PolicyRunner.load(tmp_path / "c")


def test_refuses_an_image_that_is_not_uint8_rgb(checkpoint):
    with pytest.raises(ContractError, match="camera front must be uint8"):
        PolicyRunner(checkpoint).act(np.zeros((32, 32, 3)), TASK)


def test_refuses_to_act_on_nan(checkpoint, picture):
    with torch.no_grad():
        checkpoint.policy.head[2].bias.fill_(float("nan"))
    with pytest.raises(ContractError, match="action must be finite"):
        PolicyRunner(checkpoint).act(picture, TASK)
