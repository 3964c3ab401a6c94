from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.policy.apt.blocks import Block
from vla_ros.policy.apt.config import AptConfig, small_apt
from vla_ros.policy.apt.diffusion import add_noise
from vla_ros.policy.apt.expert import AptExpert
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.positions import (
    action_index,
    camera_positions,
    index_positions,
    prefix_index,
)

STEPS = torch.tensor([3, 90])
TEXT = ["put it there", "stop"]


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    """Do what torch.testing does, which takes seconds to import."""
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=rtol, atol=atol)


def predict(policy, images, observation, noise):
    with torch.no_grad():
        return policy.expert(policy.look(images, TEXT), observation, noise, STEPS)


def test_the_world_frame_does_not_matter(make_policy, images, observation, noise):
    policy = make_policy(2)
    moved = transform(matrix_from_rotvec(np.array([0.4, -1.0, 2.0])), np.array([5.0, -3.0, 1.0]))
    turn = torch.tensor(moved, dtype=torch.float32)
    other = replace(
        observation,
        T_base_camera=turn @ observation.T_base_camera,
        T_base_tool=turn @ observation.T_base_tool,
    )
    assert_close(
        predict(policy, images, other, noise),
        predict(policy, images, observation, noise),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize("name", ["T_base_camera", "T_base_tool", "reference"])
def test_where_cameras_and_tools_are_matters(make_policy, images, observation, noise, name):
    policy = make_policy(1)
    before = predict(policy, images, observation, noise)
    value = getattr(observation, name)
    changed = value.flip(1)
    after = predict(policy, images, replace(observation, **{name: changed}), noise)
    assert (after - before).abs().max() > 1e-3


def test_a_dropped_picture_and_a_missing_arm_are_not_seen(make_policy, images, observation, noise):
    policy = make_policy(2)
    blind = replace(observation, camera_mask=torch.tensor([[True, False], [True, True]]))
    features = policy.look(images, TEXT)
    hidden = (features.view == 1) & torch.tensor([[True], [False]])
    other = replace(
        features,
        embeddings=torch.where(hidden[..., None], 9.0, features.embeddings),
        layers=tuple(torch.where(hidden[..., None], 9.0, x) for x in features.layers),
    )
    noisy = noise.clone()
    noisy[1, 1] = 9.0  # the second sample's second arm is missing
    with torch.no_grad():
        first = policy.expert(features, blind, noise, STEPS)
        second = policy.expert(other, blind, noisy, STEPS)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1, 0], second[1, 0])


def test_patches_of_padding_are_masked_and_intrinsics_scale_positions(
    make_policy, images, observation
):
    output = make_policy(1).look(images, TEXT)
    half = torch.ones(2, 2, 2)
    half[0, 1, 1] = 0.4  # patches of picture 1 lie at y = -0.5 and 0.5
    mask = replace(observation, extent=half).token_mask(output)
    assert mask[0, :9].tolist() == [True] * 4 + [False] * 4 + [True]
    assert torch.equal(mask[1], output.mask[1])
    intrinsics = torch.tensor([2.0, 4.0, 0.1, -0.1]).expand(2, 2, 4)
    xy = replace(observation, intrinsics=intrinsics).camera_xy(output)
    assert_close(xy[0, 0], torch.tensor([-0.3, -0.1]))


def test_tool_position_is_in_the_reference_camera():
    """A camera 1 m above the tool looks down on it: the tool is 1 m along its z."""
    camera = torch.eye(4)
    camera[:3, :3] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    camera[:3, 3] = torch.tensor([0.2, 0.3, 1.5])
    tool = torch.eye(4)
    tool[:3, 3] = torch.tensor([0.2, 0.2, 0.5])
    observation = Observation(camera[None, None], tool[None, None], torch.zeros(1, 1).long())
    assert_close(observation.tool_positions(), torch.tensor([[[0.0, 0.1, 1.0]]]))


def test_history_needs_what_its_config_names(make_policy, images, observation, noise):
    policy = make_policy(1, history=2, history_gripper=True)
    past = torch.zeros(2, 2, 1, 10)
    full = replace(observation, opening=torch.ones(2, 2), history=past)
    before = predict(policy, images, full, noise)
    for key, value in (("opening", torch.zeros(2, 2)), ("history", past + 0.1)):
        changed = predict(policy, images, replace(full, **{key: value}), noise)
        assert (changed - before).abs().max() > 1e-4
    with pytest.raises(ContractError, match="opening must have shape"):
        replace(observation, opening=torch.zeros(2))


def test_prope_by_hand():
    """Keys of a camera 2 m along z: the fourth number of a group moves the third by 2."""
    camera = torch.eye(4)
    camera[2, 3] = 2.0
    positions = camera_positions(camera[None, None], None, 1)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).view(1, 1, 1, 1, 8)
    key = positions.place(x, 1).flatten().tolist()
    assert key == [1, 2, 3 + 2 * 4, 4, 5, 6, 7, 8]
    query = positions.place(x, 0).flatten().tolist()
    assert query == [1, 2, 3, 4 - 2 * 3, 5, 6, 7, 8]
    assert positions.unplace(x[:, :, 0]).flatten().tolist() == [1, 2, 3 - 2 * 4, 4, 5, 6, 7, 8]


