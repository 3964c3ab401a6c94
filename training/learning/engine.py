"""One training loop for every stage and method: what is fixed over a run, one step, the loop.

A stage gives micro-batches as a pure function of the step, and a loss with how many terms it is
the mean of. Losses and gradients of a step are the mean over all terms of the whole batch, however
it is cut into micro-batches and processes. Nothing random has a state, so a resumed run has the
losses of one that was never interrupted.
"""

import io
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from training.learning.ema import Ema
from training.learning.event_log import EventLog
from training.learning.precision import autocast
from training.learning.processes import World
from training.learning.schedule import warm_up_and_cosine
from vla_ros.core.errors import CheckpointError, VlaError


@dataclass(frozen=True)
class EngineConfig:
    """How a run optimises.

    Attributes:
        steps: optimiser steps.
        schedule: after the warm-up, "cosine" to 0 (TAP, paper and code) or "constant" (APT, code).
        warmup_steps: over which the rates rise linearly.
        accumulation: micro-batches of one process a step.
        clip: largest norm of the whole gradient.
        ema_decay: of averaged weights, which the checkpoint then holds; 0: none. APT's code
            defines 0.9995 and leaves it off.
        betas: AdamW's.
        bf16: forward passes under bfloat16 autocast, where that is fast (`precision`).
        log_every, save_every: in steps; the end is logged and saved anyway.
    """

    steps: int
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    accumulation: int = 1
    clip: float = 1.0
    ema_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    bf16: bool = False
    log_every: int = 10
    save_every: int = 1000

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        sizes = (self.steps, self.accumulation, self.log_every, self.save_every)
        is_right = min(sizes) >= 1 and self.warmup_steps >= 0 and 0 <= self.ema_decay < 1
        if not is_right or self.clip <= 0 or self.schedule not in ("cosine", "constant"):
            raise VlaError(
                "a run needs counts of at least 1, a positive clip, an average's decay in [0, 1) "
                f"and schedule cosine or constant, got {self}; correct the recipe"
            )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**asdict(self), "betas": list(self.betas)}


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


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: steps done.
        curve: (step, loss) of each step that was logged.
        seconds: that steps took, batches included, since the run was started or resumed.
    """

    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Job:
    """What is fixed over a run.

    Attributes:
        policy: the module itself; `model` is what to call, the same or spread over processes.
        micro_batches: step (from 0) -> this process's micro-batches.
        loss: (model, micro-batch) -> its loss.
        ema: None where weights are not averaged.
    """

    config: EngineConfig
    world: World
    policy: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    micro_batches: Callable[[int], Sequence[Any]]
    loss: Callable[[nn.Module, Any], PartLoss]


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
    optimizer = torch.optim.AdamW(groups(), betas=config.betas, fused=True)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    ema = Ema(policy, config.ema_decay) if config.ema_decay else None
    model = world.spread(policy)
    return Job(config, world, policy, model, optimizer, ema, micro_batches, loss)


def rate_factor(step: int, config: EngineConfig) -> float:
    """Return what rates are multiplied by at `step` (from 0): linear warm-up, then the schedule."""
    if config.schedule == "constant" and step >= config.warmup_steps:
        return 1.0
    return warm_up_and_cosine(1.0, step, config.warmup_steps, config.steps)


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
            "finite; resume from the last checkpoint with a lower rate, or check the data"
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
        with _waiting(job.model, is_last):
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
    scalars = {n: v / max(count, 1e-12) for n, v in zip(names, others, strict=True)}
    return StepResult(total / max(count, 1e-12), float(norm), scalars)


def _waiting(model: nn.Module, is_last: bool):
    """Processes exchange gradients once a step, with the last micro-batch."""
    if isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return nullcontext()


def run(
    job: Job,
    progress: Progress,
    save: Callable[[Progress], None],
    log: EventLog | None = None,
    evaluate: Callable[[int], None] | None = None,
    stop_after: int | None = None,
) -> Progress:
    """Train from `progress` to the end; returns it, gone on.

    Args:
        job: the run.
        progress: where it is; changed.
        save: writes the checkpoint, called by rank 0 every `save_every` steps and at the end.
        log: of rank 0.
        evaluate: called with the number of steps done, in every process, before saving.
        stop_after: steps after which to save and end as if interrupted (tests).
    """
    config, world = job.config, job.world
    end = min(config.steps, stop_after or config.steps)
    job.policy.train()
    first = progress.step
    with tqdm(total=config.steps, initial=first, unit="step", disable=not world.is_first) as bar:
        while progress.step < end:
            started = time.perf_counter()
            result = train_step(job, progress.step)
            progress.seconds += time.perf_counter() - started
            progress.step += 1
            bar.update()
            if progress.step % config.log_every == 0 or progress.step == end:
                bar.set_postfix(loss=f"{result.loss:.4f}", refresh=False)
                progress.curve.append((progress.step, result.loss))
                if log is not None and world.is_first:
                    rate = job.optimizer.param_groups[0]["lr"]
                    speed = (progress.step - first) / progress.seconds
                    log.step(progress.step, result._asdict(), rate, speed)
            if progress.step % config.save_every == 0 or progress.step == end:
                if evaluate is not None:
                    job.policy.eval()
                    evaluate(progress.step)
                    job.policy.train()
                if world.is_first:
                    save(progress)
                world.wait()
    return progress


def run_state(job: Job, progress: Progress) -> bytes:
    """Return what `resume` goes on from: plain tensors and numbers."""
    buffer = io.BytesIO()
    weights = {n: p.detach() for n, p in job.policy.named_parameters() if p.requires_grad}
    state = {"optimizer": job.optimizer.state_dict(), "weights": weights}
    state["ema"] = None if job.ema is None else job.ema.state()
    torch.save({**state, "step": progress.step, "curve": progress.curve}, buffer)
    return buffer.getvalue()


def resume(job: Job, state: bytes) -> Progress:
    """Put a run's state into `job`, fresh from `make_job`, and return its progress.

    Raises:
        CheckpointError: the state is damaged, of another run, or a pickle of anything else.
    """
    try:
        found = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
        own = {n: p for n, p in job.policy.named_parameters() if p.requires_grad}
        if set(own) != set(found["weights"]) or (found["ema"] is None) != (job.ema is None):
            raise ValueError("other parameters train")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(found["weights"][name])
        job.optimizer.load_state_dict(found["optimizer"])
        if job.ema is not None:
            job.ema.load(found["ema"])
        return Progress(found["step"], [tuple(point) for point in found["curve"]])
    except Exception as error:  # the reader of damaged bytes raises nearly anything
        raise CheckpointError(
            f"training state is damaged or of another run ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:80] if str(error) else ''}); "
            "start this run again without --resume"
        ) from None
