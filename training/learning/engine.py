"""One training loop for every stage and method: what is fixed over a run, one step, the loop.

A stage gives micro-batches as a pure function of the step, and a loss with how many terms it is
the mean of. Losses and gradients of a step are the mean over all terms of the whole batch, however
it is cut into micro-batches and processes. Nothing random has a state, so a resumed run has the
losses of one that was never interrupted.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from training.learning.ema import Ema
from training.learning.engine_config import EngineConfig
from training.learning.event_log import EventLog
from training.learning.precision import autocast
from training.learning.processes import World
from training.learning.schedule import warm_up_and_cosine
from training.learning.snapshot import Progress, Snapshot, take_snapshot
from training.learning.stop import StoppedError, StopSignals
from vla_ros.core.errors import VlaError


class PartLoss(NamedTuple):
    """Loss of one micro-batch.

    Attributes:
        total: scalar, the mean over `count` terms.
        count: scalar or number of terms; a batch's parts are weighed by it.
        scalars: further means over the same terms, to be logged.
    """

    total: Tensor
    count: Tensor | float
    scalars: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Job:
    """What is fixed over a run.

    Attributes:
        policy: the module itself; `model` is what to call, the same or spread over processes.
        micro_batches: step (from 0) -> this process's micro-batches.
        loss: (model, micro-batch) -> its loss.
        ema: None where weights are not averaged.
        is_sharded: whether each process has a share of the weights alone (`sharding`).
    """

    config: EngineConfig
    world: World
    policy: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    micro_batches: Callable[[int], Sequence[Any]]
    loss: Callable[[nn.Module, Any], PartLoss]
    is_sharded: bool = False


class StepResult(NamedTuple):
    """One step: loss and scalars before it, over the whole batch, and the gradient's norm."""

    loss: float
    gradient_norm: float
    scalars: dict[str, float]


def make_job(
    policy: Any,
    groups: Callable[[], list[dict]],
    micro_batches: Callable[[int], Sequence[Any]],
    loss: Callable[[nn.Module, Any], PartLoss],
    config: EngineConfig,
    world: World | None = None,
) -> Job:
    """Return the job of a fresh run; what the first batch's loss does not reach is frozen.

    Args:
        policy: TAP's or APT's, on the world's device, with `freeze_unreached`.
        groups: AdamW's groups of what trains, asked for after freezing.
        micro_batches, loss, config, world: see `Job`.
    """
    world = world or World()
    policy.freeze_unreached(loss(policy, micro_batches(0)[0]).total)
    is_sharded = config.shard and world.size > 1 and _has_training_backbone(policy)
    model = world.spread(policy, is_sharded)
    # After spreading: a share of the weights has a share of moments and averages.
    optimizer = new_optimizer(groups(), config)
    ema = Ema(policy, config.ema_decay) if config.ema_decay else None
    return Job(config, world, policy, model, optimizer, ema, micro_batches, loss, is_sharded)


def _has_training_backbone(policy: Any) -> bool:
    return any(parameter.requires_grad for parameter in policy.vlm.parameters())


def new_optimizer(groups: list[dict], config: EngineConfig) -> torch.optim.AdamW:
    """Return AdamW on groups with their highest rates, to which it will rise."""
    optimizer = torch.optim.AdamW(groups, betas=config.betas, fused=True)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def rate_factor(step: int, config: EngineConfig) -> float:
    """Return what rates are multiplied by at `step` (from 0): linear warm-up, then the schedule."""
    if config.schedule == "constant" and step >= config.rise_steps:
        return 1.0
    return warm_up_and_cosine(1.0, step, config.rise_steps, config.steps)


def train_step(job: Job, step: int) -> StepResult:
    """Take optimiser step `step` (from 0).

    Raises:
        VlaError: the loss is not finite; the weights are as before the step.
    """
    for group in job.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * rate_factor(step, job.config)
    job.optimizer.zero_grad(set_to_none=True)
    result = backward(job, job.micro_batches(step))
    if not (math.isfinite(result.loss) and math.isfinite(result.gradient_norm)):
        raise VlaError(
            f"loss {result.loss:g} or gradient {result.gradient_norm:g} of step {step} is not "
            "finite; check the data, or begin anew by --overwrite with a lower rate in the recipe"
        )
    job.optimizer.step()
    if job.ema is not None:
        job.ema.update()
    return result