def test_rotary_products_depend_on_distance_alone():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 1, 16, generator=generator)

    def product(of_query, of_key):
        a = index_positions(torch.tensor([[[float(of_query)]]]), 4).place(q, 0)
        b = index_positions(torch.tensor([[[float(of_key)]]]), 4).place(k, 1)
        return (a * b).sum().item()

    assert product(7, 4) == pytest.approx(product(23, 20), rel=1e-4)
    assert product(7, 4) != pytest.approx(product(7, 5), rel=1e-2)
    assert product(3, 3) == pytest.approx((q * k).sum().item(), rel=1e-4)


def test_positions_of_inserted_layers_by_hand():
    # Template word, picture, word, word of padding; then two actions.
    is_image = torch.tensor([[False, True, False, False]])
    mask = torch.tensor([[True, True, True, False]])
    xy = torch.zeros(1, 4, 2)
    xy[0, 1] = torch.tensor([0.5, -1.0])
    steps = torch.tensor([0, 1])
    rope = prefix_index(is_image, mask, xy, "rope")
    assert rope[0, :3, 0].tolist() == [1, 0, 2]
    assert action_index(rope, is_image, mask, steps)[0, :, 0].tolist() == [3, 4]
    mrope = prefix_index(is_image, mask, xy, "mrope")
    assert mrope[0, :3].tolist() == [[9, 9, 9], [0, 0, 6], [10, 10, 10]]  # time, row, column
    assert action_index(mrope, is_image, mask, steps)[0].tolist() == [[11] * 3, [12] * 3]


def test_sizes_are_those_on_record():
    base = AptConfig(2)
    block, fusion = num_parameters(Block(base, 0, False, 2048)), 768 * 2048
    assert block == pytest.approx(8.3e6, rel=0.01)
    assert 10 * (block + fusion) == pytest.approx(0.10e9, rel=0.05)
    small = AptExpert(small_apt(2), vlm_width=192, num_vlm_layers=6)
    assert num_parameters(small) < 6.2e6


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_fresh_expert_predicts_no_noise(images, observation, noise, make_policy):
    policy = make_policy(1)
    fresh = AptExpert(policy.config, 12, 5)
    output = policy.look(images, TEXT)
    with torch.no_grad():
        assert not fresh(output, observation, noise, STEPS).any()


def test_bf16_autocast_stays_close(make_policy, images, observation, noise):
    policy = make_policy(2)
    expected = predict(policy, images, observation, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = predict(policy, images, observation, noise)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_optimizer_groups_spare_norms_biases_and_gates(make_policy):
    policy = make_policy(2, vlm="trained")
    groups = {group["name"]: group for group in policy.optimizer_groups()}
    assert {n: (g["lr"], g["weight_decay"]) for n, g in groups.items()} == {
        "expert": (1e-4, 1e-2),
        "expert, not decayed": (1e-4, 0.0),
        "vlm": (1e-5, 1e-10),
        "vlm, not decayed": (1e-5, 0.0),
    }
    assert all(p.ndim > 1 for p in groups["expert"]["params"])
    gate = policy.expert.fusions["0"].gate
    assert any(p is gate for p in groups["expert, not decayed"]["params"])
    with_gates = policy.optimizer_groups(decay_gates=True)[0]["params"]
    assert any(p is gate for p in with_gates)
    total = sum(len(group["params"]) for group in groups.values())
    assert total == len(list(policy.parameters()))


def test_stride_beyond_the_backbone_is_refused(make_policy):
    with pytest.raises(CheckpointError, match="asks for backbone layer 6 of 5"):
        make_policy(1, feature_stride=2)


def test_a_fresh_policy_learns_a_batch(images, observation, noise, make_policy):
    policy = make_policy(2, fresh=True)
    chunks, steps = torch.full((2, 2, 3, 10), 0.3), torch.tensor([30, 60])
    parameters = [p for p in policy.parameters() if p.requires_grad]
    losses = []
    for _ in range(30):
        loss = policy(images, TEXT, observation, chunks, noise, steps).total
        losses.append(loss.item())
        # Sign descent: torch's optimisers take seconds to import what they need.
        with torch.no_grad():
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p -= 3e-3 * g.sign()
    assert losses[-1] < 0.5 * losses[0]


def test_steps_beyond_the_end_can_be_left_out(images, observation, noise, make_policy):
    policy = make_policy(1)
    chunks, steps = torch.full((2, 2, 3, 10), 0.3), torch.tensor([30, 60])
    first_only = torch.zeros(2, 2, 3, dtype=torch.bool)
    first_only[0, 0, 0] = True
    with torch.no_grad():
        whole = policy(images, None, observation, chunks, noise, steps)
        masked = policy(images, None, observation, chunks, noise, steps, first_only)
        noisy = add_noise(chunks, noise, steps, 100)
        predicted = policy.expert(policy.look(images, None), observation, noisy, steps)
    expected = (predicted - noise)[0, 0, 0, :3].abs().mean()
    assert_close(masked.translation, expected)
    assert whole.translation != masked.translation


def test_noise_and_steps_come_from_the_generator(make_policy):
    policy = make_policy(1)
    first, again = (policy.draw(5, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[0].shape == (5, 2, 3, 10)
    assert all(0 <= step < 100 for step in first[1].tolist())
