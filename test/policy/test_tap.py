import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import IGNORED, TapPolicy
from vla_ros.policy.tap_config import TapConfig
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

TEXT = ["put the carrot on the plate", "push the pumpkin to the left"]
END = 0


class FakeVlm(VisionLanguageModel):
    """Reads one token a picture, then letters, by a leaky sum; the sum alone is the cache."""

    end_token = END

    def __init__(self, width: int = 8):
        super().__init__()
        self.width, self.num_layers, self.image_size = width, 1, 4
        self.first_action_token, self.num_action_tokens = 128, 0
        self.tower = nn.Linear(48, width)
        self.text_only = nn.Linear(width, width)
        self.mixer = nn.Linear(width, width)
        self.rows = nn.Parameter(torch.randn(128, width))
        self.passes = 0

    def forward(self, images, text, suffix=None, layers=(), with_cache=False):
        self.passes += 1
        state = torch.zeros(len(images), self.width)
        for seen in self.tower(images.flatten(2)).unbind(1):
            state = 0.5 * state + seen
        if text is not None:
            codes = torch.stack([torch.tensor([ord(c) for c in t[:4]]) for t in text])
            for letters in self.text_only(F.embedding(codes, self.rows)).unbind(1):
                state = 0.5 * state + letters
        states = [state]
        for tokens in () if suffix is None else suffix.unbind(1):
            states.append(0.5 * states[-1] + F.embedding(tokens, self.rows))
        logits = self._logits(torch.stack(states, 1))
        empty = torch.zeros(0)
        cache = states[-1] if with_cache else None
        last = torch.tanh(self.mixer(state))
        return VlmOutput(empty, (), empty, empty, empty, empty, last, logits, cache)

    def decode(self, tokens, cache):
        self.passes += 1
        for column in tokens.unbind(1):
            cache = 0.5 * cache + F.embedding(column, self.rows)
        return self._logits(cache), cache

    def _logits(self, state):
        return torch.tanh(self.mixer(state)) @ self.rows.T

    def add_action_tokens(self, count):
        self.rows = nn.Parameter(torch.cat([self.rows.data, torch.randn(count, self.width)]))
        self.num_action_tokens = count

    def parameter_groups(self):
        language = [*self.mixer.parameters(), *self.text_only.parameters()]
        return {
            "vision": list(self.tower.parameters()),
            "language": language,
            "tokens": [self.rows],
        }


def actions(count: int = 2, horizon: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, horizon, 7, generator=generator) * 2 - 1


TOKENIZER = FastTokenizer.fit(actions(200).numpy(), vocabulary=40)
CHUNKS = FastTokenizer.fit(actions(200, 3).numpy(), vocabulary=60)


def make(tokenizer=TOKENIZER, **switches) -> TapPolicy:
    torch.manual_seed(0)
    config = TapConfig(**{"horizon": tokenizer.horizon, **switches})
    return TapPolicy(FakeVlm(), config, tokenizer)


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1


def set_logits(policy, sequence):
    """Make the fake score vocabulary index sequence[i] best at step i, whatever it saw."""
    seen = []

    def scores(state):
        wanted = sequence[min(len(seen), len(sequence) - 1)]
        seen.append(wanted)
        out = torch.zeros(*state.shape[:-1], len(policy.vlm.rows))
        out[..., wanted] = 9.0
        return out

    policy.vlm._logits = scores


def test_targets_are_action_tokens_then_the_end_then_nothing():
    policy = make()
    # BPE joins what the data repeats, so the two rows have different lengths.
    rows = np.array([[[0.1] * 7], [[0.0, 1.0, -1.0, 0.5, -0.5, 0.7, 1.0]]])
    first, second = TOKENIZER.encode(rows)
    suffix, target = policy.targets(torch.tensor(rows))
    longest = max(len(first), len(second))
    for i, row in enumerate((first, second)):
        tokens, pad = [128 + t for t in row], longest - len(row)
        assert suffix[i].tolist() == tokens + [END] * pad
        assert target[i].tolist() == [*tokens, END] + [IGNORED] * pad


