import json
from dataclasses import replace

import pytest
import torch

from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.small_config import SmallVlmConfig, toy_config
from vla_ros.policy.small_vlm import Asked, Encoded, SmallVlm
from vla_ros.policy.text_tokens import PADDING, train_tokenizer

TINY = replace(
    toy_config(depth=2, max_suffix=8),
    max_text=8,
    tokenizer=train_tokenizer(["put the carrot on the plate", "push it left"] * 3, 400),
)
TOKENS = 1 + 2 * 2  # of a picture: keypoints and patches
SUFFIX = torch.tensor([[270, 300, 1], [265, 290, 280]])


def make(config: SmallVlmConfig = TINY) -> SmallVlm:
    torch.manual_seed(0)
    model = SmallVlm(config)
    model.add_action_tokens(20)
    # Random rows of 0.02 leave attention all but uniform: what is wrong would hardly show.
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.mul_(1.5)
        model.rows.mul_(10)
    return model.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["", "named"])
def model(request):
    return make(replace(TINY, named_points=request.param))


def pictures(batch: int, views: int, seed: int = 1) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(batch, views, 3, 32, 32, generator=draw) * 2 - 1


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_default_is_below_ten_million_parameters_with_all_tokens():
    model = SmallVlm(SmallVlmConfig())
    model.add_action_tokens(2048)
    text = 2048 * model.width
    assert sum(p.numel() for p in model.parameters()) + text < 10_000_000


