"""What must hold of both stages, whatever the weights are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.blocks import attend
from vla_ros.policy.apt.growth import close_language
from vla_ros.policy.apt.masks import attention_mask

STEPS = torch.tensor([3, 90])
TEXT = ["put the carrot on the plate", "push the cup"]
OTHER = ["lift one banana from a dish.", "open a box!"]  # each letter another, not all lengths
STYLES = [
    {},
    {"fusion": "paper", "inserted_position": "mrope"},
    {"language": "token_insertion"},
    {"style": "pi", "language": "token_insertion"},
    {"style": "pi"},
    {"style": "groot", "language": "token_insertion", "num_learned_tokens": 2},
]
every_style = pytest.mark.parametrize(
    "switches", STYLES, ids=lambda s: "-".join(map(str, s.values())) or "apt"
)


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    """Do what torch.testing does, which takes seconds to import."""
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=rtol, atol=atol)


def predict(policy, images, text, observation, noise):
    with torch.no_grad():
        return policy.expert(policy.look(images, text), observation, noise, STEPS)


@every_style
def test_no_language_reaches_the_action_in_stage_1(
    make_policy, images, observation, noise, switches
):
    policy = make_policy(1, **switches)
    same_length = [t.translate(str.maketrans("aeou", "zyxw")) for t in TEXT]
    expected = predict(policy, images, TEXT, observation, noise)
    assert torch.equal(predict(policy, images, same_length, observation, noise), expected)
    for text in (OTHER, None):  # rounding may differ where there are other numbers of tokens
        found = predict(policy, images, text, observation, noise)
        assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_style
def test_language_reaches_the_action_in_stage_2_and_pictures_in_both(
    make_policy, images, observation, noise, switches
):
    for stage in (1, 2):
        policy = make_policy(stage, **switches)
        first = predict(policy, images, TEXT, observation, noise)
        assert (predict(policy, -images, TEXT, observation, noise) - first).abs().max() > 1e-3
    assert (predict(policy, images, OTHER, observation, noise) - first).abs().max() > 1e-3


@pytest.mark.parametrize("switches", [s for s in STYLES if "language" not in s])
def test_stage_2_with_language_closed_is_stage_1(make_policy, images, observation, noise, switches):
    first = make_policy(1, **switches)
    second = first.second_stage(replace(first.config, stage=2))
    expected = predict(first, images, TEXT, observation, noise)
    assert not torch.equal(predict(second, images, TEXT, observation, noise), expected)
    close_language(second.expert)
    assert torch.equal(predict(second, images, TEXT, observation, noise), expected)


def test_growth_carries_all_but_the_inserted_layers(make_policy):
    first = make_policy(1)
    config = replace(first.config, stage=2, inserted_init="zero", inserted_gate=3.0, open_above=0.0)
    second = first.second_stage(config)
    old, new = first.expert.state_dict(), second.expert.state_dict()
    for ours, theirs in (("blocks.0.", "blocks.1."), ("blocks.1.", "blocks.3.")):
        for name in (n for n in old if n.startswith(ours)):
            assert torch.equal(old[name], new[name.replace(ours, theirs)]), name
    for name in (n for n in old if not n.startswith("blocks.")):
        assert torch.equal(old[name], new[name]), name
    assert not new["blocks.0.out.weight"].any()
    assert new["blocks.0.qkv.weight"].any()
    assert new["fusions.0.gate"].tolist() == [3.0] * 32


def test_growth_as_released_takes_attention_blocks_alone(make_policy):
    first = make_policy(1)
    second = first.second_stage(replace(first.config, stage=2), released_loader=True)
    old, new = first.expert.state_dict(), second.expert.state_dict()
    assert torch.equal(old["blocks.1.ffn.up.weight"], new["blocks.3.ffn.up.weight"])
    for name in ("embed.weight", "tokens.noisy.0.weight", "step.layers.0.weight"):
        assert not torch.equal(old[name], new[name])
    assert not new["tokens.head.weight"].any()
    assert not new["fusions.1.gate"].any()


def test_growth_from_another_stage_or_size_is_refused(make_policy):
    first = make_policy(1)
    with pytest.raises(CheckpointError, match="needs a Stage 1 of the same sizes"):
        first.second_stage(replace(first.config, stage=2, horizon=4))
    with pytest.raises(CheckpointError, match="got Stage 2"):
        make_policy(2).second_stage(replace(first.config, stage=2))


def loss_of(policy, images, observation, noise):
    return policy(images, TEXT, observation, torch.zeros_like(noise), noise, STEPS).total


@every_style
@pytest.mark.parametrize(("stage", "vlm"), [(1, "trained"), (2, "insulated"), (2, "trained")])
def test_what_trains_gets_a_gradient_and_what_is_frozen_none(
    make_policy, images, observation, noise, switches, stage, vlm
):
    policy = make_policy(stage, vlm=vlm, **switches)
    assert policy.vlm_learns == (stage == 2 and vlm == "trained")
    frozen = policy.freeze_unreached(loss_of(policy, images, observation, noise))
    assert all(name.startswith("vlm.") for name in frozen)
    loss_of(policy, images, observation, noise).backward()
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name
    learning = {n.split(".")[0] for n, p in policy.named_parameters() if p.requires_grad}
    assert learning == ({"expert", "vlm"} if policy.vlm_learns else {"expert"})
    assert policy.vlm.letters.weight.requires_grad == policy.vlm_learns


def joint_prediction(expert, output, observation, noisy):
    """Run both streams as one sequence under the masks of the paper; APT's style only."""
    mask = observation.token_mask(output)
    prefix, actions = expert._positions(output, mask, observation)
    x = expert._embedded(output, observation)
    a = expert.tokens.encode(noisy, *expert.tokens.fixed(observation))
    length = x.shape[1]
    for place, layer in enumerate(expert.layers):
        block, film = expert.blocks[place], expert.conditions(STEPS)[place]
        valid = expert.tokens.per_token(observation.arms)
        whole = attention_mask(output.is_image, mask, valid, layer.sees_language)[:, None]
        projected = block.qkv(block.prefix_norm1(x))
        where = prefix[layer.inserted]
        theirs = [*block._keyed(projected[..., :64], where, 0)]
        theirs.append(block._values(projected[..., 64:], where))
        ours = block.ask(a, film, actions[layer.inserted])
        q, k, v = (torch.cat(pair, 2) for pair in zip(theirs, ours, strict=True))
        attended = attend(q, k, v, ~whole)
        a = block.finish(a, attended[:, length:], film, actions[layer.inserted])
        if place < len(expert.layers) - 1:
            x = x + block.out(where.unplace(attended[:, :length]).flatten(2))
            x = x + block.ffn(block.prefix_norm2(x))
            x = expert.fusions[str(layer.slot)](x, expert._feature(output, place))
    return expert.tokens.decode(a, noisy.shape[1])