def test_loss_is_the_mean_over_action_and_end_tokens_of_the_batch(images):
    policy = make()
    # All logits equal: cross-entropy is the log of the vocabulary's size at each token.
    policy.vlm._logits = lambda state: torch.zeros(*state.shape[:-1], 128 + TOKENIZER.size)
    loss = policy(images, None, actions())
    lengths = [len(row) + 1 for row in TOKENIZER.encode(actions().numpy())]
    assert loss.total.item() == pytest.approx(math.log(128 + TOKENIZER.size))
    assert loss.count.item() == sum(lengths)
    # The best guess is index 0, the end token, right once a sample.
    assert loss.hits.item() == 2


def test_losses_of_parts_make_that_of_the_whole(images):
    policy = make()
    targets = torch.tensor([[[0.0] * 7], [[0.0, 1.0, -1.0, 0.5, -0.5, 0.7, 1.0]]])
    whole = policy(images, None, targets)
    parts = [policy(images[i : i + 1], None, targets[i : i + 1]) for i in range(2)]
    total = sum(p.total * p.count for p in parts) / sum(p.count for p in parts)
    assert total.item() == pytest.approx(whole.total.item(), rel=1e-5)


def test_mlp_loss_is_the_mean_square(images):
    policy = make(head="mlp")
    nn.init.zeros_(policy.head[-1].weight)
    nn.init.zeros_(policy.head[-1].bias)
    target = torch.zeros(2, 1, 7)
    target[0, 0, 0], target[1, 0, 6] = 3.0, 1.0
    assert policy(images, None, target).total.item() == pytest.approx(10 / 14)
    assert policy.act(images, None).shape == (2, 1, 7)
    assert policy.vlm.num_action_tokens == 0


@pytest.mark.parametrize("decoding", ["counted", "free"])
def test_decoding_gives_what_teacher_forcing_says_is_best(images, decoding):
    policy = make(CHUNKS, decoding=decoding)
    policy.vlm.rows.data[:128] = 0  # no letter scores best
    rows = policy.generate(images, None)
    suffix = torch.tensor(rows[:1]) + 128
    logits = policy.vlm(images[:1], None, suffix=suffix).logits[0]
    if decoding == "counted":
        left = np.array([21])
        for step, token in enumerate(rows[0]):
            allowed = CHUNKS.grammar.allowed(left, np.array([False]))[0]
            scores = logits[step, 128:].masked_fill(~torch.from_numpy(allowed), -torch.inf)
            assert scores.argmax().item() == token
            left -= len(CHUNKS.vocabulary[token])
        assert left.item() == 0
    else:
        assert logits.argmax(-1).tolist()[:-1] == suffix[0].tolist()
        assert len(rows[0]) == 2 * 3 * 7


def test_a_batch_decodes_as_its_samples_do_alone(images):
    policy = make(CHUNKS)
    alone = torch.cat([policy.act(images[i : i + 1], None) for i in range(2)])
    assert torch.equal(policy.act(images, None), alone)


def test_a_trained_policy_acts_as_it_was_taught(images):
    policy = make(frozen_vision="never")
    target, learning = (
        actions(),
        [policy.vlm.tower.weight, policy.vlm.mixer.weight, policy.vlm.rows],
    )
    for _ in range(200):  # plain gradient descent: importing torch's optimisers takes longer
        loss = policy(images, None, target)
        for parameter, slope in zip(
            learning, torch.autograd.grad(loss.total, learning), strict=True
        ):
            parameter.data -= 0.5 * slope
    assert loss.hits == loss.count
    rounded = np.stack([TOKENIZER.decode(t) for t in TOKENIZER.encode(target.numpy())])
    assert torch.equal(policy.act(images, None), torch.from_numpy(rounded))
    assert (policy.act(images, None) - target).abs().max() <= 0.05 + 1e-6


def test_counted_decoding_ends_by_itself_and_takes_no_other_tokens(images):
    policy = make()
    # The end and a letter score best, yet 7 coefficients come: index 128 is the letter of -10.
    policy.vlm._logits = lambda state: torch.linspace(1, 0, 128 + TOKENIZER.size).expand(
        *state.shape[:-1], -1
    )
    assert policy.act(images, None).flatten().tolist() == [-1.0] * 14
    assert policy.vlm.passes == 7


