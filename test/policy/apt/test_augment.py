from dataclasses import replace

import numpy as np
import torch

from vla_ros.policy.apt.augment import (
    change_colours,
    drop_cameras,
    shake_proprioception,
    shuffle_cameras,
    turn_world,
)
from vla_ros.policy.apt.observation import Observation


def uniform(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def many(batch=64):
    """Return pictures whose colour is their number, and cameras whose x position is it."""
    number = torch.arange(3.0).expand(batch, 3)
    cameras = torch.eye(4).repeat(batch, 3, 1, 1)
    cameras[..., 0, 3] = number
    observation = Observation(
        cameras,
        torch.eye(4).repeat(batch, 2, 1, 1),
        torch.tensor([[0, 2]]).repeat(batch, 1),
        extent=number[..., None].repeat(1, 1, 2),
    )
    return number[..., None, None, None].repeat(1, 1, 3, 2, 2), observation


def test_colours_change_by_their_numbers():
    # Five pictures: as it was, a quarter brighter, greyer, another gamma, blurred.
    drawn = torch.full((1, 5, 5), 0.5)
    drawn[0, 1, 0] = 1.0
    drawn[0, 2, 2] = 0.0
    drawn[0, 3, 3] = 1.0
    drawn[0, 4, 4] = 0.0
    pixels = torch.zeros(1, 5, 3, 3, 3)
    pixels[:, :, 0, 1, 1] = 0.8
    changed = (change_colours(pixels * 2 - 1, drawn) + 1) / 2
    red = changed[0, :, 0, 1, 1]
    assert torch.allclose(changed[0, 0], pixels[0, 0], atol=1e-6)
    mean = 0.8 / 3  # of the red pixel's channels
    expected = [0.8, 1.0, mean + 0.75 * (0.8 - mean), 0.8**1.15, 0.8 * 0.25]
    assert torch.allclose(red, torch.tensor(expected), atol=1e-6)
    assert torch.allclose(changed[0, 4, 0, 0, 0], torch.tensor(0.8 / 16), atol=1e-6)


def test_shuffled_cameras_keep_what_is_theirs():
    images, observation = many()
    shown, moved = shuffle_cameras(images, observation, uniform(64, 3))
    number = shown[:, :, 0, 0, 0]
    assert len({tuple(row) for row in number.tolist()}) == 6  # every order occurs
    assert torch.equal(moved.T_base_camera[..., 0, 3], number)
    assert torch.equal(moved.extent[..., 1], number)
    assert torch.equal(number.gather(1, moved.reference), torch.tensor([[0.0, 2.0]]).repeat(64, 1))
    assert torch.equal(images[:, 1, 0, 0, 0], torch.ones(64))  # the input is as it was


def test_dropped_cameras_are_grey_and_masked_but_one_stays():
    images, observation = many()
    shown, blind = drop_cameras(images + 1, observation, 0.5, uniform(64, 3))
    assert torch.equal(shown[:, :, 0, 0, 0] > 0, blind.camera_mask)
    assert 0.3 < blind.camera_mask.float().mean() < 0.75
    there = torch.tensor([[False, True, False]]).repeat(64, 1)
    _, blind = drop_cameras(images, replace(observation, camera_mask=there), 1.0, uniform(64, 3))
    assert torch.equal(blind.camera_mask, there)
    shown, blind = drop_cameras(images, observation, 0.0, uniform(64, 3))
    assert blind.camera_mask.all()
    assert torch.equal(shown, images)


def test_turning_the_world_keeps_relations_and_positions(observation):
    turned = turn_world(observation, normal(2, 4))
    assert (turned.T_base_camera - observation.T_base_camera).abs().max() > 0.1
    for before, after in (
        (observation.tool_positions(), turned.tool_positions()),
        (
            torch.linalg.inv(observation.T_base_camera[:, 0]) @ observation.T_base_tool[:, 1],
            torch.linalg.inv(turned.T_base_camera[:, 0]) @ turned.T_base_tool[:, 1],
        ),
    ):
        np.testing.assert_allclose(before.numpy(), after.numpy(), atol=1e-5)


def test_noise_on_proprioception_has_the_size_on_record():
    _, observation = many(batch=2000)
    observation = replace(observation, history=torch.zeros(2000, 2, 1, 10))
    shaken = shake_proprioception(observation, normal(2000, 2, 13))
    moved = shaken.T_base_tool - observation.T_base_tool
    assert abs(moved[..., :3, 3].std().item() - 0.003) < 3e-4
    assert not moved[..., :3, :3].any()
    assert shaken.history is not None
    for part, size in ((slice(0, 3), 0.005), (slice(3, 9), 0.01), (slice(9, 10), 0.01)):
        assert abs(shaken.history[..., part].std().item() - size) < size / 10