def test_tokens_say_what_they_are(model):
    output = model(pictures(2, 2), ["push it left", "push"], layers=(0, 1))
    text = model.tokenizer.prompts(["push it left", "push"], 8).shape[1]
    length = 2 * TOKENS + text + 1
    assert output.embeddings.shape == (2, length, 16)
    assert [tuple(layer.shape) for layer in output.layers] == [(2, length, 16)] * 2
    assert output.view[0].tolist() == [0] * TOKENS + [1] * TOKENS + [-1] * (text + 1)
    assert torch.equal(output.is_image, output.view >= 0)
    corners = [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert output.patch_xy[1, : 2 * TOKENS].tolist() == [[0, 0], *corners] * 2
    assert not output.patch_xy[:, 2 * TOKENS :].any()
    assert output.mask.sum(1).tolist() == [length, length - text + 1]
    assert output.mask[:, : 2 * TOKENS].all()
    assert output.mask[:, -1].all()
    assert output.logits.shape == (2, 1, model.first_action_token + 20)
    assert torch.equal(output.last, output.layers[1][:, -1])


def test_no_picture_token_holds_language(model):
    put = model(pictures(2, 2), ["put it", "push"], suffix=SUFFIX, layers=(0, 1))
    none = model(pictures(2, 2), None, layers=(0, 1))
    for one, other in zip(put.layers, none.layers, strict=True):
        assert torch.equal(one[:, : 2 * TOKENS], other[:, : 2 * TOKENS])
    assert torch.equal(put.embeddings[:, : 2 * TOKENS], none.embeddings[:, : 2 * TOKENS])
    assert not torch.allclose(put.last, none.last, atol=1e-3)


def test_a_text_token_sees_what_precedes_it_only(model):
    one = model(pictures(1, 1), ["push it left"], layers=(1,))
    other = model(pictures(1, 1), ["push it plate"], layers=(1,))
    assert one.mask.shape == other.mask.shape
    changed = (one.layers[0] - other.layers[0]).abs().amax(-1)[0] > 1e-5
    assert changed.tolist() == [False] * (TOKENS + 2) + [True, True]


@pytest.mark.parametrize("joint", [True, False])
def test_pictures_see_each_other_only_where_that_is_wanted(joint):
    model = make(replace(TINY, joint_pictures=joint))
    images = pictures(1, 3)
    changed = images.clone()
    changed[:, 1] = pictures(1, 1, seed=7)[:, 0]
    one, other = (model(x, None, layers=(0, 1)) for x in (images, changed))
    for before, after in zip(one.layers, other.layers, strict=True):
        same_first = torch.allclose(before[:, :TOKENS], after[:, :TOKENS], atol=1e-5)
        assert same_first != joint
    assert not torch.allclose(one.last, other.last, atol=1e-4)


@pytest.mark.parametrize("joint", [True, False])
def test_a_sample_alone_is_as_in_a_batch(joint):
    model = make(replace(TINY, joint_pictures=joint))
    texts = ["put the carrot on the plate", "", "push it left"]
    suffix = torch.tensor([[270, 300, 1], [265, 290, 280], [261, 262, 263]])
    together = model(pictures(3, 2), texts, suffix=suffix, layers=(0, 1))
    for index, text in enumerate(texts):
        row = slice(index, index + 1)
        alone = model(pictures(3, 2)[row], [text], suffix=suffix[row], layers=(0, 1))
        same(alone.logits, together.logits[row])
        same(alone.last, together.last[row])
        for own, among in zip(alone.layers, together.layers, strict=True):
            same(own[0], among[index][together.mask[index]])


def test_no_instruction_and_an_empty_one_are_the_same(model):
    none, empty = model(pictures(2, 1), None), model(pictures(2, 1), ["", ""])
    assert torch.equal(none.logits, empty.logits)


@pytest.mark.parametrize("text", [None, ["put the carrot on the plate", "push"]])
def test_decoding_by_a_cache_is_teacher_forcing(model, text):
    images = pictures(2, 2)
    forced = model(images, text, suffix=SUFFIX).logits  # (2, 4, vocabulary)
    start = model(images, text, with_cache=True)
    same(start.logits, forced[:, :1])
    cache = start.cache
    for step in range(3):
        logits, cache = model.decode(SUFFIX[:, step : step + 1], cache)
        same(logits, forced[:, step + 1])
    # The first cache has not changed, and reading all at once is the same.
    same(model.decode(SUFFIX, start.cache)[0], forced[:, -1])


def test_a_cache_is_given_only_where_asked_for(model):
    assert model(pictures(1, 1), None).cache is None


def test_pictures_encoded_before_are_read_as_new_ones(model):
    images = pictures(3, 1)
    pairs = torch.tensor([[0, 1], [1, 2]])
    points, patches, cells = model.encode(images)
    chosen = Encoded(
        points[pairs, 0], patches[pairs, 0], None if cells is None else cells[pairs, 0]
    )
    kept = model.read(chosen, ["put it", "push it left"])
    same(kept.logits, model(images[pairs, 0], ["put it", "push it left"]).logits)


def test_many_questions_on_a_picture_are_scored_as_one_by_one(model):
    images = pictures(2, 1)
    long, short = torch.tensor([[270, 300, 1], [265, 1, PADDING]]), torch.tensor([[290]])
    asked = [
        Asked(torch.tensor([1]), ["push it"], short),
        Asked(torch.tensor([1, 0]), ["", "put the carrot on the plate"], long),
    ]
    logits, tokens = model.scored(model.asked_features(model.encode(images), asked), asked)
    assert tokens.tolist() == [290, 270, 300, 1, 265, 1]
    one = model(images[1:], ["push it"], short).logits[0, :-1]
    two = model(images[1:], [""], long[:1]).logits[0, :-1]
    three = model(images[:1], ["put the carrot on the plate"], long[1:, :2]).logits[0, :-1]
    same(logits, torch.cat([one, two, three]))


def test_displacement_is_where_the_answer_is_read_from():
    # The same picture twice: opposite signs take each other out, in a fresh model.
    torch.manual_seed(0)
    model = SmallVlm(TINY)
    still = pictures(2, 1).expand(-1, 2, -1, -1, -1)
    first, second = (model(still[row], None).embeddings[0, -1] for row in ([0], [1]))
    torch.testing.assert_close(first, second)
    moved = model(torch.stack([still[0, 0], still[1, 0]])[None], None).embeddings[0, -1]
    assert (moved - first).norm() > 0.1


def test_autocast_stays_close(model):
    plain = model(pictures(2, 2), ["put it", "push"], suffix=SUFFIX)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(pictures(2, 2), ["put it", "push"], suffix=SUFFIX)
        logits, _ = model.decode(SUFFIX, model(pictures(2, 2), None, with_cache=True).cache)
    assert mixed.logits.dtype == logits.dtype == torch.float32
    assert (mixed.logits - plain.logits).abs().max() < 0.1 * plain.logits.std()


def test_every_parameter_is_in_one_group_and_gets_a_gradient():
    model = make().train()
    groups = model.parameter_groups()
    assert list(groups) == ["vision", "language", "tokens"]
    members = [id(p) for group in groups.values() for p in group]
    assert sorted(members) == sorted(id(p) for p in model.parameters())
    assert len(groups["vision"]) == 6  # three convolutions with bias
    # Stage 1 without a text and with two of four slots: none is left without, as DDP wants it.
    model(pictures(2, 2), None, suffix=SUFFIX).logits.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_frozen_vision_gets_no_gradient():
    model = make().train()
    for parameter in model.parameter_groups()["vision"]:
        parameter.requires_grad_(False)
    model(pictures(2, 1), None).last.square().mean().backward()
    assert {n for n, p in model.named_parameters() if p.grad is None} == {
        f"encoder.trunk.{name}.{kind}"
        for name in ("stem.1", "stem.3", "top.0")
        for kind in ("weight", "bias")
    }


def test_action_tokens_follow_the_text_and_come_once(model):
    fresh = SmallVlm(TINY)
    before = fresh.rows.detach().clone()
    assert (fresh.num_action_tokens, len(before)) == (0, fresh.first_action_token)
    fresh.add_action_tokens(5)
    assert torch.equal(fresh.rows[:-5], before)
    assert fresh.config.num_action_tokens == 5
    with pytest.raises(CheckpointError, match="the model has 5 action tokens already"):
        fresh.add_action_tokens(5)


def test_a_model_of_the_config_takes_the_weights(model):
    data = json.loads(json.dumps(model.config.to_dict()))
    again = SmallVlm(SmallVlmConfig.from_dict(data)).eval()
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert torch.equal(
        again(pictures(1, 1), ["put it"]).logits, model(pictures(1, 1), ["put it"]).logits
    )


def test_the_pretrained_trunk_has_the_same_interface():
    model = SmallVlm(replace(TINY, encoder="efficientnet_lite0", grid=1)).eval()
    output = model(pictures(1, 2), None, layers=(1,))
    assert output.view[0].tolist() == [0, 0, 1, 1, -1]
    with pytest.raises(CheckpointError, match="encoder conv has no pretrained weights"):
        SmallVlm(TINY).load_pretrained_encoder()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"image_size": 100}, "image size in multiples of 32 px"),
        ({"image_size": 96, "encoder": "efficientnet_lite0"}, "image size in multiples of 64 px"),
        ({"num_heads": 5}, "width in multiples of its heads"),
        ({"channels": (8, 8)}, "3 channel widths"),
        ({"encoder": "clip"}, "encoder must be one of conv, efficientnet_lite0, got 'clip'"),
    ],
)
def test_refuses_sizes_that_do_not_fit(wrong, match):
    with pytest.raises(CheckpointError, match=match):
        SmallVlmConfig(**wrong)


def test_refuses_a_config_of_another_version():
    with pytest.raises(CheckpointError, match="does not have the expected keys"):
        SmallVlmConfig.from_dict({**TINY.to_dict(), "text_buckets": 4096})


def test_refuses_more_pictures_than_slots(model):
    with pytest.raises(ContractError, match="takes 1 to 4 pictures a sample, got 5"):
        model(pictures(1, 5), None)


def test_refuses_a_suffix_beyond_its_positions(model):
    nine = torch.full((1, 9), 270)
    with pytest.raises(ContractError, match="a suffix holds up to 8 tokens, got 9"):
        model(pictures(1, 1), None, suffix=nine)
    _, cache = model.decode(nine[:, :8], model(pictures(1, 1), None, with_cache=True).cache)
    with pytest.raises(ContractError, match="a suffix holds up to 8 tokens, got 9"):
        model.decode(nine[:, :1], cache)


def test_long_instructions_are_cut(model):
    short = model(pictures(1, 1), ["x" * 8])
    assert short.mask.shape[1] <= TOKENS + 8 + 1
    same(model(pictures(1, 1), ["x" * 10_000]).logits, model(pictures(1, 1), ["x" * 50]).logits)
