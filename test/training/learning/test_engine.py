import json
import math
import os
import pickle
import socket

import numpy as np
import pytest
import torch
from torch import nn

from training.learning.dry_run import measure
from training.learning.engine import (
    EngineConfig,
    PartLoss,
    Progress,
    make_job,
    rate_factor,
    resume,
    run,
    run_state,
    train_step,
)
from training.learning.event_log import EventLog
from training.learning.processes import World, join, leave
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

BATCH = 8
SIZES = SmallVlmConfig(
    image_size=32,
    channels=(8, 8, 8),
    num_keypoints=4,
    keypoint_tokens=1,
    grid=2,
    width=16,
    depth=1,
    num_heads=2,
    max_text=16,
    max_suffix=16,
)


def samples(step: int):
    """Return the whole batch of a step: some actions are 7 tokens, some are merged to fewer."""
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(BATCH, 2, 3, 32, 32, generator=generator) * 2 - 1
    actions = torch.randint(-1, 2, (BATCH, 1, 7), generator=generator) * 0.5
    actions[: BATCH // 2] = 0.5
    return images, actions


def loss_of(model, batch) -> PartLoss:
    images, actions = batch
    found = model(images, None, actions)
    return PartLoss(found.total, found.count, {"accuracy": found.hits / found.count})


def tiny_job(config: EngineConfig, world: World | None = None):
    world = world or World()

    def micro_batches(step):
        images, actions = samples(step)
        own = slice(world.rank, None, world.size)
        parts = [tensor[own].chunk(config.accumulation) for tensor in (images, actions)]
        return list(zip(*parts, strict=True))

    torch.manual_seed(0)
    chunks = torch.cat([samples(step)[1] for step in range(8)]).numpy()
    tokens = FastTokenizer.fit(chunks, vocabulary=40)
    policy = TapPolicy(SmallVlm(SIZES), TapConfig(frozen_vision="never"), tokens)
    return make_job(
        policy, lambda: policy.optimizer_groups(lr=3e-3), micro_batches, loss_of, config, world
    )


def losses(job, first: int, end: int) -> list[list[float]]:
    results = [train_step(job, step) for step in range(first, end)]
    return [[r.loss, r.gradient_norm, r.scalars["accuracy"]] for r in results]


class Line(nn.Module):
    """y = weight x, and a parameter that nothing reaches."""

    def __init__(self):
        super().__init__()
        self.weight, self.unused = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.weight * x

    def freeze_unreached(self, loss):
        self.unused.requires_grad_(False)
        return ["unused"]


def line_job(parts, **config):
    """Return a job of squared errors against y = 2 x; each part weighs by its number of points."""
    line = Line()

    def loss(model, x):
        return PartLoss(((model(x) - 2 * x) ** 2).mean(), float(len(x)), {})

    groups = [{"params": [line.weight], "lr": 0.1, "weight_decay": 0.0}]
    settings = EngineConfig(**{"steps": 10, "clip": 100.0, **config})
    return make_job(line, lambda: groups, lambda step: parts, loss, settings)


def test_parts_weigh_by_their_number_of_terms():
    job = line_job([torch.tensor([1.0]), torch.tensor([2.0, 3.0])])
    result = train_step(job, 0)
    # Errors 2, 4, 6; gradient of the mean square is -2 (2 + 8 + 18) / 3.
    assert result.loss == pytest.approx(56 / 3)
    assert result.gradient_norm == pytest.approx(56 / 3)


def test_a_gradient_is_clipped_and_its_norm_is_told_as_it_was():
    job = line_job([torch.tensor([1.0])], clip=0.5)
    assert train_step(job, 0).gradient_norm == pytest.approx(4.0)
    assert job.policy.weight.grad.item() == pytest.approx(-0.5)


def test_a_loss_that_is_not_finite_changes_nothing():
    job = line_job([torch.tensor([math.inf])])
    with pytest.raises(VlaError, match="of step 3 is not finite"):
        train_step(job, 3)
    assert job.policy.weight.item() == 0


def test_rates_rise_then_fall_or_stay():
    cosine = EngineConfig(steps=6, warmup_steps=2)
    assert [round(rate_factor(s, cosine), 4) for s in (0, 1, 2, 4)] == [0.5, 1.0, 1.0, 0.5]
    constant = EngineConfig(steps=6, warmup_steps=2, schedule="constant")
    assert [rate_factor(s, constant) for s in (0, 1, 5)] == [0.5, 1.0, 1.0]


def test_averaged_weights_follow_at_their_decay():
    job = line_job([torch.tensor([1.0])], ema_decay=0.5)
    train_step(job, 0)
    # The first update keeps 2 / 11 of the start, which was 0.
    expected = job.policy.weight.item() * 9 / 11
    assert job.ema.weights()["weight"].item() == pytest.approx(expected)
    assert set(job.ema.weights()) == {"weight"}
    own = job.policy.weight.item()
    with job.ema.in_place():
        assert job.policy.weight.item() == pytest.approx(expected)
    assert job.policy.weight.item() == own


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"accumulation": 0}, {"ema_decay": 1.0}, {"clip": 0.0}, {"schedule": "none"}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(VlaError, match="correct the recipe"):
        EngineConfig(**{"steps": 1, **wrong})


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one():
    config = EngineConfig(steps=6, warmup_steps=1, ema_decay=0.9)
    whole = tiny_job(config)
    expected = losses(whole, 0, 6)
    stopped = tiny_job(config)
    losses(stopped, 0, 3)
    state = run_state(stopped, Progress(3, [(3, 1.0)]))
    again = tiny_job(config)
    progress = resume(again, state)
    assert (progress.step, progress.curve) == (3, [(3, 1.0)])
    assert losses(again, 3, 6) == expected[3:]
    for name, average in whole.ema.weights().items():
        assert torch.equal(again.ema.weights()[name], average), name
    assert expected[5][0] < expected[0][0]