@pytest.mark.parametrize("answer", [[END], [128, 130, END], [65], [128]])
def test_free_decoding_of_no_chunk_is_refused_or_zeros_as_in_the_released_code(images, answer):
    policy = make(decoding="free")
    set_logits(policy, answer)
    with pytest.raises(ContractError, match="coefficients where 7 are a chunk of 1 x 7"):
        policy.act(images, None)
    released = make(decoding="free", malformed="zeros")
    set_logits(released, answer)
    assert released.act(images, None).tolist() == [[[0.0] * 7]] * 2


def test_free_decoding_drops_other_tokens_and_stops_at_the_end(images):
    policy = make(decoding="free")
    tokens = TOKENIZER.encode(np.full((1, 1, 7), 0.3))[0]
    set_logits(policy, [65, *(128 + t for t in tokens), END, 128])
    assert policy.act(images[:1], None)[0, 0].tolist() == pytest.approx([0.3] * 7)


def test_free_decoding_takes_nothing_after_a_sample_has_ended(images):
    # Token 0 is the letter of -10, the fake goes on with it for ever; the first sample ends at 7.
    policy = make(decoding="free", malformed="zeros")
    steps = []

    def scores(state):
        steps.append(1)
        out = torch.zeros(*state.shape[:-1], 128 + TOKENIZER.size)
        out[..., 128] = 1.0
        if len(steps) == 8:
            out[0, ..., END] = 2.0
        return out

    policy.vlm._logits = scores
    assert [len(row) for row in policy.generate(images, None)] == [7, 14]


@pytest.mark.parametrize("decoding", ["counted", "free"])
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_refuses_scores_that_are_not_finite(images, decoding, score):
    policy = make(decoding=decoding, malformed="zeros")
    policy.vlm._logits = lambda state: torch.full((2, 1, 128 + TOKENIZER.size), score)
    with pytest.raises(ContractError, match="not finite"):
        policy.act(images, None)


@pytest.mark.parametrize("head", ["fast", "mlp"])
@pytest.mark.parametrize("frozen_vision", ["stage_1", "never"])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_gradient_reaches_exactly_the_trainable_parameters(images, head, frozen_vision, stage):
    policy = make(stage=stage, head=head, frozen_vision=frozen_vision)
    policy.freeze_unreached(policy(images, TEXT, actions()).total)
    frozen = {name for name, p in policy.named_parameters() if not p.requires_grad}
    vision = {"vlm.tower.weight", "vlm.tower.bias"}
    text = {"vlm.text_only.weight", "vlm.text_only.bias"}
    expected = vision if (stage, frozen_vision) == (1, "stage_1") else set()
    expected = expected | (text if stage == 1 else set())
    # Stage 2 reads letters from the same rows; the regression of Stage 1 has no row at all.
    expected = expected | ({"vlm.rows"} if (stage, head) == (1, "mlp") else set())
    assert frozen == expected
    policy(images, TEXT, actions()).total.backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (
            parameter.requires_grad
        ), name


def test_what_the_backbone_froze_stays_frozen():
    vlm = FakeVlm()
    vlm.mixer.requires_grad_(False)
    policy = TapPolicy(vlm, TapConfig(), TOKENIZER)
    second = policy.second_stage()
    assert not second.vlm.mixer.weight.requires_grad
    assert second.vlm.tower.weight.requires_grad


def test_second_stage_carries_all_weights_over(images):
    policy = make(head="mlp")
    policy.freeze_unreached(policy(images, None, actions()).total)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    second = policy.second_stage()
    assert second.config == replace(policy.config, stage=2)
    after = second.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.requires_grad for p in second.parameters())
    with pytest.raises(CheckpointError, match="starts from a Stage 1 policy"):
        second.second_stage()


def test_stage_1_sees_both_pictures_and_no_text(images):
    policy = make()
    loss = policy(images, None, actions()).total
    assert torch.equal(policy(images, TEXT, actions()).total, loss)
    assert not torch.equal(policy(images.flip(1), None, actions()).total, loss)


def test_vision_control_sees_the_first_picture_alone(images):
    policy = make(condition="vision")
    other = images.clone()
    other[:, 1] = 0
    assert torch.equal(policy(other, None, actions()).total, policy(images, None, actions()).total)
    assert not torch.equal(
        policy(images.flip(1), None, actions()).total, policy(images, None, actions()).total
    )


