import math
import os
import pickle
import signal
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_jobs import losses, tiny_job
from torch import nn

from training.learning import stop
from training.learning.dry_run import measure
from training.learning.engine import (
    PartLoss,
    make_job,
    rate_factor,
    run,
    train_step,
)
from training.learning.engine_config import EngineConfig
from training.learning.event_log import EventLog
from training.learning.snapshot import Progress, resume, take_snapshot, write_state
from training.learning.stop import StoppedError, StopSignals
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer

pytestmark = pytest.mark.usefixtures("no_compiler")


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
    [
        *({"steps": 0}, {"accumulation": 0}, {"ema_decay": 1.0}, {"clip": 0.0}),
        *({"schedule": "none"}, {"warmup_fraction": -0.1}, {"save_minutes": 0.0}),
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(VlaError, match="correct the recipe"):
        EngineConfig(**{"steps": 1, **wrong})


def test_rates_rise_over_steps_or_over_a_part_of_them():
    assert EngineConfig(steps=100, warmup_steps=7, warmup_fraction=0.5).rise_steps == 7
    assert EngineConfig(steps=100, warmup_fraction=0.05).rise_steps == 5
    assert EngineConfig(steps=2, warmup_fraction=0.05).rise_steps == 1
    assert EngineConfig(steps=100).rise_steps == 0


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path):
    config = EngineConfig(steps=6, warmup_steps=1, ema_decay=0.9)
    whole = tiny_job(config)
    expected = losses(whole, 0, 6)
    stopped = tiny_job(config)
    losses(stopped, 0, 3)
    write_state(take_snapshot(stopped), Progress(3, [(3, 1.0)]), tmp_path / "state.pt")
    again = tiny_job(config)
    progress = resume(again, tmp_path / "state.pt")
    assert (progress.step, progress.curve) == (3, [(3, 1.0)])
    assert losses(again, 3, 6) == expected[3:]
    for name, average in whole.ema.weights().items():
        assert torch.equal(again.ema.weights()[name], average), name
    assert expected[5][0] < expected[0][0]


def test_a_state_of_another_run_or_a_pickle_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    file = tmp_path / "state.pt"
    write_state(take_snapshot(line_job([torch.ones(1)], ema_decay=0.5)), Progress(1), file)
    state = file.read_bytes()
    job = line_job([torch.ones(1)])
    for bad in (state, state[: len(state) // 2], pickle.dumps(Bomb())):
        file.write_bytes(bad)
        with pytest.raises(CheckpointError, match="damaged, missing or of another run"):
            resume(job, file)
    assert not (tmp_path / "pwned").exists()


def test_a_state_that_cannot_be_written_is_the_disks_error(tmp_path):
    snapshot = take_snapshot(line_job([torch.ones(1)]))
    with pytest.raises(OSError, match="nowhere"):
        write_state(snapshot, Progress(1), tmp_path / "nowhere" / "state.pt")


def test_micro_batches_give_the_losses_of_the_whole():
    whole = losses(tiny_job(EngineConfig(steps=3)), 0, 3)
    cut = losses(tiny_job(EngineConfig(steps=3, accumulation=4)), 0, 3)
    np.testing.assert_allclose(cut, whole, rtol=2e-4)


def test_the_loop_logs_evaluates_and_saves_when_due():
    job = line_job([torch.tensor([1.0])], steps=5, num_logs=2, num_evals=2)
    saved, evaluated, modes = [], [], []

    def evaluate(step):
        evaluated.append(step)
        modes.append(job.policy.training)

    progress = run(job, Progress(), lambda progress, _: saved.append(progress.step), None, evaluate)
    assert saved == evaluated == [3, 5]
    assert modes == [False, False]
    assert [step for step, _ in progress.curve] == [2, 4, 5]
    assert job.policy.training


def test_between_evaluations_it_is_saved_when_time_is_up():
    job = line_job([torch.tensor([1.0])], steps=3, save_minutes=1e-9)
    saved, evaluated = [], []
    run(job, Progress(), lambda progress, _: saved.append(progress.step), None, evaluated.append)
    assert (saved, evaluated) == ([1, 2, 3], [3])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_saved(number):
    job = line_job([torch.tensor([1.0])], steps=5)
    before, step = signal.getsignal(number), job.micro_batches
    job = replace(job, micro_batches=lambda n: (n == 1 and os.kill(os.getpid(), number)) or step(n))
    saved, evaluated = [], []
    with pytest.raises(StoppedError) as stopped:
        run(
            job, Progress(), lambda progress, _: saved.append(progress.step), None, evaluated.append
        )
    assert (stopped.value.number, stopped.value.step) == (number, 2)
    assert (saved, evaluated) == ([2], [])
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("when", "measured"), [("step", []), ("evaluate", [2]), ("save", [2])])
def test_whenever_a_signal_comes_one_save_follows_and_no_further_step(when, measured):
    job = line_job([torch.tensor([1.0])], steps=4, num_evals=2)
    step, saved, evaluated = job.micro_batches, [], []

    def told(now, is_there):
        if now == when and is_there:
            os.kill(os.getpid(), signal.SIGTERM)

    def evaluate(number):
        evaluated.append(number)
        told("evaluate", number == 2)

    def save(progress, _):
        saved.append(progress.step)
        told("save", progress.step == 2)

    job = replace(job, micro_batches=lambda n: told("step", n == 1) or step(n))
    with pytest.raises(StoppedError) as stopped:
        run(job, Progress(), save, None, evaluate)
    assert (stopped.value.step, saved, evaluated) == (2, [2], measured)


def test_a_second_signal_ends_at_once_but_no_echo_nor_those_that_torchrun_passes_on(monkeypatch):
    times_s = iter([10.0, 10.005, 11.5, 20.0, 25.0])
    monkeypatch.setattr(stop, "time", SimpleNamespace(monotonic=lambda: next(times_s)))
    with StopSignals() as signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert signals.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with StopSignals(is_alone=False) as signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert signals.number == signal.SIGINT


def test_a_signal_in_the_last_step_is_no_interruption():
    job = line_job([torch.tensor([1.0])], steps=1)
    step = job.micro_batches
    job = replace(job, micro_batches=lambda n: os.kill(os.getpid(), signal.SIGINT) or step(n))
    assert run(job, Progress(), lambda *_: None).step == 1


def test_a_checkpoint_holds_the_averages_and_what_resuming_needs(tmp_path):
    config = EngineConfig(steps=4, ema_decay=0.9, num_evals=2)
    normalizer = Normalizer([-1.0] * 6, [1.0] * 6)

    def save(job, progress, snapshot):
        run_facts = {"stage": 1, "steps_done": progress.step, "weights": "averaged"}
        contract = tap_contract(image_size=32)
        checkpoint = Checkpoint(job.policy, contract, run_facts, normalizer)
        state = {"training_state.pt": partial(write_state, snapshot, progress)}
        save_checkpoint(checkpoint, tmp_path / "ckpt", state, snapshot.weights)

    job = tiny_job(config)
    with EventLog(tmp_path / "events") as log:
        run(job, Progress(), partial(save, job), log, stop_after=2)
    again = tiny_job(config)
    progress = resume(again, tmp_path / "ckpt" / "training_state.pt")
    run(again, progress, partial(save, again))
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