def test_a_state_of_another_run_or_a_pickle_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    state = run_state(line_job([torch.ones(1)], ema_decay=0.5), Progress(1))
    job = line_job([torch.ones(1)])
    for bad in (state, state[: len(state) // 2], pickle.dumps(Bomb())):
        with pytest.raises(CheckpointError, match="damaged or of another run"):
            resume(job, bad)
    assert not (tmp_path / "pwned").exists()


def test_micro_batches_give_the_losses_of_the_whole():
    whole = losses(tiny_job(EngineConfig(steps=3)), 0, 3)
    cut = losses(tiny_job(EngineConfig(steps=3, accumulation=4)), 0, 3)
    np.testing.assert_allclose(cut, whole, rtol=2e-4)


def test_two_processes_give_the_losses_of_one(fork, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def train(rank):
        torch.set_num_threads(1)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        world = join()
        found = losses(tiny_job(EngineConfig(steps=4), world), 0, 4)
        (tmp_path / f"{world.rank}.json").write_text(json.dumps(found))
        leave(world)

    started = [fork(lambda rank=rank: train(rank)) for rank in range(2)]
    assert [process.end() for process in started] == [(0, ""), (0, "")]
    expected = losses(tiny_job(EngineConfig(steps=4)), 0, 4)
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_the_loop_logs_evaluates_and_saves_when_due():
    job = line_job([torch.tensor([1.0])], steps=5, log_every=2, save_every=3)
    saved, evaluated, modes = [], [], []

    def evaluate(step):
        evaluated.append(step)
        modes.append(job.policy.training)

    progress = run(job, Progress(), lambda progress: saved.append(progress.step), None, evaluate)
    assert saved == evaluated == [3, 5]
    assert modes == [False, False]
    assert [step for step, _ in progress.curve] == [2, 4, 5]
    assert job.policy.training


def test_a_checkpoint_holds_the_averages_and_what_resuming_needs(tmp_path):
    config = EngineConfig(steps=4, ema_decay=0.9, save_every=2)
    normalizer = Normalizer([-1.0] * 6, [1.0] * 6)

    def save(job, progress):
        run_facts = {"stage": 1, "steps_done": progress.step, "weights": "averaged"}
        contract = tap_contract(image_size=32)
        checkpoint = Checkpoint(job.policy, contract, run_facts, normalizer)
        state = {"training_state.pt": run_state(job, progress)}
        save_checkpoint(checkpoint, tmp_path / "ckpt", state, job.ema.weights())

    job = tiny_job(config)
    with EventLog(tmp_path / "events") as log:
        run(job, Progress(), lambda progress: save(job, progress), log, stop_after=2)
    again = tiny_job(config)
    progress = resume(again, (tmp_path / "ckpt" / "training_state.pt").read_bytes())
    run(again, progress, lambda progress: save(again, progress))
    loaded = load_checkpoint(tmp_path / "ckpt")
    assert loaded.run["steps_done"] == 4
    averages = again.ema.weights()
    assert all(torch.equal(p, averages[n]) for n, p in loaded.policy.named_parameters())
    assert not torch.equal(loaded.policy.vlm.rows, again.policy.vlm.rows)


def test_a_dry_run_counts_and_leaves_the_weights():
    job = line_job([torch.ones(1000)], ema_decay=0.5)
    cost = measure(job)
    assert cost.trained == {"weight": 1, "unused": 0}
    assert cost.frozen == {"weight": 0, "unused": 1}
    # Weight, gradient, two moments and average of one number; the frozen number.
    assert cost.state_bytes == 6 * 4
    # The points and their errors are kept for the backward pass.
    assert 8000 <= cost.activation_bytes < 16000
    assert cost.steps_per_s > 0
    assert "weight: 0.00 M parameters train" in str(cost)
    assert (job.policy.weight.item(), job.policy.weight.grad) == (0, None)


def test_a_batch_that_cannot_be_shared_is_refused():
    assert World(0, 2).share(8, 2) == 4
    with pytest.raises(VlaError, match="cannot be shared by 2 processes with 3 parts"):
        World(0, 2).share(8, 3)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (join().rank, join().size) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(VlaError, match="must be numbers"):
        join()