def test_stage_2_sees_the_first_picture_and_the_text_in_lower_case(images):
    policy = make(stage=2)
    loss = policy(images[:, :1], TEXT, actions()).total
    upper = [sentence.upper() for sentence in TEXT]
    assert torch.equal(policy(images, upper, actions()).total, loss)
    assert not torch.equal(policy(images, TEXT[::-1], actions()).total, loss)


@pytest.mark.parametrize(
    ("stage", "num_images", "text", "fault"),
    [(1, 1, None, "got 1 and no instruction"), (2, 1, None, "needs 1 pictures and an instruction")],
)
def test_refuses_samples_of_the_other_stage(images, stage, num_images, text, fault):
    with pytest.raises(ContractError, match=fault):
        make(stage=stage).act(images[:, :num_images], text)


@pytest.mark.parametrize("stage", [1, 2])
def test_runs_on_the_small_backbone(stage):
    sizes = {"channels": (8, 8, 8), "num_keypoints": 4, "keypoint_tokens": 1, "grid": 2}
    sizes |= {"image_size": 32, "width": 16, "depth": 2, "num_heads": 2, "max_suffix": 8}
    torch.manual_seed(0)
    config = TapConfig(stage, frozen_vision="never")
    policy = TapPolicy(SmallVlm(SmallVlmConfig(**sizes)), config, TOKENIZER)
    images = torch.rand(2, 3 - stage, 3, 32, 32)
    loss = policy(images, TEXT, actions())
    assert policy.freeze_unreached(loss.total) == []
    loss.total.backward()
    assert all(p.grad is not None for p in policy.parameters())
    # Cached decoding says what the whole sequence at once says.
    row = policy.generate(images[:1], TEXT[:1])[0]
    suffix = torch.tensor([row]) + policy.vlm.first_action_token
    logits = policy.vlm(images[:1], TEXT[:1] if stage == 2 else None, suffix=suffix).logits
    left = np.array([7])
    for step, token in enumerate(row):
        allowed = TOKENIZER.grammar.allowed(left, np.array([False]))[0]
        scores = logits[0, step, policy.vlm.first_action_token :]
        assert scores.masked_fill(~torch.from_numpy(allowed), -torch.inf).argmax().item() == token
        left -= len(TOKENIZER.vocabulary[token])


def test_words_are_not_decayed_unless_asked_for():
    policy = make(frozen_vision="never")
    decayed, others = policy.optimizer_groups()
    assert decayed["weight_decay"] == 0.05
    assert others["weight_decay"] == 0.0
    assert sum(p.numel() for p in [*decayed["params"], *others["params"]]) == num_parameters(policy)
    assert any(p is policy.vlm.rows for p in others["params"])
    decayed = policy.optimizer_groups(decay_tokens=True)[0]
    assert any(p is policy.vlm.rows for p in decayed["params"])


@pytest.mark.parametrize(
    ("tokenizer", "fault"),
    [(None, r"chunks \(1, 7\), got none"), (CHUNKS, r"got \(3, 7\)")],
)
def test_refuses_a_tokenizer_that_does_not_fit(tokenizer, fault):
    with pytest.raises(CheckpointError, match=fault):
        TapPolicy(FakeVlm(), TapConfig(), tokenizer)


def test_refuses_a_backbone_with_other_action_tokens():
    vlm = FakeVlm()
    vlm.add_action_tokens(5)
    with pytest.raises(CheckpointError, match="has 5 action tokens"):
        TapPolicy(vlm, TapConfig(), TOKENIZER)


def test_config_survives_json_and_refuses_others():
    config = TapConfig(stage=2, head="mlp", condition="vision", horizon=4)
    assert TapConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for data in ({"stage": 1}, {**config.to_dict(), "other": 1}, None):
        with pytest.raises(CheckpointError, match="TAP's config does not have"):
            TapConfig.from_dict(data)
    for change in ({"stage": 3}, {"horizon": 0}, {"head": "softmax"}, {"decoding": "beam"}):
        with pytest.raises(CheckpointError, match="correct the recipe"):
            TapConfig.from_dict({**config.to_dict(), **change})