def backward(job: Job, parts: Sequence[Any]) -> StepResult:
    """Leave the clipped gradient of the whole batch in the parameters; this process has `parts`."""
    sums, names = torch.zeros(0), ()
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        with _waiting(job, is_last):
            with autocast(job.world.device.type, job.config.bf16):
                loss = job.loss(job.model, part)
            # Of sums, not means: their number is known when all parts and processes are through.
            (loss.total * loss.count).backward()
        names = tuple(loss.scalars)
        means = torch.stack([loss.total, torch.ones_like(loss.total), *loss.scalars.values()])
        own = means.detach().double() * torch.as_tensor(loss.count, device=means.device)
        sums = own if number == 0 else sums + own
    total, count, *others = job.world.sum(sums).tolist()
    trained = [p for p in job.policy.parameters() if p.grad is not None]
    for parameter in trained:
        assert parameter.grad is not None
        # Spread over processes, gradients arrive as the mean over these.
        parameter.grad.mul_(job.world.size / max(count, 1e-12))
    norm = torch.nn.utils.clip_grad_norm_(trained, job.config.clip, foreach=True)
    if job.is_sharded:
        norm = cast(Any, norm).full_tensor()
    scalars = {n: v / max(count, 1e-12) for n, v in zip(names, others, strict=True)}
    return StepResult(total / max(count, 1e-12), float(norm), scalars)


def _waiting(job: Job, is_last: bool):
    """Processes exchange gradients once a step, with the last micro-batch."""
    model: Any = job.model
    if job.is_sharded:
        model.set_requires_gradient_sync(is_last)
    elif isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return nullcontext()


def run(
    job: Job,
    progress: Progress,
    save: Callable[[Progress, Snapshot], None],
    log: EventLog | None = None,
    evaluate: Callable[[int], None] | None = None,
    stop_after: int | None = None,
) -> Progress:
    """Train from `progress` to the end; returns it, gone on.

    A SIGINT or SIGTERM that any process gets ends the run after the step that all are in and one
    save; an evaluation or a save that is under way is ended first, one that is due is left out.

    Args:
        job: the run.
        progress: where it is; changed.
        save: writes the checkpoint, called by rank 0 after each evaluation, when time is up
            (`save_minutes`), at the end and when the run is told to stop.
        log: of rank 0.
        evaluate: called with the number of steps done, in every process, before saving.
        stop_after: steps after which to save and return as if interrupted (tests).

    Raises:
        StoppedError: by a signal, before the end, and saved.
    """
    config, world = job.config, job.world
    job.policy.train()
    first = progress.step
    with (
        StopSignals(not world.by_torchrun, world.is_first) as signals,
        tqdm(total=config.steps, initial=first, unit="step", disable=not world.is_first) as bar,
    ):
        saved_s = time.monotonic()
        while progress.step < config.steps:
            loss = _timed_step(job, progress, log, first)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            is_late = world.is_first and time.monotonic() - saved_s > 60 * config.save_minutes
            is_stopped, is_late = world.any(signals.number is not None, is_late)
            is_end = progress.step == config.steps
            is_due = progress.step % config.evaluate_every == 0
            # Who asks to stop may not wait for long: torchrun kills what takes its time.
            is_measured = is_end or (is_due and not is_stopped)
            if is_measured and evaluate is not None:
                job.policy.eval()
                with _as_shown(job):
                    evaluate(progress.step)
                job.policy.train()
            is_cut = progress.step == stop_after
            if is_measured or is_stopped or is_late or is_cut:
                snapshot = take_snapshot(job)
                if world.is_first:
                    save(progress, snapshot)
                # What came meanwhile has its checkpoint; asking makes all wait for the files, too.
                (is_stopped,) = world.any(signals.number is not None)
                saved_s = time.monotonic()
            if is_stopped and not is_end:
                raise StoppedError(signals.number or signal.SIGTERM, progress.step)
            if is_cut:
                break
    return progress


@contextmanager
def _as_shown(job: Job) -> Iterator[None]:
    """Let the policy have averaged weights, where there are some, whole in each process."""
    with ExitStack() as stack:
        if job.ema is not None:
            stack.enter_context(job.ema.in_place())
        if job.is_sharded:
            from training.learning.sharding import whole

            stack.enter_context(whole(job.model))
        yield


def _timed_step(job: Job, progress: Progress, log: EventLog | None, first: int) -> float:
    """Take the next step and keep its loss where it is due; return it."""
    started = time.perf_counter()
    result = train_step(job, progress.step)
    progress.seconds += time.perf_counter() - started
    progress.step += 1
    if progress.step % job.config.log_every == 0 or progress.step == job.config.steps:
        progress.curve.append((progress.step, result.loss))
        if log is not None and job.world.is_first:
            rate = job.optimizer.param_groups[0]["lr"]
            speed = (progress.step - first) / progress.seconds
            log.step(progress.step, result._asdict(), rate, speed)
    return result.loss