@torch.no_grad()
@pytest.mark.parametrize("stage", [1, 2])
def test_reading_the_scene_once_is_one_joint_attention(
    make_policy, images, observation, noise, stage
):
    policy = make_policy(stage)
    output = policy.look(images, TEXT)
    expected = joint_prediction(policy.expert, output, observation, noise)
    found = policy.expert(output, observation, noise, STEPS)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


@every_style
def test_cached_and_uncached_sampling_agree(make_policy, images, observation, noise, switches):
    policy = make_policy(2, sample_steps=4, **switches)
    output = policy.look(images, TEXT)
    reused = policy.denoise(output, observation, noise)
    assert reused.abs().max() < 1e3
    for way in ("recomputed", "cloned"):
        assert_close(policy.denoise(output, observation, noise, way), reused, rtol=1e-4, atol=1e-4)


def test_the_loss_in_units_of_the_answer_changes_no_sample(make_policy, images, observation, noise):
    linear, edm = (make_policy(1, precondition=how) for how in ("linear", "edm"))
    args = images, TEXT, observation, noise
    assert torch.equal(linear.sample(*args), edm.sample(*args))
    chunks = torch.full_like(noise, 0.3)
    losses = [p(images, TEXT, observation, chunks, noise, STEPS).total for p in (linear, edm)]
    assert losses[0] != losses[1]
    fresh = make_policy(1, fresh=True, precondition="edm")  # whose answer is 0
    fresh.guess.fit(torch.zeros(3, 10), torch.full((3, 10), 0.1))
    found = fresh(images, TEXT, observation, chunks, noise, STEPS)
    wanted = fresh.guess.answer(chunks, noise, STEPS)[observation.arms]
    assert found.gripper.item() == pytest.approx(wanted[..., 9].abs().mean().item(), rel=1e-5)


@every_style
def test_several_noises_of_a_scene_have_the_loss_of_each_alone(
    make_policy, images, observation, noise, switches
):
    policy = make_policy(2, **switches)
    chunks, other = torch.full_like(noise, 0.3), noise.flip(0, 2)
    alone = [
        policy(images, TEXT, observation, chunks, one, steps).total
        for one, steps in ((noise, STEPS), (other, STEPS.flip(0)))
    ]
    both = torch.stack([noise, other], 1).flatten(0, 1)
    steps = torch.stack([STEPS, STEPS.flip(0)], 1).flatten()
    found = policy(images, TEXT, observation, chunks, both, steps).total
    assert found.item() == pytest.approx((alone[0] + alone[1]).item() / 2, rel=1e-5)
    assert abs(alone[0] - alone[1]) > 1e-3
