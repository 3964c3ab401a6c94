"""A run of a stage from the first step to the last.

A script makes data, policy and the engine's job, and says with a `Stage` what belongs into the
checkpoint and how held-out error is measured; `run_stage` trains, logs, evaluates, saves, resumes.
Files of a run: `stage_files`. Event files for TensorBoard lie beside them, in OUT.events.
"""

import argparse
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch

from training.learning.ahead import Ahead
from training.learning.dry_run import measure
from training.learning.engine import Job, run
from training.learning.engine_config import EngineConfig
from training.learning.event_log import EventLog
from training.learning.snapshot import Progress, Snapshot
from training.learning.stage_files import go_on, run_files
from training.provenance import code_version
from vla_ros.core.contract import Contract
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.checkpoint import Checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.small_vlm import SmallVlm


class HeldOut(NamedTuple):
    """What a measurement on held-out episodes gives.

    Attributes:
        metrics: plain JSON for metrics.json. "val_loss" and "val_constant_loss" have to be there:
            the policy's error and that of a constant prediction; numbers become curves.
        picture: (H, W, 3) uint8 RGB of sample predictions, or None.
    """

    metrics: dict
    picture: np.ndarray | None = None


class StageData(Protocol):
    """Samples of one stage: what a run tells of them."""

    @property
    def stage(self) -> int: ...
    @property
    def trained(self) -> Sized: ...
    @property
    def held_out(self) -> Sized: ...
    @property
    def num_episodes(self) -> int: ...
    @property
    def contract(self) -> Contract: ...
    @property
    def facts(self) -> list[dict]: ...


@dataclass(frozen=True, eq=False)
class Stage:
    """One run of a stage script.

    Attributes:
        args: of the command line, see `common_arguments`.
        method: "tap" or "apt".
        recipe: with the policy's own switches.
        job: of the engine, fresh.
        data: to learn from.
        facts: provenance beyond what `provenance` says, plain JSON.
        evaluate: measures the policy as it is, in evaluation mode and with averaged weights where
            there are some; called in the first process alone.
        normalizer, source: of the checkpoint.
        prepare: what there is to do before the first step, and not for a dry run.
    """

    args: argparse.Namespace
    method: str
    recipe: EngineConfig
    job: Job
    data: StageData
    facts: dict
    evaluate: Callable[[], HeldOut]
    normalizer: Normalizer | None = None
    source: HubSource | None = None
    prepare: Callable[[], None] = lambda: None

    @property
    def provenance(self) -> dict:
        """What makes this run the one it is: a resumed run has to share all of it."""
        policy = cast(Any, self.job.policy)
        # What is in force: a backbone that was loaded need not be what the recipe would make.
        config = {**self.recipe.to_dict(), "qwen": self.source and self.source.options}
        if isinstance(policy.vlm, SmallVlm):
            config["small"] = {
                n: v for n, v in policy.vlm.config.to_dict().items() if n != "tokenizer"
            }
        else:
            config["small"] = None
        return {
            "method": self.method,
            "stage": self.data.stage,
            "recipe": self.args.recipe,
            "config": config,
            "seed": self.args.seed,
            "data": self.data.facts,
            "kinds": self.args.kinds,
            "weights_of_data": self.args.weights,
            **self.facts,
        }


def run_stage(stage: Stage, stop_after: int | None = None) -> dict:
    """Train to the end and return the content of metrics.json; {} for a dry run.

    Args:
        stage: the run.
        stop_after: steps after which to save and end as if interrupted (tests).

    Raises:
        VlaError: the run to resume is another one or damaged, training diverges, or the disk
            refuses.
    """
    args, config, world, facts = stage.args, stage.job.config, stage.job.world, stage.provenance
    if world.is_first:
        print(f"{_taken(stage.data)}; {config.steps} steps of {config.batch_size}")
    if args.dry_run:
        cost = measure(stage.job)
        if world.is_first:
            print(cost)
        return {}
    progress, metrics = Progress(), dict[str, Any](val_curve=[])
    if args.resume:
        progress, metrics = go_on(args.out, stage.job, facts)
    first_step = progress.step
    if first_step == config.steps:
        return metrics
    stage.prepare()
    batches = Ahead(stage.job.micro_batches, min(config.steps, stop_after or config.steps))
    job = replace(stage.job, micro_batches=batches)

    def evaluate(step: int) -> None:
        if world.is_first:
            held_out = stage.evaluate()
            metrics.update(held_out.metrics)
            metrics["val_curve"].append({"step": step, "loss": metrics["val_loss"]})
            _log(log, step, held_out)

    def save(progress: Progress, snapshot: Snapshot) -> None:
        steps = progress.step - first_step
        metrics.update(
            {name: facts[name] for name in ("stage", "recipe", "seed")},
            steps=progress.step,
            step_ms=1000 * (progress.seconds - batches.waited_s) / steps,
            loader_ms=1000 * batches.waited_s / steps,
            num_parameters=num_parameters(job.policy),
            train_curve=[{"step": step, "loss": loss} for step, loss in progress.curve],
        )
        _save(stage, facts, progress, snapshot, metrics)
        while stale:
            stale.pop().unlink(missing_ok=True)

    folder = args.out.with_name(f"{args.out.name}.events")
    # A new run replaces the curves of an older one, once there is a checkpoint of it.
    stale = [] if first_step else list(folder.glob("events.out.tfevents.*"))
    log = EventLog(folder, first_step) if world.is_first else None
    try:
        run(job, progress, save, log, evaluate, stop_after)
    finally:
        batches.close()
        if log is not None:
            log.close()
    return metrics


def _taken(data: StageData) -> str:
    """Return what a stage learns from, in words."""
    left_out = sum(row["left_out"] for row in data.facts)
    known = f", {left_out} episodes left out that an earlier stage learned from" if left_out else ""
    return (
        f"Stage {data.stage}: {len(data.trained)} samples of {data.num_episodes} episodes, "
        f"{len(data.held_out)} held out{known}"
    )


def _log(log: EventLog | None, step: int, held_out: HeldOut) -> None:
    assert log is not None
    numbers = {n: v for n, v in held_out.metrics.items() if isinstance(v, float)}
    log.scalars(step, {f"held_out/{n.removeprefix('val_')}": v for n, v in numbers.items()})
    if held_out.picture is not None:
        log.picture(step, "held_out/predictions", held_out.picture)


def _save(stage: Stage, facts: dict, progress: Progress, snapshot: Snapshot, metrics: dict) -> None:
    job = stage.job
    document = {
        **facts,
        "steps_done": progress.step,
        "weights": "as trained" if job.ema is None else f"averaged, decay {job.ema.decay:g}",
        "torch": torch.__version__,
        "code_version": code_version(),
    }
    checkpoint = Checkpoint(
        cast(Any, job.policy), stage.data.contract, document, stage.normalizer, stage.source
    )
    files = run_files(job, progress, snapshot, metrics)
    save_checkpoint(checkpoint, stage.args.out, files, snapshot.weights)
